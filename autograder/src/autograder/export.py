"""Gradebook files: plain CSV, and what Canvas and Moodle import. No cell can act as a formula in a spreadsheet."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .store import write_whole

#: As `runner.summarize` makes it: {student: {assignment: {"score", "max_score", "exercises": {...}}}}
Marks = Mapping[str, Mapping[str, Mapping[str, Any]]]
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def neutral(value: Any) -> str:
    """A cell that a spreadsheet shows as text. Source: OWASP, CSV Injection."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = "".join(c if c.isprintable() else " " for c in str(value))
        return f"'{text}" if text.lstrip().startswith(_FORMULA) or text.startswith(_FORMULA) else text
    return f"{value:.10g}"


def _table(rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[neutral(cell) for cell in row] for row in rows])
    return out.getvalue()


def csv_text(marks: Marks) -> str:
    """One row a student and exercise, and one a student and assignment with an empty exercise: the total."""
    rows: list[list[Any]] = [["student", "assignment", "exercise", "score", "max_score", "status", "message"]]
    for student, own in sorted(marks.items()):
        for assignment, entry in sorted(own.items()):
            rows.append(
                [student, assignment, "", entry["score"], entry["max_score"], "", entry.get("message", "")]
            )
            for name, e in entry["exercises"].items():
                rows.append(
                    [student, assignment, name, e["score"], e["max_score"], e["status"], e["message"]]
                )
    return _table(rows)


def canvas_text(marks: Marks) -> str:
    """Canvas's gradebook import: the student columns that it matches by, one column an assignment, points possible.

    Source: Canvas's guide "How do I import grades in the Gradebook". Students are matched by `SIS Login ID`.
    """
    assignments = _assignments(marks)
    fixed = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    rows: list[list[Any]] = [fixed + assignments]
    rows.append(["    Points Possible", "", "", "", "", *[_points(marks, a) for a in assignments]])
    for student, own in sorted(marks.items()):
        rows.append(
            [student, "", "", student, "", *[own[a]["score"] if a in own else "" for a in assignments]]
        )
    return _table(rows)


def moodle_text(marks: Marks) -> str:
    """Moodle's grade import: students matched by `Username`, one column an assignment (plain scores, not per cent)."""
    assignments = _assignments(marks)
    rows: list[list[Any]] = [["Username", *assignments]]
    for student, own in sorted(marks.items()):
        rows.append([student, *[own[a]["score"] if a in own else "" for a in assignments]])
    return _table(rows)


FORMATS: dict[str, Callable[[Marks], str]] = {"csv": csv_text, "canvas": canvas_text, "moodle": moodle_text}


def export_marks(marks: Marks, path: Path, kind: str = "csv") -> Path:
    """Write a gradebook file of one of FORMATS."""
    if kind not in FORMATS:
        raise ValueError(f"export_marks: kind must be one of {', '.join(FORMATS)}, got {kind!r}")
    write_whole(path, FORMATS[kind](marks).encode("utf-8", "replace"))
    path.chmod(0o644)
    return path


def marks_with_manual(marks: Marks, course_dir: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The same marks with what nbgrader's gradebook adds: manual marks, extra credit, late penalties."""
    from .nbgrader_course import open_gradebook

    table = {s: {a: dict(entry) for a, entry in own.items()} for s, own in marks.items()}
    if not (course_dir / "gradebook.db").is_file():
        return table
    with open_gradebook(course_dir) as gradebook:
        for assignment in gradebook.assignments:
            for submission in assignment.submissions:
                entry = table.get(submission.student.id, {}).get(assignment.name)
                if entry is not None:
                    entry["score"] = max(0.0, submission.score - (submission.late_submission_penalty or 0.0))
                    entry["max_score"] = submission.max_score
                    if submission.late_submission_penalty:
                        entry["message"] = (
                            f"{submission.late_submission_penalty:.6g} taken off for being late"
                        )
                    for notebook in submission.notebooks:
                        _enter_by_hand(entry, notebook)
    return table


def _enter_by_hand(entry: dict[str, Any], notebook: Any) -> None:
    from .by_hand import by_hand_of

    exercises = entry["exercises"] = dict(entry["exercises"])
    for name, mark in by_hand_of(notebook).marks.items():
        key = f"{notebook.name}/{name}" if f"{notebook.name}/{name}" in exercises else name
        if key in exercises:
            exercises[key] = {
                **exercises[key],
                "score": mark,
                "status": "manual",
                "message": "graded by hand",
            }


def _assignments(marks: Marks) -> list[str]:
    return sorted({assignment for own in marks.values() for assignment in own})


def _points(marks: Marks, assignment: str) -> float:
    return max((own[assignment]["max_score"] for own in marks.values() if assignment in own), default=0.0)
