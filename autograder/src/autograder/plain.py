"""Grade plain nbgrader assignments: tests in cells, run with the student's cells, all in the sandbox.

An honest submission gets the marks that `nbgrader autograde` gives. Locked cells come from the instructor's source
notebook, hidden tests included; what nbgrader gets wrong for a dishonest or damaged one is mended: a missing or
moved grade cell is put back, a result that is no number in range earns nothing, warnings on stderr cost nothing.

Known limit, of tests in cells as such: they share a process with the student's code, which can tamper with them. Use
hidden pytest tests (see assignment.py) where that matters.
"""

import ast
import hashlib
import json
import math
import shutil
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from .cell_names import parse
from .outputs import clean_text
from .pictures import Pictures, with_own_names
from .plain_notebook import PlainCell, PlainNotebook, Planned
from .reading import read_notebook
from .sandbox import CellResult, Sandbox, SandboxConfig, Worker
from .store import ResultStore, store_key
from .verdict import CellOutcome, ExerciseVerdict, SubmissionVerdict, TestVerdict

CELL_SECONDS = 30.0  # nbgrader's own default
NOTEBOOK_SECONDS = 300.0
MAX_FILE = 64 << 20  # of a file that the instructor put beside the notebook
ENGINE = "plain-1"
_LINK_FILES = """import os as _os
for _name in _os.listdir({folder!r}):
    if not _os.path.lexists(_name): _os.symlink(_os.path.join({folder!r}, _name), _name)
del _os, _name"""


def open_plain(
    course_dir: Path, assignment: str, notebook: str, state_dir: Path, sandbox: SandboxConfig | None = None
) -> "PlainGrader":
    """A grader for source/<assignment>/<notebook>.ipynb of a course; without that file every verdict says so."""
    return PlainGrader(course_dir, assignment, notebook, ResultStore(state_dir / "results"), sandbox)


class PlainGrader:
    """Grades submissions of one plain notebook, one after the other."""

    def __init__(
        self,
        course_dir: Path,
        assignment: str,
        notebook: str,
        store: ResultStore | None = None,
        sandbox: SandboxConfig | None = None,
    ) -> None:
        self.assignment, self.store = assignment, store
        self.template: PlainNotebook | None = None
        self.problem = ""
        try:
            self.template = PlainNotebook.load(course_dir, assignment, notebook)
        except (OSError, ValueError, KeyError, RuntimeError) as err:
            self.problem = f"source/{assignment}/{notebook}.ipynb cannot be used: {err}"
        self._resources = ExitStack()
        self._files = self._copy_files(course_dir / "source" / assignment)
        config = sandbox or SandboxConfig()
        self._config = replace(config, bind=(*config.bind, str(self._files))) if self._files else config
        self._sandbox: Sandbox | None = None

    def close(self) -> None:
        self._resources.close()

    def __enter__(self) -> "PlainGrader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def sandbox(self) -> Sandbox:
        if self._sandbox is None:
            self._sandbox = self._resources.enter_context(Sandbox(self._config))
        return self._sandbox

    def grade(self, raw: bytes) -> SubmissionVerdict:
        """Return the verdict on a notebook's bytes: any bytes. Taken from the store if it is there."""
        if self.template is None:
            return self.unreadable(self.problem)
        read = read_notebook(raw)
        if read.fatal is not None:
            return self.unreadable(read.fatal)
        plan, repairs = self.template.plan(read)
        key = store_key(
            [ENGINE, self.template.digest, self._files_digest, *_parts(plan), "repairs", *repairs]
        )
        if self.store is not None and (stored := self.store.get(key)) is not None:
            return stored
        verdict = self._grade(self.template, plan, repairs)
        if self.store is not None:
            self.store.put(key, verdict)
        return verdict

    def unreadable(self, reason: str) -> SubmissionVerdict:
        """0 for every graded cell, with the reason."""
        graded = self.template.graded_cells() if self.template else []
        exercises = tuple(_verdict(cell, 0.0, "unreadable", reason) for cell in graded)
        return SubmissionVerdict(self.assignment, exercises, status="unreadable", message=reason)

    def _grade(self, template: PlainNotebook, plan: list[Planned], repairs: list[str]) -> SubmissionVerdict:
        start = time.monotonic()
        results: dict[str, CellResult] = {}
        outcomes = []
        with self.sandbox.open() as worker:
            if self._files:
                worker.run_cell(_LINK_FILES.format(folder=str(self._files)), seconds=CELL_SECONDS)
            end = start + NOTEBOOK_SECONDS
            for cell in plan:
                if cell.kind != "code":
                    continue
                result = _run(worker, cell.source, end)
                outcomes.append(_outcome(cell, result))
                if cell.template is not None and cell.template.grade_id:
                    results[cell.template.grade_id] = result
            restarts = worker.restarts
        found = {c.template.grade_id: c for c in plan if c.template is not None}
        texts, pictures = _answers_by_hand(plan)
        exercises = tuple(_judge(cell, found, results) for cell in template.graded_cells())
        return SubmissionVerdict(
            self.assignment,
            exercises,
            repairs=tuple(repairs),
            cells=tuple(outcomes),
            manual_answers=texts,
            manual_pictures=pictures,
            tier=self.sandbox.tier,
            seconds=round(time.monotonic() - start, 3),
            restarts=restarts,
        )

    def _copy_files(self, source: Path) -> Path | None:
        """A folder with what lies beside the instructor's notebooks (data, modules), but no notebook."""
        digest, copied = hashlib.sha256(), None
        for path in sorted(source.rglob("*")) if source.is_dir() else ():
            hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
            if hidden or path.suffix == ".ipynb" or not path.is_file() or path.stat().st_size > MAX_FILE:
                continue
            if copied is None:
                copied = Path(tempfile.mkdtemp(prefix="course-files-"))
                copied.chmod(0o755)
                self._resources.callback(shutil.rmtree, copied, True)
            target = copied / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            digest.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes())
        self._files_digest = digest.hexdigest()
        return copied


