"""What people added in nbgrader's gradebook: marks and comments by hand, extra credit, a penalty for being late."""

import contextlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it takes seconds to import, and a course may have no gradebook
    from nbgrader.api import Gradebook, SubmittedNotebook


@dataclass(frozen=True)
class ByHand:
    """Of one notebook, by nbgrader's names of the cells. A mark stands in place of the automatic one."""

    marks: Mapping[str, float] = field(default_factory=dict)
    comments: Mapping[str, str] = field(default_factory=dict)
    penalty: float = 0.0

    def comment(self, exercise: str) -> str:
        return self.comments.get(exercise) or self.comments.get(f"{exercise}-answer") or ""


def by_hand_of(notebook: "SubmittedNotebook") -> ByHand:
    """What the gradebook holds of a notebook beside the automatic marks."""
    marks = {
        grade.name: float(grade.score)
        for grade in notebook.grades
        if grade.manual_score is not None or (grade.extra_credit and grade.auto_score is not None)
    }
    comments = {c.name: c.manual_comment for c in notebook.comments if c.manual_comment}
    return ByHand(marks, comments, float(notebook.late_submission_penalty or 0.0))


class HandMarks:
    """Reads one course's gradebook, if there is one. Use as a context manager; it keeps the gradebook open."""

    def __init__(self, course_dir: Path) -> None:
        self._resources = ExitStack()
        self._gradebook: Gradebook | None = None
        if (course_dir / "gradebook.db").is_file():
            from .nbgrader_course import open_gradebook

            self._gradebook = self._resources.enter_context(open_gradebook(course_dir))

    def __enter__(self) -> "HandMarks":
        return self

    def __exit__(self, *error: object) -> None:
        self._resources.close()

    def of(self, student: str, assignment: str, notebook: str) -> ByHand:
        """Empty for who is not in the gradebook."""
        if self._gradebook is not None:
            from nbgrader.api import MissingEntry

            with contextlib.suppress(MissingEntry):
                return by_hand_of(self._gradebook.find_submission_notebook(notebook, assignment, student))
        return ByHand()
