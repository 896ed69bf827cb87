import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from autograder.ingest import SubmittedFile
from autograder.plots import bars, histogram
from autograder.report import ClassReport, assignment_report, report_csv, report_html
from autograder.verdict import CellOutcome, Diagnosis, ExerciseVerdict, SubmissionVerdict, TestVerdict

LONG = "def alpha(x):\n" + "\n".join(
    f"    weights = weights.{op}({k}) + x.{op}() / {k + 1}"
    for k, op in enumerate(("exp", "log", "sin", "cos", "tan"))
)
NAIVE = Diagnosis("naive", "The exponential is taken first.", "toy.html#stable", True)


def exercise(
    name: str, score: float, status: str = "", diagnosis: Diagnosis | None = None
) -> ExerciseVerdict:
    status = status or ("passed" if score == 3 else "failed")
    tests = (TestVerdict("t", f"{name} holds.", 3, score, "passed" if score == 3 else "failed"),)
    return ExerciseVerdict(name, name.title(), score, 3.0, status, "why", tests, diagnosis)


def graded(student: str, a: float, b: float, **changes) -> tuple[SubmittedFile, SubmissionVerdict]:
    file = SubmittedFile(student, "toy", Path(f"submitted/{student}/toy/toy.ipynb"))
    exercises = (exercise("alpha", a), exercise("beta", b, diagnosis=NAIVE if b == 0 else None))
    return file, SubmissionVerdict("toy", exercises, **{"seconds": 0.1, "tier": "namespaces", **changes})


CLASS = [graded("ann", 3, 3), graded("bob", 3, 0), graded("cat", 0, 0), graded("dan", 3, 3)]


def test_scores_difficulty_and_discrimination_by_hand():
    report = assignment_report("toy", CLASS)
    assert (report.mean, report.median, report.max_score) == (3.75, 4.5, 6)
    alpha, beta = report.exercises
    assert (alpha.difficulty, beta.difficulty) == (0.75, 0.5)
    # alpha's shares 1 1 0 1 against beta's points 3 0 0 3: covariance .375 over sqrt(3/16 * 9/4)
    assert alpha.discrimination == pytest.approx(1 / 3**0.5)
    assert alpha.claims == {"alpha holds.": 0.75}
    assert beta.statuses == {"passed": 2, "failed": 2}


def test_discrimination_is_absent_without_spread():
    report = assignment_report("toy", [graded(s, 3, 3) for s in "abcd"])
    assert report.exercises[0].discrimination is None
    assert assignment_report("toy", CLASS[:2]).exercises[0].discrimination is None


def test_misconceptions_are_counted_and_linked():
    report = assignment_report("toy", CLASS)
    assert report.misconceptions[0]["count"] == 2
    text = report_html(report, book="../book/")
    assert "The exponential is taken first." in text
    assert ">Toy: stable</a>" in text
    assert 'href="../book/toy.html#stable"' in text
    assert "<td>Beta</td>" in text


def test_an_exercise_marked_by_hand_is_not_called_unsolved():
    by_hand = [
        (file, replace(verdict, exercises=(*verdict.exercises[:1], exercise("beta", 0, "manual"))))
        for file, verdict in CLASS
    ]
    text = report_html(assignment_report("toy", by_hand))
    assert "Beta: by hand" in text
    assert "<td>Beta</td><td class=num>by hand</td>" in text


def test_failures_suspicions_and_repairs_are_listed_with_evidence():
    file, verdict = graded("eve", 0, 0, repairs=("The locked cell 'alpha' was changed.",), restarts=2)
    crashed = (exercise("alpha", 0, "crashed"), exercise("beta", 0, "forbidden"))
    verdict = SubmissionVerdict("toy", crashed, repairs=verdict.repairs, restarts=2)
    report = assignment_report("toy", [*CLASS, (file, verdict)])
    evidence = [s["evidence"] for s in report.suspicions]
    assert len(evidence) == 4
    assert all(s["student"] == "eve" for s in report.suspicions)
    assert report.failures == [{"student": "eve", "exercise": "alpha", "status": "crashed", "message": "why"}]
    assert report.repairs == [{"student": "eve", "repair": "The locked cell 'alpha' was changed."}]


