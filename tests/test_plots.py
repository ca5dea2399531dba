"""Figures as functions of run folders: what their artists show is what the record says."""

import io
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from snntha import cli, plots
from snntha.binarize import binarize
from snntha.closing import train_and_show
from snntha.config import compose
from snntha.data.batch import Batch, ImageSplit, SingleSplit
from snntha.diagnostics import class_inputs
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.kernels.spec import Events
from snntha.neuron import surrogate_gradient
from snntha.plots import Missing, Options, neuron, samples, temporal
from snntha.plots.curves import braille
from snntha.plots.folders import Runs, ShownRun
from snntha.plots.style import Animation
from snntha.records import load_tensors
from snntha.run import run
from snntha.several import Curves
from snntha.threshold import Annealing

DIGITS = ("model.topology=32Conv3-AP2-288Dense10", "hparams.threshold.start=[5.0,5.0]")
ANNEALED = (*DIGITS, "hparams.threshold.rise=[5.0,5.0]", "hparams.threshold.rate=[0.005,0.005]")
TEMPORAL = ("dataset=temporal_coding", "model.topology=100Dense20Dense1", "epochs=6", "patience=null")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny runs by name."""
    root = tmp_path_factory.mktemp("runs")
    choices = {
        "annealed": ("mode=annealed", "epochs=3", *ANNEALED),
        "bsnn": ("mode=bsnn", "epochs=2", *DIGITS),
        "seeds": ("mode=annealed", "epochs=3", "trials=2", *ANNEALED),
        "temporal_annealed": ("mode=annealed", *TEMPORAL),
        "temporal_flt32": ("mode=flt32", *TEMPORAL),
    }
    for name, overrides in choices.items():
        run(compose(["debug=smoke", "backend=reference", f"output_dir={root / name}", *overrides]))
    return {name: root / name for name in choices}


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A run that a test may damage."""
    return Path(shutil.copytree(folders["annealed"], tmp_path / "copy"))


def drawn(name: str, runs: Runs, **options) -> Figure:
    figure = plots.FIGURES[name].draw(runs, Options(**options))
    assert isinstance(figure, Figure)
    return figure


def figure_of(name: str, *paths: Path, **options) -> Figure:
    return drawn(name, Runs([ShownRun(path) for path in paths]), **options)


def animation_of(name: str, path: Path, **options) -> Animation:
    animation = plots.FIGURES[name].draw(Runs([ShownRun(path)]), Options(**options))
    assert isinstance(animation, Animation)
    return animation


def metrics(path: Path) -> list[dict]:
    return RunFolder(path).seed(0).metrics


def activity(path: Path, when: str = "end", seed: int = 0) -> dict:
    return load_tensors(path / f"trial_{seed}/activity_{when}.pt")


def test_curves_show_loss_accuracy_and_every_threshold(folders):
    figure = figure_of("curves", folders["annealed"])
    loss, accuracy, theta = figure.axes
    lines = metrics(folders["annealed"])
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), [line["train_loss"] for line in lines])
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), [line["validation_loss"] for line in lines])
    np.testing.assert_array_equal(accuracy.lines[0].get_ydata(), [line["train_accuracy"] for line in lines])
    np.testing.assert_array_equal(accuracy.lines[1].get_ydata(), [line["validation_accuracy"] for line in lines])
    for layer, drawn in enumerate(theta.lines):
        assert drawn.get_ydata()[0] == 5.0
        np.testing.assert_array_equal(drawn.get_ydata()[1:], [line["thresholds"][layer] for line in lines])


def test_curves_of_one_epoch_are_points(copy):
    metrics = copy / "trial_0/metrics.jsonl"
    metrics.write_text(metrics.read_text().splitlines(keepends=True)[0])
    loss, *_ = figure_of("curves", copy).axes
    assert [line.get_marker() for line in loss.lines] == ["o", "x"]
    low, high = loss.get_xlim()
    assert [tick for tick in loss.get_xticks() if low <= tick <= high] == [1]


