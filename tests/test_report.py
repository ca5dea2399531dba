"""`snntha report`: the numbers are those of the records, the published figures and the conditions stand beside them."""

import csv
import io
import json
import re
import statistics
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_folders import write_run

from snntha.catalog import tags
from snntha.errors import UserError
from snntha.published import published
from snntha.report import build_tables, collect, report
from snntha.report.figures import overview, run_figures
from snntha.report.formats import as_csv, as_json, latex, markdown, terminal
from snntha.report.grouping import group
from snntha.report.page import page
from snntha.report.table import Column, Table, stored
from snntha.topology import parse

ACCURACIES = [65.0, 66.5, 64.2]


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Two settings of shd, one of which was trained in two runs of different seeds."""
    write_run(tmp_path / "outputs/shd/annealed/a", ACCURACIES[:2])
    write_run(tmp_path / "outputs/shd/annealed/b", ACCURACIES[2:], first_seed=2)
    write_run(tmp_path / "outputs/shd/bsnn/c", [60.0], mode="bsnn", overrides=("selection=test",))
    return tmp_path / "outputs"


def test_trials_of_a_search_are_reported_only_when_it_is_named(outputs: Path) -> None:
    for number in range(2):
        write_run(outputs / f"search/shd_annealed/trial_{number}", [50.0])
    assert len(collect([outputs])) == 3
    assert len(collect([outputs / "search/shd_annealed"])) == 2


def tables_of(*folders: Path) -> dict:
    return {table.name: table for table in build_tables(collect(list(folders)))}


def test_accuracies_over_seeds_beside_the_published(outputs):
    bsnn, annealed = tables_of(outputs)["results"].rows
    assert (annealed["dataset"], annealed["mode"], annealed["trials"]) == ("shd", "annealed", 3)
    assert annealed["best"] == max(ACCURACIES)
    assert annealed["mean"] == statistics.fmean(ACCURACIES)
    assert annealed["sigma"] == statistics.stdev(ACCURACIES)
    paper = published("shd", "annealed")
    assert (annealed["published_best"], annealed["published_mean"], annealed["published_sigma"]) == paper
    assert (bsnn["mean"], bsnn["sigma"], bsnn["published_mean"]) == (60.0, None, published("shd", "bsnn").mean)


def test_conditions_are_said_in_every_table(outputs):
    tables = tables_of(outputs)
    assert {"epochs_trained", "trials"} <= {column.key for column in tables["results"].columns}
    assert "Best epoch selected on: test, validation." in tables["results"].notes
    for name in ("accuracy", "cost", "layers"):
        keys = {column.key for column in tables[name].columns}
        assert {"selection", "epochs", "trials"} <= keys
        assert all(row["epochs"] == "3 of 3" for row in tables[name].rows)
    bsnn, annealed = tables["results"].rows
    assert (bsnn["selection"], annealed["selection"]) == ("test", "validation")
    assert annealed["unlike_published"] == "selected on validation, not test; 3 seeds, not 5; at most 3 epochs, not 500"
    assert "validation, not test" not in bsnn["unlike_published"]


def test_one_run_equals_its_summary(tmp_path):
    summary = write_run(tmp_path / "run", [50.0, 52.0])
    tables = tables_of(tmp_path)
    result, cost = tables["results"].rows[0], tables["cost"].rows[0]
    assert result["best"] == summary["test_accuracy"]["best"]
    assert result["mean"] == summary["test_accuracy"]["mean"]
    assert cost["footprint_bits"] == summary["footprint_bits"]
    assert cost["seconds"] == 12.5
    assert cost["weights"] == 700 * 3000 + 3000 * 20
    assert cost["firing_rate"] == pytest.approx((0.02 * 3000 + 0.04 * 20) / 3020)
    assert cost["measured_on"] == "test"
    assert [row["firing_rate"] for row in tables["layers"].rows] == summary["trials"][0]["test_firing_rate"]
    assert [row["dead_fraction"] for row in tables["layers"].rows] == summary["trials"][0]["test_dead_fraction"]
    assert [row["published_dead_fraction"] for row in tables["layers"].rows] == [0.2, 0.2]


def test_what_was_changed_separates_rows_and_is_named(tmp_path):
    write_run(tmp_path / "a", [60.0])
    write_run(tmp_path / "b", [61.0], overrides=("hparams.beta=0.5",))
    rows = tables_of(tmp_path)["results"].rows
    assert len(rows) == 2
    assert {row["mean"]: row["setting"] for row in rows}[61.0] == "hparams.beta=0.5"


def test_a_seed_that_was_run_twice_counts_once_and_the_table_says_so(tmp_path):
    write_run(tmp_path / "old", [10.0, 20.0], first_seed=0)
    write_run(tmp_path / "new", [40.0], first_seed=1)  # its seed 1 is the old run's second
    table = tables_of(tmp_path)["results"]
    assert table.rows[0]["trials"] == 2
    assert table.rows[0]["mean"] == 25.0
    assert any("run twice" in note for note in table.notes)


def test_the_same_seed_on_other_data_is_no_repetition(tmp_path):
    for number, (data, accuracy) in enumerate({"7770ec482c5f-1325": 60.0, "7770ec482c5f-a3c3": 70.0}.items()):
        write_run(tmp_path / str(number), [accuracy], fingerprint=data)
    table = tables_of(tmp_path)["results"]
    assert [(row["mean"], row["trials"], row["setting"]) for row in table.rows] == [
        (60.0, 1, "data 7770ec48-1325"),
        (70.0, 1, "data 7770ec48-a3c3"),
    ]
    assert not any("run twice" in note for note in table.notes)
    (tmp_path / "1/environment.json").unlink()
    rows = tables_of(tmp_path)["results"].rows
    assert {row["mean"]: row["setting"] for row in rows} == {60.0: "data 7770ec48-1325", 70.0: "data unknown"}


def test_data_that_the_seed_generates_are_one_setting(tmp_path):
    for seed in range(2):
        run = {"dataset": "temporal_coding", "mode": "flt32", "first_seed": seed}
        write_run(tmp_path / str(seed), [0.0], **run, fingerprint=f"generated from seed {seed}")
    assert [row["trials"] for row in tables_of(tmp_path)["results"].rows] == [2]


def test_another_hyperparameter_topology_or_binning_is_unlike_the_published(tmp_path):
    small = ("model.topology=700Dense100Dense20", "dataset.time_steps=100", "optimizer.lr=0.1", "patience=7")
    write_run(tmp_path / "a", [60.0], overrides=("threads=1", "device=cpu", "seed=3", "selection=test"))
    write_run(tmp_path / "b", [61.0], overrides=("hparams.beta=0.5",))
    write_run(tmp_path / "c", [62.0], overrides=small)
    write_run(tmp_path / "d", [63.0], dataset="digits")  # not in the paper
    rows = tables_of(tmp_path)["results"].rows
    told = {row["mean"]: row["unlike_published"].split("; ")[-1] for row in rows}
    assert told[60.0] == "at most 3 epochs, not 500"
    assert told[61.0] == "other hparams.beta"
    assert told[62.0] == "other patience, dataset.time_steps, model.topology and 1 more"
    assert told[63.0] == ""


def test_epochs_of_other_hyperparameters_are_not_the_published(tmp_path):
    write_run(tmp_path / "run", [60.0])
    path = tmp_path / "run/config.yaml"
    path.write_text(path.read_text().replace("\n  epochs: 500", "\n  epochs: 3"))
    assert "at most 3 epochs, not 500" in tables_of(tmp_path)["results"].rows[0]["unlike_published"]


def test_section_5_1_stands_beside_true_footprints(outputs):
    table = tables_of(outputs)["lightweight"]
    networks = {(row["dataset"], row["network"]): row for row in table.rows}
    assert {dataset for dataset, _ in networks} == {"shd"}
    assert networks["shd", "NH"]["printed_bits"] == 2_950_000
    assert networks["shd", "annealed, published"]["weight_bits"] == 2_160_000
    ours = networks["shd", "annealed, ours"]
    assert (ours["accuracy"], ours["footprint_bits"]) == (statistics.fmean(ACCURACIES), 2256704)
    assert any("slips" in note and "36.2, 22.4 and 2,160 kbit" in note for note in table.notes)


@pytest.mark.parametrize(
    ("dataset", "topology", "shape"),
    [
        ("fashion_mnist", "16Conv5-AP2-64Conv5-AP2-1024Dense10", (1, 28, 28)),
        ("dvs_gesture", "16Conv5-AP2-32Conv5-AP2-800Dense11", (2, 32, 32)),
        ("shd", "700Dense3000Dense20", (700,)),
    ],
)
def test_true_weights_follow_from_the_published_topologies(dataset, topology, shape):
    assert stored("paper.yaml")["annealed"][dataset]["weight_bits"] == sum(
        layer.weights for layer in parse(topology, shape)
    )


def test_json_reads_back_in_full_precision(outputs):
    tables = build_tables(collect([outputs]))
    back = json.loads(as_json(tables))
    assert back["results"]["rows"][1]["sigma"] == statistics.stdev(ACCURACIES)
    assert back["accuracy"]["rows"][1]["selection"] == "validation"
    assert back["results"]["notes"] == tables[0].notes


def test_csv_reads_back_in_full_precision(outputs):
    table = tables_of(outputs)["accuracy"]
    rows = list(csv.DictReader(io.StringIO(as_csv([table]))))
    assert float(rows[1]["sigma"]) == statistics.stdev(ACCURACIES)
    assert rows[0]["sigma"] == ""
    assert rows[1]["unlike_published"] == table.rows[1]["unlike_published"]


def test_markdown_reads_back(outputs):
    table = tables_of(outputs)["accuracy"]
    lines = [line for line in markdown([table]).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert {len(row) for row in cells} == {len(table.columns)}
    row = dict(zip(cells[0], cells[3], strict=True))
    assert (row["mean %"], row["sigma"], row["published mean %"]) == ("65.23", "1.17", "65.68")


def test_latex_reads_back(outputs):
    table = tables_of(outputs)["lightweight"]
    text = latex([table])
    rows = [line.strip().removesuffix(r" \\") for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + len(table.rows)
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(table.columns)}
    assert r"Perez-Nieves \& Goodman (2021)" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


def test_command_prints_one_table(outputs, capsys):
    report([outputs], "csv", "cost")
    printed = capsys.readouterr().out
    assert printed.startswith("dataset,mode,") and len(printed.splitlines()) == 3
    with pytest.raises(UserError, match="one table is one file: pass --table=results"):
        report([outputs], "csv", "all")


def test_one_table_fits_a_terminal_of_80_columns(tmp_path, capsys, monkeypatch):
    for number, mode in enumerate(("flt32", "bsnn_theta1", "bsnn", "annealed")):
        for data in ("digits", "shd"):
            accuracies = [60.0 + number, 62.0, 63.0]
            write_run(tmp_path / data / mode, accuracies, dataset=data, mode=mode, activity=False)
    monkeypatch.setenv("COLUMNS", "80")
    report([tmp_path])
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert len(lines) < 20 and max(map(len, lines)) <= 80
    (annealed,) = (line.split() for line in lines if line.startswith("shd") and "annealed" in line)
    assert annealed == ["shd", "annealed", "62.67", "0.58", "65.68", "25.0"]
    assert lines[0] == "Test accuracy; epochs 3; seeds 3"  # what is the same in all rows


def test_smoke_and_overfit_runs_are_tagged_and_no_results(outputs, tmp_path):
    write_run(outputs / "smoke", [90.0], overrides=("dataset.limit=32",), first_seed=8)
    write_run(outputs / "overfit", [99.0], overrides=("target_train_accuracy=100.0",), first_seed=9)
    runs = collect([outputs])
    assert [tags(run) for run in runs[-2:]] == [["smoke"], ["overfit"]]
    table = build_tables(runs)[0]
    assert max(row["mean"] for row in table.rows) < 70
    assert "left out: smoke, overfit" in table.notes[-1]


def test_literature_stands_beside_results_alone(tmp_path):
    write_run(tmp_path / "run", [50.0], dataset="digits", mode="bsnn")
    assert tables_of(tmp_path)["lightweight"].rows == []


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrow_terminal_shows_every_number_and_name(width, outputs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    report([outputs], table="accuracy")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for word in (f"{statistics.fmean(ACCURACIES):.2f}", "65.68", "66.35", "annealed", "unlike"):
        assert word in text
    assert "…" not in text


def test_terminal_table_says_selection_and_published(outputs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    report([outputs], table="accuracy")
    printed = capsys.readouterr().out
    assert "65.23" in printed and "65.68" in printed and "selected on validation, not test" in printed


# ---- what a record says is text, in every format ----

EVIL = "\x1b[31m=1+1 [red]a_b[/] <b>&\n|"


@pytest.fixture
def evil() -> list[Table]:
    return [Table("evil", "Evil", [Column("word", "word"), Column("size", "size", 1)], [{"word": EVIL, "size": -1.5}])]


def test_no_record_steers_the_terminal(evil, capsys):
    terminal([Table(evil[0].name, EVIL, evil[0].columns, evil[0].rows, [EVIL])])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert printed.count("[red]a_b[/]") == 3
    for form in (markdown, latex, as_csv, as_json):
        assert "\x1b" not in form(evil)


def test_no_record_becomes_a_formula_of_a_spreadsheet(evil):
    for words in ("=1+1", "+1", "-1", "@A1", "\t=1", "\n@A1"):
        evil[0].rows[0]["word"] = words
        _, (word, size) = csv.reader(io.StringIO(as_csv(evil)))
        assert word.startswith("'")
        assert size == "-1.5"


def test_no_record_becomes_markup(evil):
    assert r"a\_b" in latex(evil) and r"\&" in latex(evil)
    rows = [line for line in markdown(evil).splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert r"\<b\>" in rows[-1] and r"\|" in rows[-1] and r"a\_b" in rows[-1]


def test_names_in_figures_are_text(tmp_path):
    write_run(tmp_path / "run", [50.0])
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    (tmp_path / "run/summary.json").write_text(json.dumps({**summary, "selection": "<b></script>", "mode": "<a>"}))
    runs = collect([tmp_path])
    assert run_figures(runs[0])[0].data[1].name == "&lt;b&gt;&lt;/script&gt;"
    assert "<b>" not in page(runs).split("<script>")[0]
    assert "shd &lt;a&gt;" in str(overview(build_tables(runs)[0].rows).data[0].y)


# ---- incomplete, old and damaged folders ----


def problems_of(folder: Path) -> list[str]:
    return [row["problem"] for row in tables_of(folder)["problems"].rows]


def test_unfinished_run_is_shown_from_its_epochs(tmp_path):
    write_run(tmp_path / "run", [50.0])
    (tmp_path / "run/summary.json").unlink()
    tables = tables_of(tmp_path)
    row = tables["results"].rows[0]
    assert (row["mode"], row["epochs"], row["trials"], row.get("mean")) == ("annealed", "3 of 3", 0, None)
    assert tables["layers"].rows[0]["firing_rate"] == 0.1
    assert tables["layers"].rows[0]["measured_on"] == "validation"
    assert problems_of(tmp_path) == ["summary.json is missing: no seed has ended"]


def test_older_record_without_test_activity_falls_back_to_the_selected_epoch(tmp_path):
    summary = write_run(tmp_path / "run", [50.0])
    for key in ("test_firing_rate", "test_dead_fraction"):
        del summary["trials"][0][key]
    (tmp_path / "run/summary.json").write_text(json.dumps(summary))
    row = tables_of(tmp_path)["layers"].rows[0]
    assert (row["firing_rate"], row["dead_fraction"], row["measured_on"]) == (0.1, 0.5, "validation")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("summary.json", '{"dataset": ', "summary.json is damaged"),
        ("summary.json", "[1]", "summary.json is damaged: it holds no mapping"),
        ("summary.json", '{"trials": 3}', "trials is not a list"),
        ("summary.json", '{"trials": [{"seed": 0, "test_accuracy": "high"}]}', "test_accuracy is not a finite number"),
        ("config.yaml", "a: [", "config.yaml is damaged"),
        ("config.yaml", "model: {topology: nonsense}\ndataset: {input_shape: [3]}", "model.topology='nonsense'"),
        ("config.yaml", "model: 3\ndataset: []\ntrials: many", ""),
        ("environment.json", "\x00", "environment.json is damaged"),
        ("trial_0/metrics.jsonl", '{"epoch": 1, "firing_rate": 7}\n{"epo', "line 2 of metrics.jsonl is damaged"),
    ],
)
def test_a_damaged_record_is_told_and_the_other_run_is_shown(tmp_path, name, text, told):
    write_run(tmp_path / "good", [50.0], activity=False)
    write_run(tmp_path / "bad", [70.0], mode="bsnn", activity=False)
    (tmp_path / "bad" / name).write_text(text)
    tables = tables_of(tmp_path)
    assert 50.0 in [row["mean"] for row in tables["results"].rows]
    assert any(told in problem for problem in problems_of(tmp_path)) or not told
    report([tmp_path], html=tmp_path / "page.html")
    assert "good" in (tmp_path / "page.html").read_text()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
KEYS = {
    "summary.json": ("dataset", "mode", "fidelity", "selection", "trials", "test_accuracy", "footprint_bits"),
    "environment.json": (
        "created",
        "command",
        "commit",
        "python",
        "versions",
        "machine",
        "data_fingerprint",
        "resumed",
    ),
    "trial_0/metrics.jsonl": ("thresholds", "firing_rate", "train_loss", "selection", "output_membrane"),
}
TRIAL_KEYS = ("seed", "epochs", "best_epoch", "best_score", "test_accuracy", "seconds", "failed", "test_firing_rate")


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_content_of_a_record_stops_the_report(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any") / "run"
    write_run(folder, [50.0], activity=False)
    name = data.draw(st.sampled_from(list(KEYS)))
    content = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS[name], JSON)))
    if name == "summary.json" and data.draw(st.booleans()):
        content["trials"] = [data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(TRIAL_KEYS, JSON)))]
    (folder / name).write_text(json.dumps({"epoch": 1, **content}) + "\n")
    assert "<h1>" in page(collect([folder]))


def test_failed_trial_is_told_and_not_counted(tmp_path):
    summary = write_run(tmp_path / "run", [50.0, 60.0])
    summary["trials"][1] = {"seed": 1, "failed": "NaN at epoch 1"}
    (tmp_path / "run/summary.json").write_text(json.dumps(summary))
    assert tables_of(tmp_path)["results"].rows[0]["trials"] == 1
    assert problems_of(tmp_path) == ["seed 1 failed: NaN at epoch 1"]


def test_unfinished_and_failed_trials_are_not_averaged_into_those_that_ended(tmp_path):
    summary = write_run(tmp_path / "run", [50.0, 60.0, 70.0])
    summary["trials"] = [summary["trials"][0], {"seed": 1, "failed": "NaN at epoch 2"}]
    (tmp_path / "run/summary.json").write_text(json.dumps(summary))
    for number in (1, 2):
        line = {"epoch": 1, "seconds": 1000.0, "thresholds": [99.0, 99.0], "firing_rate": [0.9, 0.9]}
        (tmp_path / f"run/trial_{number}/metrics.jsonl").write_text(json.dumps(line) + "\n")
    tables = tables_of(tmp_path)
    cost, layer = tables["cost"].rows[0], tables["layers"].rows[0]
    assert (cost["seconds"], cost["epochs"], cost["measured_on"]) == (12.5, "3 of 3", "test")
    assert (layer["firing_rate"], layer["threshold_best"]) == (0.02, 7.0)


def test_a_failed_trial_replaces_no_result_of_its_seed(tmp_path):
    write_run(tmp_path / "old", [50.0], first_seed=1)
    for later in (2, 3):
        summary = write_run(tmp_path / f"run{later}", [0.0, 0.0], first_seed=later)
        summary["trials"] = [{"seed": seed, "failed": "NaN at epoch 1"} for seed in (1, 9)]
        (tmp_path / f"run{later}/summary.json").write_text(json.dumps(summary))
    (result,) = group(collect([tmp_path]))
    assert [(seed.entry["seed"], seed.failed) for seed in result.seeds] == [(1, None), (9, "NaN at epoch 1")]
    assert result.mean("test_accuracy") == 50.0


def test_no_run_says_where_it_looked_and_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match=rf"no run found in {re.escape(str(tmp_path))}.*snntha train debug=smoke"):
        report([tmp_path])
    with pytest.raises(UserError, match="nowhere is not a folder"):
        report([tmp_path / "nowhere"])


def test_the_same_run_named_twice_is_read_once(outputs):
    assert len(collect([outputs, outputs / "shd/bsnn/c"])) == 3


def test_losses_of_other_lengths_are_kept_apart_on_the_page(tmp_path):
    write_run(tmp_path / "run", [50.0], overrides=("dataset.test_time_steps=99",))
    (run,) = collect([tmp_path])
    loss = run_figures(run)[0]
    assert loss.layout.meta["caption"] == "Loss"
    assert [trace.name for trace in loss.data] == ["training"]
    assert "99 steps" in loss.layout.meta["detail"]


def test_a_resumed_run_shows_every_command(tmp_path):
    write_run(tmp_path / "run", [50.0])
    environment = json.loads((tmp_path / "run/environment.json").read_text())
    resumed = [{**environment, "command": "snntha train resume=there"}]
    (tmp_path / "run/environment.json").write_text(json.dumps({**environment, "resumed": resumed}))
    assert "; then snntha train resume=there" in page(collect([tmp_path]))
