"""A plain nbgrader notebook: the instructor's cells, and a student's notebook put in order by them."""

import copy
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader import nbgraderformat
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
)
from nbgrader.utils import is_grade, is_locked, is_solution, is_task

from .nbgrader_course import course_config
from .nbgrader_notebook import clean_source, extra_cells, fill_text, grade_output, note_cell, outcome_outputs
from .pictures import Pictures
from .reading import ReadCell, ReadResult
from .verdict import CellOutcome, SubmissionVerdict


@dataclass(frozen=True)
class PlainCell:
    """A labelled cell of the instructor's notebook. `source` has the hidden tests, `released` is what students got."""

    grade_id: str
    role: str  # locked | solution | grade | manual | task
    kind: str
    source: str
    released: str
    points: float
    place: int

    @property
    def has_hidden_tests(self) -> bool:
        return self.source != self.released


@dataclass(frozen=True)
class Planned:
    """A cell to run. `untouched`: a solution cell that still holds the released stub."""

    kind: str
    source: str
    template: PlainCell | None = None
    untouched: bool = False
    pictures: Pictures = field(default_factory=dict)


class PlainNotebook:
    """The instructor's notebook, in two forms made by nbgrader's own preprocessors: with hidden tests and released."""

    def __init__(self, instructor: NotebookNode, released: NotebookNode) -> None:
        self.released = released
        self.cells: dict[str, PlainCell] = {}
        for place, (ours, theirs) in enumerate(zip(instructor.cells, released.cells, strict=True)):
            if role := _role(ours):
                meta = ours.metadata.nbgrader
                points = float(meta.get("points", 0.0)) if role in ("grade", "manual", "task") else 0.0
                kind = ours.cell_type
                cell = PlainCell(meta.grade_id, role, kind, ours.source, theirs.source, points, place)
                self.cells[meta.grade_id] = cell
        content = [(c.grade_id, c.role, c.kind, c.source, c.released, c.points) for c in self.cells.values()]
        self.digest = hashlib.sha256(repr(content).encode()).hexdigest()

    @classmethod
    def load(cls, course_dir: Path, assignment: str, notebook: str) -> "PlainNotebook":
        """Read source/<assignment>/<notebook>.ipynb with the course's nbgrader settings (delimiters, stubs)."""
        path = course_dir / "source" / assignment / f"{notebook}.ipynb"
        config = course_config(course_dir)
        source = nbgraderformat.read(str(path), as_version=4)
        steps = (LockCells, ClearSolutions, ClearOutput, CheckCellMetadata, ComputeChecksums)
        instructor = _through(steps, source, config)
        released = _through((ClearHiddenTests, ClearMarkScheme), copy.deepcopy(instructor), config)
        return cls(instructor, released)

    def graded_cells(self) -> list[PlainCell]:
        return [c for c in self.cells.values() if c.role in ("grade", "manual", "task")]

    def plan(self, read: ReadResult) -> tuple[list[Planned], list[str]]:
        """Return the cells to run in order, and what had to be repaired."""
        repairs = list(read.problems)
        labels = self._labels(read, repairs)
        entries: list[tuple[tuple[int, int, int], Planned]] = []
        for place, cell in enumerate(read.cells):
            ours = labels.get(place)
            if ours is None:
                entries.append(((place, 0, 0), Planned(cell.kind, cell.source)))
            elif ours.role in ("solution", "manual"):
                if cell.kind != ours.kind:
                    repairs.append(
                        f"Cell {cell.index + 1} ({ours.grade_id}) had been made a {cell.kind} cell."
                    )
                untouched = cell.source.rstrip() == ours.released.rstrip()
                entries.append(
                    ((place, 0, 0), Planned(ours.kind, cell.source, ours, untouched, cell.pictures))
                )
        entries += self._locked_entries(read, labels, repairs)
        entries.sort(key=lambda entry: entry[0])
        return [planned for _, planned in entries], repairs

    def _labels(self, read: ReadResult, repairs: list[str]) -> dict[int, PlainCell]:
        """Which cell of the student is which of ours; of duplicates the last counts, as in nbgrader."""
        by_id: dict[str, int] = {}
        for place, cell in enumerate(read.cells):
            if cell.grade_id in self.cells:
                if cell.grade_id in by_id:
                    repairs.append(f"The cell {cell.grade_id} is there more than once; the last one counts.")
                by_id[cell.grade_id] = place
        for ours in self.cells.values():
            if ours.grade_id not in by_id:
                same = [p for p, c in enumerate(read.cells) if _is_unlabelled_copy(c, ours)]
                if len(same) == 1 and same[0] not in by_id.values():
                    by_id[ours.grade_id] = same[0]
                    repairs.append(
                        f"The label of the cell {ours.grade_id} was missing; it was recognised by its text."
                    )
        return {place: self.cells[grade_id] for grade_id, place in by_id.items()}

    def _locked_entries(
        self, read: ReadResult, labels: dict[int, PlainCell], repairs: list[str]
    ) -> list[tuple[tuple[int, int, int], Planned]]:
        """Our locked and grade cells, each where the student has it, but never before the answers it stands after."""
        places = {cell.grade_id: place for place, cell in labels.items()}
        entries = []
        for ours in self.cells.values():
            if ours.role not in ("locked", "grade", "task"):
                continue
            before = [
                places[c.grade_id]
                for c in self.cells.values()
                if c.place < ours.place and c.grade_id in places
            ]
            answers = [
                places[c.grade_id]
                for c in self.cells.values()
                if c.place < ours.place and c.grade_id in places and c.role in ("solution", "manual")
            ]
            place = places.get(ours.grade_id)
            if place is None:
                if ours.kind == "code":
                    repairs.append(f"The locked cell {ours.grade_id} was missing; it was put back.")
                whole = bool(answers) or ours.role == "locked"
                place = max(before, default=-1) if whole else len(read.cells)
            elif ours.role == "grade" and answers and max(answers) > place:
                repairs.append(
                    f"The cell {ours.grade_id} stood before the answer that it tests; it was moved."
                )
                place = max(answers)
            entries.append(((place, 1, ours.place), Planned(ours.kind, ours.source, ours)))
        return entries

    def graded(self, verdict: SubmissionVerdict) -> NotebookNode:
        """The notebook that formgrader shows: released cells, the student's answers, outcomes; no hidden test."""
        notebook = copy.deepcopy(self.released)
        ran: dict[str | None, list[CellOutcome]] = {}
        extras: dict[str | None, list[CellOutcome]] = {}
        place: str | None = None
        for cell in verdict.cells:
            if cell.exercise is None:
                extras.setdefault(place, []).append(cell)
            else:
                place = cell.exercise
                ran.setdefault(place, []).append(cell)
        cells = [note_cell(verdict.message)] if verdict.message else []
        cells += extra_cells(extras.get(None, []), "start")
        for cell in notebook.cells:
            grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
            if grade_id not in self.cells:
                if cell.cell_type != "code":
                    cells.append(
                        cell
                    )  # the student's own copy of an unlabelled code cell is among the extras
                continue
            self._fill(cell, verdict, ran.get(grade_id, []))
            cells += [cell, *extra_cells(extras.get(grade_id, []), grade_id)]
        notebook.cells = cells
        return _with_unique_ids(notebook)

    def _fill(self, cell: NotebookNode, verdict: SubmissionVerdict, ran: list[CellOutcome]) -> None:
        ours = self.cells[cell.metadata.nbgrader.grade_id]
        if cell.cell_type == "code" and ran and ours.role in ("solution", "manual"):
            cell.source = clean_source(ran[-1].source)
        elif ours.grade_id in verdict.manual_answers:
            fill_text(cell, ours.grade_id, verdict)
        if cell.cell_type != "code":
            return
        cell.outputs = outcome_outputs(ran[-1]) if ran and not ours.has_hidden_tests else []
        if ours.role == "grade" and any(e.id == ours.grade_id for e in verdict.exercises):
            cell.outputs = [*cell.outputs, grade_output(verdict.exercise(ours.grade_id))]


def _role(cell: NotebookNode) -> str | None:
    if "nbgrader" not in cell.metadata or not cell.metadata.nbgrader.get("grade_id"):
        return None
    if is_task(cell):
        return "task"
    if is_grade(cell):
        return "manual" if is_solution(cell) or cell.cell_type != "code" else "grade"
    if is_solution(cell):
        return "solution"
    return "locked" if is_locked(cell) else None


def _through(steps: tuple[Any, ...], notebook: NotebookNode, config: Any) -> NotebookNode:
    resources: dict[str, Any] = {}
    for step in steps:
        notebook, resources = step(config=config).preprocess(notebook, resources)
    return notebook


def _is_unlabelled_copy(cell: ReadCell, ours: PlainCell) -> bool:
    return (
        cell.grade_id is None
        and cell.kind == ours.kind
        and cell.source.strip() == ours.released.strip() != ""
    )


def _with_unique_ids(notebook: NotebookNode) -> NotebookNode:
    """nbformat 4.5 wants an id on every cell, each once."""
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    return nbformat.from_dict(notebook)
