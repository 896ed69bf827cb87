"""Every kind of submission that a grader must survive, graded for real: the mark it earned, and nobody else hurt."""

from pathlib import Path

import pytest

from autograder.assignment import Assignment
from autograder.grading import Grader
from autograder.verdict import SubmissionVerdict

from .hostile import submissions, unusual

TOY = Path(__file__).parent / "toy_course"
SECRET = b"a secret that must not leak 6b1f"


@pytest.fixture(scope="module")
def grader():
    with Grader(Assignment.load("toy", TOY), secret=SECRET, cell_seconds=4.0) as opened:
        yield opened


@pytest.fixture
def graded(grader):
    """Grade bytes; then grade a right answer, which must get every point after whatever came before."""

    def grade(raw: bytes) -> SubmissionVerdict:
        verdict = grader.grade(raw)
        assert verdict == SubmissionVerdict.from_json(verdict.to_json())
        assert len(verdict.to_json()) < 4 << 20
        assert "6b1f" not in verdict.to_json()
        good = grader.grade(unusual.GOOD)
        assert marks(good) == (3, 3), [c.message for c in good.cells] + [e.message for e in good.exercises]
        return verdict

    return grade


def marks(verdict):
    return verdict.exercise("softplus").score, verdict.exercise("running_mean").score


@pytest.mark.parametrize("raw", submissions.FORGED.values(), ids=submissions.FORGED)
def test_a_mark_cannot_be_forged(graded, raw):
    verdict = graded(raw)
    assert marks(verdict) == (0, 3), [(e.status, e.message) for e in verdict.exercises]


@pytest.mark.parametrize(("raw", "status"), submissions.DAMAGE.values(), ids=submissions.DAMAGE)
def test_damage_costs_the_exercise_that_does_it(graded, raw, status):
    verdict = graded(raw)
    assert marks(verdict) == (0, 3)
    if status is not None:
        assert verdict.exercise("softplus").status in ((status,) if isinstance(status, str) else status)
    assert verdict.exercise("softplus").message


@pytest.mark.parametrize("expression", submissions.LEAKS.values(), ids=submissions.LEAKS)
def test_there_is_nothing_to_read(graded, expression):
    lines = ("import glob, socket, os, sys, ctypes, subprocess", "try:", f"    found = {expression}")
    source = "\n".join([*lines, "except Exception as err:", "    found = None", submissions.TELLS])
    verdict = graded(submissions.answer(submissions.RIGHT_SOFTPLUS, source))
    message = verdict.exercise("running_mean").message
    assert "your code raised LookupError" in message, message


def test_no_file_of_the_course_is_to_be_seen(graded):
    """The whole file system is walked, but for Python's own packages."""
    verdict = graded(submissions.answer(submissions.RIGHT_SOFTPLUS, submissions.WALKER))
    message = verdict.exercise("running_mean").message
    assert "your code raised LookupError" in message, message


@pytest.mark.parametrize(("raw", "softplus", "mean"), unusual.DAMAGED.values(), ids=unusual.DAMAGED)
def test_a_damaged_notebook_is_graded_where_the_answer_is_recoverable(graded, raw, softplus, mean):
    verdict = graded(raw)
    assert marks(verdict) == (softplus, mean)
    if verdict.status == "unreadable":
        assert verdict.message
        assert all(e.message == verdict.message for e in verdict.exercises)


@pytest.mark.parametrize("source", unusual.NOISY.values(), ids=unusual.NOISY)
def test_a_right_answer_in_an_unusual_way_gets_full_marks(graded, source):
    verdict = graded(unusual.with_softplus(source))
    assert marks(verdict) == (3, 3), verdict.exercise("softplus")


@pytest.mark.parametrize("above", unusual.ONLY_HERE.values(), ids=unusual.ONLY_HERE)
def test_a_line_that_fails_only_here_costs_nothing(graded, above):
    verdict = graded(unusual.with_softplus(f"{above}\n{submissions.RIGHT_SOFTPLUS}"))
    assert marks(verdict) == (3, 3), verdict.exercise("softplus")


@pytest.mark.parametrize(("source", "points"), unusual.AFTER_AN_ERROR.values(), ids=unusual.AFTER_AN_ERROR)
def test_what_stands_below_an_error(graded, source, points):
    assert marks(graded(unusual.with_softplus(source))) == (points, 3)


