"""The mutation gate: it finds each kind of hole in an exercise."""

import shutil
from pathlib import Path

import pytest

from autograder import gate
from autograder.assignment import Assignment
from autograder.session import Session

TOY = Path(__file__).parent / "toy_course"
MUTANT = '\n[[mutant]]\nname = "{0}"\nmisconception = "M."\nsection = "s"\ncaught_by = ["{1}"]\nsource = """{2}"""\n'
LARGE, ZERO = "test_softplus_survives_large_inputs", "test_softplus_of_zero_is_log_two"


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """Return a function: the gate's faults for softplus with these mutants, alternatives and tests."""
    monkeypatch.setattr(gate, "MIN_MUTANTS", 1)
    monkeypatch.setattr(gate, "MIN_ALTERNATIVES", 1)
    root = tmp_path / "course"
    shutil.copytree(TOY, root, ignore=shutil.ignore_patterns("__pycache__"))
    folder = root / "autograder" / "assignments" / "toy"
    (folder / "alternatives").mkdir(exist_ok=True)
    right = (
        '[[alternative]]\nname = "a"\nsource = "def softplus(x): return torch.nn.functional.softplus(x)"\n'
    )

    def run(mutants, alternatives=right):
        (folder / "mutants" / "softplus.toml").write_text(mutants)
        (folder / "alternatives" / "softplus.toml").write_text(alternatives)
        with Session(Assignment.load("toy", root)) as session:
            return gate.prove(session, "softplus").faults

    return run


NAIVE = MUTANT.format("naive", LARGE, "def softplus(x): return x.exp().log1p()")
RELU = MUTANT.format("relu", ZERO, "def softplus(x): return x.clamp(min=0)")


def test_a_sound_exercise_has_no_fault(faults):
    assert faults(NAIVE + RELU) == ()


def test_a_test_that_catches_nothing_is_a_fault(faults):
    assert faults(NAIVE) == (f"{ZERO} catches no mutant in every run",)


def test_a_mutant_that_survives_is_a_fault(faults):
    right = MUTANT.format("right", ZERO, "def softplus(x): return torch.logaddexp(x, 0 * x)")
    assert faults(NAIVE + RELU + right) == ("mutant right is caught by no test in every run",)


def test_a_mutant_caught_by_another_test_than_meant_is_a_fault(faults):
    (fault,) = faults(NAIVE + RELU.replace(ZERO, LARGE))
    assert fault.startswith("mutant relu is caught by ['test_softplus_of_zero_is_log_two'], none of which")


def test_a_mutant_that_names_no_test_is_a_fault(faults):
    assert any("which is no test of this exercise" in f for f in faults(NAIVE + RELU.replace(ZERO, "test_x")))


def test_a_wrong_alternative_is_a_fault(faults):
    wrong = '[[alternative]]\nname = "w"\nsource = "def softplus(x): return x.clamp(min=0)"\n'
    assert any(f.startswith("alternative w fails") for f in faults(NAIVE + RELU, wrong))


def test_too_few_variants_are_a_fault(faults, monkeypatch):
    monkeypatch.setattr(gate, "MIN_MUTANTS", 3)
    monkeypatch.setattr(gate, "MIN_ALTERNATIVES", 2)
    assert faults(NAIVE + RELU)[:2] == (
        "mutants must be at least 3, got 2",
        "alternatives must be at least 2, got 1",
    )


def test_what_students_would_miss_is_noted(tmp_path):
    root = tmp_path / "course"
    shutil.copytree(TOY, root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "book").mkdir()
    (root / "book" / "toy.md").write_text("(softplus)=\n## Softplus\n\n(other)=\n## Other\n")
    with Session(Assignment.load("toy", root)) as session:
        notes = list(gate.loose_ends(session, "softplus"))
    assert notes[0] == 'check("softplus") knows no public cases: write them in lib/gradatim/checks/'
    assert notes[1:] == ["toy.html#stable is no section of the book: there is no (stable)= in book/toy.md"]


def test_the_course_s_own_exercises_leave_nothing_loose():
    assignment = Assignment.load("losses")
    with Session(assignment) as session:
        assert [n for e in assignment.exercises if not e.manual for n in gate.loose_ends(session, e.id)] == []
