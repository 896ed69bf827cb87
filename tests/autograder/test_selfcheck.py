"""`autograder check`: what a student is told of a whole notebook before handing it in."""

import json
import subprocess
import sys
from pathlib import Path

from autograder.assignment import Assignment
from autograder.release import notebook_bytes, source_notebook, student_notebook


def checked(tmp_path: Path, cross_entropy: str) -> tuple[int, str]:
    tree = json.loads(notebook_bytes(student_notebook(source_notebook(Assignment.load("losses")))))
    for cell in tree["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "cross_entropy-answer":
            cell["source"] = cross_entropy
    path = tmp_path / "losses.ipynb"
    path.write_text(json.dumps(tree))
    command = [sys.executable, "-m", "autograder.cli", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout


def test_a_call_that_grading_refuses_is_named(tmp_path):
    status, text = checked(tmp_path, "def cross_entropy(*a, **k):\n    return F.cross_entropy(*a, **k)")
    line = next(line for line in text.splitlines() if line.startswith("Grading gives nothing"))
    assert line == (
        "Grading gives nothing for this answer: `return F.cross_entropy(*a, **k)` uses "
        "torch.nn.functional.cross_entropy, which is not allowed in this exercise"
    )
    assert text.count("Grading gives nothing") == 1
    assert (status, text.splitlines()[-1][:36]) == (1, "0 of 8 exercises pass the public che")
