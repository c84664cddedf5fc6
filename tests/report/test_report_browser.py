"""The quickstart's page in a browser without a network: what a reader does with pointer and keyboard, on a screen, a phone and paper."""

import shutil
import statistics
from pathlib import Path

import pandas as pd
import pytest
from report_cases import CONF, EXPLAINERS, HOSTILE, METRICS, make, scores

import xaibench
from xaibench.report.page import write

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

FOLDER = Path(xaibench.__file__).parents[1] / "results" / "quickstart"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

DRAWN = """(() => {
    const one = document.querySelector("#gallery .maps canvas"), empty = document.createElement("canvas");
    [empty.width, empty.height] = [one.width, one.height];
    return one.toDataURL() !== empty.toDataURL();
})()"""


def until(page, condition):
    """Waits for a condition; Playwright's own way evaluates text inside the page, which the page's policy forbids."""
    for _ in range(2400):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(condition)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)  # with a profile of its own
        yield made
        made.close()


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    return write(FOLDER, CONF, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture
def opened(browser, quickstart):
    """Opens a page from disk; at the end nothing may have been said on the console, and nothing asked for beside the file."""
    contexts, said, asked = [], [], []

    def go(path=quickstart, **options):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}, "offline": True} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # a busy machine is no failure
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html.ready", state="attached")
        return page

    yield go
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
    assert len([url for url in asked if url.startswith("file://")]) == len(contexts)


def rows(page):
    return page.locator("#leaderboard table.board tbody tr th .name").all_inner_texts()


def head(page, metric):
    return page.locator(f'#leaderboard th[data-metric="{metric}"]')


def test_the_leaderboard_is_the_table(opened):
    page = opened()
    table = pd.read_csv(FOLDER / "table.csv")
    assert len(rows(page)) == table["explainer"].nunique()
    wanted = table[(table["score"] == "value") & (table["metric"] == "deletion")].set_index("explainer")["mean"]
    order = [one.inner_text() for one in page.locator("#leaderboard thead th").all()]
    column = next(place for place, text in enumerate(order) if text.startswith("deletion"))
    cells = page.locator(f"#leaderboard tbody tr td:nth-child({column + 1})")
    shown = [None if value == "" else float(value) for value in cells.evaluate_all("cells => cells.map(one => one.dataset.value)")]
    assert dict(zip(rows(page), shown, strict=True)) == pytest.approx(wanted.to_dict(), rel=1e-9)


def test_the_leaderboard_is_filtered(opened):
    page = opened()
    page.get_by_label("Search explainers").fill("shap")
    page.get_by_label("keep controls in view").uncheck()
    assert sorted(rows(page)) == ["deep_shap", "kernel_shap", "owen_shapley", "permutation_shapley"]
    page.locator("#leaderboard").get_by_label("Explainer family").select_option("perturbation")
    assert page.locator("#leaderboard .empty").inner_text() == "Nothing here fits the filters."
    page.get_by_label("Search explainers").fill("")
    assert "rise" in rows(page)
    page.get_by_label("Metric family").select_option("complexity")
    assert page.locator("#leaderboard th[data-metric]").evaluate_all("heads => heads.map(one => one.dataset.metric)") == ["sparseness"]


@pytest.mark.parametrize("metric", ["deletion", "insertion"])
def test_a_head_sorts_best_first_then_turns(opened, metric):
    page = opened()
    table = pd.read_csv(FOLDER / "table.csv")
    means = table[(table["score"] == "value") & (table["metric"] == metric)].set_index("explainer")["mean"]
    lower_is_better = metric == "deletion"
    head(page, metric).get_by_role("button").click()
    assert head(page, metric).get_attribute("aria-sort") == ("ascending" if lower_is_better else "descending")
    found = [means[name] for name in rows(page)]
    assert found == sorted(found, reverse=not lower_is_better)
    head(page, metric).get_by_role("button").click()
    found = [means[name] for name in rows(page)]
    assert found == sorted(found, reverse=lower_is_better)


def test_what_has_no_score_stays_last(opened):
    page = opened()
    for _ in range(2):
        head(page, "completeness_error").get_by_role("button").click()
        first, last = rows(page)[0], rows(page)[-1]
        table = pd.read_csv(FOLDER / "table.csv").query("metric == 'completeness_error'")
        assert first in set(table["explainer"])
        assert last not in set(table["explainer"])


def test_the_keyboard_sorts_and_the_focus_is_seen(opened):
    page = opened()
    target = head(page, "insertion").get_by_role("button")
    page.get_by_label("keep controls in view").focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if target.evaluate("one => one === document.activeElement"):
            break
    assert target.evaluate("one => one === document.activeElement")
    assert target.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert head(page, "insertion").get_attribute("aria-sort") == "descending"
    assert rows(page)[0] == "guided_backpropagation"


def test_an_image_is_chosen_in_the_gallery(opened):
    page = opened()
    thumbs = page.locator("#gallery .thumb")
    before = page.locator("#gallery .original figcaption").inner_text()
    canvas = page.locator("#gallery .maps canvas").first
    until(page, DRAWN)
    drawn = canvas.evaluate("one => one.toDataURL()")
    thumbs.nth(2).click()
    assert page.locator("#gallery .original figcaption").inner_text() != before
    assert page.locator('#gallery .thumb[aria-pressed="true"]').count() == 1
    until(page, DRAWN)
    assert canvas.evaluate("one => one.toDataURL()") != drawn
    assert page.locator("#gallery .maps figure").count() == pd.read_csv(FOLDER / "table.csv")["explainer"].nunique()


