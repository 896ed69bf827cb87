"""Verdicts: finite marks in range, whole round trips, nothing else accepted."""

import json
import math
from dataclasses import replace

import pytest

from autograder.verdict import CellOutcome, Diagnosis, ExerciseVerdict, SubmissionVerdict, TestVerdict

PASSED = TestVerdict("test_a", "A holds.", 1.5, 1.5, "passed")
FAILED = TestVerdict("test_b", "B holds.", 0.5, 0.0, "failed", "wrong shape", "Look at B.", "losses.html#b")
EXERCISE = ExerciseVerdict(
    "mse",
    "Mean",
    1.5,
    2.0,
    "partial",
    "1 of 2 tests failed",
    (PASSED, FAILED),
    Diagnosis("m", "Sums.", "losses.html#b", True),
)
CELL = CellOutcome("answer", "mse", "ok", "", "x = 1", ({"output_type": "stream", "text": "\u2028\ud83d"},))
SUBMISSION = SubmissionVerdict(
    "losses",
    (EXERCISE,),
    repairs=("r",),
    cells=(CELL,),
    manual_answers={"e": "t"},
    manual_pictures={"e": {"picture-1.png": {"image/png": "iVBORw0KGgo="}}},
)


@pytest.mark.parametrize("mark", [math.nan, math.inf, -0.1, "1", None, True, 2.1])
def test_a_mark_that_is_not_finite_or_not_in_range_is_refused(mark):
    with pytest.raises(ValueError, match=r"^verdict: score must be "):
        ExerciseVerdict("mse", "Mean", mark, 2.0, "passed", "")


def test_an_unknown_status_is_refused():
    with pytest.raises(ValueError, match="status must be one of"):
        TestVerdict("t", "c", 1, 1, "great")


def test_a_verdict_survives_its_json():
    assert SubmissionVerdict.from_json(SUBMISSION.to_json()) == SUBMISSION


def test_a_verdict_stored_before_there_were_pictures_is_read():
    tree = json.loads(SUBMISSION.to_json())
    del tree["manual_pictures"]
    assert SubmissionVerdict.from_json(json.dumps(tree)) == replace(SUBMISSION, manual_pictures={})


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{", '{"exercises": 1}', SUBMISSION.to_json()[:-1]])
def test_what_is_no_verdict_is_refused(text):
    with pytest.raises(ValueError, match="not a stored verdict"):
        SubmissionVerdict.from_json(text)


def test_scores_add_up():
    assert (SUBMISSION.score, SUBMISSION.max_score) == (1.5, 2.0)
    assert SUBMISSION.summary()["exercises"]["mse"] == {
        "score": 1.5,
        "max_score": 2.0,
        "status": "partial",
        "message": "1 of 2 tests failed",
    }