def test_curves_of_several_runs_have_their_own_colours_and_names(folders):
    figure = figure_of("curves", folders["annealed"], folders["bsnn"])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["training", "validation", "annealed", "BSNN"]
    assert len({line.get_color() for line in figure.axes[0].lines}) == 2
    assert figure.axes[2].get_title() == "(c) threshold, last layer"
    assert len(figure.axes[2].lines) == 1  # that of the run whose threshold moves


def test_runs_of_one_mode_are_told_apart(folders):
    runs = Runs([ShownRun(folders["annealed"]), ShownRun(folders["annealed"])])
    first, second = runs.shown
    assert first.colour != second.colour
    assert first.label == "annealed (annealed)"


def test_runs_keep_their_labels_from_figure_to_figure(folders):
    opened = [ShownRun(folders["annealed"]), ShownRun(folders["annealed"]), ShownRun(folders["temporal_flt32"])]
    for _ in range(2):
        labels = [folder.label for folder in Runs(opened).shown]
        assert labels == ["digits annealed (annealed)", "digits annealed (annealed)", "temporal_coding flt32"]


def test_a_loss_of_more_time_steps_is_not_drawn_beside_that_of_training(copy):
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("test_time_steps: null", "test_time_steps: 99"))
    runs = Runs([ShownRun(copy)])
    figure = drawn("curves", runs)
    assert len(figure.axes[0].lines) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["training", "validation"]
    assert "loss of 99 validation steps" in runs.notes[0]


def test_curves_name_every_selection(folders, copy):
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("\nselection: validation", "\nselection: test"))
    texts = figure_of("curves", folders["annealed"], copy).legends[0].get_texts()
    assert [text.get_text() for text in texts][:3] == ["training", "validation", "test"]
    alone = figure_of("curves", folders["temporal_flt32"]).legends[0].get_texts()
    assert [text.get_text() for text in alone] == ["training", "evaluation"]


def test_curves_without_classes_have_no_accuracy(folders):
    assert [ax.get_ylabel() for ax in figure_of("curves", folders["temporal_flt32"]).axes] == ["loss"]
    annealed = figure_of("curves", folders["temporal_annealed"])
    assert [ax.get_ylabel() for ax in annealed.axes] == ["loss", "threshold θ"]


def test_several_seeds_are_a_mean_with_a_band_and_a_curve_each(folders):
    figure = figure_of("curves", folders["seeds"])
    loss, accuracy, theta = figure.axes
    seeds = [[line["validation_accuracy"] for line in RunFolder(folders["seeds"]).seed(k).metrics] for k in (0, 1)]
    shown = [list(line.get_ydata()) for line in accuracy.lines]
    assert shown[3:] == [np.mean(seeds, axis=0).tolist(), *seeds]  # after those of training
    assert accuracy.get_ylim()[1] <= 100
    assert len(accuracy.collections) == len(loss.collections) == 2  # the bands
    assert "mean, and range of 2 seeds" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(drawn("curves", Runs([ShownRun(folders["seeds"], 1)])).axes[0].lines) == 2
    counts = sum(activity(folders["seeds"], seed=seed)["confusion"].numpy() for seed in (0, 1))
    title = figure_of("confusion", folders["seeds"]).axes[0].get_title()
    assert title == f"annealed, 2 seeds: {100 * counts.trace() / counts.sum():.1f} % correct"
    below = figure_of("spike_counts", folders["seeds"]).axes[2]
    assert len(below.lines[0].get_xdata()) == 2  # the dead neurons of each


def test_a_mean_ends_where_the_first_seed_does():
    curves = Curves([[1.0, 2.0, 3.0], [3.0, 4.0]])
    assert (curves.mean, curves.lowest, curves.highest) == ([2.0, 3.0], [1.0, 2.0], [3.0, 4.0])


