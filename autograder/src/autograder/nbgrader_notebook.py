"""The graded notebook that formgrader and nbgrader's feedback show: our cells, the student's answers, the verdict.

It is rebuilt from the release and the verdict alone. So a locked cell is ours, a forged cell cannot be in it, and the
student's outputs are those of our run, cleaned.
"""

import copy
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output

from .assignment import Assignment
from .outputs import clean_text, safe_markdown, safe_outputs
from .release import METADATA, source_notebook, student_notebook
from .verdict import CellOutcome, ExerciseVerdict, SubmissionVerdict

NO_ANSWER = "No response."  # nbgrader's own words


def exercise_comment(exercise: ExerciseVerdict) -> str | None:
    """What the student reads beside an answer; None where there is nothing to say."""
    if exercise.status in ("passed", "manual"):
        return None
    if exercise.status == "missing" and not exercise.tests:
        return NO_ANSWER
    lines = [exercise.message] if exercise.message else []
    failed = [t for t in exercise.tests if t.status not in ("passed", "skipped")]
    for test in failed:
        about = " ".join(part for part in (test.claim, test.message) if part)
        lines.append(f"- {about} {f'Hint: {test.hint}' if test.hint else ''}".rstrip())
    if exercise.diagnosis is not None:
        sure = "behaves exactly like" if exercise.diagnosis.certain else "resembles"
        lines.append(f"Your answer {sure} this mistake: {exercise.diagnosis.misconception}")
    section = exercise.diagnosis.section if exercise.diagnosis else exercise.section
    if section:
        lines.append(f"See {section} in the book.")
    return safe_markdown(clean_text("\n".join(lines)))


def summary_text(exercise: ExerciseVerdict) -> str:
    """An exercise's outcome as the output of its grade cell."""
    lines = [f"{exercise.score:g} of {exercise.max_score:g} points: {exercise.status}"]
    if exercise.message and exercise.status != "passed":
        lines.append(exercise.message)
    for test in exercise.tests:
        mark = "ok  " if test.status == "passed" else "FAIL" if test.status != "skipped" else "--  "
        lines.append(f"{mark} {test.earned:g}/{test.points:g}  {test.claim}")
    return clean_text("\n".join(lines) + "\n")


class GradedNotebooks:
    """Makes graded notebooks of one assignment; keeps the released notebook, which is the same for all."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self._released: tuple[dict[str, float], NotebookNode] | None = None

    def released(self, points: dict[str, float]) -> NotebookNode:
        if self._released is None or self._released[0] != points:
            self._released = points, student_notebook(source_notebook(self.assignment, points))
        return copy.deepcopy(self._released[1])

    def make(self, verdict: SubmissionVerdict) -> NotebookNode:
        """The notebook with the student's answers in their cells, extra cells beside them, and outcomes as outputs."""
        notebook = self.released({e.id: e.max_score for e in verdict.exercises})
        answers, extras = _by_place(verdict)
        setups = iter([c for c in verdict.cells if c.origin == "setup"])
        cells = extra_cells(extras.get(None, []), "start")
        for cell in notebook.cells:
            grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
            exercise = grade_id.removesuffix("-answer")
            if grade_id.endswith("-answer"):
                cells += self._answer(cell, answers.get(exercise, []), exercise)
                cells += extra_cells(extras.get(exercise, []), exercise)
                continue
            if cell.metadata.get("nbgrader", {}).get("grade"):
                _grade(cell, verdict)
            elif cell.metadata.get("nbgrader", {}).get("locked") and (ran := next(setups, None)):
                cell.outputs = outcome_outputs(ran)
            cells.append(cell)
        if verdict.message:
            cells.insert(0, note_cell(verdict.message))
        notebook.cells = cells
        notebook.metadata = copy.deepcopy(nbformat.from_dict(METADATA))
        return notebook

    def _answer(self, cell: NotebookNode, outcomes: list[CellOutcome], exercise: str) -> list[NotebookNode]:
        """The labelled cell holds the last part of the answer; parts from other cells stand before it."""
        if not outcomes:
            return [cell]
        *parts, last = outcomes
        cell.source, cell.outputs = clean_source(last.source), outcome_outputs(last)
        return [*extra_cells(parts, f"{exercise}-part"), cell]


def clean_source(source: str) -> str:
    return source.encode("utf-8", "replace").decode()


def _by_place(
    verdict: SubmissionVerdict,
) -> tuple[dict[str, list[CellOutcome]], dict[str | None, list[CellOutcome]]]:
    """Answer cells by exercise, and extra cells by the exercise that they followed when they ran."""
    answers: dict[str, list[CellOutcome]] = {}
    extras: dict[str | None, list[CellOutcome]] = {}
    place: str | None = None
    for cell in verdict.cells:
        if cell.origin == "answer" and cell.exercise is not None:
            answers.setdefault(cell.exercise, []).append(cell)
            place = cell.exercise
        elif cell.origin == "extra":
            extras.setdefault(place, []).append(cell)
    return answers, extras


def extra_cells(outcomes: list[CellOutcome], name: str) -> list[NotebookNode]:
    return [
        new_code_cell(clean_source(o.source), id=f"{name[:40]}-extra-{k}", outputs=outcome_outputs(o))
        for k, o in enumerate(outcomes, 1)
    ]


def _grade(cell: NotebookNode, verdict: SubmissionVerdict) -> None:
    exercise = cell.metadata.nbgrader.grade_id
    if cell.cell_type == "code":
        cell.outputs = [grade_output(verdict.exercise(exercise))]
    elif exercise in verdict.manual_answers:
        fill_text(cell, exercise, verdict)


def fill_text(cell: NotebookNode, exercise: str, verdict: SubmissionVerdict) -> None:
    """Put a hand-graded answer and its pictures into its text cell."""
    pictures = verdict.manual_pictures.get(exercise, {})
    cell.source = safe_markdown(clean_source(verdict.manual_answers[exercise]), pictures)
    cell.pop("attachments", None)
    if pictures:
        cell.attachments = nbformat.from_dict(pictures)


def grade_output(exercise: ExerciseVerdict) -> NotebookNode:
    return new_output("stream", name="stdout", text=summary_text(exercise))


def outcome_outputs(outcome: CellOutcome) -> list[NotebookNode]:
    outputs: list[Any] = safe_outputs(outcome.outputs)
    if outcome.status != "ok" and not any(o["output_type"] == "error" for o in outputs):
        text = f"[{outcome.status}] {outcome.message}"
        outputs.append({"output_type": "stream", "name": "stderr", "text": clean_text(text)})
    return [nbformat.from_dict(o) for o in outputs]


def note_cell(message: str) -> NotebookNode:
    text = f"# {message}".replace("\n", " ")
    return new_code_cell(clean_text(text, 2_000), id="grader-note")