def _parts(plan: list[Planned]) -> list[str]:
    cells = [part for c in plan for part in (c.kind, c.template.grade_id if c.template else "", c.source)]
    return [*cells, *(json.dumps(c.pictures, sort_keys=True) for c in plan if c.pictures)]


def _answers_by_hand(plan: list[Planned]) -> tuple[dict[str, str], dict[str, Pictures]]:
    """The texts that a person marks, and their pictures."""
    texts: dict[str, str] = {}
    pictures: dict[str, Pictures] = {}
    for cell in plan:
        if (ours := cell.template) and ours.role == "manual" and cell.kind != "code" and not cell.untouched:
            own: Pictures = {}
            texts[ours.grade_id] = with_own_names(cell.source, cell.pictures, own)
            if own:
                pictures[ours.grade_id] = own
    return texts, pictures


def _run(worker: Worker, source: str, end: float) -> CellResult:
    left = end - time.monotonic()
    if left < 0.1:
        return CellResult("timeout", "Timeout", f"not run: the notebook ran over {NOTEBOOK_SECONDS:g} s")
    return worker.run_cell(source, seconds=min(CELL_SECONDS, left))


def _outcome(cell: Planned, result: CellResult) -> CellOutcome:
    """What the record keeps. Of a cell with hidden tests no output is kept: a traceback would quote them."""
    secret = cell.template is not None and cell.template.has_hidden_tests
    message = "" if result.status == "ok" else result.ename if secret else f"{result.ename}: {result.evalue}"
    role = cell.template.role if cell.template else "extra"
    origin = {"locked": "setup", "solution": "answer", "manual": "answer"}.get(role, role)
    return CellOutcome(
        origin="stub" if cell.untouched else origin,
        exercise=cell.template.grade_id if cell.template else None,
        status=result.status,
        message=message,
        source=cell.template.released if secret and cell.template else cell.source,
        outputs=() if secret else tuple(result.outputs),
    )


def _judge(cell: PlainCell, found: dict[str, Planned], results: dict[str, CellResult]) -> ExerciseVerdict:
    if cell.role == "task":
        return _verdict(cell, 0.0, "manual", "graded by hand")
    if cell.role == "manual":
        answer = found.get(cell.grade_id)
        if answer is None or answer.untouched:
            return _verdict(cell, 0.0, "missing", f"{cell.grade_id}: not answered")
        return _verdict(cell, 0.0, "manual", "graded by hand")
    result = results.get(cell.grade_id)
    if result is None:
        return _verdict(cell, 0.0, "missing", f"{cell.grade_id}: its tests could not be run")
    if result.status != "ok" or any(o.get("output_type") == "error" for o in result.outputs):
        status = "failed" if result.ename == "AssertionError" else result.status.replace("ok", "error")
        return _verdict(cell, 0.0, status, _message(cell, result))
    score, problem = partial_credit(result.outputs, cell.points)
    status = "passed" if score == cell.points and not problem else "partial" if score > 0 else "failed"
    return _verdict(cell, score, status, problem or ("" if status == "passed" else "partial credit"))


def partial_credit(outputs: list[dict[str, Any]], points: float) -> tuple[float, str]:
    """nbgrader's rule: the cell's value is its mark if it is a number, else passing without an error earns all.

    Unlike nbgrader, a number that is not finite, negative or above the maximum earns nothing.
    """
    value = next((o for o in outputs if o.get("output_type") == "execute_result"), None)
    text = (value or {}).get("data", {}).get("text/plain")
    if text is None:
        return points, ""
    try:
        score = float("".join(text) if isinstance(text, list) else text)
    except ValueError:
        return points, ""
    if not math.isfinite(score) or score < 0 or score > points + 1e-9:
        return (
            0.0,
            f"the tests gave {score:g} of {points:g} points, which is no mark; please look at it by hand",
        )
    return min(score, points), ""


def _message(cell: PlainCell, result: CellResult) -> str:
    if result.ename == "AssertionError" and (cell.has_hidden_tests or not result.evalue):
        return "a test failed"
    if cell.has_hidden_tests:
        return f"a test ended with {clean_text(result.ename, 100)}"
    return clean_text(f"{result.ename}: {result.evalue}", 500)


def _verdict(cell: PlainCell, score: float, status: str, message: str) -> ExerciseVerdict:
    by_hand = cell.role in ("manual", "task")
    claim = _claim(cell.released) or cell.grade_id
    test = TestVerdict(cell.grade_id, claim, cell.points, score, status, message)
    return ExerciseVerdict(
        id=cell.grade_id,
        title=cell.grade_id,
        score=score,
        max_score=cell.points,
        status=status,
        message=message,
        tests=() if by_hand or status == "unreadable" else (test,),
        manual=by_hand,
    )


def _claim(source: str) -> str:
    """What a grade cell says that it checks: its first string or comment."""
    tree = parse(source)
    if tree is not None and tree.body and isinstance(tree.body[0], ast.Expr):
        text = getattr(getattr(tree.body[0], "value", None), "value", None)
        if isinstance(text, str):
            return " ".join(text.split())[:300]
    first = source.strip().split("\n")[0]
    return first.lstrip("# ").strip()[:300] if first.startswith("#") else ""
