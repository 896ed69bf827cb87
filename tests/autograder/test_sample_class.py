"""The sample class that `make course` grades: every mark is pinned, and what each hostile submission is told."""

import ast
import html
import json
import re

import pytest

from autograder.assignment import Assignment
from autograder.cli import main
from autograder.release import release
from autograder.sample import write_sample_class

FULL = {
    "cross_entropy": 8,
    "huber_quantile_log_cosh": 8,
    "focal_dice": 7,
    "quantile_minimiser": 6,
    "loss_bugs": 8,
    "imbalance": 8,
    "loss_metric_matching": 8,
    "robust_regression": 6,
    "explain_label_noise": 0,  # of 4, given by hand
}
NONE = dict.fromkeys(FULL, 0)
ATTACK = FULL | {"cross_entropy": 0}
FIRST_FOUR = ("cross_entropy", "huber_quantile_log_cosh", "focal_dice", "quantile_minimiser")
MARKS = {
    "perfect": FULL,
    "alternative-1": FULL,
    "alternative-2": FULL,
    "unanswered": NONE,
    "partial": NONE | {e: FULL[e] for e in FIRST_FOUR},
    "misconceptions-1": {
        "cross_entropy": 7,
        "huber_quantile_log_cosh": 5,
        "focal_dice": 3,
        "quantile_minimiser": 4,
        "loss_bugs": 3,
        "imbalance": 4,
        "loss_metric_matching": 7,
        "robust_regression": 1,
        "explain_label_noise": 0,
    },
    "misconceptions-2": {
        "cross_entropy": 7,
        "huber_quantile_log_cosh": 5,
        "focal_dice": 3,
        "quantile_minimiser": 4,
        "loss_bugs": 5,
        "imbalance": 4,
        "loss_metric_matching": 7,
        "robust_regression": 0,
        "explain_label_noise": 0,
    },
    "endless-loop": ATTACK,
    "memory-bomb": ATTACK,
    "exit": ATTACK,
    "forger": ATTACK,
    "test-reader": ATTACK,
    "truncated": FULL | dict.fromkeys(("imbalance", "loss_metric_matching", "robust_regression"), 0),
}
ENDS = {
    "endless-loop": ("timeout",),
    "memory-bomb": ("memory", "timeout"),
    "exit": ("crashed",),
    "forger": ("unreadable", "failed", "error", "crashed"),
    "test-reader": ("error",),
    "unanswered": ("missing",),
}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    course = tmp_path_factory.mktemp("class")
    assignment = Assignment.load("losses")
    release(assignment, course)
    assert set(write_sample_class(assignment, course)) == set(MARKS)
    report = course / "marks.json"
    assert main(["grade", str(course), "--quiet", "--json", str(report)]) == 0
    assert main(["feedback", str(course), "--quiet", "--book", "../book"]) == 0
    return course


@pytest.fixture(scope="module")
def marks(course):
    report = course / "marks.json"
    return {student: own["losses"]["exercises"] for student, own in json.loads(report.read_text()).items()}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("student", MARKS)
def test_every_mark_of_the_sample_class(marks, student):
    assert {e: v["score"] for e, v in marks[student].items()} == MARKS[student]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("student", ENDS)
def test_the_reason_is_named(marks, student):
    verdict = marks[student]["cross_entropy"]
    assert verdict["status"] in ENDS[student], verdict


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_reader_found_nothing(marks):
    assert "your code raised LookupError" in marks["test-reader"]["cross_entropy"]["message"]


def hidden(assignment: Assignment) -> tuple[set[str], set[str]]:
    """Of the hidden tests: statements and assertions, and their loud numbers (0.37, 221; not 0.5 or 10).

    Texts in them are claims, hints and names of what is compared: written for students.
    """
    statements, literals = set(), set()
    for path in sorted((assignment.folder / "tests").rglob("*.py")):
        text = path.read_text()
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert | ast.Assign | ast.Return | ast.With | ast.For):
                statements |= {
                    line.strip() for line in (ast.get_source_segment(text, node) or "").splitlines()
                }
            if isinstance(node, ast.Constant):
                value = node.value
                digits = len(repr(value).replace(".", "").strip("0"))
                if (type(value) is int and digits >= 3) or (type(value) is float and digits >= 2):
                    literals.add(repr(value))
    return {s for s in statements if len(s) > 20}, literals


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_page_of_feedback_holds_a_line_a_literal_or_a_seed_of_a_hidden_test(course):
    """The students' own code and output are left out of the search: what they wrote is theirs."""
    assignment = Assignment.load("losses")
    statements, literals = hidden(assignment)
    public = assignment.solution_path.read_text()
    for exercise in assignment.exercises:
        public += "".join(variant.misconception for variant in assignment.mutants(exercise.id))
    statements = {s for s in statements if s not in public}
    literals = {v for v in literals if not re.search(rf"(?<![\w.]){re.escape(v)}(?![\w.])", public)}
    assert len(statements) > 200
    assert len(literals) > 10
    secret = (course / ".autograder" / "course_secret").read_text().strip()
    pages = {p.parent.parent.name: p.read_text() for p in (course / "feedback").rglob("*.html")}
    assert set(pages) == set(MARKS)
    assert sum("Fails:" in page for page in pages.values()) >= 2
    for student, page in pages.items():
        body = re.sub(r"<style>.*?</style>|<svg.*?</svg>|data:[^\"]*", "", page, flags=re.DOTALL)
        assert secret not in body
        said = html.unescape(
            re.sub(r"<[^>]+>", " ", re.sub(r"<details.*?</details>", "", body, flags=re.DOTALL))
        )
        assert not [s for s in statements if s in said], student
        told = [v for v in literals if re.search(rf"(?<![\w.]){re.escape(v)}(?![\w.])", said)]
        assert not told, (student, told)
