"""From a notebook's bytes to a verdict. Nothing of the student's runs in this process.

bytes -> read_notebook -> plan_cells -> sandboxed worker runs the cells -> hidden tests ask it -> verdict
"""

import contextlib
import functools
import hashlib
import importlib
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import torch

from .assignment import Assignment, Exercise
from .diagnosis import Diagnostician
from .forbidden import find_forbidden
from .imports import uncollected
from .meddling import meddles
from .reading import read_notebook
from .rebinding import rebound
from .recovery import CellPlan, PlannedCell, Template, plan_cells
from .release import load_template
from .reuse import ExerciseStore
from .sandbox import Sandbox, SandboxConfig, Worker
from .session import Outcome, Session
from .store import ResultStore, store_key, write_whole
from .testing import input_seed
from .verdict import FATAL, CellOutcome, ExerciseVerdict, SubmissionVerdict, TestVerdict

CELL_SECONDS = 20.0
#: All cells of a notebook together: a student's own training runs, but not for ever.
NOTEBOOK_SECONDS = 120.0
#: Answers that lost marks, perhaps by others' doing, may be tried again until so long after the first time.
AGAIN_SECONDS = 240.0
#: An answer may use so many times a test's limit for all tests of its exercise.
TESTS_AT_FULL_LENGTH = 4
#: How an exercise ends when the process it ran in does not work, be it by its own fault or by another answer's.
BROKEN = ("crashed", "unreadable", "memory", "timeout")
SECRET_VARIABLE = "GRADATIM_SECRET"


def warm_torch() -> None:
    """Use an optimizer once: the first one imports a good part of torch, for seconds on a busy machine.

    In a hidden test that time would count against the student's deadline.
    """
    if "torch._dynamo" not in sys.modules:
        with uncollected():
            importlib.import_module("torch._dynamo")
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1).step()


def course_secret(folder: Path) -> bytes:
    """The secret that hidden inputs derive from: the environment's, else the folder's, made at first need."""
    if text := os.environ.get(SECRET_VARIABLE):
        return text.encode()
    path = folder / "course_secret"
    if not path.exists():
        write_whole(path, secrets.token_hex(32).encode())  # mkstemp's mode: readable by the owner alone
    return path.read_bytes().strip()


@dataclass(frozen=True)
class _Ran:
    """What running the cells left: outcomes for the record, and why an exercise's answer cell failed, if it did."""

    cells: tuple[CellOutcome, ...]
    broken: dict[str, tuple[str, str]]  # exercise -> (status, message)


