"""Models that come with the package: found by name, and what their cards say is so."""

import re
from pathlib import Path

import pytest
from rich.console import Group

import snntha
from snntha import models
from snntha.errors import UserError
from snntha.export import evaluate
from snntha.runtime import packed


@pytest.mark.parametrize("name", models.names())
def test_a_card_says_what_the_file_and_the_record_say(name: str) -> None:
    path = models.path_of(Path(name))
    trained, card = packed.read(path).trained, path.with_suffix(".md").read_text()
    accuracy = f"{trained['test_accuracy']:.2f} % of the test set"
    assert accuracy in card and trained["commit"] in card and f"seed {trained['seed']}" in card
    record = Path(snntha.__file__).parents[1] / re.search(r"`(results/\S+)`, trial", card)[1]  # type: ignore[index]
    assert (record / "summary.json").is_file()


def test_a_model_is_loaded_and_evaluated_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained = snntha.load("digits_annealed").network.trained
    shown = evaluate.run_command(None, Path("digits_annealed"), "best", 0, None, False, None)
    assert isinstance(shown, Group)
    lines = [str(text) for text in shown.renderables]
    assert lines[1] == f"test accuracy {trained['test_accuracy']:.2f} %"
    card = models.path_of(Path("digits_annealed")).with_suffix(".md").read_text()
    assert re.search(r"\| (\d+) in the mean over the test set", card)[1] in lines[2]  # type: ignore[index]


def test_a_name_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="model=digits_aneal.*did you mean 'digits_annealed'"):
        snntha.load("digits_aneal")
    with pytest.raises(UserError, match="run= is missing"):
        evaluate.run_command(None, None, "best", 0, None, False, None)
