"""Find a student's answers in a notebook that may have been rearranged, and plan what to run.

Setup cells come from our release, never from the student; grade cells are not run at all. Every other code cell of the
student runs in notebook order, so helper cells, extra cells and another order are welcome. Nothing is trusted for
being labelled: a label only helps to say which answer a cell belongs to, for it all runs in the sandbox.
"""

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from .cell_names import code_in_markdown, defined_names, is_prose, looks_like_code
from .pictures import Pictures, with_own_names
from .reading import ReadCell, ReadResult


@dataclass(frozen=True)
class TemplateCell:
    """A cell of the released notebook. `names` are what an answer to the exercise must define."""

    kind: str  # code | markdown
    source: str
    role: str | None = None  # setup | answer | grade | manual; None: prose, or code shown but not graded
    exercise: str | None = None
    grade_id: str | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Template:
    """The released notebook, as the grader sees it."""

    cells: tuple[TemplateCell, ...]

    @property
    def digest(self) -> str:
        content = [[c.kind, c.source, c.role, c.exercise, c.grade_id, c.names] for c in self.cells]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def of_role(self, role: str) -> list[TemplateCell]:
        return [cell for cell in self.cells if cell.role == role]


@dataclass(frozen=True)
class PlannedCell:
    """A code cell to run. `index` is its place in the student's file, None if it is ours."""

    source: str
    origin: str  # setup | answer | extra
    exercise: str | None = None
    index: int | None = None


@dataclass
class CellPlan:
    """What to run, the hand-graded answers and their pictures by exercise, what had to be repaired, a sentence each."""

    cells: list[PlannedCell] = field(default_factory=list)
    manual: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Pictures] = field(default_factory=dict)
    repairs: list[str] = field(default_factory=list)
    unanswered: set[str] = field(default_factory=set)


def plan_cells(read: ReadResult, template: Template) -> CellPlan:
    """Return the plan for a notebook. Never raises; an exercise without an answer is in `unanswered`."""
    return _Recovery(read, template).plan()


def _same(a: str, b: str) -> bool:
    """Equal but for blanks, which editors add, take away and turn into tabs."""
    return a == b or (abs(len(a) - len(b)) <= 2_000 and _squeezed(a) == _squeezed(b))


@functools.lru_cache(256)  # a notebook's cells are compared with every cell of the release
def _squeezed(text: str) -> str:
    return "".join(text.split())