def test_thresholds_follow_eq_4_and_meet_the_record(folders):
    theta, step, rate, silenced = figure_of("thresholds", folders["annealed"]).axes
    lines = metrics(folders["annealed"])
    iterations, values = theta.lines[0].get_data()
    assert list(values) == [Annealing(5.0, 5.0, 0.005).after(updates) for updates in range(lines[-1]["iteration"] + 1)]
    for line in lines:
        assert values[line["iteration"]] == pytest.approx(line["thresholds"][0])
        assert rate.lines[0].get_ydata()[line["iteration"] - 1] == pytest.approx(line["learning_rate"])
    np.testing.assert_allclose(step.lines[0].get_ydata()[:-1], np.diff(values))
    expected = [100 * line["silenced_by_threshold"][0] for line in lines]
    np.testing.assert_array_equal(silenced.lines[0].get_ydata(), expected)


def test_flips_are_those_of_the_record(folders):
    figure = figure_of("flips", folders["annealed"], folders["bsnn"])
    lines = metrics(folders["annealed"])
    first, second = figure.axes[:2]
    assert list(first.lines[0].get_ydata()) == [100 * line["sign_flips"][0] for line in lines]
    assert list(second.lines[0].get_ydata()) == [100 * line["sign_flips"][1] for line in lines]
    assert [ax.lines[0].get_linestyle() for ax in figure.axes[2:]] == [":", ":"]


@pytest.mark.parametrize("name, when", [("spike_counts", "end"), ("spike_counts_start", "start")])
def test_spike_counts_are_a_distribution_with_the_dead_share(folders, name, when):
    figure = figure_of(name, folders["annealed"], folders["bsnn"])
    counts = [activity(folders[mode], when)["spike_count_N"] for mode in ("annealed", "bsnn")]
    above, below = figure.axes[:2], figure.axes[2:]
    assert above[0].get_title() == "(a) layer 1 (conv, 288)"
    for layer in range(2):
        for row, count_N in enumerate(count[layer] for count in counts):
            dead = 100 * (count_N == 0).double().mean().item()
            assert below[layer].patches[row].get_width() == pytest.approx(dead)
            assert below[layer].texts[row].get_text() == f"{dead:.1f} %"
    outlines = [patch.get_path().vertices[:, 1].max() for patch in above[0].patches]
    assert 0 < max(outlines) <= 100.001


def test_confusion_shows_percent_of_each_class(folders):
    ax = figure_of("confusion", folders["annealed"]).axes[0]
    counts = activity(folders["annealed"])["confusion"].numpy()
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.testing.assert_allclose(ax.images[0].get_array(), shares)
    assert ax.get_title() == f"annealed: {100 * counts.trace() / counts.sum():.1f} % correct"


def test_raster_marks_the_recorded_spikes(folders):
    figure = figure_of("raster", folders["annealed"])
    sample = activity(folders["annealed"])["sample"]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), sample["input"][0])
    for ax, spikes_TN in zip(figure.axes[1:], sample["spikes_TN"], strict=True):
        stride = -(-spikes_TN.shape[1] // samples.ROWS)
        steps, rows = np.nonzero(spikes_TN.numpy()[:, ::stride])
        marks = ax.collections[0].get_offsets()
        np.testing.assert_array_equal(marks, np.stack([steps + 0.5, rows * stride], axis=1))


def test_raster_of_an_event_input(folders):
    figure = figure_of("raster", folders["temporal_annealed"])
    sample = activity(folders["temporal_annealed"])["sample"]
    assert len(figure.axes[0].collections[0].get_offsets()) == int(sample["input"].sum())


def test_samples_show_every_class_of_each_data_set_once(folders):
    figure = figure_of("samples", folders["annealed"], folders["bsnn"], folders["temporal_flt32"])
    assert [part.get_suptitle().split(":")[0] for part in figure.subfigs] == ["digits", "temporal_coding"]
    inputs = activity(folders["annealed"])["class_inputs"]
    titles = [ax.get_title() for ax in figure.subfigs[0].axes]
    assert titles == [str(label) for label in sorted(inputs)] and len(titles) > 5  # of 32 samples
    np.testing.assert_array_equal(figure.subfigs[0].axes[0].images[0].get_array(), inputs[int(titles[0])][0])


def test_a_class_is_shown_by_its_first_sample_and_a_camera_by_its_sum():
    image = ImageSplit(torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1), torch.tensor([3, 1, 3, 1, 0]), 1, 10)
    assert {label: float(values) for label, values in class_inputs(image, 4, 2).items()} == {0: 4.0, 1: 1.0, 3: 0.0}
    events = Events(torch.tensor([0, 2, 3]), torch.tensor([1, 1, 7], dtype=torch.int32), 2, 1, (2, 2, 2))
    (summed,) = class_inputs(SingleSplit(Batch(events, torch.tensor([0]))), 1, 1).values()
    assert summed[1, 0, 0] == 2 and summed[1, 1, 1] == 1 and summed.sum() == 3


