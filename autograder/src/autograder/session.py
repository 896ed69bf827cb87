"""One pytest session per assignment, kept open: hidden tests are collected once and run on request.

Starting pytest costs a good part of a second; running a collected test costs one millisecond. So the session runs in
a thread of its own, collects, and then waits for jobs in place of its run loop. Student code never runs in it: the
`student` fixture is a proxy into the sandbox, or, in the mutation gate, a module that the course itself wrote.
"""

import contextlib
import inspect
import queue
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import pytest
import torch

from . import testing
from .assignment import Assignment, AssignmentError
from .memory import bounded_memory
from .sandbox.failure import STANDARD
from .student import StudentFailure
from .testing import Claim, Inputs, WrongAnswer
from .verdict import FATAL

#: Everything that would write files, capture output or look at the machine is off.
PYTEST_OPTIONS = (
    ["--disable-plugin-autoload", "--capture=no", "--import-mode=importlib", "--assert=plain"]
    + ["-c", "/dev/null", "-W", "ignore", "-p", "no:terminal", "-p", "no:faulthandler"]
    + [
        x
        for name in ("cacheprovider", "logging", "doctest", "junitxml", "stepwise")
        for x in ("-p", f"no:{name}")
    ]
    + [x for name in ("threadexception", "unraisableexception") for x in ("-p", f"no:{name}")]
)


@dataclass(frozen=True)
class TestInfo:
    """A collected hidden test."""

    exercise: str
    name: str
    text: str  # the docstring
    claim: Claim

    __test__ = False


@dataclass
class Outcome:
    """How one hidden test ended; `message` is safe to show, `detail` is for the course's authors only."""

    name: str
    status: str  # passed | failed | error | a StudentFailure's kind
    message: str = ""
    detail: str = ""
    compared: list[Any] = field(default_factory=list)  # what the answer gave at each comparison, in order


@dataclass
class _Job:
    exercise: str
    student: Any
    seed_of: Callable[[str], int]
    around: Callable[[], AbstractContextManager[Any]]
    stop_when_fatal: bool
    replies: "queue.SimpleQueue[list[Outcome] | BaseException]"


class Session:
    """The hidden tests of one assignment, collected. Not for use by two threads at once.

    `common_seed_of` gives a test's `inputs.common`; without it that is the seed of the run.
    """

    def __init__(self, assignment: Assignment, common_seed_of: Callable[[str], int] | None = None) -> None:
        self.assignment = assignment
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._plugin = _Plugin(assignment, self._jobs, common_seed_of)
        self._thread = threading.Thread(target=self._main, name=f"pytest-{assignment.name}", daemon=True)
        self._thread.start()
        self._plugin.ready.wait()
        if self._plugin.failure is not None:
            raise AssignmentError(f"hidden tests of {assignment.name}: {self._plugin.failure}")

    @property
    def tests(self) -> dict[str, list[TestInfo]]:
        """The tests of each exercise, in file order."""
        return self._plugin.infos

    def points(self, exercise_id: str) -> float:
        """The sum of an exercise's test points, or the points given by hand."""
        exercise = self.assignment.exercise(exercise_id)
        return exercise.points if exercise.manual else sum(t.claim.points for t in self.tests[exercise_id])

    def run(
        self,
        exercise_id: str,
        student: Any,
        seed_of: Callable[[str], int],
        *,
        around: Callable[[], AbstractContextManager[Any]] = nullcontext,
        stop_when_fatal: bool = True,
    ) -> list[Outcome]:
        """Run an exercise's tests on `student`; one outcome per test, in file order.

        Args:
            student: what the `student` fixture returns.
            seed_of: the seed of a test's `inputs`, given the test's name.
            around: makes a context manager that is entered round each test, for its deadline.
            stop_when_fatal: after a test that ended the process or ran out of time, the rest count as skipped.
        """
        job = _Job(exercise_id, student, seed_of, around, stop_when_fatal, queue.SimpleQueue())
        self._jobs.put(job)
        reply = job.replies.get()
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join(10)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _main(self) -> None:
        torch.set_num_threads(1)  # of every thread that calls OpenMP: what the main thread has set is its own
        try:
            folder = str(self.assignment.folder / "tests")
            _forget_modules()
            pytest.main(
                [*PYTEST_OPTIONS, "--rootdir", folder, "--confcutdir", folder, folder], plugins=[self._plugin]
            )
        except BaseException as err:  # whatever ended the session must reach whoever waits for it
            self._plugin.failure = self._plugin.failure or f"pytest ended: {err!r}"
        finally:
            if not self._plugin.ready.is_set():
                self._plugin.failure = self._plugin.failure or "pytest collected nothing"
                self._plugin.ready.set()