def test_the_gallery_is_filtered(opened):
    page = opened()
    gallery = page.locator("#gallery")
    gallery.get_by_label("True class").select_option("3")
    captions = gallery.locator(".thumb").evaluate_all("thumbs => thumbs.map(one => one.title)")
    assert captions
    assert all(": 3, predicted" in caption for caption in captions)
    gallery.get_by_label("True class").select_option("")
    gallery.get_by_label("Predictions").select_option("wrong")
    assert gallery.locator(".original .wrong").count() == 1
    gallery.get_by_label("Predictions").select_option("")
    gallery.get_by_label("View").select_option("many")
    gallery.get_by_label("Explainer family").select_option("Shapley")
    assert gallery.locator("table.tiles thead th").all_inner_texts() == ["deep_shap", "kernel_shap", "owen_shapley", "permutation_shapley"]


def test_curves_are_read_by_pointer_and_keys(opened):
    page = opened()
    chart = page.locator("#curves svg.chart")
    chart.scroll_into_view_if_needed()
    chart.hover()
    assert "±" in page.locator(".tip").inner_text()
    before = page.locator("#curves .readings p").inner_text()
    chart.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#curves .readings p").inner_text() != before
    page.locator("#curves details.choices summary").click()
    page.locator("#curves").get_by_role("button", name="none").click()
    page.locator("#curves").get_by_label("lime", exact=True).check()
    assert page.locator("#curves .readings li").count() == 1


def test_a_phone_needs_no_sideways_scrolling(opened):
    page = opened(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_paper_shows_everything_and_no_controls(opened):
    page = opened()
    page.emulate_media(media="print")
    until(page, "document.querySelectorAll('#curves figure').length > 1")
    assert page.locator("select:visible, input:visible, #curves button:visible").count() == 0
    assert page.locator("details:not([open])").count() == 0
    page.emulate_media(media="screen")
    page.wait_for_selector("#curves select")


def test_printing_reaches_the_last_page(opened):
    page = opened()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")  # before the browser counts the pages
    until(page, "document.querySelectorAll('#gallery .oneimage').length === 4 && !document.querySelector('details:not([open])')")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    until(page, "document.querySelectorAll('#gallery .oneimage').length === 1")
    assert page.pdf(format="A4").count(b"/Type /Page\n") >= 12  # eight, if they are counted before everything is drawn


@pytest.mark.parametrize("study", ["quickstart", "grand"])
def test_the_first_paint_is_early(opened, study):
    def paint():
        page = opened(FOLDER.parent / study / "report.html")
        until(page, "performance.getEntriesByName('first-contentful-paint').length")
        return page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")

    assert statistics.median(paint() for _ in range(5)) < 2000


@pytest.mark.parametrize("width", [1200, 390])
def test_the_grand_page_is_filtered_sorted_and_shows_any_image(opened, width):
    path = FOLDER.parent / "grand" / "report.html"
    assert path.stat().st_size < 15e6
    page = opened(path, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_label("Search explainers").fill("integrated")
    page.get_by_label("keep controls in view").uncheck()
    assert sorted(rows(page)) == ["blur_integrated_gradients", "guided_integrated_gradients", "integrated_gradients"]
    head(page, "deletion").get_by_role("button").click()
    place = page.locator("#leaderboard thead th").evaluate_all("heads => heads.findIndex(one => one.dataset.metric === 'deletion')")
    cells = page.locator(f"#leaderboard tbody tr td:nth-child({place + 1})")
    shown = [float(one) for one in cells.evaluate_all("cells => cells.map(one => one.dataset.value)")]
    assert shown == sorted(shown)
    gallery = page.locator("#gallery")
    gallery.get_by_label("True class").select_option("3")
    caption = gallery.locator(".original figcaption").inner_text()
    gallery.locator(".thumb").nth(1).click()
    assert gallery.locator(".original figcaption").inner_text() != caption
    until(page, DRAWN)


def test_hostile_names_do_nothing(opened, tmp_path):
    folder = make(tmp_path / "study", scores(HOSTILE, METRICS), HOSTILE)
    page = opened(write(folder, CONF))
    assert sorted(rows(page)) == sorted(HOSTILE)
    assert page.locator("img[src=x], body > b").count() == 0


def test_a_map_that_shows_nothing_says_so(opened, tmp_path):
    page = opened(write(make(tmp_path / "study"), CONF))
    assert page.locator("#gallery .maps .none").count() == 0
    for place, text in ((1, "zero"), (2, "undefined")):
        page.locator("#gallery .thumb").nth(place).click()
        assert page.locator("#gallery .maps figure", has_text=text).locator("figcaption").all_inner_texts() == [next(iter(EXPLAINERS))]


def test_bars_join_several_explainers_and_no_explainer_with_itself(opened):
    page = opened()
    ranks = pd.read_csv(FOLDER / "ranks.csv")
    shown = page.locator("#ranks select").last.input_value()
    groups = ranks[ranks["metric"] == shown]["groups"].map(list).explode().value_counts()
    assert (groups > 1).any()
    assert page.locator("#ranks line.group").count() == (groups > 1).sum()