def test_weights_before_and_after_binarization(folders):
    latent_axes, binary_axes = figure_of("weights", folders["annealed"]).axes[:2]
    latent = ShownRun(folders["annealed"]).weights(0)
    shown = latent_axes.images[0].get_array()
    np.testing.assert_array_equal(shown[:3, :3], latent[0, 0])
    np.testing.assert_array_equal(binary_axes.images[0].get_array()[:3, 4:7], binarize(latent)[1, 0])


def test_weights_of_flt32_have_no_binary_panel(folders):
    titles = [ax.get_title() for ax in figure_of("weights", folders["temporal_flt32"]).axes]
    assert "latent weights" in titles and "after binarization" not in titles


def test_temporal_draws_target_and_iterations_of_each_run(folders):
    figure = figure_of("temporal", folders["temporal_annealed"], folders["temporal_flt32"], iterations=(0, 2, 6))
    lines = metrics(folders["temporal_annealed"])
    target, untrained, second, last = figure.axes[:4]
    assert target.get_title(loc="left") == "(a) annealed: target"
    assert untrained.get_title() == "γ = 0, θ = 5"
    assert max(target.lines[0].get_ydata()) == pytest.approx(55.0)
    np.testing.assert_array_equal(second.lines[0].get_ydata(), lines[1]["output_membrane"])
    assert list(second.lines[1].get_ydata()) == [lines[1]["thresholds"][-1]] * 2
    spikes = np.flatnonzero(np.array(lines[5]["output_membrane"]) >= lines[5]["thresholds"][-1])
    assert [path.vertices[0, 0] for path in figure.axes[7].collections[0].get_paths()] == list(spikes)
    assert last.get_title().startswith("γ = 6")
    assert len(figure.axes) == 16


def test_temporal_iteration_0_is_the_untrained_network(folders):
    """Its loss is the first one that training recorded."""
    run = ShownRun(folders["temporal_annealed"])
    animation = animation_of("animation", run.folder)
    animation.update(0)
    assert animation.figure.axes[0].get_title() == "annealed: iteration γ = 0, threshold θ = 5.00"
    membrane = animation.figure.axes[0].lines[1].get_ydata()
    loss = np.mean((membrane - temporal.Recording.read(run).target_T) ** 2)
    assert loss == pytest.approx(run.column("train_loss")[0], rel=1e-5)


def test_temporal_without_a_record_of_iteration_0_draws_the_others(folders, tmp_path):
    older = Path(shutil.copytree(folders["temporal_annealed"], tmp_path / "older"))
    record = older / "trial_0/activity_initial.pt"
    record.unlink()
    runs = Runs([ShownRun(older)])
    figure = drawn("temporal", runs, iterations=(0, 2))
    assert [ax.get_title() for ax in figure.axes[:3] if ax.get_visible()] == ["", "γ = 2, θ = 5.45"]
    assert [note for note in runs.notes if note.startswith(f"iteration 0 is not drawn: {record} is missing")]
    assert animation_of("animation", older).frames == 6