class Grader:
    """Grades submissions of one assignment, one after the other. Opening costs seconds, a submission little.

    Args:
        assignment: what to grade.
        secret: the course's; see `course_secret`.
        store: where verdicts are kept; None grades every time.
        sandbox: limits and the least tier of isolation; the defaults are the strictest.
        cell_seconds: what one cell of a notebook may take.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        secret: bytes,
        store: ResultStore | None = None,
        sandbox: SandboxConfig | None = None,
        cell_seconds: float = CELL_SECONDS,
    ) -> None:
        self.assignment, self.secret, self.store = assignment, secret, store
        self.cell_seconds = cell_seconds
        self.template: Template = load_template(assignment)
        self._resources = ExitStack()
        common = functools.partial(input_seed, secret, "common")
        self.session = self._resources.enter_context(Session(assignment, common))
        self._config = sandbox or SandboxConfig()
        self._sandbox: Sandbox | None = None
        self._diagnostician = Diagnostician(self.session, secret)
        self._digests = {e.id: assignment.digest(e.id) for e in assignment.exercises}
        self._version = store_key([*self._digests.values(), self.template.digest])
        self._exercises = ExerciseStore(store.folder.parent / "exercises") if store is not None else None

    def close(self) -> None:
        self._resources.close()

    def __enter__(self) -> "Grader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def sandbox(self) -> Sandbox:
        """Started at first need: a class whose verdicts are all stored never pays for it."""
        if self._sandbox is None:
            self._sandbox = self._resources.enter_context(Sandbox(self._config))
            warm_torch()
        return self._sandbox

    def grade(self, raw: bytes) -> SubmissionVerdict:
        """Return the verdict on a notebook's bytes: any bytes. Taken from the store if it is there."""
        read = read_notebook(raw)
        if read.fatal is not None:
            return self.unreadable(read.fatal)
        plan = plan_cells(read, self.template)
        key = self._key(plan)
        if self.store is not None and (stored := self.store.get(key)) is not None:
            return stored
        if self.store is None or self._exercises is None:
            return self._grade_plan(plan, {})
        shared = self._shared_key(plan)
        verdict = self._grade_plan(plan, self._exercises.get(shared, self._digests))
        self.store.put(key, verdict)
        self._exercises.put(shared, self._digests, verdict)
        return verdict

    def unreadable(self, reason: str) -> SubmissionVerdict:
        """The verdict on a submission that no answer can be taken from: 0 for each exercise, with the reason."""
        exercises = tuple(
            self._verdict(e, (), 0.0, "unreadable", reason, manual=False) for e in self.assignment.exercises
        )
        return SubmissionVerdict(self.assignment.name, exercises, status="unreadable", message=reason)

    def _key(self, plan: CellPlan) -> str:
        return store_key([self._version, *self._key_parts(plan)])

    def _shared_key(self, plan: CellPlan) -> str:
        """Of what all exercises of a submission depend on; see reuse.py for what each depends on besides."""
        secret = hashlib.sha256(b"exercises" + self.secret).hexdigest()
        own = [self.assignment.name, self.template.digest, secret, repr(self.cell_seconds)]
        return store_key([*own, *self._key_parts(plan), "unanswered", *sorted(plan.unanswered)])

    def _key_parts(self, plan: CellPlan) -> list[str]:
        cells = [part for c in plan.cells for part in (c.origin, c.exercise or "", c.source)]
        manual = [part for item in sorted(plan.manual.items()) for part in item]
        pictures = [json.dumps(plan.pictures, sort_keys=True)] if plan.pictures else []
        return [repr(self._config), *cells, "manual", *manual, "repairs", *plan.repairs, *pictures]

    def _grade_plan(self, plan: CellPlan, known: dict[str, ExerciseVerdict]) -> SubmissionVerdict:
        """Run the cells, and the tests of every exercise whose verdict is not known already."""
        start = time.monotonic()
        digest = hashlib.sha256(
            "\0".join(c.source for c in plan.cells).encode("utf-8", "surrogatepass")
        ).hexdigest()
        with self.sandbox.open() as worker:
            ran = self._run_cells(worker, plan.cells)
            verdicts = [
                known.get(e.id) or self._grade_exercise(worker, e, plan, ran, digest)
                for e in self.assignment.exercises
            ]
            restarts = worker.restarts
        suspects = _maybe_hurt_by_others(verdicts, ran) | _maybe_meddled_with(verdicts, plan)
        until = time.monotonic() + AGAIN_SECONDS
        verdicts = [
            self._grade_apart(v, plan, digest) if v.id in suspects and time.monotonic() < until else v
            for v in verdicts
        ]
        verdicts, notes = self._grade_in_place(verdicts, plan, digest, until)
        return SubmissionVerdict(
            self.assignment.name,
            tuple(verdicts),
            repairs=(*plan.repairs, *notes),
            cells=ran.cells,
            manual_answers=dict(plan.manual),
            manual_pictures=dict(plan.pictures),
            tier=self.sandbox.tier,
            seconds=round(time.monotonic() - start, 3),
            restarts=restarts,
        )

    def _grade_apart(self, verdict: ExerciseVerdict, plan: CellPlan, digest: str) -> ExerciseVerdict:
        """Grade one exercise in a process that never ran the other exercises' answers."""
        exercise = self.assignment.exercise(verdict.id)
        cells = [c for c in plan.cells if c.origin != "answer" or c.exercise == exercise.id]
        apart = self._grade_anew(exercise, plan, cells, digest)
        return apart if apart.score > verdict.score else verdict

    def _grade_anew(
        self, exercise: Exercise, plan: CellPlan, cells: Iterable[PlannedCell], digest: str
    ) -> ExerciseVerdict:
        """Grade one exercise in a process of its own that has run these cells."""
        with self.sandbox.open() as worker:
            return self._grade_exercise(worker, exercise, plan, self._run_cells(worker, cells), digest)

    def _grade_in_place(
        self, verdicts: list[ExerciseVerdict], plan: CellPlan, digest: str, until: float
    ) -> tuple[list[ExerciseVerdict], list[str]]:
        """Try answers that lost marks and that a cell further down may have hurt with the cells as far as their own."""
        best, notes = [], []
        for verdict in verdicts:
            best.append(verdict)
            lost = _lost_marks(verdict) or verdict.status == "forbidden"
            if verdict.id in plan.unanswered or not lost or time.monotonic() >= until:
                continue
            exercise = self.assignment.exercise(verdict.id)
            end, names = rebound(plan.cells, exercise.id, exercise.names)
            if not names:
                continue
            above = replace(plan, cells=plan.cells[:end])
            apart = self._grade_anew(exercise, above, above.cells, digest)
            if apart.score > verdict.score:
                best[-1] = apart
                notes.append(
                    f"{exercise.id} was graded before the cells below it ran: they change {', '.join(names[:5])}."
                )
        return best, notes

    def _run_cells(self, worker: Worker, cells: Iterable[PlannedCell]) -> _Ran:
        outcomes, broken = [], {}
        end = time.monotonic() + NOTEBOOK_SECONDS
        for cell in cells:
            left = end - time.monotonic()
            if left <= 0.1:
                status, message, outputs = (
                    "timeout",
                    f"not run: the notebook ran over {NOTEBOOK_SECONDS:g} s",
                    (),
                )
            else:
                result = worker.run_cell(cell.source, min(self.cell_seconds, left), to_the_end=True)
                message = f"{result.ename}: {result.evalue}" if result.status != "ok" else ""
                status, outputs = result.status, tuple(result.outputs)
                if status == "error" and not result.ename:  # no exception has no name
                    status, message = "crashed", "what runs the cells does not work any more"
            if status != "ok" and cell.exercise is not None and cell.origin == "answer":
                broken[cell.exercise] = (status, message)
            outcomes.append(CellOutcome(cell.origin, cell.exercise, status, message, cell.source, outputs))
        return _Ran(tuple(outcomes), broken)

    def _grade_exercise(
        self, worker: Worker, exercise: Exercise, plan: CellPlan, ran: _Ran, digest: str
    ) -> ExerciseVerdict:
        if exercise.manual:
            return self._manual(exercise, plan)
        start = time.monotonic()
        if found := find_forbidden((c.source for c in plan.cells), exercise.names, exercise.forbid):
            return self._verdict(exercise, (), 0.0, "forbidden", found[0].sentence())
        if exercise.id in plan.unanswered:
            return self._verdict(exercise, (), 0.0, "missing", f"{exercise.id}: not answered")

        budget = _Budget(TESTS_AT_FULL_LENGTH * exercise.seconds)

        def run(seed_of: Callable[[str], int]) -> list[Outcome]:
            return self.session.run(
                exercise.id,
                worker.student,
                seed_of,
                around=lambda: budget.limits(worker, exercise.seconds, exercise.forbid),
            )

        outcomes = run(lambda test: input_seed(self.secret, digest, test))
        verdict = judge(self.session, exercise, outcomes, ran.broken.get(exercise.id))
        failed = verdict.score < verdict.max_score and verdict.status in ("failed", "partial", "error")
        if failed and budget.left >= 0.5 * budget.seconds:  # a slow answer is not run a second time
            verdict = self._diagnostician.explain(verdict, run)
        seconds = round(time.monotonic() - start, 3)
        return ExerciseVerdict(**{**vars(verdict), "seconds": seconds})

    def _manual(self, exercise: Exercise, plan: CellPlan) -> ExerciseVerdict:
        answered = bool(plan.manual.get(exercise.id, "").strip())
        status, message = (
            ("manual", "graded by hand") if answered else ("missing", f"{exercise.id}: not answered")
        )
        return self._verdict(exercise, (), 0.0, status, message, manual=True)

    def _verdict(
        self,
        exercise: Exercise,
        tests: tuple[TestVerdict, ...],
        score: float,
        status: str,
        message: str,
        manual: bool = False,
    ) -> ExerciseVerdict:
        return ExerciseVerdict(
            id=exercise.id,
            title=exercise.title,
            score=score,
            max_score=self.session.points(exercise.id),
            status=status,
            message=message,
            tests=tests,
            manual=manual or exercise.manual,
            section=exercise.section,
        )


