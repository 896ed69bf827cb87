import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autograder.by_hand import ByHand
from autograder.feedback import WORDS, feedback_html, write_feedback
from autograder.ingest import SubmittedFile
from autograder.page import highlight, link, table
from autograder.verdict import (
    STATUSES,
    CellOutcome,
    Diagnosis,
    ExerciseVerdict,
    SubmissionVerdict,
    TestVerdict,
)

EVIL = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


def exercise(**changes) -> ExerciseVerdict:
    tests = (
        TestVerdict("test_a", "It holds for zero.", 2, 2, "passed"),
        TestVerdict("test_b", "It holds for large inputs.", 1, 0, "failed", "the value is not finite", "exp overflows.",
                    "toy.html#stable"),
    )  # fmt: skip
    fields = {
        "id": "softplus", "title": "Softplus", "score": 2.0, "max_score": 3.0, "status": "partial",
        "message": "1 of 2 tests failed", "tests": tests, "section": "toy.html#softplus",
        "diagnosis": Diagnosis("naive", "The exponential is taken before the logarithm.", "toy.html#stable", True),
    }  # fmt: skip
    return ExerciseVerdict(**{**fields, **changes})


def verdict(*exercises: ExerciseVerdict, **changes) -> SubmissionVerdict:
    cell = CellOutcome("answer", "softplus", "ok", "", "def softplus(x):\n    return x < 1  # note",
                       ({"output_type": "stream", "name": "stdout", "text": "printed <b>"},))  # fmt: skip
    return SubmissionVerdict("toy", exercises or (exercise(),), **{"cells": (cell,), **changes})