@pytest.mark.parametrize("above", unusual.MEDDLING.values(), ids=unusual.MEDDLING)
def test_an_answer_that_changes_what_the_others_use_costs_itself_alone(graded, above):
    verdict = graded(unusual.with_softplus(f"{above}\ndef softplus(x): return None"))
    assert marks(verdict) == (0, 3), verdict.exercise("running_mean")


@pytest.mark.parametrize(("softplus", "mean"), unusual.OVERWRITTEN.values(), ids=unusual.OVERWRITTEN)
def test_an_answer_counts_as_it_was_where_it_stands(graded, softplus, mean):
    verdict = graded(submissions.answer(softplus, mean))
    assert marks(verdict) == (3, 3), verdict.exercise("softplus")
    assert any("softplus was graded before" in repair for repair in verdict.repairs)


def test_second_gradings_have_an_end(graded, monkeypatch):
    monkeypatch.setattr("autograder.grading.AGAIN_SECONDS", 0.0)
    softplus, mean = next(iter(unusual.OVERWRITTEN.values()))
    assert marks(graded(submissions.answer(softplus, mean)))[0] < 3
    meddled = [unusual.with_softplus(f"{a}\ndef softplus(x): return None") for a in unusual.MEDDLING.values()]
    assert any(marks(graded(raw))[1] < 3 for raw in meddled)


def test_a_wrong_answer_gains_nothing_from_what_stands_below(graded):
    wrong = "both = 1\ndef softplus(x): return x * both"
    verdict = graded(submissions.answer(wrong, "both = 2\n" + submissions.RIGHT_MEAN))
    assert marks(verdict) == (1, 3)


def test_an_answer_written_again_further_down_is_the_one_that_counts(graded):
    again = submissions.cell("both = 2\n" + submissions.WRONG_SOFTPLUS)
    right = submissions.cell("both = 1\n" + submissions.RIGHT_SOFTPLUS, "softplus-answer")
    mean = submissions.cell(submissions.RIGHT_MEAN, "running_mean-answer")
    assert marks(graded(submissions.notebook(right, mean, again))) == (0, 3)


@pytest.mark.parametrize(("source", "points"), unusual.NEARLY.values(), ids=unusual.NEARLY)
def test_a_nearly_right_answer_gets_what_it_earned(graded, source, points):
    assert marks(graded(unusual.with_softplus(source))) == (points, 3)


def test_what_an_exception_says_never_reaches_the_student(graded):
    """Its text may hold the hidden inputs, and so may the name of its class."""
    texts = (
        "raise ValueError(f'inputs {x.tolist()}')",
        "raise type(f'inputs {x.tolist()}', (ValueError,), {})",
        "raise ValueError from KeyError(f'inputs {x.tolist()}')",
    )
    for text in texts:
        verdict = graded(submissions.body(text))
        assert verdict.exercise("softplus").status == "error"
        assert "inputs" not in verdict.exercise("softplus").message
        assert all(
            "inputs" not in t.message and "[" not in t.message for t in verdict.exercise("softplus").tests
        )


@pytest.mark.parametrize("code", unusual.CARRIERS.values(), ids=unusual.CARRIERS)
def test_no_message_carries_what_an_answer_made_of_its_input(graded, code):
    verdict = graded(unusual.carrying(code))
    assert marks(verdict) == (0, 3)
    assert "4711" not in _told(verdict), _told(verdict)


@pytest.mark.parametrize("flag", unusual.FORGED_ERRORS)
def test_no_forged_error_carries_a_text(graded, flag):
    verdict = graded(unusual.forged_error(flag))
    assert marks(verdict)[0] == 0
    assert "4711" not in _told(verdict), _told(verdict)


def _told(verdict):
    """All that the verdict says to the student, but for the source of their own cells."""
    told = [verdict.message, *(e.message for e in verdict.exercises)]
    told += [t.message for e in verdict.exercises for t in e.tests]
    told += [str(c.message) + str(c.outputs) for c in verdict.cells]
    return "\n".join(told)


def test_a_shape_of_the_tests_own_sizes_is_told(graded):
    verdict = graded(unusual.with_softplus("def softplus(x): return torch.logaddexp(x, 0 * x)[None]"))
    assert "has shape (1," in _told(verdict), _told(verdict)


def test_equal_answers_get_equal_verdicts(grader):
    first, second = (grader.grade(unusual.with_softplus(submissions.WRONG_SOFTPLUS)) for _ in range(2))
    assert first.exercise("softplus").tests == second.exercise("softplus").tests
