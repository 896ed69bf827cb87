"""The book in Chromium, from the disk: no request elsewhere, no sideways scrolling, both themes, keyboard."""

import json
import shutil
import time
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and chromedriver"),
]

ROOT = Path(__file__).resolve().parents[2]
API = sorted(f"api/{page.stem}" for page in (ROOT / "book" / "api").glob("*.rst"))
PAGES = (
    "index", "losses", "notation", "instructors", "glossary", "bibliography", "benchmarks", "exercises/losses",
    "../genindex", *API,
)  # fmt: skip
PHONE, DESKTOP = 375, 1280


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def show(browser, site):
    """Open a page at a width and in a theme, and wait until its formulas are set."""

    def open_page(name, width=DESKTOP, theme="light"):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get((site / "book" / f"{name}.html").as_uri())
        deadline = time.monotonic() + 30
        # Each time anew, because the page's own script sets the theme, too, once it has been loaded.
        while time.monotonic() < deadline and not browser.execute_script(
            "document.documentElement.dataset.theme = arguments[0];"
            "return document.readyState === 'complete' && [...document.querySelectorAll('.math')]"
            ".every(m => m.querySelector('mjx-container'))",
            theme,
        ):
            time.sleep(0.05)
        return browser

    return open_page


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("name", PAGES)
def test_page_never_scrolls_sideways(show, name, width, theme):
    page = show(name, width, theme)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    # What is wider than the screen must lie in something that scrolls by itself.
    assert not page.execute_script(
        """
        const scrolls = e => e && (getComputedStyle(e).overflowX !== "visible" || scrolls(e.parentElement));
        return [...document.querySelectorAll("main article *")]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e))
            .map(e => e.outerHTML.slice(0, 120));
        """
    )


@pytest.mark.parametrize("name", PAGES)
def test_page_makes_no_request_beyond_the_disk_and_logs_no_error(browser, show, name):
    browser.get_log("performance"), browser.get_log("browser")  # forget the pages before
    page = show(name)
    time.sleep(0.5)
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert any(url.startswith("file:") for url in asked), "the log must see requests at all"
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    assert not [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.mark.parametrize("name", ["losses", "notation"])
def test_every_formula_is_set_without_an_error(show, name):
    page = show(name)
    counts = page.execute_script(
        "return ['.math', '.math mjx-container', 'mjx-merror, [data-mjx-error]']"
        ".map(s => document.querySelectorAll(s).length)"
    )
    assert counts[0] >= 20
    assert counts[1] >= counts[0]
    assert counts[2] == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figures_take_the_page_colours(show, theme):
    page = show("losses", theme=theme)
    colours = page.execute_script(
        """
        const opaque = e => getComputedStyle(e).backgroundColor !== "rgba(0, 0, 0, 0)";
        const own = e => opaque(e) ? [e.className] : [];
        const boxes = e => e.matches(".cell_output") ? [] : [...own(e), ...boxes(e.parentElement)];
        const text = e => getComputedStyle(e).color;
        return [...document.querySelectorAll("figure.gradatim-figure")].map(
            f => ({boxes: boxes(f), text: text(f.querySelector("svg")), page: text(document.body)}));
        """
    )
    assert len(colours) >= 8
    for figure in colours:
        assert not figure["boxes"], "no box of another colour between the figure and the page"
        assert figure["text"] == figure["page"]


def test_series_colours_follow_the_theme(show):
    seen = set()
    for theme in ("light", "dark"):
        page = show("losses", theme=theme)
        seen.add(
            page.execute_script(
                "return getComputedStyle(document.querySelector('#huber-moving-0 path')).stroke"
            )
        )
    assert seen == {"rgb(0, 114, 178)", "rgb(86, 180, 233)"}


@pytest.mark.parametrize("figure", ["huber", "focal"])
def test_slider_moves_the_curve_by_keyboard(show, figure):
    from selenium.webdriver.common.keys import Keys

    page = show("losses")
    slider = page.find_element("id", f"{figure}-slider")

    def state():
        return page.execute_script(
            "const f = document.getElementById('fig-' + arguments[0]);"
            "return [f.querySelector('#' + arguments[0] + '-moving-0 path').getAttribute('d'),"
            " f.querySelector('output').textContent, f.querySelector('input').getAttribute('aria-valuetext')]",
            figure,
        )

    before = state()
    assert slider.is_displayed()
    slider.send_keys(Keys.ARROW_RIGHT)
    after = state()
    assert all(a != b for a, b in zip(before, after, strict=True))
    slider.send_keys(Keys.ARROW_LEFT)
    assert state() == before


def test_a_quiz_option_opens_by_keyboard_and_shows_its_reason(show):
    from selenium.webdriver.common.keys import Keys

    page = show("losses")
    summary = page.find_element("css selector", ".quiz details summary")
    reason = page.find_element("css selector", ".quiz details p.sd-card-text")
    assert not reason.is_displayed()
    summary.send_keys(Keys.ENTER)
    assert reason.is_displayed()
    assert reason.text.startswith(("Right.", "Wrong."))
