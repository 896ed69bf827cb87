"""Formgrader in a real browser: list, graded submission, manual mark. Loopback only; skipped without Chromium."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from autograder.assignment import Assignment
from autograder.ingest import SubmittedFile, find_submission
from autograder.nbgrader_course import open_gradebook
from autograder.nbgrader_notebook import GradedNotebooks
from autograder.nbgrader_record import Recorder
from autograder.release import notebook_bytes, release
from autograder.verdict import CellOutcome, ExerciseVerdict, SubmissionVerdict, TestVerdict

from .hostile import unusual

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

TOY_ROOT = Path(__file__).parent / "toy_course"
HOSTILE = "<script>document.title='forged'</script><img src=x onerror=\"document.title='forged'\">An answer."


def verdict() -> SubmissionVerdict:
    test = TestVerdict(
        "t", "It survives large inputs.", 3, 0, "failed", "the value is not finite", "exp overflows."
    )
    return SubmissionVerdict(
        "toy",
        (
            ExerciseVerdict("softplus", "Softplus", 0, 3, "failed", "It overflows.", (test,)),
            ExerciseVerdict("running_mean", "A running mean", 3, 3, "passed", ""),
            ExerciseVerdict("explain_overflow", "Explain", 0, 4, "manual", "graded by hand", manual=True),
        ),
        cells=(
            CellOutcome(
                "answer", "softplus", "ok", "", "def softplus(x):\n    return torch.log(1 + torch.exp(x))",
                ({"output_type": "display_data", "data": {"text/html": HOSTILE, "text/plain": "plain"}},),
            ),
            CellOutcome("answer", "running_mean", "ok", "", "class RunningMean: ..."),
        ),
        manual_answers={"explain_overflow": HOSTILE},
    )  # fmt: skip


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formgrader")
    root = shutil.copytree(TOY_ROOT, folder / "project", ignore=shutil.ignore_patterns("__pycache__"))
    assignment = Assignment.load("toy", root)
    release(assignment, folder / "course")
    maker = GradedNotebooks(assignment)
    with Recorder(folder / "course") as recorder:
        for student in ("ann", "bob"):
            path = folder / "course" / "submitted" / student / "toy" / "toy.ipynb"
            path.parent.mkdir(parents=True)
            path.write_bytes((folder / "course" / "release" / "toy" / "toy.ipynb").read_bytes())
            (file,) = find_submission(folder / "course", student, "toy")
            recorder.record(file, verdict(), notebook_bytes(maker.make(verdict())))
    return folder / "course"


@pytest.fixture(scope="module")
def server(course: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "JUPYTER_CONFIG_DIR": str(course.parent / "config"),
        "JUPYTER_DATA_DIR": str(course.parent / "data"),
        "JUPYTER_RUNTIME_DIR": str(course.parent / "runtime"),
        "HOME": str(course.parent),
        "GRADATIM_COURSE": str(TOY_ROOT),
    }
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", f"--port={port}"]
    options = {"ip": "127.0.0.1", "port_retries": 0, "root_dir": course, "open_browser": False}
    command += [f"--ServerApp.{k}={v}" for k, v in options.items()]
    command += ["--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True"]
    with (course.parent / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=course, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(
            lambda: (
                urllib.request.urlopen(f"{address}/formgrader/manage_assignments", timeout=5).status == 200
            ),
            90,
        )
        yield address
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def browser(course: Path) -> Iterator["webdriver.Chrome"]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage",
        "--no-first-run", "--window-size=1200,1600", f"--user-data-dir={course.parent / 'chromium'}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):  # fmt: skip
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


def _wait(ready, seconds: float = 30.0):
    """Wait for `ready` to return something true; errors meanwhile count as not ready."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(Exception):
            if value := ready():
                return value
        assert time.monotonic() < end, "not ready in time"
        time.sleep(0.3)


def _picture(browser: "webdriver.Chrome", name: str) -> None:
    """Keep a screenshot where GRADATIM_SCREENSHOTS says, for a person to look at."""
    if folder := os.environ.get("GRADATIM_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_the_list_shows_the_class(server, browser):
    browser.get(f"{server}/formgrader/manage_submissions/toy")
    text = _wait(
        lambda: (t := browser.find_element("tag name", "body").text) and "ann" in t and "bob" in t and t
    )
    _picture(browser, "submissions")
    assert "3 / 10" in text
    assert "needs manual grading" in text


def test_a_graded_submission_opens_and_takes_a_manual_mark_and_comment(server, browser, course):
    with open_gradebook(course) as gradebook:
        submission = gradebook.find_submission_notebook("toy", "toy", "ann").id
    browser.get(f"{server}/formgrader/submissions/{submission}/")
    box = _wait(lambda: browser.find_element("css selector", "input.score[id='explain_overflow']"))
    page = browser.find_element("tag name", "body").text
    _picture(browser, "submission")
    assert "def softplus(x):" in page
    assert "0 of 3 points: failed" in page
    assert "An answer." in page
    assert browser.title != "forged"
    assert not browser.find_elements("css selector", "img[onerror]")
    comment = browser.find_element("css selector", "textarea[id='softplus-answer-comment']")
    _wait(lambda: "exp overflows." in (comment.get_attribute("value") + comment.get_attribute("placeholder")))

    _wait(lambda: box.is_enabled())
    box.clear()
    box.send_keys("3.5\t")
    area = browser.find_element("css selector", "textarea[id='explain_overflow-comment']")
    area.send_keys("Well put.\t")
    _wait(lambda: _manual(course) == (3.5, "Well put."))
    _picture(browser, "marked")

    with Recorder(course) as recorder:
        file = SubmittedFile("ann", "toy", Path("submitted/ann/toy/toy.ipynb"))
        recorder.record(file, verdict())
    assert _manual(course) == (3.5, "Well put.")


def test_its_buttons_grade_a_submission_and_write_feedback(server, browser, course):
    (course / "submitted" / "bob" / "toy" / "toy.ipynb").write_bytes(unusual.GOOD)
    assert "Successfully autograded" in _press(server, browser, "autograde")
    assert "Successfully generated feedback" in _press(server, browser, "generate-feedback")
    with open_gradebook(course) as gradebook:
        assert gradebook.find_submission("toy", "bob").score == 6
    assert "RunningMean" in (course / "feedback" / "bob" / "toy" / "toy.html").read_text()


def _press(server: str, browser: "webdriver.Chrome", button: str) -> str:
    """What formgrader answers to a button of bob's row."""
    browser.get(f"{server}/formgrader/manage_submissions/toy")
    row = "//tr[td[contains(@class, 'student-id') and contains(., 'bob')]]"
    _wait(lambda: browser.find_element("xpath", row).find_element("css selector", f".{button} a")).click()
    dialog = _wait(lambda: browser.find_element("css selector", ".modal.in, .modal.show"), 180)
    text = _wait(lambda: (t := dialog.text) and "for student 'bob'" in t and t)  # it fades in
    _picture(browser, button)
    return text


def _manual(course: Path) -> tuple[float | None, str | None]:
    with open_gradebook(course) as gradebook:
        grade = gradebook.find_grade("explain_overflow", "toy", "toy", "ann")
        comment = gradebook.find_comment("explain_overflow", "toy", "toy", "ann")
        return grade.manual_score, comment.manual_comment
