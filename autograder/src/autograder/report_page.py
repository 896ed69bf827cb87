"""The class report as a page. What it says is counted in report.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .page import Markup, escape, page, section_link, table
from .plots import bars, histogram
from .similarity import Similarity

if TYPE_CHECKING:
    from .report import AssignmentReport, ExerciseStats

#: Outcomes that an honest answer reaches too, but that are worth a look.
RESOURCE = ("timeout", "crashed", "memory")
MAX_LISTED = 200
SLOWEST = 20


def report_html(report: AssignmentReport, title: str = "", book: str = "") -> str:
    """The report as one page that loads nothing and needs no script."""
    name = title or report.assignment
    parts = [
        f"<h1>Class report: {escape(name)}</h1>",
        f"<p>{report.submissions} submissions, {report.readable} of them readable. Mean {report.mean:.1f}, median "
        f"{report.median:.1f} of {report.max_score:g} points. Points given by hand are not counted here.</p>",
        "<h2>Scores</h2>",
        histogram(report.scores, report.max_score, "points", "submissions"),
        "<h2>Exercises</h2>",
        "<p class=dim>Solved: mean share of the points. Discrimination: correlation with the points of all other "
        "exercises; near 0 or below, strong students fail the exercise as often as weak ones: look at it.</p>",
        bars(
            [(e.title, e.difficulty, _solved(e)) for e in report.exercises],
            "share of the points earned",
        ),
        _exercise_table(report),
        "<h2>Misconceptions</h2>",
        _misconception_table(report, book),
        "<h2>Claims that fewest answers meet</h2>",
        _claim_table(report),
        _listed("Failures", report.failures, ("student", "exercise", "status", "message")),
        _listed("Worth a look: possible attacks", report.suspicions, ("student", "evidence")),
        _listed("Repairs", report.repairs, ("student", "repair")),
        *_similarity_html(report.similarity),
        "<h2>Time and resources</h2>",
        f"<p>{report.seconds['total']:.1f} s of grading in all, median {report.seconds['median']:.2f} s, slowest "
        f"{report.seconds['slowest']:.2f} s. Isolation: {escape(_tiers(report))}.</p>",
        _resource_table(report),
    ]
    return page(f"Class report: {name}", "\n".join(parts))


def _resource_table(report: AssignmentReport) -> str:
    if not report.resources:
        return (
            "<p>No submission took more than three times the median, reached a limit or lost its process.</p>"
        )
    rows = [(r["student"], f"{r['seconds']:.2f}", r["restarts"], r["limits"]) for r in report.resources]
    caption = f"Those that took most, at most {SLOWEST}."
    return table(("Student", "Seconds", "Restarts", "Exercises at a limit"), rows, (1, 2, 3), caption)


def _similarity_html(found: Similarity) -> list[str]:
    more = "<p>The JSON file has them all.</p>"
    groups = [(", ".join(g.students), g.exercise, f"{g.similarity:.0%}", g.tokens) for g in found.groups]
    pairs = [
        (" and ".join(p["students"]), len(p["exercises"]), ", ".join(p["exercises"])) for p in found.pairs
    ]
    parts = [
        "<h2>Similar answers</h2>",
        "<p class=dim>A hint to look, not a proof of anything. Names, comments, layout and the order of statements do "
        "not count; neither do the given code and what a good part of the class wrote alike. Short answers are not "
        "compared, nor are exercises whose answers are all alike. Listed is what lies far above the usual "
        "similarity of this class's answers. People who learn together, or from one source, write alike.</p>",
    ]
    if groups:
        header = ("Students", "Exercise", "Similarity", "Own tokens")
        parts += [table(header, groups[:MAX_LISTED], (2, 3)), more if len(groups) > MAX_LISTED else ""]
    else:
        parts.append("<p>None.</p>")
    if pairs:
        parts.append("<h3>Together in several exercises</h3>")
        parts.append(table(("Students", "Count", "Exercises"), pairs[:MAX_LISTED], (1,)))
        parts.append(more if len(pairs) > MAX_LISTED else "")
    parts.append("<h2>Same as the library</h2>")
    if found.library:
        parts.append(
            "<p class=dim>These definitions have the library's syntax tree, names and docstrings apart. That costs no "
            "mark; you may want to ask for them in the student's own words.</p>"
        )
        keys = ("student", "exercise", "defines", "equals")
        rows = [[entry[key] for key in keys] for entry in found.library[:MAX_LISTED]]
        parts.append(table([k.capitalize() for k in keys], rows))
        parts.append(more if len(found.library) > MAX_LISTED else "")
    else:
        parts.append("<p>No answer has the syntax tree of a definition of the library.</p>")
    return parts


def _tiers(report: AssignmentReport) -> str:
    return ", ".join(f"{tier} ({count})" for tier, count in report.tiers.items()) or "nothing was run"


def _exercise_table(report: AssignmentReport) -> str:
    rows = [
        (
            e.title,
            _solved(e),
            "–" if e.discrimination is None else f"{e.discrimination:.2f}",
            f"{e.max_score:g}",
            f"{e.seconds.get('median', 0):.2f}",
            ", ".join(f"{status} {count}" for status, count in e.statuses.items()),
        )
        for e in report.exercises
    ]
    header = ("Exercise", "Solved", "Discrimination", "Points", "Median s", "Outcomes")
    return table(header, rows, (1, 2, 3, 4))


def _solved(exercise: ExerciseStats) -> str:
    """The share of the points earned; of an exercise marked by hand nothing is known here."""
    return "by hand" if "manual" in exercise.statuses else f"{exercise.difficulty:.0%}"


def _misconception_table(report: AssignmentReport, book: str) -> str:
    if not report.misconceptions:
        return "<p>No failed answer behaved like one of the planted mistakes.</p>"
    titles = {e.id: e.title for e in report.exercises}
    rows = [
        (
            m["count"],
            titles.get(m["exercise"], m["exercise"]),
            m["misconception"],
            Markup(section_link(m["section"], book)),
        )
        for m in report.misconceptions[:MAX_LISTED]
    ]
    return table(("Answers", "Exercise", "Mistake", "In the book"), rows, (0,))


def _claim_table(report: AssignmentReport) -> str:
    claims = [(held, e.title, claim) for e in report.exercises for claim, held in e.claims.items()]
    rows = [(f"{held:.0%}", exercise, claim) for held, exercise, claim in sorted(claims)[:10]]
    return table(("Holds in", "Exercise", "Claim"), rows, (0,))


def _listed(heading: str, entries: list[dict[str, str]], keys: tuple[str, ...]) -> str:
    if not entries:
        return f"<h2>{heading}</h2><p>None.</p>"
    more = f"<p>{len(entries) - MAX_LISTED} more in the JSON file.</p>" if len(entries) > MAX_LISTED else ""
    rows = [[entry[key] for key in keys] for entry in entries[:MAX_LISTED]]
    return f"<h2>{heading}</h2>{table([k.capitalize() for k in keys], rows)}{more}"