class _Budget:
    """What the answer may take for all tests of an exercise, in seconds: a class is not held up by one slow answer."""

    def __init__(self, seconds: float) -> None:
        self.seconds = self.left = seconds

    @contextlib.contextmanager
    def limits(self, worker: Worker, seconds: float, forbid: tuple[str, ...]) -> Iterator[None]:
        """The limits of one test. The last ones may find less than `seconds`, but half a second always."""
        allowed = max(min(seconds, self.left), 0.5)
        with worker.limits(seconds=allowed, forbid=forbid) as limits:
            try:
                yield
            finally:
                self.left -= allowed - limits.left


def _maybe_hurt_by_others(verdicts: Iterable[ExerciseVerdict], ran: _Ran) -> set[str]:
    """Exercises that ended badly, though it may have been another answer that broke the process.

    One that hung or died alone did so by itself. When several did, or a cell of definitions crashed, that is not sure.
    """
    ended = {v.id for v in verdicts if v.status in BROKEN}
    crashed = {exercise for exercise, (status, _) in ran.broken.items() if status == "crashed"}
    return ended if len(ended) > 1 else ended & crashed


def _lost_marks(verdict: ExerciseVerdict) -> bool:
    return verdict.score < verdict.max_score and verdict.status in ("failed", "partial", "error", "missing")