def test_temporal_says_where_a_run_ended_early(folders):
    runs = Runs([ShownRun(folders["temporal_annealed"])])
    drawn("temporal", runs)
    assert any("ends at iteration 6: drawn in place of 400" in note for note in runs.notes)


def test_strict_spikes_need_more_than_the_threshold(folders):
    run = ShownRun(folders["temporal_annealed"])
    recording = temporal.Recording(run, np.zeros(3), {1: (np.array([0.0, 1.0, 2.0]), 1.0)})
    assert list(recording.spikes(1)) == [1, 2]
    run.layers = (replace(run.layers[-1], strict=True),)
    assert list(recording.spikes(1)) == [2]


def test_temporal_refuses_another_data_set(folders):
    with pytest.raises(Missing, match="dataset=digits: this figure needs dataset=temporal_coding"):
        figure_of("temporal", folders["annealed"])


def test_neuron_fires_at_its_threshold_and_is_reset_a_step_later():
    u_T, z_T = neuron.respond(np.array([0.0, 1.0, 0.0, -1.0]), beta=0.5, theta_T=np.ones(4))
    np.testing.assert_array_equal(z_T, [False, True, False, False])
    np.testing.assert_array_equal(u_T, [0.0, 1.0, -0.5, -1.25])


def test_neuron_figure_takes_the_numbers_of_the_run_or_the_command_line(folders):
    figure = figure_of("neuron", folders["annealed"])
    assert figure.axes[3].get_title().startswith("(d) θ = 5:")
    assert figure.axes[4].get_title().startswith("(e) θ = 10:")
    alone = drawn("neuron", Runs([]), final=7.0)
    assert alone.axes[5].get_title() == "(f) θ from 1 to 7: both"


def test_surrogate_is_eq_8_clamped_and_moving():
    figure = drawn("surrogate", Runs([]), start=2.0, final=6.0, slope=0.5)
    clamped, moving = figure.axes[4], figure.axes[5]
    for ax, centre in ((clamped, 2.0), (moving, 6.0)):
        u, s = ax.lines[4].get_data()  # curve and point A of each threshold in turn
        np.testing.assert_allclose(s, 1 / (1 + 0.5 * np.abs(u - centre)) ** 2)
    assert "s = 0.44 when θ = 6" in clamped.texts[0].get_text()
    assert "s = 0.082 when θ = 6" in moving.texts[0].get_text()


def test_fast_sigmoid_integrates_the_surrogate_gradient():
    u = np.linspace(-3, 5, 4001)
    slope = np.gradient(neuron.fast_sigmoid(u, 2.0, 1.0), u)
    expected = surrogate_gradient(u, 1.0, 2.0)  # the derivative is k / 2 = 1 times that
    np.testing.assert_allclose(slope[1:-1], expected[1:-1], atol=5e-3)


def test_running_mean_of_width_5():
    values = np.array([0.0, 10.0, 0.0, 0.0, 0.0, 5.0])
    np.testing.assert_allclose(temporal.running_mean(values), [10 / 3, 2.5, 2.0, 3.0, 1.25, 5 / 3])


@pytest.mark.parametrize("name, smooth", [("animation", False), ("animation_smooth", True)])
def test_animation_shows_membrane_threshold_and_iteration(folders, name, smooth):
    animation = animation_of(name, folders["temporal_annealed"])
    line = metrics(folders["temporal_annealed"])[5]
    animation.update(6)
    membrane = np.array(line["output_membrane"])
    target, trace, threshold = animation.figure.axes[0].lines
    np.testing.assert_allclose(trace.get_ydata(), temporal.running_mean(membrane) if smooth else membrane)
    assert threshold.get_ydata()[0] == line["thresholds"][-1]
    expected = f"annealed: iteration γ = 6, threshold θ = {line['thresholds'][-1]:.2f}"
    assert animation.figure.axes[0].get_title() == expected


