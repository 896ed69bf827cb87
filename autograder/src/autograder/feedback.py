"""The page a student gets back: marks, which claims hold, what to look at, their own code.

Made of the verdict, which holds no hidden input, expected value or line of a test, and of what a person added by hand.
"""

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .ingest import SECRET, TIMESTAMP, SubmittedFile, read_beside
from .outputs import clean_text
from .page import escape, highlight, outputs_html, page, pictures_html, section_link
from .store import write_soon, write_whole
from .verdict import CellOutcome, ExerciseVerdict, SubmissionVerdict, TestVerdict

if TYPE_CHECKING:  # it imports nbgrader, which takes seconds
    from .by_hand import ByHand

WORDS = {
    "passed": ("good", "✓", "All tests passed"),
    "partial": ("part", "◐", "Some tests passed"),
    "failed": ("bad", "✗", "Not right yet"),
    "error": ("bad", "✗", "Your code raised an error"),
    "timeout": ("bad", "✗", "Your code ran too long"),
    "crashed": ("bad", "✗", "Your code ended the Python process"),
    "memory": ("bad", "✗", "Your code needed too much memory"),
    "forbidden": ("bad", "✗", "Uses what you were asked to write yourself"),
    "missing": ("dim", "–", "Not answered"),
    "skipped": ("dim", "–", "Not run"),
    "manual": ("dim", "…", "Will be graded by hand"),
    "unreadable": ("bad", "✗", "Could not be read"),
}


def feedback_html(
    verdict: SubmissionVerdict,
    *,
    title: str = "",
    student: str = "",
    book: str = "",
    by_hand: "ByHand | None" = None,
) -> str:
    """The whole page.

    Args:
        title: of the assignment.
        student: shown at the top; no other student is named anywhere.
        book: address of the folder of the book's pages; "" leaves sections unlinked.
        by_hand: marks and comments from the gradebook.
    """
    marks = dict(by_hand.marks) if by_hand else {}
    penalty = by_hand.penalty if by_hand else 0.0
    parts = [_head(verdict, title or verdict.assignment, student, marks, penalty)]
    if verdict.message:
        parts.append(f"<p class=note role=note>{escape(verdict.message)}</p>")
    parts.append(_overview(verdict, marks))
    for exercise in verdict.exercises:
        comment = by_hand.comment(exercise.id) if by_hand else ""
        parts.append(_exercise(exercise, verdict, book, marks.get(exercise.id), comment))
    parts.append(_repairs(verdict.repairs))
    parts.append(_other_cells(verdict.cells))
    return page(f"Feedback: {title or verdict.assignment}", "\n".join(p for p in parts if p))


def write_feedback(course_dir: Path, file: SubmittedFile, html: str) -> Path:
    """Write feedback/<student>/<assignment>/<notebook>.html, where nbgrader's release_feedback looks for it.

    Beside it go the time and the secret under which `nbgrader submit` handed the notebook in: release_feedback needs
    both, for everybody. Whoever did not hand in through the exchange gets a secret that fits no submission.
    """
    folder = course_dir / "feedback" / file.student / file.assignment
    path = folder / f"{file.path.stem}.html"
    write_whole(path, html.encode("utf-8", "replace"))
    path.chmod(0o644)
    write_soon(folder / TIMESTAMP, (file.claimed or file.received).encode("utf-8", "replace"))
    secret = read_beside(file, SECRET)
    if secret is not None or not (folder / SECRET).is_file():
        write_soon(folder / SECRET, secret or secrets.token_hex(64).encode())
    return path


def _head(
    verdict: SubmissionVerdict, title: str, student: str, marks: dict[str, float], penalty: float
) -> str:
    waiting = sum(
        e.max_score for e in verdict.exercises if e.manual and e.status == "manual" and e.id not in marks
    )
    score = max(0.0, sum(marks.get(e.id, e.score) for e in verdict.exercises) - penalty)
    rest = f" <span class=dim>({waiting:g} more to be graded by hand)</span>" if waiting else ""
    who = f"<p class=dim>{escape(student)}</p>" if student else ""
    late = f" <span class=dim>({_points(penalty)} taken off for being late)</span>" if penalty else ""
    share = min(100, 100 * score / verdict.max_score) if verdict.max_score else 0
    return (
        f"<header><h1>{escape(title)}</h1>{who}<p><strong>{_points(score)} of {verdict.max_score:g} points</strong>"
        f'{rest}{late}</p><div class=bar aria-hidden="true"><i style="width:{share:.0f}%"></i></div></header>'
    )


def _points(value: float) -> str:
    return f"{round(value, 2):g}"


def _words(exercise: ExerciseVerdict, by_hand: float | None) -> tuple[str, str, str]:
    if by_hand is None or not exercise.manual:
        return WORDS[exercise.status]
    return ("good" if by_hand >= exercise.max_score else "part", "✎", "Graded by hand")