class Checker(HTMLParser):
    """Collects tags; fails on unbalanced ones."""

    VOID = frozenset({"meta", "br", "img", "rect", "path", "link", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_says_marks_claims_hints_cause_and_code():
    text = feedback_html(verdict(), title="Losses", student="ann", book="../book")
    for part in (
        "2 of 3 points",
        "It holds for zero.",
        "exp overflows.",
        "the value is not finite",
        "ann",
        "Losses",
    ):
        assert part in text
    assert "behaves exactly like" in text
    assert 'href="../book/toy.html#stable"' in text
    assert "return</span>" in text
    assert "printed &lt;b&gt;" in text


def test_the_page_stands_alone_and_is_well_formed():
    text = feedback_html(verdict(), book="../book")
    tags = Checker(text).tags
    assert not [t for t, _ in tags if t in ("script", "link", "iframe", "object", "form")]
    for _, attributes in tags:
        assert not (attributes.get("src") or "data:").startswith(("http", "//"))
        assert not any(name.startswith("on") for name in attributes)
    assert "default-src 'none'" in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme:dark" in text
    assert ("html", {"lang": "en"}) in tags


def test_nothing_of_the_student_becomes_markup():
    cell = CellOutcome("answer", "softplus", "error", EVIL, EVIL, (
        {"output_type": "stream", "name": "stdout", "text": EVIL},
        {"output_type": "error", "ename": EVIL, "evalue": EVIL, "traceback": [EVIL]},
        {"output_type": "display_data", "data": {"text/html": EVIL, "text/plain": EVIL, "image/png": EVIL}},
    ))  # fmt: skip
    extra = CellOutcome("extra", None, "error", EVIL, EVIL)
    manual = ExerciseVerdict("why", EVIL, 0, 4, "manual", EVIL, manual=True)
    hostile = exercise(message=EVIL, status="error", diagnosis=None, section="javascript:alert(1)",
                       tests=(TestVerdict("t", EVIL, 3, 0, "error", EVIL, EVIL, EVIL),), score=0.0)  # fmt: skip
    text = feedback_html(
        verdict(hostile, manual, cells=(cell, extra), manual_answers={"why": EVIL}, repairs=(EVIL,), message=EVIL),
        title=EVIL, student=EVIL, book="../book",
    )  # fmt: skip
    tags = Checker(text).tags
    assert not [t for t, _ in tags if t in ("script", "img")]
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)


def test_an_essay_s_pictures_are_shown_and_nothing_else():
    manual = ExerciseVerdict("why", "Why", 0, 4, "manual", "graded by hand", manual=True)
    pictures = {
        EVIL: {"image/png": "iVBORw0KGgo=", "image/svg+xml": EVIL},
        "picture-2.jpg": {"text/html": EVIL, "image/jpeg": EVIL},
    }
    text = feedback_html(
        verdict(manual, manual_answers={"why": "![x](attachment:y)"},
                manual_pictures={"why": pictures, "other": {"z": {"image/png": "other"}}})
    )  # fmt: skip
    tags = Checker(text).tags
    shown = [attributes for tag, attributes in tags if tag == "img"]
    assert [a["src"] for a in shown] == [
        "data:image/png;base64,iVBORw0KGgo=",
        f"data:image/jpeg;base64,{EVIL}",
    ]
    assert all(set(a) == {"alt", "src"} for a in shown)
    assert not [t for t, _ in tags if t in ("script", "svg")]


def test_long_and_numerous_outputs_are_bounded():
    outputs = tuple({"output_type": "stream", "name": "stdout", "text": "x" * 1_000_000} for _ in range(50))
    cell = CellOutcome("answer", "softplus", "ok", "", "y = 1\n" * 100_000, outputs)
    assert len(feedback_html(verdict(cells=(cell,)))) < 500_000


def test_every_status_has_words_and_hand_graded_exercises_are_announced():
    assert set(WORDS) == set(STATUSES)
    manual = ExerciseVerdict("why", "Why", 0, 4, "manual", "graded by hand", manual=True)
    text = feedback_html(verdict(exercise(), manual, manual_answers={"why": "Because."}))
    assert "4 more to be graded by hand" in text
    assert "Because." in text
    assert "3.5 / 4" in feedback_html(verdict(exercise(), manual), by_hand=ByHand({"why": 3.5}))


def test_marks_and_comments_by_hand_are_shown_and_counted():
    manual = ExerciseVerdict("why", "Why", 0, 4, "manual", "graded by hand", manual=True)
    hand = ByHand(
        {"why": 3.5, "softplus": 1.25}, {"why": f"Well put.\n{EVIL}", "softplus-answer": "See me."}, 0.75
    )
    text = feedback_html(verdict(exercise(), manual), by_hand=hand)
    Checker(text)
    assert "<strong>4 of 7 points</strong> <span class=dim>(0.75 taken off for being late)" in text
    assert "to be graded by hand" not in text
    assert "Will be graded" not in text
    assert text.count("Graded by hand") == 2
    assert "1.25 of 3 points (given by hand)" in text
    assert "Well put.<br>" in text
    assert "See me." in text
    assert EVIL not in text


def test_a_passed_exercise_shows_no_hint():
    passed = exercise(status="passed", score=3.0, diagnosis=None,
                      tests=(TestVerdict("t", "It holds.", 3, 3, "passed", "", "the hint"),))  # fmt: skip
    text = feedback_html(verdict(passed))
    assert "the hint" not in text
    assert "All tests passed" in text


def test_the_file_lies_where_nbgrader_releases_it_from(tmp_path):
    file = SubmittedFile("ann", "toy", Path("submitted/ann/toy/toy.ipynb"))
    path = write_feedback(tmp_path, file, "<p>é</p>")
    assert path == tmp_path / "feedback" / "ann" / "toy" / "toy.html"
    assert path.read_text(encoding="utf-8") == "<p>é</p>"
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "JaVaScRiPt:x", "\\\\x"]
)
def test_only_pages_are_linked(address):
    assert link(address, "text") == "text"


def test_highlighting_escapes_and_survives_bad_syntax():
    assert "&lt;" in highlight("a < b")
    assert re.sub(r"<[^>]+>", "", highlight("def f(:\n  'open")) == "def f(:\n  &#x27;open"


def test_tables_escape_their_cells():
    assert "<td>&lt;b&gt;</td>" in table(("A",), [("<b>",)])