def test_animation_file_has_the_wanted_frames(folders, tmp_path):
    written, _ = plots.plot([folders["temporal_annealed"]], ["animation"], tmp_path, Options(frames=4))
    assert tmp_path / "animation.gif" in written
    assert {path.suffix for path in written} == ({".gif", ".mp4"} if shutil.which("ffmpeg") else {".gif"})
    with Image.open(tmp_path / "animation.gif") as image:
        assert image.n_frames == 4


def test_flow_lights_the_neurons_that_fire(folders):
    animation = animation_of("flow", folders["annealed"], frames=1000)
    sample = activity(folders["annealed"])["sample"]
    assert animation.frames == len(sample["spikes_TN"][0])
    for frame in range(10):
        animation.update(frame)
    output_TN = sample["spikes_TN"][-1]
    lit = animation.figure.axes[2].images[0].get_array().flatten()[: output_TN.shape[1]]
    np.testing.assert_array_equal(lit == 1.0, output_TN[9].numpy() == 1)
    widths = [bar.get_width() for bar in animation.figure.axes[3].patches]
    assert widths == output_TN[:10].sum(0).tolist()


@pytest.mark.parametrize("shape", [(3, 2, 4), (7,)])
def test_layout_places_every_neuron_once(shape):
    grid = samples.layout(shape)
    assert sorted(grid[grid >= 0]) == list(range(np.prod(shape)))


def test_all_figures_of_a_run_are_written_as_png_and_svg(folders, tmp_path):
    written, notes = plots.plot([folders["annealed"]], [], tmp_path, Options(frames=2))
    names = {path.stem for path in written}
    assert names == plots.FIGURES.keys() - {"temporal", "animation", "animation_smooth"}
    for name in names - {"flow"}:
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
        assert (tmp_path / f"{name}.svg").read_text().startswith("<?xml")
    assert notes == []


def test_a_figure_is_the_same_file_each_time(folders, tmp_path):
    for place in ("a", "b"):
        plots.plot([folders["annealed"]], ["curves"], tmp_path / place)
    for kind in ("png", "svg"):
        first, second = ((tmp_path / place / f"curves.{kind}").read_bytes() for place in ("a", "b"))
        assert first == second


def test_missing_records_are_named_and_the_rest_is_drawn(copy, folders, tmp_path):
    (copy / "trial_0" / "activity_end.pt").unlink()
    written, notes = plots.plot([copy], ["curves", "raster"], tmp_path)
    assert [path.name for path in written] == ["curves.png", "curves.svg"]
    assert notes[0].startswith(f"raster: not drawn: {copy}/trial_0/activity_end.pt is missing")

    _, notes = plots.plot([copy, folders["bsnn"]], ["spike_counts"], tmp_path)
    assert notes[0].startswith(f"spike_counts: {copy}/trial_0/activity_end.pt is missing")


def test_an_older_record_leaves_one_panel_out(copy, tmp_path):
    path = copy / "trial_0" / "metrics.jsonl"
    path.write_text(path.read_text().replace("silenced_by_threshold", "formerly"))
    runs = Runs([ShownRun(copy)])
    figure = drawn("thresholds", runs)
    assert len(figure.axes[0].lines) == 4 and len(figure.axes) == 3
    assert runs.notes == [f"{path} has no silenced_by_threshold: an older run or another data set; train it anew"]


def test_an_older_activity_names_the_entry(copy):
    path = copy / "trial_0" / "activity_end.pt"
    torch.save({"thresholds": [5.0, 5.0]}, path)
    with pytest.raises(Missing, match="has no confusion"):
        figure_of("confusion", copy)


def test_a_run_without_an_epoch_draws_nothing(copy):
    shutil.rmtree(copy / "trial_0")
    assert plots.draw_run(copy) == []
    with pytest.raises(Missing, match="no epoch has ended"):
        figure_of("curves", copy)


def test_one_run_at_a_time_is_noted(folders):
    runs = Runs([ShownRun(folders["annealed"]), ShownRun(folders["bsnn"])])
    drawn("weights", runs)
    assert runs.notes == [f"drawn for one run at a time: {folders['bsnn']} is left out"]


