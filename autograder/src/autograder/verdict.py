"""What grading says of a submission: typed, finite, and safe to show to the student.

A verdict is data. It holds marks, claims and hints; never a hidden input, an expected value or a line of a
test.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Any

from .pictures import Pictures

STATUSES = (
    "passed",  # every point earned
    "partial",  # some points earned
    "failed",  # ran to the end, wrong
    "error",  # the answer raised an exception
    "timeout",  # ran longer than it may
    "crashed",  # ended the Python process
    "memory",  # asked for more memory than it may
    "forbidden",  # uses what the exercise asks the student to write
    "missing",  # not answered, or not found
    "skipped",  # a test that did not run, because an earlier one ended the process
    "manual",  # graded by hand
    "unreadable",  # the file or the answer could not be read
)

#: A test that ends so ends its exercise: running on would cost a deadline, or a new process, for each test.
FATAL = ("timeout", "crashed", "memory", "forbidden", "missing")


def _points(name: str, value: Any, upper: float | None = None) -> float:
    """Return `value` as a float; ValueError unless finite, >= 0 and at most `upper`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"verdict: {name} must be a finite number >= 0, got {value!r}")
    if upper is not None and value > upper + 1e-9:
        raise ValueError(f"verdict: {name} must be at most {upper:g}, got {value!r}")
    return float(value)


def _status(status: str) -> None:
    if status not in STATUSES:
        raise ValueError(f"verdict: status must be one of {', '.join(STATUSES)}, got {status!r}")


@dataclass(frozen=True)
class TestVerdict:
    """One hidden test: the claim it checks, what it was worth, what was earned."""

    name: str
    claim: str
    points: float
    earned: float
    status: str
    message: str = ""
    hint: str = ""
    section: str = ""

    __test__ = False  # not a class for pytest to collect

    def __post_init__(self) -> None:
        _status(self.status)
        _points("points", self.points)
        _points("earned", self.earned, self.points)


@dataclass(frozen=True)
class Diagnosis:
    """The planted wrong answer that a failed answer behaves like."""

    mutant: str
    misconception: str
    section: str
    certain: bool  # the traces are equal in every failed test, not in some only


@dataclass(frozen=True)
class ExerciseVerdict:
    """One exercise. `score` is the sum of its tests' points, or 0 for one graded by hand."""

    id: str
    title: str
    score: float
    max_score: float
    status: str
    message: str
    tests: tuple[TestVerdict, ...] = ()
    diagnosis: Diagnosis | None = None
    manual: bool = False
    section: str = ""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        _status(self.status)
        _points("max_score", self.max_score)
        _points("score", self.score, self.max_score)


@dataclass(frozen=True)
class CellOutcome:
    """How one executed cell ended; outputs are nbformat dictionaries, bounded by the worker."""

    origin: str  # setup | answer | extra
    exercise: str | None
    status: str
    message: str = ""
    source: str = ""
    outputs: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class SubmissionVerdict:
    """One notebook. One that could not be read still has a verdict for each exercise: 0, with the reason."""

    assignment: str
    exercises: tuple[ExerciseVerdict, ...]
    status: str = "graded"  # graded | unreadable
    message: str = ""
    repairs: tuple[str, ...] = ()
    cells: tuple[CellOutcome, ...] = ()
    manual_answers: dict[str, str] = field(default_factory=dict)
    manual_pictures: dict[str, Pictures] = field(default_factory=dict)  # by exercise
    tier: str = ""
    seconds: float = 0.0
    restarts: int = 0

    @property
    def score(self) -> float:
        return sum(e.score for e in self.exercises)

    @property
    def max_score(self) -> float:
        return sum(e.max_score for e in self.exercises)

    def exercise(self, exercise_id: str) -> ExerciseVerdict:
        """The verdict on one exercise; KeyError if the assignment has none of that id."""
        for verdict in self.exercises:
            if verdict.id == exercise_id:
                return verdict
        raise KeyError(exercise_id)

    def to_json(self) -> str:
        # `vars` of each dataclass in turn: dataclasses.asdict would copy every output first
        return json.dumps(self, default=vars, ensure_ascii=False, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "SubmissionVerdict":
        """Rebuild a verdict; ValueError if `text` is not one."""
        try:
            tree = json.loads(text)
            exercises = tuple(_exercise_from(e) for e in tree.pop("exercises"))
            cells = tuple(CellOutcome(**{**c, "outputs": tuple(c["outputs"])}) for c in tree.pop("cells"))
            tree["repairs"] = tuple(tree["repairs"])
            return cls(exercises=exercises, cells=cells, **tree)
        except (KeyError, TypeError, AttributeError, ValueError) as err:
            raise ValueError(f"verdict: not a stored verdict ({err})") from None

    def summary(self) -> dict[str, Any]:
        """The form that `autograder grade --json` writes."""
        return {
            "score": self.score,
            "max_score": self.max_score,
            "exercises": {
                e.id: {
                    "score": e.score,
                    "max_score": e.max_score,
                    "status": e.status,
                    "message": e.message,
                }
                for e in self.exercises
            },
        }


def _exercise_from(tree: dict[str, Any]) -> ExerciseVerdict:
    tests = tuple(TestVerdict(**t) for t in tree.pop("tests"))
    diagnosis = tree.pop("diagnosis")
    return ExerciseVerdict(tests=tests, diagnosis=Diagnosis(**diagnosis) if diagnosis else None, **tree)
