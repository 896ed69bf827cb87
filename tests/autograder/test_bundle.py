import ast
import json
import zipfile
from pathlib import Path

import pytest

from autograder.assignment import Assignment
from autograder.cli import main
from autograder.release import BEGIN, END

TOY = Path(__file__).parent / "toy_course"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=["toy", "losses"])
def bundle(request, tmp_path_factory) -> tuple[Assignment, dict[str, str]]:
    root = TOY if request.param == "toy" else ROOT
    path = tmp_path_factory.mktemp("bundle") / "students.zip"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADATIM_COURSE", str(root))
        assert main(["bundle", request.param, "--output", str(path)]) == 0
    with zipfile.ZipFile(path) as archive:
        files = {n: archive.read(n).decode("utf-8", "replace") for n in archive.namelist()}
    return Assignment.load(request.param, root), files


def source_parts(assignment: Assignment) -> tuple[set[str], str]:
    """Long lines of the solutions, and the text round them, which students are meant to see."""
    lines, public, inside = set(), [], False
    for line in assignment.solution_path.read_text().splitlines():
        if line.strip().removeprefix("# ") in (BEGIN, END):
            inside = line.strip().removeprefix("# ") == BEGIN
        elif inside and len(line.strip()) > 25:
            lines.add(line.strip())
        elif not inside:
            public.append(line.removeprefix("# "))
    return lines, "\n".join(public)


def test_the_bundle_is_all_that_a_student_needs(bundle):
    assignment, files = bundle
    assert {"README.txt", "requirements.txt", "lib/pyproject.toml", "lib/gradatim/checks/run.py"} <= set(
        files
    )
    assert files["requirements.txt"].count("==") == 5
    assert "torch==2.13.0" in files["requirements.txt"]
    cells = json.loads(files[f"{assignment.name}.ipynb"])["cells"]
    assert {c["metadata"]["nbgrader"]["grade_id"] for c in cells if "nbgrader" in c["metadata"]} >= {
        e.id for e in assignment.exercises
    }


def test_no_hidden_test_and_no_planted_answer_is_in_it(bundle):
    """Search every file for the hidden tests' functions and statements, and for the planted answers' descriptions."""
    assignment, files = bundle
    wanted = set()
    for path in (assignment.folder / "tests").glob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                wanted.add(f"def {node.name}(")
                wanted |= {ast.get_source_segment(text, inner) or "" for inner in node.body[1:]}
            if isinstance(node, ast.Assert):
                wanted.add(ast.get_source_segment(text, node) or "")
    for exercise in assignment.exercises:
        wanted |= {variant.misconception for variant in assignment.mutants(exercise.id)}
    wanted = {w for w in wanted if len(w) > 30 or w.startswith("def test_")}
    _, public = source_parts(assignment)
    wanted = {w for w in wanted if w not in public}  # tests may load the data that the text loads
    assert len(wanted) > 5
    for name, text in files.items():
        assert not [w for w in wanted if w in text], name
    assert not [n for n in files if "autograder" in n or "solutions" in n or "/tests/" in n]


def test_no_solution_is_in_the_notebook(bundle):
    assignment, files = bundle
    notebook = json.loads(files[f"{assignment.name}.ipynb"])
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    lines, public = source_parts(assignment)
    lines = {line for line in lines if line not in public}  # an exercise may show code to mend
    assert lines
    assert not [line for line in lines if line in text]
    assert BEGIN not in text
