"""An answer just under every deadline does not hold up the class."""

import contextlib
from types import SimpleNamespace

import pytest

from autograder.grading import _Budget


class SlowAnswer:
    """A worker whose requests take nine seconds, or all that is allowed."""

    def __init__(self):
        self.allowed = []

    @contextlib.contextmanager
    def limits(self, seconds, forbid):
        self.allowed.append(seconds)
        yield SimpleNamespace(left=max(0.0, seconds - 9.0))


def test_all_tests_of_an_exercise_share_one_budget():
    worker, budget = SlowAnswer(), _Budget(25.0)
    for _ in range(4):
        with budget.limits(worker, 10.0, ()):
            pass
    assert worker.allowed == pytest.approx([10, 10, 7, 0.5])
    assert budget.left <= 0


def test_a_test_that_fails_uses_its_time_up_all_the_same():
    worker, budget = SlowAnswer(), _Budget(25.0)
    with contextlib.suppress(ValueError), budget.limits(worker, 10.0, ()):
        raise ValueError
    assert budget.left == pytest.approx(25.0 - 9.0)
