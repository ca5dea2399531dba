"""`snntha reproduce`: cells go on where they were stopped, records hold no weights, documents say what records say."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

import snntha
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.reproduce import documents, plan
from snntha.reproduce.command import run_command
from snntha.reproduce.plan import Cell, all_cells, chosen

REPOSITORY = Path(snntha.__file__).parents[1]
SMALL = ["model.topology=2Conv3-AP2-18Dense10", "dataset.time_steps=8", "dataset.limit=64", "backend=reference"]


@pytest.fixture
def small_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two settings of the digits, of one and of two epochs."""
    line = {"group": "tables", "data": "digits", "modes": ["bsnn"], "variants": {"": SMALL}}
    content = {
        "data": {"digits": {"dataset": "digits", "samples": [128, 64], "title": "some digits"}},
        "cells": [{**line, "epochs": 1}, {**line, "epochs": 1, "trials": 2}, {**line, "epochs": 2}],
    }
    monkeypatch.setattr(plan, "stored", lambda *file: content)


def reproduce(folder: Path, *words: str, roots: tuple[Path, ...] = (), run: Path | None = None, **setting: Any) -> Any:
    places = {"outputs": folder / "runs", "results": folder / "results"}
    return run_command(list(words), list(roots), run, 1, **places, **setting)


def test_a_cell_goes_on_from_fewer_seeds_and_fewer_epochs(tmp_path: Path, small_plan: None, capsys: Any) -> None:
    reproduce(tmp_path, "digits")
    assert "goes on from" in capsys.readouterr().out
    record, longer = (RunFolder(tmp_path / f"results/digits/bsnn/{name}") for name in ("1_epochs", "2_epochs"))
    assert [seed.entry["seed"] for seed in record.seeds] == [0, 1] and record.state == "finished"
    assert [line["epoch"] for line in longer.seeds[0].metrics] == [1, 2]

    anew = tmp_path / "anew"
    reproduce(anew, "digits/bsnn/2_epochs")
    uninterrupted = RunFolder(anew / "results/digits/bsnn/2_epochs").seeds[0].metrics
    for line, other in zip(longer.seeds[0].metrics, uninterrupted, strict=True):
        assert {**line, "seconds": 0} == {**other, "seconds": 0}


def test_a_record_is_small_names_no_folder_and_counts_without_its_run(tmp_path: Path, small_plan: None) -> None:
    reproduce(tmp_path, "digits/bsnn/1_epochs")
    files = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"config.yaml", "environment.json", "summary.json", "metrics.jsonl"}
    assert not [path for path in files if str(tmp_path) in path.read_text()]
    (tmp_path / "runs").rename(tmp_path / "away")
    reproduce(tmp_path, "digits/bsnn/1_epochs")
    assert not (tmp_path / "runs").exists()
    table = reproduce(tmp_path)
    assert isinstance(table, Table) and list(table.columns[3].cells)[:2] == ["done", "done"]


def test_a_run_is_taken_over_by_the_cell_with_its_configuration(tmp_path: Path, small_plan: None) -> None:
    reproduce(tmp_path, "digits/bsnn/1_epochs")
    other, run = tmp_path / "other", tmp_path / "runs/digits/bsnn/1_epochs"
    reproduce(other, run=run)
    records = [place / "results/digits/bsnn/1_epochs/summary.json" for place in (tmp_path, other)]
    assert records[0].read_bytes() == records[1].read_bytes()
    with pytest.raises(UserError, match="there already"):
        reproduce(other, run=run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("beta: 0.9", "beta: 0.8"))
    with pytest.raises(UserError, match="no cell has its configuration"):
        reproduce(other, run=run)


def test_other_data_in_the_same_format_are_refused(tmp_path: Path, small_plan: None, capsys: Any) -> None:
    plan.plan()["data"]["digits"]["samples"] = [1438, 359]
    with pytest.raises(UserError, match="not trained: digits/bsnn/1_epochs"):
        reproduce(tmp_path, "digits/bsnn/1_epochs")
    assert "these are other data" in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "results").exists()


def test_cells_without_data_are_shown_as_absent_and_left_out(tmp_path: Path, capsys: Any) -> None:
    table = reproduce(tmp_path, roots=(tmp_path,))
    states = dict(zip(table.columns[1].cells, table.columns[3].cells, strict=True))
    assert states["shd/annealed/500_epochs_test"] == "data absent" and states["digits/bsnn/30_epochs"] == "open"
    reproduce(tmp_path, "shd", roots=(tmp_path,))
    assert capsys.readouterr().out.count("data absent") == 4


def test_any_setting_can_be_chosen() -> None:
    found = chosen(["shd/annealed", "mnist/bsnn"], epochs=7, trials=2, fidelity="code", selection="test")
    assert [cell.name for cell in found] == ["shd/annealed/7_epochs_code_test", "mnist/bsnn/7_epochs_code_test"]
    config = found[0].config(Path("x"))
    assert (config.epochs, config.trials, config.selection, config.dataset.window) == (7, 2, "test", "first_T_ms")
    with pytest.raises(UserError, match="did you mean 'fashion_mnist'"):
        chosen(["fashion_mnis"])


def test_cells_of_one_name_differ_in_nothing_but_seeds() -> None:
    by_name: dict[str, Cell] = {}
    for cell in all_cells():
        first = by_name.setdefault(cell.name, cell)
        assert (cell.changes, cell.trials >= first.trials) == (first.changes, True) or cell.group != first.group


@pytest.mark.slow
@pytest.mark.parametrize("cell", {cell.name: cell for cell in all_cells()}.values(), ids=lambda cell: cell.name)
def test_every_cell_has_a_valid_configuration(cell: Cell) -> None:
    assert cell.config(Path("x")).mode.name == cell.mode


DOCUMENTS = ["README.md", "docs/results.md", "docs/findings.md"]


def test_the_documents_say_what_the_records_say(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert documents.main(["--check", *DOCUMENTS]) == 0, capsys.readouterr().err


def test_another_number_in_a_document_is_found(tmp_path: Path, small_plan: None, capsys: Any) -> None:
    reproduce(tmp_path, "digits/bsnn/1_epochs")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table digest -->\nold\n<!-- end -->\nafter\n")
    assert documents.main([str(page)], tmp_path / "results") == 0
    summary = json.loads((tmp_path / "results/digits/bsnn/1_epochs/summary.json").read_text())
    assert f"{summary['test_accuracy']['mean']:.2f}" in page.read_text() and "old" not in page.read_text()
    assert documents.main(["--check", str(page)], tmp_path / "results") == 0
    page.write_text(page.read_text().replace("some digits", "all digits"))
    assert documents.main(["--check", str(page)], tmp_path / "results") == 1
    assert "page.md says something else" in capsys.readouterr().err