def test_unknown_figure_suggests_the_nearest(folders, tmp_path):
    with pytest.raises(UserError, match=r"figure=curvs: expected curves \| .*did you mean 'curves'"):
        plots.plot([folders["annealed"]], ["weights", "curvs"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_unknown_trial_is_refused(folders):
    with pytest.raises(UserError, match="trial=3: the run in .* has 1 seed, counted from 0"):
        ShownRun(folders["annealed"], seed=3)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("annealed", ["curves.png", "spike_counts.png", "raster.png"]),
        ("temporal_flt32", ["curves.png", "raster.png", "temporal.png"]),
    ],
)
def test_pictures_of_a_run_that_ended(folders, name, expected):
    assert plots.draw_run(folders[name]) == [folders[name] / "plots" / picture for picture in expected]


def test_training_ends_with_pictures(tmp_path, capsys):
    train_and_show(compose(["debug=smoke", "backend=reference", "plots=true", f"output_dir={tmp_path / 'run'}"]))
    assert (tmp_path / "run" / "plots" / "curves.png").is_file()
    assert "validation accuracy:" in capsys.readouterr().out


def test_terminal_picture_names_score_and_thresholds(folders):
    console = Console(width=100, file=io.StringIO())
    with console.capture() as captured:
        console.print(plots.terminal_picture(folders["annealed"]))
    text = captured.get()
    lines = metrics(folders["annealed"])
    assert f"→ {lines[-1]['validation_accuracy']:.4g} %" in text
    assert f"thresholds: 5 → {lines[-1]['thresholds'][0]:.3g}" in text  # from iteration 0 on


def test_terminal_picture_of_several_seeds_is_their_mean(folders):
    console = Console(width=120, file=io.StringIO())
    with console.capture() as captured:
        console.print(plots.terminal_picture(folders["seeds"]))
    ends = [RunFolder(folders["seeds"]).seed(seed).metrics[-1]["validation_accuracy"] for seed in (0, 1)]
    assert f"→ {np.mean(ends):.4g} %" in captured.get()
    assert f"mean of 2 seeds ({min(ends):.4g} to {max(ends):.4g})" in captured.get()


def test_braille_draws_from_low_left_to_high_right():
    assert braille([[0.0, 1.0]], (0.0, 1.0), columns=2, rows=1) == "⡠⠊"
    assert braille([[1.0]], (1.0, 1.0), columns=1, rows=1) == "⠤"
    assert braille([[0.0, 1.0, math.nan, math.nan]], (0.0, 1.0), columns=4, rows=1)[-1] == "\N{BRAILLE PATTERN BLANK}"


def test_command_lists_figures_without_arguments(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["snntha", "plot"])
    assert cli.main() == 0
    out = capsys.readouterr().out
    assert all(name in out for name in plots.FIGURES)


def test_command_writes_into_the_run(copy, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["snntha", "plot", f"run={copy}", "figure=weights,curves"])
    assert cli.main() == 0
    assert capsys.readouterr().out.split() == [
        f"{copy}/plots/{name}" for name in ("weights.png", "weights.svg", "curves.png", "curves.svg")
    ]


def test_command_draws_several_runs_elsewhere(folders, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["snntha", "plot", f"run={folders['annealed']},{folders['bsnn']}", "figure=curves"])
    assert cli.main() == 0
    assert (tmp_path / "outputs/plots/curves.svg").is_file()


@pytest.mark.parametrize(
    "argument, message",
    [
        ("figure=curves", "run= is missing"),
        ("frames=0", "frames=0: expected a whole number, 1 or more"),
        ("iterations=1,x", "iterations=x: expected a whole number, 0 or more"),
        ("beta=-1", "beta=-1: expected a number, 0 or more"),
        ("run=nowhere", "nowhere is not the folder of a run"),
    ],
)
def test_command_refuses(argument, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["snntha", "plot", "figure=neuron", argument])
    assert cli.main() == 1
    assert message in capsys.readouterr().err