def _maybe_meddled_with(verdicts: Iterable[ExerciseVerdict], plan: CellPlan) -> set[str]:
    """Exercises with marks lost, where another answer may have changed what they use."""
    lost = {v.id for v in verdicts if _lost_marks(v) or v.status in BROKEN} - plan.unanswered
    if not lost:
        return set()
    answers = [c for c in plan.cells if c.origin == "answer" and c.exercise is not None]
    meddling = {c.exercise for c in answers if meddles(c.source)}
    return {exercise for exercise in lost if meddling - {exercise}}


def judge(
    session: Session, exercise: Exercise, outcomes: list[Outcome], broken: tuple[str, str] | None = None
) -> ExerciseVerdict:
    """Turn an exercise's test outcomes into its verdict.

    Each passed test earns its points. An exercise whose answer ended the process, ran out of time or memory, or used a
    forbidden call earns nothing: its other results cannot be relied on.

    Args:
        broken: (status, message) of the answer's own cell, if it did not run to its end.
    """
    fatal = next((o for o in outcomes if o.status in FATAL and o.status != "missing"), None)
    tests = tuple(_test_verdict(session, exercise.id, o, counts=fatal is None) for o in outcomes)
    score = sum(t.earned for t in tests)
    max_score = session.points(exercise.id)
    first = next((t for t in tests if t.status != "passed"), None)
    if first is None:
        status, message = "passed", "all tests passed"
    elif fatal is not None:
        status, message = fatal.status, fatal.message
    elif broken is not None and score == 0:
        status, message = (broken[0], f"the answer's cell failed: {broken[1]}")
    elif score > 0:
        failed = [t for t in tests if t.status != "passed"]
        status, message = "partial", f"{len(failed)} of {len(tests)} tests failed: {_reason(first)}"
    else:
        status, message = first.status, _reason(first)
    return ExerciseVerdict(
        id=exercise.id,
        title=exercise.title,
        score=round(score, 6),
        max_score=max_score,
        status=status,
        message=message,
        tests=tests,
        section=exercise.section,
    )


def _test_verdict(session: Session, exercise_id: str, outcome: Outcome, counts: bool) -> TestVerdict:
    info = next(t for t in session.tests[exercise_id] if t.name == outcome.name)
    earned = info.claim.points if counts and outcome.status == "passed" else 0.0
    return TestVerdict(
        name=info.name,
        claim=info.text,
        points=info.claim.points,
        earned=earned,
        status=outcome.status,
        message=outcome.message,
        hint="" if outcome.status == "passed" else info.claim.hint,
        section=info.claim.section,
    )


def _reason(test: TestVerdict) -> str:
    return " ".join(part for part in (test.claim, test.message) if part)


def open_grader(name: str, state_dir: Path, sandbox: SandboxConfig | None = None) -> Grader:
    """A grader for an assignment of this course that keeps its verdicts and its secret in `state_dir`."""
    return Grader(
        Assignment.load(name),
        secret=course_secret(state_dir),
        store=ResultStore(state_dir / "results"),
        sandbox=sandbox,
    )
