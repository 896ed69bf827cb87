"""Lines that look beyond the notebook are listed; what honest notebooks do is not."""

import pytest

from autograder.assignment import Assignment
from autograder.sample import _classmates
from autograder.suspicion import suspicious_lines


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (
            "import os\nfor a, b, c in os.walk('/'): pass",
            "looks through the file system: for a, b, c in os.walk('/'): pass",
        ),
        ("open('/etc/shadow').read()", "names the system's files"),
        ("open('../../gradebook.db')", "names the grader's files"),
        ("import sys\nframe = sys._getframe(1)", "looks into what runs it"),
        ("import os\ndef f():\n    os._exit(0)", "starts or ends processes"),
        ("import subprocess\nsubprocess.run(['ls'])", "runs a command"),
        ("torch.allclose = lambda *a, **k: True", "changes what others use"),
    ],
)
def test_a_line_that_looks_beyond_the_notebook(source, kind):
    (found,) = suspicious_lines(source)
    assert found.startswith(kind)


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ['OMP_NUM_THREADS'] = '1'\nos.makedirs('figures', exist_ok=True)",
        "x = torch.load('weights.pt')\nopen('notes.txt', 'w').write('done')",
        "def f(:",
        "",
    ],
)
def test_what_honest_notebooks_do(source):
    assert suspicious_lines(source) == []


def test_solutions_and_alternatives_are_above_suspicion():
    assignment = Assignment.load("losses")
    for student, answers in _classmates(assignment):
        lines = [line for source in answers.values() for line in suspicious_lines(source)]
        assert bool(lines) == (student in ("exit", "forger", "test-reader")), (student, lines)
