"""The class report: how the exercises went, which mistakes were made, what needs a person's eye. HTML, CSV and JSON."""

import csv
import io
import json
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .assignment import Assignment, assignment_names, assignment_title
from .export import neutral
from .ingest import SubmittedFile
from .report_page import RESOURCE, SLOWEST, report_html
from .similarity import Answers, Similarity
from .store import write_whole
from .suspicion import suspicious_lines
from .verdict import ExerciseVerdict, SubmissionVerdict

Graded = tuple[SubmittedFile, SubmissionVerdict]
MAX_LINES = 10  # of a submission that look beyond it


@dataclass
class ExerciseStats:
    """One exercise over the class.

    Attributes:
        difficulty: mean share of the points earned, 0 to 1 (psychometrics' p; higher is easier).
        discrimination: correlation of the exercise's points with the points of all others, -1 to 1 (the corrected
            item-total correlation); None with fewer than three submissions or without spread.
        statuses: how many submissions ended how.
        claims: share of submissions in which each claim holds.
        seconds: median and slowest time of its hidden tests.
    """

    id: str
    title: str
    max_score: float
    difficulty: float
    discrimination: float | None
    statuses: dict[str, int]
    claims: dict[str, float]
    misconceptions: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class AssignmentReport:
    """What the report says of one assignment, as data."""

    assignment: str
    submissions: int
    readable: int
    mean: float
    median: float
    max_score: float
    scores: list[float]
    exercises: list[ExerciseStats]
    misconceptions: list[dict[str, Any]]
    repairs: list[dict[str, str]]
    suspicions: list[dict[str, str]]
    failures: list[dict[str, str]]
    seconds: dict[str, float]
    resources: list[dict[str, Any]]
    tiers: dict[str, int]
    similarity: Similarity = field(default_factory=Similarity)

    def to_json(self) -> str:
        return (
            json.dumps(self, default=vars, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
            + "\n"
        )


def assignment_report(
    assignment: str,
    graded: Sequence[Graded],
    answers: Answers | None = None,
    suspicious: Sequence[dict[str, str]] = (),
) -> AssignmentReport:
    """Count over the verdicts of one assignment; ValueError if there is none.

    Args:
        answers: the class's answers, to be compared with each other and with the library; None compares nothing.
        suspicious: more that may be an attack: {"student":, "evidence":}.
    """
    if not graded:
        raise ValueError(
            f"assignment_report: graded must hold at least one verdict of {assignment!r}, got none"
        )
    verdicts = [v for _, v in graded]
    scores = [v.score for v in verdicts]
    seconds = sorted(v.seconds for v in verdicts)
    return AssignmentReport(
        assignment=assignment,
        submissions=len(graded),
        readable=sum(v.status != "unreadable" for v in verdicts),
        mean=statistics.fmean(scores),
        median=statistics.median(scores),
        max_score=max(v.max_score for v in verdicts),
        scores=scores,
        exercises=_exercises(verdicts),
        misconceptions=_misconceptions(verdicts),
        repairs=[{"student": f.student, "repair": r} for f, v in graded for r in (*f.notes, *v.repairs)],
        suspicions=sorted([*_suspicions(graded), *suspicious], key=lambda found: found["student"]),
        failures=_failures(graded),
        seconds={
            "total": sum(seconds),
            "median": statistics.median(seconds),
            "slowest": seconds[-1],
        },
        resources=_resources(graded),
        tiers=dict(Counter(v.tier for v in verdicts if v.tier)),
        similarity=answers.compare() if answers is not None else Similarity(),
    )


def _resources(graded: Sequence[Graded]) -> list[dict[str, Any]]:
    """The submissions that took most: time, and processes that had to be started again. At most SLOWEST."""
    usual = statistics.median(v.seconds for _, v in graded)
    rows = [
        {
            "student": file.student,
            "seconds": verdict.seconds,
            "restarts": verdict.restarts,
            "limits": sum(e.status in RESOURCE for e in verdict.exercises),
        }
        for file, verdict in graded
        if verdict.restarts
        or verdict.seconds > 3 * usual
        or any(e.status in RESOURCE for e in verdict.exercises)
    ]
    return sorted(rows, key=lambda row: (-row["seconds"], row["student"]))[:SLOWEST]


def _exercises(verdicts: list[SubmissionVerdict]) -> list[ExerciseStats]:
    table: dict[str, list[tuple[ExerciseVerdict, float]]] = {}
    for verdict in verdicts:
        for e in verdict.exercises:
            table.setdefault(e.id, []).append((e, verdict.score - e.score))
    return [_exercise_stats([e for e, _ in rows], [rest for _, rest in rows]) for rows in table.values()]


def _exercise_stats(found: list[ExerciseVerdict], rest: list[float]) -> ExerciseStats:
    first = found[0]
    shares = [e.score / e.max_score if e.max_score else 0.0 for e in found]
    claims: dict[str, int] = {}
    for e in found:
        for test in e.tests:
            claims[test.claim] = claims.get(test.claim, 0) + (test.status == "passed")
    return ExerciseStats(
        id=first.id,
        title=first.title,
        max_score=first.max_score,
        difficulty=statistics.fmean(shares),
        discrimination=_correlation(shares, rest),
        statuses=dict(Counter(e.status for e in found).most_common()),
        claims={claim: held / len(found) for claim, held in claims.items()},
        misconceptions=dict(Counter(e.diagnosis.misconception for e in found if e.diagnosis).most_common()),
        seconds={
            "median": statistics.median(e.seconds for e in found),
            "slowest": max(e.seconds for e in found),
        },
    )


def _correlation(a: list[float], b: list[float]) -> float | None:
    if len(a) < 3 or len(set(a)) == 1 or len(set(b)) == 1:
        return None
    return max(-1.0, min(1.0, statistics.correlation(a, b)))


def _misconceptions(verdicts: list[SubmissionVerdict]) -> list[dict[str, Any]]:
    found: Counter[tuple[str, str, str]] = Counter()
    for verdict in verdicts:
        for e in verdict.exercises:
            if e.diagnosis is not None:
                found[e.id, e.diagnosis.misconception, e.diagnosis.section] += 1
    return [
        {"exercise": e, "misconception": m, "section": s, "count": n} for (e, m, s), n in found.most_common()
    ]


def _suspicions(graded: Sequence[Graded]) -> list[dict[str, str]]:
    """What may be an attack, each with its evidence. It is for a person to judge: every entry can be innocent."""
    found = []
    for file, verdict in graded:
        evidence = [f"{e.id}: {e.message}" for e in verdict.exercises if e.status == "forbidden"]
        evidence += [
            f"{e.id}: {e.status}: {e.message}" for e in verdict.exercises if e.status in ("crashed", "memory")
        ]
        evidence += [r for r in (*file.notes, *verdict.repairs) if "locked cell" in r or "stand in for" in r]
        if file.refusal and ("not a file" in file.refusal or "not a folder" in file.refusal):
            evidence.append(file.refusal)
        if verdict.restarts:
            times = "once" if verdict.restarts == 1 else f"{verdict.restarts} times"
            evidence.append(f"the sandboxed process had to be started again {times}")
        found += [{"student": file.student, "evidence": text} for text in dict.fromkeys(evidence)]
    return found


def _failures(graded: Sequence[Graded]) -> list[dict[str, str]]:
    found = []
    for file, verdict in graded:
        if verdict.status == "unreadable":
            found.append(
                {"student": file.student, "exercise": "", "status": "unreadable", "message": verdict.message}
            )
            continue
        found += [
            {"student": file.student, "exercise": e.id, "status": e.status, "message": e.message}
            for e in verdict.exercises
            if e.status in RESOURCE
        ]
    return found


def report_csv(report: AssignmentReport) -> str:
    """One row an exercise, safe to open in a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["exercise", "title", "max_score", "difficulty", "discrimination", "statuses", "top_misconception"]
    )
    for e in report.exercises:
        top = next(iter(e.misconceptions), "")
        statuses = ", ".join(f"{s} {n}" for s, n in e.statuses.items())
        discrimination = "" if e.discrimination is None else e.discrimination
        row = [e.id, e.title, e.max_score, e.difficulty, discrimination, statuses, top]
        writer.writerow([neutral(value) for value in row])
    return out.getvalue()


def similar_csv(report: AssignmentReport) -> str:
    """One row a student in a group of similar answers, or with an answer like the library's."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["exercise", "group", "student", "similarity", "equals"])
    for k, group in enumerate(report.similarity.groups, 1):
        for student in group.students:
            writer.writerow([neutral(v) for v in (group.exercise, k, student, group.similarity, "")])
    for entry in report.similarity.library:
        row = (entry["exercise"], "", entry["student"], "", entry["equals"])
        writer.writerow([neutral(v) for v in row])
    return out.getvalue()


class ClassReport:
    """Collects verdicts one by one, then writes one report an assignment.

    Of a verdict only what is counted is kept, so ten thousand submissions fit in memory.
    """

    def __init__(self) -> None:
        self._graded: dict[str, list[Graded]] = {}
        self._answers: dict[str, Answers] = {}
        self._suspicious: dict[str, list[dict[str, str]]] = {}

    def add(self, file: SubmittedFile, verdict: SubmissionVerdict) -> None:
        self._graded.setdefault(file.assignment, []).append((file, _counted(verdict)))
        if file.assignment not in self._answers:
            self._answers[file.assignment] = Answers(_given_code(file.assignment))
        for cell in verdict.cells:
            if cell.origin == "answer" and cell.exercise:
                self._answers[file.assignment].add(file.student, cell.exercise, cell.source)
        lines = [
            f"{cell.exercise or 'a cell'} {line}"
            for cell in verdict.cells
            if cell.origin in ("answer", "extra")
            for line in suspicious_lines(cell.source)
        ]
        suspicious = self._suspicious.setdefault(file.assignment, [])
        suspicious += [{"student": file.student, "evidence": line} for line in lines[:MAX_LINES]]

    def reports(self) -> list[AssignmentReport]:
        return [
            assignment_report(name, graded, self._answers[name], self._suspicious[name])
            for name, graded in sorted(self._graded.items())
        ]

    def write(self, folder: Path, book: str = "") -> list[Path]:
        """Write <assignment>.html, .csv, .json and -similar.csv for each assignment; return their paths."""
        paths = []
        for report in self.reports():
            title = assignment_title(report.assignment)
            texts = {
                ".html": report_html(report, title, book),
                ".csv": report_csv(report),
                ".json": report.to_json(),
                "-similar.csv": similar_csv(report),
            }
            for ending, text in texts.items():
                path = folder / f"{report.assignment}{ending}"
                write_whole(path, text.encode("utf-8", "replace"))
                path.chmod(0o644)
                paths.append(path)
        return paths


def _given_code(assignment: str) -> dict[str, str]:
    """What the released notebook holds in each exercise's answer cell."""
    if assignment not in assignment_names():
        return {}
    from .release import load_template

    cells = load_template(Assignment.load(assignment)).of_role("answer")
    return {c.exercise: c.source for c in cells if c.exercise}


def _counted(verdict: SubmissionVerdict) -> SubmissionVerdict:
    """The verdict without the student's cells and texts, and with one copy of each claim for the whole class."""
    exercises = tuple(
        replace(
            e,
            tests=tuple(
                replace(t, claim=sys.intern(t.claim), message="", hint="", section="") for t in e.tests
            ),
        )
        for e in verdict.exercises
    )
    return replace(verdict, exercises=exercises, cells=(), manual_answers={}, manual_pictures={})
