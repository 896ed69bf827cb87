"""Regrade only what changed: the verdicts on single exercises, kept beside those on whole submissions.

A submission's verdict is keyed by the whole assignment and all of the student's cells (`grading`). When a hidden test
of one exercise changes, every such key changes, though the other exercises' verdicts are as good as before. So each
submission also has a file of its exercises' verdicts. What one of them depends on:

- the exercise's own digest: its entry, its hidden tests, mutants and alternatives, and what all exercises share (the
  solution, conftest.py and other modules beside the tests);
- the released notebook, the course's secret, the sandbox's limits and the time for a cell;
- every cell that is run, with its place and role, and what was recovered. The seeds of the inputs derive from the same
  cells and the secret, so the same cells mean the same inputs.

Why reuse is sound. An exercise's outcome depends on the process that ran the cells: any other cell may redefine a name
or patch torch. All of them are in the key. It does not depend on the other exercises' tests: each test starts from a
clean torch state. An answer that carries state from one exercise's test to the next can notice that some were not run;
it then keeps the mark that it earned where they were.

What is not reused, on purpose. A changed answer makes everything of its submission new: the other answers may call it,
and the seeds, which nobody may choose, follow from all cells. So a resubmission is graded whole. And where time, memory
or a lost process may have decided (a timeout, a crash, a restart), the exercise is tried again.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from .store import write_soon
from .verdict import CellOutcome, ExerciseVerdict, SubmissionVerdict

#: Outcomes that the answer and the tests alone decide.
SETTLED = ("passed", "partial", "failed", "error", "forbidden", "missing", "manual")


class ExerciseStore:
    """Verdicts on exercises under one folder, a file a submission. Any number of processes may read and write."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def get(self, key: str, digests: Mapping[str, str]) -> dict[str, ExerciseVerdict]:
        """The verdicts, by exercise, that were reached on the same cells with the same tests.

        Args:
            key: of all that the exercises of a submission have in common.
            digests: of each exercise, as it is now.
        """
        try:
            tree = json.loads(self._path(key).read_text(encoding="utf-8"))
            verdicts = SubmissionVerdict.from_json(tree["verdict"]).exercises
            return {
                v.id: v for v in verdicts if v.id in digests and tree["digests"].get(v.id) == digests[v.id]
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # damaged counts as absent, and is graded anew

    def put(self, key: str, digests: Mapping[str, str], verdict: SubmissionVerdict) -> None:
        """Keep the exercises' verdicts that nothing but the answers and the tests decided."""
        if verdict.restarts or not all(_settled_cell(c) for c in verdict.cells):
            return
        kept = tuple(e for e in verdict.exercises if _settled(e))
        tree = {"digests": dict(digests), "verdict": SubmissionVerdict(verdict.assignment, kept).to_json()}
        write_soon(self._path(key), json.dumps(tree, sort_keys=True).encode())

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


def _settled_cell(cell: CellOutcome) -> bool:
    return cell.status in ("ok", "error")


def _settled(verdict: ExerciseVerdict) -> bool:
    return verdict.status in SETTLED and all(t.status in SETTLED for t in verdict.tests)
