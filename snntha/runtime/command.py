"""`snntha predict`: the class of each image or recording, from a packed file alone."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from snntha.errors import PRINTABLE, UserError
from snntha.runtime.inputs import event_columns, in_batches, read_all, to_batch, to_events
from snntha.runtime.model import FEW, Answer, Model, load


def run_command(model: Path, inputs: list[Path], as_json: bool, stream: bool) -> None:
    """Print a line for each sample: where it came from, its class, the confidence and the spikes of each output.

    Raises:
        UserError: the file is no packed network, or an input does not fit it.
    """
    loaded = load(model)
    if stream:
        if inputs:
            raise UserError("--stream reads events from standard input: leave INPUT out")
        for source, answer in _stream(loaded, sys.stdin):
            _print(source, answer, as_json)
        return
    if not inputs:
        raise UserError("INPUT is missing: name files or folders, - for standard input, or pass --stream for events")
    every = read_all(inputs, loaded.network.encoding)
    for samples in in_batches(every, first=FEW):  # which need no kernels, so that the first answers come at once
        answers = loaded.answers(to_batch([sample.values for sample in samples], loaded.network.encoding))
        for sample, answer in zip(samples, answers, strict=True):
            _print(sample.source, answer, as_json)


def _stream(model: Model, lines: TextIO) -> Iterator[tuple[str, Answer]]:
    """The class so far whenever it changes, and at the end; an event is a line, its columns those of a plain array."""
    encoding, stream = model.network.encoding, model.stream()
    shown = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = np.array([line.replace(",", " ").split()], np.float64)
            (time_us,), (index,) = to_events(f"line {number}", row, encoding)
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            columns = " ".join(event_columns(encoding))
            raise UserError(f"line {number} is {line.strip()[:50]!r}, expected numbers: {columns}") from None
        stream.feed(int(time_us), int(index))
        if stream.count_N.any() and (answer := stream.answer).label != shown:
            shown = answer.label
            yield f"step {stream.step}", answer
        if stream.finished:
            break
    yield f"step {encoding.time_steps}, the last", stream.finish()


def _print(source: str, answer: Answer, as_json: bool) -> None:
    """Flushed at once: whoever reads a stream waits for it."""
    if as_json:
        about = {"input": source, "class": answer.name, "label": answer.label, "confidence": answer.confidence}
        print(json.dumps({**about, "counts": answer.counts}), flush=True)
    else:
        counts = " ".join(map(str, answer.counts))
        line = f"{source}: {answer.name}, confidence {answer.confidence:.2f}, spikes {counts}"
        print(line.translate(PRINTABLE), flush=True)  # the names of classes may be a stranger's