def test_lines_that_look_beyond_a_notebook_are_quoted():
    report = ClassReport()
    source = "import os\nfound = [n for n in os.walk('/')]\nopen('/etc/shadow')"
    cells = (CellOutcome("answer", "alpha", "ok", "", source), CellOutcome("extra", None, "ok", "", source))
    for file, verdict in [*CLASS, graded("eve", 0, 3, cells=cells)]:
        report.add(file, verdict)
    (found,) = report.reports()
    assert {s["student"] for s in found.suspicions} == {"eve"}
    assert [s["evidence"] for s in found.suspicions] == [
        f"{where} {what}"
        for where in ("alpha", "a cell")
        for what in (
            "looks through the file system: found = [n for n in os.walk('/')]",
            "names the system's files: open('/etc/shadow')",
        )
    ]


def test_unreadable_submissions_count_and_are_listed():
    bad = graded("eve", 0, 0, status="unreadable", message="The file is empty.")
    report = assignment_report("toy", [*CLASS, bad])
    assert (report.submissions, report.readable) == (5, 4)
    assert report.failures[0]["message"] == "The file is empty."


def test_the_page_loads_nothing_runs_nothing_and_escapes_names():
    evil = graded("<script>alert(1)</script>", 0, 0, repairs=("<img src=x>",))
    text = report_html(assignment_report("toy", [*CLASS, evil]))
    assert "<script" not in text
    assert "<img" not in text
    assert not re.search(r"(src|href)=.?(https?:|//)", text)
    assert text.count("<svg") == 2
    assert all('role="img" aria-label="' in svg for svg in re.findall(r"<svg[^>]*>", text))


def test_files_are_written_for_each_assignment(tmp_path):
    report = ClassReport()
    for one in CLASS:
        report.add(*one)
    paths = report.write(tmp_path)
    assert [p.name for p in paths] == ["toy.html", "toy.csv", "toy.json", "toy-similar.csv"]
    data = json.loads((tmp_path / "toy.json").read_text())
    assert data["submissions"] == 4
    assert data["exercises"][0]["difficulty"] == 0.75
    assert (tmp_path / "toy.csv").read_text().splitlines()[1].startswith("alpha,Alpha,3,0.75,0.577")


def test_similar_answers_are_in_every_file(tmp_path):
    source = LONG.replace("weights", "theta")
    report = ClassReport()
    for name, text in {"ann": LONG, "bob": source, "cat": "def alpha(x):\n    return x\n"}.items():
        file, verdict = graded(name, 3, 3)
        report.add(file, replace(verdict, cells=(CellOutcome("answer", "alpha", "ok", source=text),)))
    report.write(tmp_path)
    found = json.loads((tmp_path / "toy.json").read_text())["similarity"]
    assert [(g["students"], g["similarity"]) for g in found["groups"]] == [(["ann", "bob"], 1.0)]
    assert (tmp_path / "toy-similar.csv").read_text().splitlines()[1:] == [
        "alpha,1,ann,1,",
        "alpha,1,bob,1,",
    ]
    page = (tmp_path / "toy.html").read_text()
    assert "<td>ann, bob</td>" in page
    assert "not a proof" in page


def test_what_took_most_time_or_hit_a_limit_is_listed():
    slow = graded("eve", 3, 3, seconds=9.0)
    file, verdict = graded("fay", 3, 0, restarts=1)
    report = assignment_report("toy", [*CLASS, slow, (file, verdict)])
    assert [(r["student"], r["seconds"], r["restarts"]) for r in report.resources] == [
        ("eve", 9.0, 0),
        ("fay", 0.1, 1),
    ]
    text = report_html(report)
    assert "Time and resources" in text
    assert "9.00" in text


def test_no_submission_is_said():
    with pytest.raises(ValueError, match="at least one verdict of 'toy'"):
        assignment_report("toy", [])


def test_formulas_in_the_csv_are_neutral():
    verdict = SubmissionVerdict("toy", (ExerciseVerdict("=1+1", "@x", 0, 3, "failed", ""),))
    text = report_csv(assignment_report("toy", [(CLASS[0][0], verdict)]))
    assert "'=1+1,'@x," in text


def test_the_histogram_counts_every_value_once():
    text = histogram([0, 2.5, 10, 10, 11], 10, "points", "submissions")
    counts = [int(n) for n in re.findall(r"points: (\d+)</title>", text)]
    assert sum(counts) == 5
    assert counts[-1] == 3
    assert histogram([], 0, "points", "submissions").startswith("<svg")


def test_bars_say_their_numbers_in_words():
    text = bars([("Alpha", 0.5, "50%"), ("B" * 60, 2.0, "200%")], "share")
    assert "Alpha: 50%" in text
    assert "…" in text
