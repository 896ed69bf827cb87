"""Grading a class: in parallel as in one process, resumable, and deaf to a grading process that dies."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from autograder import runner
from autograder.arrival import note_arrival
from autograder.cli import main

from .hostile import unusual

TOY = Path(__file__).parent / "toy_course"
CLASS = {
    **unusual.FIVE_KINDS,
    "other": unusual.with_softplus(unusual.NOISY["a lambda"]),
}
LONG_AGO = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
MARKS = {"good": 6, "wrong": 3, "empty": 0, "exits": 3, "half": 3, "other": 6}


@pytest.fixture
def course(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADATIM_COURSE", str(TOY))
    for student, raw in CLASS.items():
        path = tmp_path / "submitted" / student / "toy" / "toy.ipynb"
        path.parent.mkdir(parents=True)
        path.write_bytes(raw)
    return tmp_path


def grade(course, *options):
    report = course / "marks.json"
    report.unlink(missing_ok=True)
    status = main(["grade", str(course), "--quiet", "--json", str(report), *options])
    table = json.loads(report.read_text())
    return status, table, {s: own["toy"]["score"] for s, own in table.items()}


@pytest.mark.slow
def test_one_job_and_two_give_the_same_marks_and_messages(course):
    status, one, marks = grade(course, "--state", str(course / "a"))
    assert (status, marks) == (0, MARKS)
    (course / "b").mkdir()
    (course / "b" / "course_secret").write_bytes((course / "a" / "course_secret").read_bytes())
    status, two, _ = grade(course, "--jobs", "2", "--state", str(course / "b"))
    assert (status, two) == (0, one)


def test_the_second_run_grades_nothing_anew(course, monkeypatch):
    _, first, _ = grade(course)
    monkeypatch.setattr("autograder.grading.Grader._grade_plan", lambda *a: pytest.fail("graded again"))
    assert grade(course)[1] == first


@pytest.mark.parametrize("command", [["grade", "--json"], ["export", "--output"]])
def test_a_file_that_cannot_be_written_is_noticed_before_grading(course, command, monkeypatch, capsys):
    monkeypatch.setattr("autograder.grading.Grader._grade_plan", lambda *a: pytest.fail("graded first"))
    (course / "a-file").write_text("kept")
    (course / "a-folder").mkdir()
    for target in ("a-file/marks", "a-folder", "/proc/marks"):
        place = course / target
        assert main([command[0], str(course), "--quiet", command[1], str(place)]) == 2
        assert str(place.parent if target == "a-file/marks" else place) in capsys.readouterr().err
    assert (course / "a-file").read_text() == "kept"
    assert not (course / ".autograder").exists()


def test_filters_leave_the_others_out(course):
    assert grade(course, "--student", "empty")[2] == {"empty": 0}


def test_since_leaves_what_came_earlier_by_the_servers_clock(course):
    path = course / "submitted" / "empty" / "toy" / "toy.ipynb"
    os.utime(path, (0, 0))  # a student can set this; the server's time is another
    assert set(grade(course, "--since", "1h")[2]) == set(CLASS)
    note_arrival("empty", "toy", "toy", hashlib.sha256(b"").hexdigest(), LONG_AGO, course / ".autograder")
    assert set(grade(course, "--since", "1h")[2]) == set(CLASS) - {"empty"}
    assert set(grade(course, "--since", "2026-01-02T03:04")[2]) == set(CLASS)
    assert set(grade(course, "--since", "2026-01-02T03:04:01Z")[2]) == set(CLASS) - {"empty"}


@pytest.mark.parametrize("command", ["grade", "feedback", "report", "export"])
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--student", "nobody"],
            "--student nobody: no submission found; there is one of empty, good, wrong",
        ),
        (["--assignment", "losses"], "--assignment losses: no submission found; there is one of toy"),
        (
            ["--since", "2099-01-01"],
            "--since 2099-01-01 00:00 UTC: no submission found; the last one came at 20",
        ),
    ],
)
def test_a_filter_that_leaves_nothing_says_so(tmp_path, monkeypatch, capsys, command, options, sentence):
    monkeypatch.setenv("GRADATIM_COURSE", str(TOY))
    for student in ("good", "wrong", "empty"):
        (tmp_path / "submitted" / student / "toy").mkdir(parents=True)
    assert main([command, str(tmp_path), *options]) == 2
    error = capsys.readouterr().err.strip()
    assert sentence in error
    assert "\n" not in error


@pytest.mark.parametrize("text", ["yesterday", "2h ago", "", "2026-13-01", "-2h"])
def test_a_time_that_is_none_is_refused_by_its_text(capsys, text):
    with pytest.raises(SystemExit) as stop:
        main(["grade", ".", f"--since={text}"])
    assert stop.value.code == 2
    assert "must be a time such as 2026-03-01, 2026-03-01T18:00+01:00 or 2h (ago)" in capsys.readouterr().err


def test_what_json_says_of_an_exercise(course):
    _, table, _ = grade(course, "--student", "wrong")
    exercises = table["wrong"]["toy"]["exercises"]
    assert table["wrong"]["toy"]["max_score"] == 10
    assert set(exercises["softplus"]) == {"score", "max_score", "status", "message"}
    assert (exercises["softplus"]["status"], exercises["running_mean"]["status"]) == ("failed", "passed")
    assert exercises["explain_overflow"]["status"] == "missing"


def test_every_arrival_is_logged_once(course):
    grade(course, "--student", "empty")
    grade(course, "--student", "empty")
    lines = (course / ".autograder" / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["student"] for line in lines] == ["empty"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["grade", "no-such-folder"], "autograder: no-such-folder: there is no such directory"),
        (["grade", "."], "no submission found; expected submitted/<student>/<assignment>/<notebook>.ipynb"),
        (["release", "no_such"], "assignment must be one of toy, got 'no_such'"),
        (["check", "no.ipynb"], "autograder: no such file or directory: no.ipynb"),
        (["sample", "a-file"], "autograder: a-file: it cannot be written or read there: file exists"),
    ],
)
def test_bad_input_gives_one_sentence(arguments, sentence, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADATIM_COURSE", str(TOY))
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert sentence in error
    assert "\n" not in error


@pytest.mark.slow
def test_a_grading_process_that_dies_costs_only_the_submission_that_kills_it(course, monkeypatch):
    """A fault of the grader itself, made by an environment variable that the grading processes look at."""
    poison = course / "sitecustomize.py"
    poison.write_text(
        "import os\n"
        "from autograder import runner\n"
        "grade = runner.Graders.grade\n"
        "def poisoned(self, file):\n"
        "    if file.student == 'wrong': os._exit(9)\n"
        "    return grade(self, file)\n"
        "runner.Graders.grade = poisoned\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(course))
    # In a process of its own: here the server that grading processes are forked from may run already, unpoisoned.
    command = [sys.executable, "-m", "autograder.cli", "grade", str(course), "--quiet", "--jobs", "2"]
    subprocess.run([*command, "--json", str(course / "marks.json")], check=True, capture_output=True)
    table = json.loads((course / "marks.json").read_text())
    assert {student: own["toy"]["score"] for student, own in table.items()} == MARKS | {"wrong": 0}
    assert "ended the grading process" in table["wrong"]["toy"]["exercises"]["softplus"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_is_continued(course, how):
    command = [sys.executable, "-m", "autograder.cli", "grade", str(course), "--quiet", "--jobs", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    results = course / ".autograder" / "results"
    end = time.monotonic() + 300
    while not list(results.rglob("*.json")) and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(process.pid, how)
    process.communicate(timeout=300)
    assert list(results.rglob("*.json"))
    assert grade(course)[2] == MARKS


def test_the_progress_of_a_class_does_not_hold_its_verdicts(course, monkeypatch):
    """`grade_class` is a stream: the second verdict is not reached before the first was taken."""
    monkeypatch.setattr(runner.Graders, "grade", lambda self, file: file.student)
    options = runner.Options(course, course / ".autograder")
    files = [type("F", (), {"student": s})() for s in ("a", "b", "c")]
    stream = runner.grade_class(files, options)
    assert next(stream).verdict == "a"
    stream.close()


@pytest.mark.slow
def test_the_first_hidden_test_does_not_pay_for_an_import():
    """torch.optim imports torch._dynamo at its first use; on a busy machine that took a student's ten seconds."""
    code = (
        "import sys\n"
        "from autograder.assignment import Assignment\n"
        "from autograder.grading import Grader\n"
        f"with Grader(Assignment.load('toy', __import__('pathlib').Path({str(TOY)!r})), secret=b's') as grader:\n"
        "    grader.sandbox\n"
        "    before = set(sys.modules)\n"
        "    import torch\n"
        "    torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.1).step()\n"
        "    print(len(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20