def _overview(verdict: SubmissionVerdict, marks: dict[str, float]) -> str:
    rows = []
    for e in verdict.exercises:
        kind, mark, words = _words(e, marks.get(e.id))
        waits = e.manual and e.status == "manual" and e.id not in marks
        mine = "–" if waits else _points(marks.get(e.id, e.score))
        rows.append(
            f'<tr><td><a href="#{escape(e.id)}">{escape(e.title)}</a></td>'
            f"<td class={kind}>{mark} {words}</td><td class=num>{escape(mine)} / {e.max_score:g}</td></tr>"
        )
    head = "<tr><th scope=col>Exercise</th><th scope=col>Outcome</th><th scope=col class=num>Points</th></tr>"
    table = f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<nav aria-label=Exercises><div class=scroll>{table}</div></nav>"


def _exercise(
    exercise: ExerciseVerdict, verdict: SubmissionVerdict, book: str, by_hand: float | None, comment: str
) -> str:
    kind, mark, words = _words(exercise, by_hand)
    changed = " (given by hand)" if by_hand is not None and not exercise.manual else ""
    parts = [
        f'<section class=card id="{escape(exercise.id)}"><h2>{escape(exercise.title)}</h2>',
        f"<p><strong class={kind}>{mark} {words}</strong> · "
        f"{_points(exercise.score if by_hand is None else by_hand)} of {exercise.max_score:g} points{changed}</p>",
    ]
    if comment:
        parts.append(f"<div class=note role=note><strong>Comment.</strong> {_lines(comment)}</div>")
    repeated = exercise.tests and exercise.status in ("passed", "partial", "failed")
    if exercise.message and not repeated and not (exercise.manual and by_hand is not None):
        parts.append(f"<p>{escape(exercise.message)}</p>")
    parts.append(_diagnosis(exercise, book))
    if exercise.tests:
        parts.append("<ul>" + "".join(_test(t, book) for t in exercise.tests) + "</ul>")
    if exercise.section and exercise.status not in ("passed", "manual"):
        parts.append(f"<p>In the book: {section_link(exercise.section, book)}</p>")
    parts.append(_answer(exercise, verdict))
    return "".join(parts) + "</section>"


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _diagnosis(exercise: ExerciseVerdict, book: str) -> str:
    found = exercise.diagnosis
    if found is None:
        return ""
    sure = "Your code behaves exactly like" if found.certain else "Your code behaves much like"
    return (
        f"<div class=note role=note><strong>A likely cause.</strong> {sure} one with this mistake: "
        f"{escape(found.misconception)} {section_link(found.section, book, 'Read about it in the book')}</div>"
    )


def _test(test: TestVerdict, book: str) -> str:
    kind, mark, words = WORDS[test.status]
    passed = test.status == "passed"
    more = "" if passed else f"<br><span class=dim>{escape(test.message or words)}</span>"
    hint = "" if passed or not test.hint else f"<br>Hint: {escape(test.hint)}"
    where = "" if passed or not test.section else f" {section_link(test.section, book)}"
    return (
        f"<li><span class={kind}><span aria-hidden=true>{mark}</span> "
        f"{'Holds' if passed else 'Not run' if test.status == 'skipped' else 'Fails'}:</span> {escape(test.claim)} "
        f'<span class="dim whole">({test.earned:g} of {test.points:g})</span>{more}{hint}{where}</li>'
    )


def _answer(exercise: ExerciseVerdict, verdict: SubmissionVerdict) -> str:
    if exercise.manual and exercise.id in verdict.manual_answers:
        text = clean_text(verdict.manual_answers[exercise.id], 20_000)
        shown = pictures_html(verdict.manual_pictures.get(exercise.id, {}))
        return f"<details open><summary>Your answer</summary><pre class=text>{escape(text)}</pre>{shown}</details>"
    cells = [c for c in verdict.cells if c.exercise == exercise.id and c.origin == "answer"]
    if not cells:
        return ""
    shown = "".join(_cell(c) for c in cells)
    opened = "" if exercise.status == "passed" else " open"
    return f"<details{opened}><summary>Your answer</summary>{shown}</details>"


def _cell(cell: CellOutcome) -> str:
    failed = "" if cell.status == "ok" else f"<p class=bad>{escape(cell.message or cell.status)}</p>"
    return highlight(cell.source) + outputs_html(cell.outputs) + failed


def _repairs(repairs: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(r)}</li>" for r in list(repairs)[:40])
    return f"<h2>What had to be repaired in your notebook</h2><ul>{items}</ul>" if items else ""


def _other_cells(cells: Iterable[CellOutcome]) -> str:
    """Extra cells that failed: the likely reason why something later was not there."""
    broken = [c for c in cells if c.origin == "extra" and c.status != "ok"][:5]
    if not broken:
        return ""
    return "<h2>Other cells that did not run</h2>" + "".join(_cell(c) for c in broken)
