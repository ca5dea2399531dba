"""A run's curves in the terminal, in braille: 2 x 4 dots a character."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from snntha.errors import Missing
from snntha.plots.folders import ShownRun
from snntha.plots.style import is_wide

COLUMNS, ROWS = 36, 4
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bit of each dot: row, then column of a character


def terminal_picture(folder: Path) -> RenderableType:
    """Selection accuracy (or loss, where there are no classes) beside the thresholds, over the epochs."""
    run = ShownRun(folder)
    try:
        quantity, unit = ("accuracy", " %") if run.has_classes else ("loss", "")
        scores, thresholds = run.column(f"validation_{quantity}"), run.column("thresholds")
    except Missing as error:
        return Text(str(error))
    name = f"{run.config.selection} accuracy" if run.has_classes else "loss"
    layers = list(zip(*thresholds, strict=True))
    table = Table.grid(padding=(0, 4))
    rises = ", ".join(f"{layer[0]:.3g} → {layer[-1]:.3g}" for layer in layers)
    table.add_row(Text(f"{name}: {scores[0]:.4g} → {scores[-1]:.4g}{unit}"), Text(f"thresholds: {rises}"))
    curve = [math.log(score) for score in scores] if is_wide(scores) else scores
    table.add_row(Text(braille([curve]), style="cyan"), Text(braille(layers), style="yellow"))
    return table


def braille(lines: Sequence[Sequence[float]], columns: int = COLUMNS, rows: int = ROWS) -> str:
    """Curves on a common scale from lowest to highest value, as `rows` lines of `columns` characters."""
    lowest, highest = min(map(min, lines)), max(map(max, lines))
    cells = [[0] * columns for _ in range(rows)]
    width, height = 2 * columns, 4 * rows
    for line in lines:
        values = np.interp(np.linspace(0, len(line) - 1, width), range(len(line)), line)
        for x, value in enumerate(values):
            share = (value - lowest) / (highest - lowest) if highest > lowest else 0.5
            y = round((1 - share) * (height - 1))
            cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    return "\n".join("".join(chr(0x2800 + cell) for cell in row) for row in cells)