class _Plugin:
    def __init__(
        self,
        assignment: Assignment,
        jobs: "queue.SimpleQueue[_Job | None]",
        common_seed_of: Callable[[str], int] | None,
    ) -> None:
        self.assignment, self.jobs, self.common_seed_of = assignment, jobs, common_seed_of
        self.ready = threading.Event()
        self.failure: str | None = None
        self.infos: dict[str, list[TestInfo]] = {}
        self.items: dict[str, list[pytest.Function]] = {}
        self.job: _Job | None = None
        self.last: Outcome | None = None

    @pytest.fixture
    def student(self) -> Any:
        assert self.job is not None
        return self.job.student

    @pytest.fixture
    def inputs(self) -> Inputs:
        # Not by `request`, which would then be among the fixtures of every test; see `_needs_only_ours`.
        assert self.job is not None
        assert self.last is not None
        return self._inputs(self.last.name, self.job)

    def _inputs(self, name: str, job: _Job) -> Inputs:
        common = None if self.common_seed_of is None else self.common_seed_of(name)
        return Inputs(job.seed_of(name), common)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and self.failure is None:
            self.failure = str(report.longrepr)

    def pytest_collection_modifyitems(self, items: list[pytest.Function]) -> None:
        graded = {e.id for e in self.assignment.exercises if not e.manual}
        for item in items:
            exercise = item.path.stem.removeprefix("test_")
            mark = getattr(item.function, "claim", None)
            if exercise not in graded:
                self.failure = f"{item.path.name} belongs to no exercise of exercises.toml"
            elif mark is None:
                self.failure = f"{item.path.name}: {item.name} has no @claim"
            elif hasattr(item, "callspec"):
                self.failure = f"{item.path.name}: {item.name} is parametrized; loop inside the test instead"
            else:
                text = " ".join((item.function.__doc__ or "").split())
                self.infos.setdefault(exercise, []).append(TestInfo(exercise, item.name, text, mark))
                self.items.setdefault(exercise, []).append(item)
        for exercise in graded - set(self.items):
            self.failure = self.failure or f"exercise {exercise} has no hidden test"

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        _forget_modules()
        self.ready.set()
        if self.failure is None:
            while (job := self.jobs.get()) is not None:
                try:
                    job.replies.put(self._run(job))
                except BaseException as err:  # a job's fault must not end the session
                    job.replies.put(err)
        return True

    def _run(self, job: _Job) -> list[Outcome]:
        self.job, outcomes, ended = job, [], ""
        for item in self.items[job.exercise]:
            if ended:
                outcomes.append(Outcome(item.name, "skipped", f"not run: {ended}"))
                continue
            self.last = Outcome(item.name, "passed")
            with testing.recording(self.last.compared), job.around(), bounded_memory():
                if _needs_only_ours(item):
                    self._call(item, job)
                else:
                    item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
            outcomes.append(self.last)
            if job.stop_when_fatal and self.last.status in FATAL:
                ended = self.last.message
        self.job = None
        return outcomes

    def _call(self, item: pytest.Function, job: _Job) -> None:
        """What pytest's protocol comes to for a test of no other fixtures and marks, which takes it over 1 ms."""
        ours = {"student": job.student, "inputs": self._inputs(item.name, job)}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                item.obj(**{name: ours[name] for name in item.fixturenames})
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:
            self._note(error)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[Any]:
        if call.excinfo is not None:
            self._note(call.excinfo.value)
        return (yield)

    def _note(self, error: BaseException) -> None:
        """Make the running test's first error its outcome."""
        if self.last is not None and self.last.status == "passed":
            self.last.status, self.last.message = classify(error)
            self.last.detail = _author_detail(error)


def _needs_only_ours(item: pytest.Function) -> bool:
    """Whether a test is a function with no fixtures but our `student` and `inputs`, no set-up and no mark."""
    marked = next(item.iter_markers(), None) is not None
    plain = item.cls is None and not marked and not inspect.iscoroutinefunction(item.obj)
    if not plain or not {"student", "inputs"}.issuperset(item.fixturenames):
        return False
    # A fixture of the same name in the test's own file stands before ours.
    return all(len(found) == 1 for found in item._fixtureinfo.name2fixturedefs.values())


def _forget_modules() -> None:
    """Drop test modules from Python's cache: pytest takes one of the same name there for the file's own.

    Two assignments may both have a test_cross_entropy.py, and a file may have changed since.
    """
    for name in [n for n in sys.modules if n.startswith("test_") and "." not in n]:
        del sys.modules[name]


def classify(error: BaseException) -> tuple[str, str]:
    """Return a failed test's (status, message for the student), which hold no value of the test."""
    if isinstance(error, StudentFailure) and error.kind == "raised":
        # Its text is the student's, and may hold the hidden inputs; so may the name of a class of their own.
        known = next((name for name in error.bases if name in STANDARD), None)
        return "error", f"your code raised {known}" if known else "your code raised an exception"
    if isinstance(error, StudentFailure):
        return error.kind, str(error)
    if isinstance(error, WrongAnswer):
        return "failed", str(error)
    if isinstance(error, AssertionError):
        return "failed", ""
    if isinstance(error, pytest.fail.Exception):
        missing = "DID NOT RAISE" in str(error)
        return "failed", "no error was raised where one must be" if missing else ""
    return "failed", "what your code returned cannot be used as the exercise states"


def _author_detail(error: BaseException) -> str:
    with contextlib.suppress(Exception):
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        return "".join(lines)[-4000:]
    return repr(type(error))
