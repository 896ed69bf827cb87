"""The pytest session: tests collected once, run on request, with messages that leak nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autograder.assignment import Assignment, AssignmentError
from autograder.session import Session
from autograder.solution import answer_source, variant_student
from autograder.student import StudentFailure
from autograder.testing import Inputs

TOY = Path(__file__).parent / "toy_course"


@pytest.fixture(scope="module")
def session():
    with Session(Assignment.load("toy", TOY)) as opened:
        yield opened


def outcomes(session, source, exercise="softplus", **options):
    student = variant_student(session.assignment, exercise, source)
    return session.run(exercise, student, lambda test: 1, **options)


def test_tests_are_collected_in_file_order_with_their_claims(session):
    assert [t.name for t in session.tests["softplus"]] == [
        "test_softplus_of_zero_is_log_two",
        "test_softplus_survives_large_inputs",
    ]
    assert session.tests["softplus"][0].text == "Softplus of 0 is the logarithm of 2."
    assert (session.points("softplus"), session.points("explain_overflow")) == (3, 4)


def test_the_solution_passes_and_can_be_run_again_and_again(session):
    source = answer_source(session.assignment, "softplus")
    for _ in range(3):
        assert [o.status for o in outcomes(session, source)] == ["passed", "passed"]


def test_a_wrong_value_fails_one_test_only(session):
    first, second = outcomes(session, "def softplus(x):\n    return x.exp().log1p()")
    assert (first.status, second.status) == ("passed", "failed")
    assert second.message == "the returned value is not finite (NaN or infinity) where it should be"
    assert len(second.compared) == 1


def test_an_exception_is_named_and_counts_as_error(session):
    for o in outcomes(session, "def softplus(x):\n    raise KeyError('k')"):
        assert o.status == "error"
        assert "KeyError" in o.message


def test_what_cannot_be_used_fails_without_the_tests_own_text(session):
    for o in outcomes(session, "def softplus(x):\n    return object()"):
        assert o.status == "failed"
        assert "assert" not in o.message


@pytest.mark.parametrize("kind", ["timeout", "crashed", "memory", "forbidden"])
def test_after_a_fatal_failure_the_rest_is_skipped(session, kind):
    class Student:
        def softplus(self, x):
            raise StudentFailure(kind, "the reason")

    first, second = session.run("softplus", Student(), lambda test: 1)
    assert (first.status, first.message) == (kind, "the reason")
    assert (second.status, second.message) == ("skipped", "not run: the reason")


def test_seeds_are_asked_for_by_test_name(session):
    asked = []
    student = variant_student(session.assignment, "softplus", answer_source(session.assignment, "softplus"))
    session.run("softplus", student, lambda test: asked.append(test) or 1)
    assert asked == [t.name for t in session.tests["softplus"]]


def test_all_submissions_share_one_seed_besides_their_own(monkeypatch):
    made = []
    monkeypatch.setattr("autograder.session.Inputs", lambda *seeds: made.append(seeds) or Inputs(*seeds))
    assignment = Assignment.load("toy", TOY)
    student = variant_student(assignment, "softplus", answer_source(assignment, "softplus"))
    with Session(assignment, len) as session:
        for own in (1, 2):
            session.run("softplus", student, lambda test, own=own: own)
    shared = [len(t.name) for t in session.tests["softplus"]]
    assert made == [(own, common) for own in (1, 2) for common in shared]


@pytest.fixture
def course(tmp_path):
    shutil.copytree(TOY, tmp_path / "course", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "course"


def broken(course, text):
    path = course / "autograder" / "assignments" / "toy" / "tests" / "test_softplus.py"
    path.write_text(text)
    with pytest.raises(AssignmentError) as caught:
        Session(Assignment.load("toy", course))
    return str(caught.value)


def test_a_test_file_that_does_not_import_is_reported(course):
    assert "no_such_module" in broken(course, "import no_such_module")


def test_a_test_without_claim_is_reported(course):
    assert "has no @claim" in broken(course, "def test_a(student): pass")


def test_an_exercise_without_tests_is_reported(course):
    assert "softplus has no hidden test" in broken(course, "")


def test_a_parametrized_test_is_reported(course):
    text = (
        "import pytest\nfrom autograder.testing import claim\n\n"
        "@pytest.mark.parametrize('x', [1, 2])\n@claim(points=1, hint='h')\ndef test_a(student, x):\n    '''C.'''\n"
    )
    assert "is parametrized" in broken(course, text)


def test_a_test_of_no_exercise_is_reported(course):
    (course / "autograder" / "assignments" / "toy" / "tests" / "test_other.py").write_text(
        "def test_a(): pass"
    )
    with pytest.raises(AssignmentError, match="belongs to no exercise"):
        Session(Assignment.load("toy", course))


@pytest.mark.parametrize(
    "answer",
    [
        "    return torch.nn.functional.softplus(x)",
        "    return x.exp().log1p()",
        "    raise KeyError('k')",
        "    raise SystemExit",
        "    return object()",
        "    pytest.skip('nothing to see')",
    ],
)
def test_the_short_way_ends_as_pytests_protocol_does(session, monkeypatch, answer):
    source = f"import pytest\nimport torch\ndef softplus(x):\n{answer}"
    called = []
    original = session._plugin._call
    monkeypatch.setattr(session._plugin, "_call", lambda *args: called.append(args) or original(*args))
    short = outcomes(session, source)
    assert called  # by the short way indeed
    monkeypatch.setattr("autograder.session._needs_only_ours", lambda item: False)
    whole = outcomes(session, source)
    assert [(o.name, o.status, o.message) for o in short] == [(o.name, o.status, o.message) for o in whole]


def test_fixtures_set_up_and_marks_of_a_tests_own_are_honoured(course):
    path = course / "autograder" / "assignments" / "toy" / "tests" / "test_softplus.py"
    path.write_text(
        "import warnings\nimport pytest\nfrom autograder.testing import claim\n\nready = []\n\n"
        "def setup_function(function):\n    ready.append(function.__name__)\n\n"
        "@pytest.fixture\ndef three():\n    return 3\n\n"
        "@claim(points=1, hint='h')\ndef test_set_up(inputs):\n    '''C.'''\n    assert ready == ['test_set_up']\n\n"
        "@claim(points=1, hint='h')\ndef test_fixture(three):\n    '''C.'''\n    assert three == 3\n\n"
        "@pytest.mark.filterwarnings('error')\n@claim(points=1, hint='h')\ndef test_mark():\n    '''C.'''\n"
        "    with pytest.raises(UserWarning):\n        warnings.warn('w')\n"
    )
    with Session(Assignment.load("toy", course)) as session:
        ended = session.run("softplus", None, lambda test: 1)
    assert [(o.name, o.status) for o in ended] == [
        ("test_set_up", "passed"),
        ("test_fixture", "passed"),
        ("test_mark", "passed"),
    ]


def test_a_files_own_fixture_stands_before_ours(course):
    path = course / "autograder" / "assignments" / "toy" / "tests" / "test_softplus.py"
    path.write_text(
        "import pytest\nfrom autograder.testing import claim\n\n"
        "@pytest.fixture\ndef inputs():\n    return 'their own'\n\n"
        "@claim(points=1, hint='h')\ndef test_fixture(inputs):\n    '''C.'''\n    assert inputs == 'their own'\n"
    )
    with Session(Assignment.load("toy", course)) as session:
        (ended,) = session.run("softplus", None, lambda test: 1)
    assert ended.status == "passed"


THREADS = """
import os, sys
from pathlib import Path
from autograder.assignment import Assignment
from autograder.session import Session
with Session(Assignment.load("toy", Path(sys.argv[1]))) as session:
    before = len(os.listdir("/proc/self/task"))
    (ended,) = session.run("softplus", None, lambda test: 1)
    print(ended.status, len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux shows them")
def test_hidden_tests_run_in_one_thread_whatever_the_environment_says(course):
    path = course / "autograder" / "assignments" / "toy" / "tests" / "test_softplus.py"
    path.write_text(
        "import torch\nfrom autograder.testing import claim\n\n"
        "@claim(points=1, hint='h')\ndef test_large():\n    '''C.'''\n"
        "    torch.ones(1 << 20, dtype=torch.float64).exp()\n"
    )
    command = [sys.executable, "-c", THREADS, str(course)]
    environment = {**os.environ, "OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.split() == ["passed", "0"], done.stderr
