"""A changed hidden test costs the exercise it belongs to; everything else keeps the verdict it has."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from autograder.assignment import Assignment
from autograder.grading import Grader
from autograder.reuse import ExerciseStore
from autograder.session import Session
from autograder.store import ResultStore
from autograder.verdict import CellOutcome, ExerciseVerdict, SubmissionVerdict

from .hostile import submissions, unusual

TOY = Path(__file__).parent / "toy_course"
SECRET = b"a secret"
HALF = submissions.answer(submissions.WRONG_SOFTPLUS)


@pytest.fixture
def course(tmp_path):
    shutil.copytree(TOY, tmp_path / "course")
    return tmp_path / "course"


def change_test(course, exercise):
    path = course / "autograder" / "assignments" / "toy" / "tests" / f"test_{exercise}.py"
    path.write_text(path.read_text() + "\n# changed\n")


def grade(course, state, *notebooks, secret=SECRET):
    """Grade with a new grader; return (verdicts, the exercises whose tests were run, in order)."""
    run, tests = Session.run, []

    def noted(self, exercise, *args, **kwargs):
        tests.append(exercise)
        return run(self, exercise, *args, **kwargs)

    store = ResultStore(state / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "run", noted)
        with Grader(Assignment.load("toy", course), secret=secret, store=store) as grader:
            return [timeless(grader.grade(raw)) for raw in notebooks], tests


def timeless(verdict):
    return replace(verdict, seconds=0.0, exercises=tuple(replace(e, seconds=0.0) for e in verdict.exercises))


def test_a_changed_test_regrades_its_exercise_alone_with_the_verdicts_of_a_full_run(course, tmp_path):
    first, tests = grade(course, tmp_path / "s", unusual.GOOD)
    assert tests == ["softplus", "running_mean"]
    change_test(course, "softplus")
    again, tests = grade(course, tmp_path / "s", unusual.GOOD)
    assert tests == ["softplus"]
    assert again == first == grade(course, tmp_path / "fresh", unusual.GOOD)[0]


def test_another_submission_another_secret_and_a_changed_solution_reuse_nothing(course, tmp_path):
    grade(course, tmp_path / "s", unusual.GOOD)
    assert grade(course, tmp_path / "s", HALF)[1][0] == "softplus"
    assert (
        "running_mean"
        in grade(course, tmp_path / "s", unusual.with_softplus(submissions.WRONG_SOFTPLUS + "#\n"))[1]
    )
    change_test(course, "softplus")
    assert grade(course, tmp_path / "s", unusual.GOOD, secret=b"other")[1] == ["softplus", "running_mean"]
    solution = course / "solutions" / "toy.py"
    solution.write_text(
        solution.read_text().replace("### END SOLUTION", "# said otherwise\n### END SOLUTION", 1)
    )
    assert grade(course, tmp_path / "s", unusual.GOOD)[1] == ["softplus", "running_mean"]


def test_another_picture_in_an_essay_is_another_submission(course, tmp_path):
    def essay(picture):
        cells = json.loads(unusual.GOOD)["cells"]
        cell = submissions.cell("![x](attachment:image.png)", "explain_overflow", "markdown")
        return submissions.notebook(*cells, {**cell, "attachments": {"image.png": picture}})

    png, gif = {"image/png": "iVBORw0KGgo="}, {"image/gif": "R0lGODlh"}
    verdicts, tests = grade(course, tmp_path / "s", essay(png), essay(gif), essay(png))
    assert len(tests) == 4  # the third was stored
    kept = [v.manual_pictures["explain_overflow"] for v in verdicts]
    assert kept == [{"picture-1.png": png}, {"picture-1.gif": gif}, {"picture-1.png": png}]
    assert {v.exercise("explain_overflow").status for v in verdicts} == {"manual"}


def test_what_a_lost_process_may_have_decided_is_tried_again(course, tmp_path):
    exits = submissions.body("import os\nos._exit(1)")
    first, _ = grade(course, tmp_path / "s", exits)
    assert first[0].restarts
    change_test(course, "running_mean")
    again, tests = grade(course, tmp_path / "s", exits)
    assert tests[:2] == ["softplus", "running_mean"]
    assert again == first


def exercise(status="passed"):
    return ExerciseVerdict("a", "A", 1.0 if status == "passed" else 0.0, 1.0, status, "")


@pytest.mark.parametrize(
    ("verdict", "kept"),
    [
        (SubmissionVerdict("toy", (exercise(),)), True),
        (SubmissionVerdict("toy", (exercise("failed"),)), True),
        (SubmissionVerdict("toy", (exercise("timeout"),)), False),
        (SubmissionVerdict("toy", (exercise("memory"),)), False),
        (SubmissionVerdict("toy", (exercise(),), restarts=1), False),
        (SubmissionVerdict("toy", (exercise(),), cells=(CellOutcome("extra", None, "timeout"),)), False),
        (SubmissionVerdict("toy", (exercise(),), cells=(CellOutcome("extra", None, "error"),)), True),
    ],
)
def test_only_what_answers_and_tests_alone_decided_is_kept(tmp_path, verdict, kept):
    store = ExerciseStore(tmp_path)
    store.put("k" * 64, {"a": "1"}, verdict)
    assert store.get("k" * 64, {"a": "1"}) == ({"a": verdict.exercises[0]} if kept else {})
    assert store.get("k" * 64, {"a": "2"}) == {}


@pytest.mark.parametrize(
    "text", ["", "null", "[]", '{"verdict": 1}', '{"verdict": "{}", "digests": {}}', "{" * 99]
)
def test_a_damaged_file_counts_as_absent(tmp_path, text):
    store = ExerciseStore(tmp_path)
    store.put("k" * 64, {"a": "1"}, SubmissionVerdict("toy", (exercise(),)))
    (path,) = tmp_path.rglob("*.json")
    assert set(json.loads(path.read_text())) == {"digests", "verdict"}
    path.write_text(text)
    assert store.get("k" * 64, {"a": "1"}) == {}
