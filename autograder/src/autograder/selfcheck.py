"""`autograder check`: a student's self-check of a whole notebook, with the public cases only.

The notebook runs in a process of its own, so that an answer that ends the process, or never ends, still gives a report.
It is the student's code on the student's machine: there is no sandbox, and no mark.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from .assignment import Assignment, AssignmentError, assignment_names
from .forbidden import find_forbidden
from .reading import ReadResult, read_notebook
from .recovery import plan_cells
from .release import load_template

SECONDS = 300


def check_notebook(path: Path, name: str | None = None) -> int:
    """Print what the public checks say of every exercise; exit status 0 when all pass, 1 otherwise.

    Args:
        path: the notebook.
        name: its assignment; None tells it from the file's name, then from the cells' labels.
    """
    read = read_notebook(path.read_bytes())
    if read.fatal is not None:
        raise AssignmentError(f"{path.name}: {read.fatal}")
    assignment = Assignment.load(name or _assignment_of(path, read))
    plan = plan_cells(read, load_template(assignment))
    for repair in plan.repairs:
        print(f"note: {repair}")
    job = {
        "assignment": assignment.name,
        "cells": [[c.source, c.exercise] for c in plan.cells],
        "forbidden": _forbidden(assignment, [c.source for c in plan.cells]),
        "by_hand": {e.id: bool(plan.manual.get(e.id)) for e in assignment.exercises if e.manual},
    }
    try:
        return subprocess.run(
            [sys.executable, "-m", "autograder.selfcheck"],
            input=json.dumps(job),
            text=True,
            timeout=SECONDS,
            cwd=path.parent or Path(),
        ).returncode
    except subprocess.TimeoutExpired:
        print(f"The notebook ran longer than {SECONDS} s: look for a loop that does not end.")
        return 1


def _forbidden(assignment: Assignment, sources: list[str]) -> dict[str, str]:
    """A sentence on each answer that grading would refuse for what it calls."""
    found = {e.id: find_forbidden(sources, e.names, e.forbid) for e in assignment.exercises}
    return {exercise: findings[0].sentence() for exercise, findings in found.items() if findings}


def _assignment_of(path: Path, read: ReadResult) -> str:
    known = assignment_names()
    if path.stem in known:
        return path.stem
    labels = {c.grade_id for c in read.cells if c.grade_id}
    scores = {n: len(labels & {e.id for e in Assignment.load(n).exercises}) for n in known}
    best = max(scores, key=lambda n: scores[n], default="")
    if not scores.get(best):
        raise AssignmentError(
            f"{path.name}: the assignment could not be told from it; name it with --assignment ({', '.join(known)})"
        )
    return best


def _child(job: dict[str, Any]) -> int:
    """Run the cells and the checks in this process; return the exit status."""
    import matplotlib

    matplotlib.use("agg")
    from IPython.core.interactiveshell import InteractiveShell

    from gradatim.checks import run_checks

    shell = InteractiveShell.instance(colors="nocolor")
    shell._showtraceback = lambda *_: None  # the notes below say it in a line
    for source, exercise in job["cells"]:
        result = shell.run_cell(source, store_history=False)
        error = result.error_before_exec or result.error_in_exec
        if error is not None and not isinstance(error, NotImplementedError):
            where = f"the answer to {exercise}" if exercise else "a cell"
            print(f"note: {where} raised {type(error).__name__}: {error}", flush=True)
    results = run_checks(job["assignment"], shell.user_ns)
    for exercise, result in results.items():
        print(f"\n{exercise}\n{result}", flush=True)
        if exercise in job["forbidden"]:
            print(f"Grading gives nothing for this answer: {job['forbidden'][exercise]}", flush=True)
    for exercise, answered in job["by_hand"].items():
        print(f"\n{exercise}: {'answered' if answered else 'not answered'}; graded by hand")
    passed = sum(bool(r) and exercise not in job["forbidden"] for exercise, r in results.items())
    print(
        f"\n{passed} of {len(results)} exercises pass the public checks. Grading runs more tests than these."
    )
    return 0 if passed == len(results) else 1


if __name__ == "__main__":
    sys.exit(_child(json.load(sys.stdin)))
