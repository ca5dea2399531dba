"""The page of `snntha report --html`, in a headless Chromium: skipped where there is none."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_folders import write_run

from snntha.report import report
from snntha.report.figures import COLOURS

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_run(folder / "runs/annealed", [65.0, 67.0])
    write_run(folder / "runs/bsnn", [61.0], mode="bsnn", first_seed=5)
    write_run(folder / "runs/broken<script>", [30.0], mode="flt32", first_seed=7, activity=False)
    (folder / "runs/annealed/plots").mkdir()
    for name in ("spike_counts", "curves"):
        (folder / f"runs/annealed/plots/{name}.png").write_bytes(PIXEL)
    shutil.copytree(folder / "runs/annealed/plots", folder / "runs/bsnn/plots")
    (folder / "runs/search/mine/pictures").mkdir(parents=True)
    (folder / "runs/search/mine/pictures/history.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    trials = "number,state,value\n0,COMPLETE,71.5\n1,PRUNED,20.0\n2,COMPLETE,80.25\n"
    (folder / "runs/search/mine/trials.csv").write_text(trials)
    report([folder / "runs"], html=folder / "page.html")
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    for flag in (*flags.split(), "--disable-component-update", "--disable-sync", "--window-size=1366,850"):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.implicitly_wait(10)
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, page: Path) -> Iterator:
    """The page, freshly loaded; no test may leave a message in the console."""
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []


def find(browser, selector: str) -> list:
    return browser.find_elements("css selector", selector)


def column(browser, table: str, number: int) -> list[str]:
    cells = find(browser, f"#{table} tbody tr:not(.hidden) > :nth-child({number})")
    return [cell.text for cell in cells]


def test_tables_are_there_with_captions_and_published_figures(opened):
    captions = [caption.text for caption in find(opened, "section.table caption")]
    assert captions[0] == "Test accuracy"
    assert "66.00" in find(opened, "#results")[0].text and "65.68" in find(opened, "#results")[0].text
    find(opened, "#more-accuracy summary")[0].send_keys("\ue007")
    assert "selected on validation, not test" in find(opened, "#accuracy")[0].text
    assert all(header.get_attribute("scope") == "col" for header in find(opened, "thead th"))


def test_sorting_by_keyboard_tells_the_order(opened):
    place = [header.text.split("\n")[0].strip() for header in find(opened, "#results thead th")].index("mean %") + 1
    for order, numbers in (("ascending", ["30.00", "61.00", "66.00"]), ("descending", ["66.00", "61.00", "30.00"])):
        find(opened, f"#results thead th:nth-child({place}) button")[0].send_keys("\ue007")
        assert column(opened, "results", place) == numbers
        assert find(opened, f"#results thead th:nth-child({place})")[0].get_attribute("aria-sort") == order


def test_filtering_shows_the_rows_with_every_word(opened):
    tools = "section:has(#results) .tools"
    find(opened, f"{tools} input")[0].send_keys("shd bsnn")
    assert column(opened, "results", 2) == ["bsnn"]
    assert find(opened, f"{tools} output")[0].text == "1 of 3 shown"
    find(opened, '[data-filters=".run"]')[0].send_keys("annealed")
    assert len(find(opened, ".run:not(.hidden)")) == 1


def test_a_run_draws_its_plots_when_it_is_opened(opened):
    assert not find(opened, "#run-1 .plot")[0].get_attribute("innerHTML")
    opened.get(f"{opened.current_url}#run-1")
    assert find(opened, "#run-1 .js-plotly-plot .main-svg")
    labels = [plot.get_attribute("aria-label") for plot in find(opened, "#run-1 .plot")]
    captions = ("Loss", "Accuracy", "Thresholds", "Firing rate", "Dead neurons", "Silenced by", "Firing rate against")
    for caption in (*captions, "Broke the bound of Eq. (5)", "Confusion"):
        assert any(label.startswith(caption) for label in labels), caption
    assert "training: from 3 to 1" in labels[0]


def test_several_seeds_are_their_mean_with_a_range_and_a_line_each(opened):
    opened.get(f"{opened.current_url}#run-1")
    assert find(opened, "#run-1 .js-plotly-plot .main-svg")
    accuracy = find(opened, '#run-1 figure[data-caption="Accuracy"]')[0]
    assert "Mean and range of 2 seeds" in accuracy.text
    data = drawn(opened, "Accuracy")
    means = {trace["name"]: trace["y"] for trace in data if trace.get("meta") == "mean"}
    assert means == {"training": [66.0] * 3, "validation": [67.0] * 3}
    assert [66.0] * 3 in [trace["y"] for trace in data] and [68.0] * 3 in [trace["y"] for trace in data]
    assert drawn(opened, "Thresholds")[-1]["x"] == [0, 1, 2, 3]


def drawn(browser, caption: str) -> list[dict]:
    """The traces of a figure of the first run."""
    return browser.execute_script(f"""return document.querySelector('#run-1 [data-caption="{caption}"] .plot').data""")


def test_chosen_runs_are_overlaid_and_named(opened):
    assert find(opened, "#chosen .main-svg")
    names = "return [...document.querySelector('#chosen .plot').data].map((trace) => trace.name)"
    assert opened.execute_script(names)[:2] == ["shd annealed annealed", "shd bsnn bsnn"]
    find(opened, 'fieldset input[value="run-1"]')[0].send_keys(" ")
    assert "shd annealed annealed" not in opened.execute_script(names)
    find(opened, "#quantity")[0].send_keys("Dead")
    assert "shd bsnn bsnn, layer 2" in opened.execute_script(names)


def test_numbers_stand_in_the_first_screen_of_a_phone(opened):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    box = find(opened, "#results tbody tr > :nth-child(3)")[0].rect
    assert box["x"] + box["width"] <= 390 and box["y"] + box["height"] <= 844
    opened.execute_script("document.querySelector('.scroll').scrollLeft = 300")
    for place in (1, 2):  # the names stay
        assert 0 <= find(opened, f"#results tbody tr > :nth-child({place})")[0].rect["x"] < 195


def test_searches_stand_there_with_their_pictures(opened):
    assert column(opened, "searches", 1) == ["mine"]
    assert column(opened, "searches", 2) == ["80.25"]
    assert find(opened, 'img[alt="Figure history of the search mine"]')


def test_figures_and_how_to_repeat(opened):
    opened.get(f"{opened.current_url}#run-1")
    image = find(opened, "#run-1 .figures img")[0]
    assert image.get_attribute("alt") == "Figure spike counts of the run shd annealed annealed"
    again = find(opened, "#run-2 .figures figcaption")[0].get_attribute("textContent")
    assert "the same as of shd annealed annealed" in again and not find(opened, "#run-2 .figures img")
    assert len(find(opened, "#run-1 .figures img")) == 1  # the page draws the curves itself
    text = find(opened, "#run-1")[0].text
    for told in ("snntha train dataset=shd mode=annealed", "0123abc", "torch 2.14.1", "mode=annealed", "0, 1"):
        assert told in text
    assert find(opened, "#run-1 pre")[0].get_attribute("textContent").startswith("seed: 0")


def test_missing_records_are_told_and_markup_in_names_is_text(opened):
    opened.get(f"{opened.current_url}#run-3")
    assert "activity_end.pt is missing" in find(opened, "#run-3 .warning")[0].text
    assert "broken<script>" in find(opened, "#run-3 .folder")[0].text
    assert re.search(r"snntha plot 'run=.*broken<script>'", find(opened, "#run-3")[0].text)  # it has no pictures


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1366])
def test_fits_phones_and_laptops_with_sufficient_contrast(opened, width, scheme):
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    opened.get(f"{opened.current_url}#run-1")
    assert find(opened, "#run-1 .main-svg")
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    colors = opened.execute_script(
        "const style = getComputedStyle(document.documentElement);"
        "return Object.fromEntries(arguments[0].map((name) => [name, style.getPropertyValue('--' + name).trim()]))",
        ["paper", "card", "stripe", "ink", "soft", "link"],
    )
    for background in ("paper", "card", "stripe"):
        for text in ("ink", "soft", "link"):
            assert contrast(colors[text], colors[background]) >= 4.5, (text, background)
    assert all(contrast(color, colors["card"]) >= 3 for color in COLOURS)
    axis = find(opened, "#run-1 .plot .xtick text")[0].value_of_css_property("fill")
    assert axis == f"rgb({', '.join(str(channel) for channel in bytes.fromhex(colors['ink'][1:]))})"


def contrast(first: str, second: str) -> float:
    """WCAG 2: ratio of the relative luminances of two `#rrggbb` colours."""
    dark, light = sorted(map(_luminance, (first, second)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_results_of_one_name_have_a_place_each_in_the_picture(browser, tmp_path):
    write_run(tmp_path / "validation", [65.0])
    write_run(tmp_path / "test", [67.0], overrides=("selection=test",), first_seed=1)
    write_run(tmp_path / "bsnn", [61.0], mode="bsnn")
    report([tmp_path], html=tmp_path / "page.html")
    browser.get((tmp_path / "page.html").as_uri())
    assert find(browser, "#overview .main-svg")
    places = browser.execute_script("return document.querySelector('#overview .plot').data[0].y")
    assert [place.strip() for place in places] == ["shd bsnn", "shd annealed validation", "shd annealed test"]
    assert "shd annealed test: ours 67" in find(browser, "#overview .plot")[0].get_attribute("aria-label")


def test_no_record_runs_a_script(browser, tmp_path):
    evil = "</script><script>document.title = 'stolen'</script><img src=x onerror=\"document.title = 'stolen'\">"
    summary = write_run(tmp_path / "run", [65.0])
    summary.update(mode=evil, selection=evil, fidelity=evil)
    (tmp_path / "run/summary.json").write_text(json.dumps(summary))
    environment = {"command": evil, "commit": evil, "python": evil, "versions": {evil: evil}, "machine": {evil: evil}}
    resumed = [{"command": evil}, evil, None]
    (tmp_path / "run/environment.json").write_text(json.dumps({**environment, "created": evil, "resumed": resumed}))
    with (tmp_path / "run/config.yaml").open("a") as file:
        file.write(f"note: {json.dumps(evil)}\n")
    (tmp_path / "run/plots").mkdir()
    (tmp_path / "run/plots/raster.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg">{evil[9:54]}</svg>')
    report([tmp_path], html=tmp_path / "page.html")
    browser.get((tmp_path / "page.html").as_uri())
    assert find(browser, "#run-1 .main-svg") and find(browser, "#overview .main-svg")
    assert browser.title == "snntha report"
    assert browser.execute_script("return document.querySelectorAll('[onerror]').length") == 0


def test_fifteen_runs_with_pictures_are_three_megabytes_at_most(tmp_path):
    random = np.random.default_rng(0)
    for number in range(15):
        beta = (f"hparams.beta=0.{number + 10}",)
        write_run(tmp_path / f"runs/{number}", [60.0] * 5, first_seed=number, overrides=beta)
        (tmp_path / f"runs/{number}/plots").mkdir()
        for name in ("spike_counts", "raster"):
            heights = random.integers(0, 800, 60).repeat(24)  # bars on 1440 x 800 pixels, as a figure has them
            picture = np.where(np.arange(800)[:, None] < heights, 255, 0).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / f"runs/{number}/plots/{name}.png")
    report([tmp_path], html=tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size <= 3_000_000


def test_the_page_asks_for_nothing_from_a_network(page):
    head = page.read_text().split("<body>")[0]
    assert "default-src 'none'" in head
    assert " src=" not in head and 'rel="stylesheet"' not in head
