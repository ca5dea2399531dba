"""docs/records.md names exactly what a run writes."""

import re
from pathlib import Path
from typing import Any

import pytest

from snntha.config import compose
from snntha.folder import RunFolder
from snntha.records import load_tensors
from snntha.run import run

DOCS = (Path(__file__).parents[1] / "docs/records.md").read_text()
TEMPORAL = ("dataset=temporal_coding", "model.topology=100Dense5Dense1", "epochs=1")
TYPES = {
    "text": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int),
    "null": lambda value: value is None,
    "list": lambda value: isinstance(value, list),
    **dict.fromkeys(("number", "percent", "seconds"), lambda value: isinstance(value, int | float)),
}


def documented(title: str) -> dict[str, str]:
    """Key -> type, of the table below a heading."""
    section = DOCS.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return {row[0]: row[1] for row in re.findall(r"^\| `([^`]+)` \| ([^|]+?) \|", section, re.MULTILINE)}


def flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in record.items():
        if key == "versions":
            found["versions.<package>"] = next(iter(value.values()))
        elif isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            found |= flat(value[0], f"{prefix}{key}[].")
        else:
            found[f"{prefix}{key}"] = value
    return found


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(tmp_path_factory, "epochs=1")


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(tmp_path_factory, *TEMPORAL)


def train(tmp_path_factory: pytest.TempPathFactory, *overrides: str) -> RunFolder:
    folder = tmp_path_factory.mktemp("run") / "run"
    run(compose(["debug=smoke", "backend=reference", f"output_dir={folder}", *overrides]))
    return RunFolder(folder)


@pytest.mark.parametrize("title", ["environment.json", "summary.json", "trial_&lt;k&gt;/metrics.jsonl"])
def test_every_key_of_a_run_is_documented_with_its_type(title, classes, temporal):
    for record, further in ((classes, set()), (temporal, {"output_membrane"} if "metrics" in title else set())):
        contents = {"environment.json": record.environment, "summary.json": record.summary}
        written = flat(contents.get(title) or record.seed(0).metrics[0])
        types = documented(title)
        assert written.keys() == types.keys() | further
        for key, kind in types.items():
            allowed = [TYPES[word.split()[0]] for word in kind.split(" or ")]
            assert any(fits(written[key]) for fits in allowed), f"{key} is {written[key]!r}, documented as {kind}"


def test_every_entry_of_the_tensor_files_is_documented(classes, temporal):
    rows = re.findall(r"^\| (`\w+\.pt`.*?) \| `(\w+)` \|", DOCS, re.MULTILINE)
    for path in [*classes.folder.rglob("*.pt"), *temporal.folder.rglob("activity_initial.pt")]:
        assert load_tensors(path).keys() == {key for files, key in rows if f"`{path.name}`" in files}, path
    assert not (classes.folder / "trial_0/activity_initial.pt").exists()