def _without_blanks(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _is_copy(cell: ReadCell, ours: TemplateCell) -> bool:
    return (ours.grade_id is not None and cell.grade_id == ours.grade_id) or _same(cell.source, ours.source)


def _label(cell: ReadCell) -> str:
    return f"cell {cell.index + 1}"


class _Recovery:
    def __init__(self, read: ReadResult, template: Template) -> None:
        self.template = template
        self.out = CellPlan(repairs=list(read.problems))
        self.questions = [
            _without_blanks(c.source) for c in template.cells if c.role is None and c.kind != "code"
        ]
        self.read = replace(read, cells=tuple(map(self._without_question, read.cells)))
        self.by_id = {c.grade_id: c for c in template.cells if c.grade_id}
        self.answers = {c.exercise: c for c in template.of_role("answer") if c.exercise}
        self.locked = template.of_role("setup") + template.of_role("grade")
        self.roles: dict[
            int, tuple[str, str | None]
        ] = {}  # index -> (answer | stub | extra | drop, exercise)
        self.sources: dict[int, str] = {}  # of cells that were turned into code

    def plan(self) -> CellPlan:
        for cell in self.read.cells:
            self.roles[cell.index] = self._classify(cell)
        self._find_answers()
        self._find_manual()
        self._order()
        return self.out

    def _without_question(self, cell: ReadCell) -> ReadCell:
        """A code cell without the text of a question that was merged into it."""
        own = self._below_a_question(cell.source) if cell.kind == "code" else None
        if own is None:
            return cell
        self._repair(f"Cell {cell.index + 1} began with the text of a question, which was left out.")
        return replace(cell, source=own)

    def _below_a_question(self, source: str) -> str | None:
        """What stands below the text of a question in the same cell, None if nothing does."""
        text = _without_blanks(source)
        known = next((q for q in self.questions if text.startswith(q + "\n")), None)
        return None if known is None else text.removeprefix(known).strip("\n")

    # -- what each cell is ---------------------------------------------------------------------------------------

    def _classify(self, cell: ReadCell) -> tuple[str, str | None]:
        ours = self.by_id.get(cell.grade_id) if cell.grade_id else None
        if any(_same(cell.source, locked.source) for locked in self.locked):
            return "drop", None
        if ours is not None and ours.role in ("setup", "grade"):
            return self._locked(cell, ours)
        stub = next((e for e, s in self.answers.items() if _same(cell.source, s.source)), None)
        if stub is not None:
            return ("stub", stub) if cell.kind == "code" else ("drop", None)
        if ours is not None and ours.role == "answer":
            return self._labelled_answer(cell, ours)
        if ours is not None and ours.role == "manual" and not self._defines_an_answer(cell):
            return "drop", None
        if cell.kind != "code" or not cell.source.strip():
            return "drop", None
        return "extra", None

    def _defines_an_answer(self, cell: ReadCell) -> bool:
        asked = {name for stub in self.answers.values() for name in stub.names}
        return cell.kind == "code" and bool(defined_names(cell.source) & asked)

    def _locked(self, cell: ReadCell, ours: TemplateCell) -> tuple[str, str | None]:
        if not cell.source.strip():
            return "drop", None
        runs = cell.kind == "code" and (ours.role == "setup" or defined_names(cell.source))
        ending = "its changed text ran as an extra cell" if runs else "its changed text was not used"
        self._repair(
            f"The locked cell '{ours.grade_id}' ({_label(cell)}) was changed; ours was used, {ending}."
        )
        return ("extra", None) if runs else ("drop", None)

    def _labelled_answer(self, cell: ReadCell, ours: TemplateCell) -> tuple[str, str | None]:
        if not cell.source.strip():
            return "drop", None
        if cell.kind != "code":
            source = code_in_markdown(cell.source)
            if not looks_like_code(source) or _same(source, ours.source):
                return "drop", None
            self.sources[cell.index] = source
            if not _same(source, ours.source):
                self._repair(
                    f"The answer to {ours.exercise} ({_label(cell)}) had been made a {cell.kind} cell."
                )
        if _same(self.sources.get(cell.index, cell.source), ours.source):
            return "stub", ours.exercise
        return "answer", ours.exercise

    # -- which exercise is answered where ------------------------------------------------------------------------

    def _find_answers(self) -> None:
        definitions = {
            cell.index: defined_names(self.sources.get(cell.index, cell.source))
            for cell in self.read.cells
            if self.roles[cell.index][0] in ("answer", "extra")
        }
        self._mend_labels(definitions)
        for exercise, stub in self.answers.items():
            labelled = self._with_role("answer", exercise)
            if len(labelled) > 1:
                self._repair(
                    f"The answer cell of {exercise} is there {len(labelled)} times; the last one counts."
                )
            definers = [i for i, names in definitions.items() if names & set(stub.names)]
            elsewhere = [i for i in definers if i not in labelled]
            if labelled and (not stub.names or any(i in labelled for i in definers)):
                self._note_redefinition(exercise, labelled, elsewhere, definitions)
            elif elsewhere:
                self._adopt(exercise, elsewhere, stub)
            elif not labelled and not self._answer_in_text(exercise, stub):
                self.out.unanswered.add(exercise)

    def _mend_labels(self, definitions: dict[int, set[str]]) -> None:
        """A cell that carries one exercise's label but answers another, and only that one, gets the right label."""
        for index, names in definitions.items():
            role, labelled = self.roles[index]
            if role != "answer" or labelled is None or names & set(self.answers[labelled].names):
                continue
            others = [e for e, stub in self.answers.items() if names & set(stub.names)]
            if len(others) == 1:
                self.roles[index] = ("answer", others[0])
                self._repair(f"Cell {index + 1} carried the label of {labelled} but answers {others[0]}.")

    def _note_redefinition(
        self, exercise: str, labelled: list[int], elsewhere: list[int], definitions: dict[int, set[str]]
    ) -> None:
        own = set(self.answers[exercise].names) & set().union(*(definitions[i] for i in labelled))
        later = [i for i in elsewhere if i > max(labelled) and self.roles[i] == ("extra", None)]
        if again := [i for i in later if definitions[i] & own]:
            names = ", ".join(sorted(definitions[again[-1]] & own))
            self._repair(
                f"{exercise}: {names} is defined again in cell {again[-1] + 1}; the last one counts."
            )

    def _adopt(self, exercise: str, found: list[int], stub: TemplateCell) -> None:
        """Label cells that define what the exercise asks for, though they do not carry its label."""
        for index in found:
            if self.roles[index] == ("extra", None):
                self.roles[index] = ("answer", exercise)
        where = ", ".join(f"cell {i + 1}" for i in found)
        self._repair(
            f"The answer to {exercise} was recognised by its name ({', '.join(stub.names)}) in {where}."
        )

    def _answer_in_text(self, exercise: str, stub: TemplateCell) -> bool:
        """Look for the answer in cells that are no code cells; take it if there is exactly one."""
        found = []
        for cell in self.read.cells:
            if cell.kind != "code" and self.roles[cell.index][0] == "drop":
                source = code_in_markdown(self._below_a_question(cell.source) or cell.source)
                known = any(_same(source, ours.source) for ours in self.template.cells)
                if not known and looks_like_code(source) and defined_names(source) & set(stub.names):
                    found.append((cell, source))
        if len(found) != 1:
            return False
        cell, source = found[0]
        self.roles[cell.index], self.sources[cell.index] = ("answer", exercise), source
        self._repair(f"The answer to {exercise} was found as text in {_label(cell)}.")
        return True

    def _with_role(self, role: str, exercise: str) -> list[int]:
        return [index for index, found in self.roles.items() if found == (role, exercise)]

    # -- answers graded by hand ----------------------------------------------------------------------------------

    def _find_manual(self) -> None:
        for ours in self.template.of_role("manual"):
            assert ours.exercise is not None
            cells = [
                c for c in self.read.cells if c.grade_id == ours.grade_id and self.roles[c.index][0] == "drop"
            ]
            own = self._own_texts(cells, ours)
            if len(own) > 1:
                self._repair(f"{ours.exercise} is answered in {len(own)} cells; all were kept.")
            for look in (self._between_neighbours, self._in_the_question):
                if not own and (own := self._own_texts(found := look(ours), ours)):
                    place = _label(found[0])
                    self._repair(f"The answer to {ours.exercise} was recognised by its place ({place}).")
            if own:
                self._keep(ours.exercise, own)
            else:
                self.out.unanswered.add(ours.exercise)

    def _keep(self, exercise: str, cells: list[ReadCell]) -> None:
        pictures: Pictures = {}
        texts = [with_own_names(cell.source.strip(), cell.pictures, pictures) for cell in cells]
        self.out.manual[exercise] = "\n\n".join(texts)
        if pictures:
            self.out.pictures[exercise] = pictures

    def _own_texts(self, cells: list[ReadCell], ours: TemplateCell) -> list[ReadCell]:
        return [c for c in cells if c.source.strip() and not _same(c.source, ours.source)]

    def _between_neighbours(self, ours: TemplateCell) -> list[ReadCell]:
        """The student's own text cells between the cells that stand before and after `ours` in the release."""
        place = self.template.cells.index(ours)
        start = self._last_place(self.template.cells[max(0, place - 1) : place], default=-1)
        end = self._last_place(self.template.cells[place + 1 : place + 2], default=len(self.read.cells))
        return [
            cell
            for place, cell in enumerate(self.read.cells)
            if start < place < end
            and self._is_own_text(cell)
            and not any(_same(cell.source, known.source) for known in self.template.cells)
        ]

    def _is_own_text(self, cell: ReadCell) -> bool:
        if cell.grade_id in self.by_id and self.by_id[cell.grade_id].role == "manual":
            return False
        role = self.roles[cell.index]
        return role == ("extra", None) and is_prose(cell.source) if cell.kind == "code" else role[0] == "drop"

    def _in_the_question(self, ours: TemplateCell) -> list[ReadCell]:
        """The text cell before `ours`, if more was written into it, as that."""
        place = self.template.cells.index(ours)
        before = _without_blanks(self.template.cells[place - 1].source) if place else ""
        return [
            replace(cell, source=own)
            for cell in self.read.cells
            if cell.kind != "code"
            and _without_blanks(cell.source).startswith(before)
            and (own := self._below_a_question(cell.source)) is not None
        ]

    def _last_place(self, ours: Iterable[TemplateCell], default: int) -> int:
        for known in ours:
            places = [place for place, cell in enumerate(self.read.cells) if _is_copy(cell, known)]
            if places:
                return places[-1]
            return len(self.read.cells) if default == -1 else -1  # neighbour gone: nothing is unambiguous
        return default

    # -- the order to run in -------------------------------------------------------------------------------------

    def _order(self) -> None:
        """Our setup, then untouched stubs (so that an answer written anywhere wins), then the student's cells.

        A setup cell that stands between answers runs where the student has it, but before the answer it stands before.
        """
        waiting = self._setups_by_answer()
        self._emit_setups(waiting.pop(None, []))
        for cell in self.read.cells:
            role, exercise = self.roles[cell.index]
            if role == "stub":
                self._emit(cell, "answer" if exercise in self.out.unanswered else "extra", exercise)
        for cell in self.read.cells:
            role, exercise = self.roles[cell.index]
            if exercise is not None and role == "answer":
                for other in [e for e in waiting if self._at_or_before(e, exercise)]:
                    self._emit_setups(waiting.pop(other))
            if role in ("answer", "extra"):
                self._emit(cell, role, exercise)
            for other in [e for e, setups in waiting.items() if any(_is_copy(cell, s) for s in setups)]:
                self._emit_setups(waiting.pop(other))
        for setups in waiting.values():
            self._emit_setups(setups)

    def _setups_by_answer(self) -> dict[str | None, list[TemplateCell]]:
        """Setup cells by the exercise they stand before; under None those that stand before every answer."""
        groups: dict[str | None, list[TemplateCell]] = {None: []}
        waiting: list[TemplateCell] = []
        seen_answer = False
        for cell in self.template.cells:
            if cell.role == "setup":
                (waiting if seen_answer else groups[None]).append(cell)
            elif cell.role == "answer":
                if waiting:
                    groups[cell.exercise] = waiting
                waiting, seen_answer = [], True
        if waiting:
            groups["\0end"] = waiting
        return groups

    def _at_or_before(self, first: str | None, second: str) -> bool:
        order = list(self.answers)
        return first in self.answers and order.index(first) <= order.index(second)

    def _emit_setups(self, setups: list[TemplateCell]) -> None:
        self.out.cells += [PlannedCell(cell.source, "setup") for cell in setups]

    def _emit(self, cell: ReadCell, origin: str, exercise: str | None) -> None:
        source = self.sources.get(cell.index, cell.source)
        self.out.cells.append(PlannedCell(source, origin, exercise, cell.index))

    def _repair(self, sentence: str) -> None:
        if sentence not in self.out.repairs:
            self.out.repairs.append(sentence)
