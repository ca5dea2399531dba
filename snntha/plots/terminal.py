"""A run's curves in the terminal, in braille: 2 x 4 dots a character."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from snntha.plots.folders import Missing, RunFolder

COLUMNS, ROWS = 36, 4
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bit of each dot: row, then column of a character


def terminal_picture(path: Path) -> RenderableType:
    """Selection accuracy (or loss, where there are no classes) beside the thresholds, over the epochs."""
    folder = RunFolder(path)
    try:
        scores = folder.column("validation_accuracy")
    except Missing as error:
        return Text(str(error))
    name, unit = f"{folder.config.selection} accuracy", " %"
    if None in scores:
        scores, name, unit = folder.column("validation_loss"), "loss", ""
    thresholds = folder.column("thresholds")
    layers = [[row[layer] for row in thresholds] for layer in range(len(thresholds[0]))]

    table = Table.grid(padding=(0, 4))
    rises = ", ".join(f"{layer[0]:.3g} → {layer[-1]:.3g}" for layer in layers)
    table.add_row(Text(f"{name}: {scores[0]:.4g} → {scores[-1]:.4g}{unit}"), Text(f"thresholds: {rises}"))
    table.add_row(Text(braille([_compressed(scores)]), style="cyan"), Text(braille(layers), style="yellow"))
    return table


def _compressed(values: Sequence[float]) -> Sequence[float]:
    """Logarithms of positive values that span more than a factor of 50."""
    if min(values) > 0 and max(values) > 50 * min(values):
        return [math.log(value) for value in values]
    return values


def braille(lines: Sequence[Sequence[float]], columns: int = COLUMNS, rows: int = ROWS) -> str:
    """Curves on a common scale from lowest to highest value, as `rows` lines of `columns` characters."""
    lowest, highest = min(map(min, lines)), max(map(max, lines))
    cells = [[0] * columns for _ in range(rows)]
    width, height = 2 * columns, 4 * rows
    for line in lines:
        for x in range(width):
            value = _interpolated(line, x / (width - 1))
            share = (value - lowest) / (highest - lowest) if highest > lowest else 0.5
            y = round((1 - share) * (height - 1))
            cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    return "\n".join("".join(chr(0x2800 + cell) for cell in row) for row in cells)


def _interpolated(line: Sequence[float], share: float) -> float:
    """Value at a share, 0 to 1, of the way along the line."""
    position = share * (len(line) - 1)
    left = min(int(position), max(len(line) - 2, 0))
    right = min(left + 1, len(line) - 1)
    return line[left] + (position - left) * (line[right] - line[left])
