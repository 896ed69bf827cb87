"""Plain nbgrader assignments, on the two notebooks that `nbgrader quickstart` makes."""

import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import nbgrader
import pytest
from nbgrader.apps.api import NbGraderAPI

from autograder.ingest import scan
from autograder.nbgrader_config import write_config
from autograder.nbgrader_course import course_config, course_settings, open_gradebook
from autograder.nbgrader_record import record
from autograder.outputs import safe_outputs
from autograder.plain import PlainGrader, open_plain, partial_credit
from autograder.plain_notebook import PlainNotebook
from autograder.reading import read_notebook
from autograder.sandbox import Sandbox, SandboxConfig, SandboxError

QUICKSTART = Path(nbgrader.__file__).parent / "docs" / "source" / "user_guide" / "source"
SQUARES = (
    "def squares(n):\n    if n < 1:\n        raise ValueError\n    return [i * i for i in range(1, n + 1)]"
)
SUM = "def sum_of_squares(n):\n    return sum(squares(n))"
SOLVED = {
    "squares": SQUARES,
    "sum_of_squares": SUM,
    "sum_of_squares_equation": "$x$",
    "sum_of_squares_application": "sum_of_squares(3)",
    "part-a": "Fibonacci.",
    "part-b": "Negative ones.",
}
PARTIAL = {"squares": "def squares(n):\n    return [i * i for i in range(1, n + 1)]", "part-a": "Fibonacci."}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `nbgrader quickstart` and `nbgrader generate_assignment ps1` make, with nbgrader's own settings."""
    course = tmp_path_factory.mktemp("quickstart") / "course"
    shutil.copytree(QUICKSTART, course / "source", ignore=shutil.ignore_patterns("*.html", "ps1_autotest"))
    (course / "nbgrader_config.py").write_text(
        "c = get_config()\nc.IncludeHeaderFooter.header = 'source/header.ipynb'\n"
    )
    with open_gradebook(course):
        pass  # made here, so that nbgrader finds it made
    result = api(course).generate_assignment("ps1")
    assert result["success"], result
    return course


@pytest.fixture
def course(released: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released, tmp_path / "course"))


def api(course: Path) -> NbGraderAPI:
    config = course_config(course)
    return NbGraderAPI(course_settings(course, config), config=config)


def notebook(course: Path, name: str = "problem1") -> dict[str, Any]:
    return json.loads((course / "release" / "ps1" / f"{name}.ipynb").read_text())


def labelled(tree: dict[str, Any], grade_id: str) -> dict[str, Any]:
    return next(c for c in tree["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)


def answer(tree: dict[str, Any], answers: dict[str, str]) -> dict[str, Any]:
    for cell in tree["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        cell["source"] = answers.get(grade_id, cell["source"])
    return tree


def submit(course: Path, student: str, answers: dict[str, str]) -> None:
    for name in ("problem1", "problem2"):
        path = course / "submitted" / student / "ps1" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(answer(notebook(course, name), answers)))


def raw(tree: dict[str, Any]) -> bytes:
    return json.dumps(tree).encode()


def marks(course: Path) -> dict[str, Any]:
    table: dict[str, Any] = {}
    with open_gradebook(course) as gradebook:
        for submission in gradebook.assignment_submissions("ps1"):
            for nb in submission.notebooks:
                entry = {g.name: (g.auto_score, g.needs_manual_grade, g.max_score) for g in nb.grades}
                entry |= {c.name + " comment": c.auto_comment for c in nb.comments}
                table[submission.student.id, nb.name] = entry
    return table


@pytest.fixture(scope="module")
def sandbox() -> SandboxConfig:
    config = SandboxConfig(preload=(), preload_if_present=())
    try:
        with Sandbox(config):
            return config
    except SandboxError as err:
        pytest.skip(f"no sandbox works here: {err}")


@pytest.fixture(scope="module")
def grader(released: Path, sandbox: SandboxConfig, tmp_path_factory: pytest.TempPathFactory):
    state = tmp_path_factory.mktemp("state")
    with open_plain(released, "ps1", "problem1", state, sandbox) as opened:
        yield opened


def scores(grader: PlainGrader, tree: dict[str, Any]) -> dict[str, float]:
    return {e.id: e.score for e in grader.grade(raw(tree)).exercises}


FULL = {"correct_squares": 1, "squares_invalid_input": 1, "correct_sum_of_squares": 0.5,
        "sum_of_squares_uses_squares": 0.5}  # fmt: skip


def automatic(table: dict[str, float]) -> dict[str, float]:
    return {name: table[name] for name in FULL}


@pytest.mark.slow
def test_honest_submissions_get_stock_nbgraders_marks(course, released, tmp_path, sandbox):
    for student, answers in (("solved", SOLVED), ("unsolved", {}), ("partial", PARTIAL)):
        submit(course, student, answers)
    ours = Path(shutil.copytree(course, tmp_path / "ours"))
    for student in ("solved", "unsolved", "partial"):
        result = api(course).autograde("ps1", student)
        assert result["success"], result
    stock = marks(course)
    graders = {n: open_plain(ours, "ps1", n, tmp_path / "state", sandbox) for n in ("problem1", "problem2")}
    graded = [(f, graders[f.path.stem].grade(f.read())) for f in scan(ours)]
    record(ours, graded)
    for grader in graders.values():
        grader.close()
    assert stock["solved", "problem1"]["correct_squares"][0] == 1.0
    assert stock["partial", "problem1"]["squares_invalid_input"][0] == 0.0
    assert marks(ours) == stock


def test_solved_unsolved_and_partly_solved(grader, released):
    assert automatic(scores(grader, answer(notebook(released), SOLVED))) == FULL
    assert set(scores(grader, notebook(released)).values()) == {0.0}
    partial = scores(grader, answer(notebook(released), PARTIAL))
    assert automatic(partial) == {**dict.fromkeys(FULL, 0), "correct_squares": 1}


def test_hand_graded_cells_wait_if_answered(grader, released):
    solved = grader.grade(raw(answer(notebook(released), SOLVED)))
    status = {e.id: (e.status, e.manual) for e in solved.exercises}
    assert status["sum_of_squares_equation"] == ("manual", True)
    assert status["sum_of_squares_application"] == ("manual", True)
    assert status["cell-938593c4a215c6cc"] == ("manual", True)
    unsolved = grader.grade(raw(notebook(released)))
    assert unsolved.exercise("sum_of_squares_equation").status == "missing"
    assert solved.max_score == unsolved.max_score == 10


def test_a_hand_graded_answer_keeps_its_picture(grader, released):
    template = PlainNotebook.load(released, "ps1", "problem1")
    tree = answer(notebook(released), SOLVED)
    verdicts = []
    for picture in ({"image/png": "iVBORw0KGgo="}, {"image/gif": "R0lGODlh"}):
        labelled(tree, "sum_of_squares_equation").update(
            source="![x](attachment:image.png)", attachments={"image.png": picture}
        )
        verdicts.append(grader.grade(raw(tree)))
        (name,) = verdicts[-1].manual_pictures["sum_of_squares_equation"]
        made = template.graded(verdicts[-1])
        nbformat.validate(made)
        assert labelled(made, "sum_of_squares_equation")["attachments"] == {name: picture}
        assert labelled(made, "sum_of_squares_equation")["source"] == f"![x](attachment:{name})"
    assert verdicts[0].manual_pictures != verdicts[1].manual_pictures


def test_changed_missing_moved_and_duplicated_cells_are_mended(grader, released):
    tree = answer(notebook(released), SOLVED)
    labelled(tree, "correct_squares")["source"] = "pass"
    assert automatic(scores(grader, tree)) == FULL
    wrong = answer(notebook(released), {"squares": "def squares(n): return []"})
    labelled(wrong, "correct_squares")["source"] = "pass"
    assert scores(grader, wrong)["correct_squares"] == 0

    tree["cells"].remove(labelled(tree, "correct_squares"))
    verdict = grader.grade(raw(tree))
    assert verdict.exercise("correct_squares").score == 1
    assert any("was missing" in r for r in verdict.repairs)

    moved = answer(notebook(released), SOLVED)
    cell = labelled(moved, "correct_squares")
    moved["cells"].remove(cell)
    moved["cells"].insert(0, cell)
    assert automatic(scores(grader, moved)) == FULL

    doubled = answer(notebook(released), SOLVED)
    copy = {**labelled(doubled, "squares"), "source": "def squares(n): return 'wrong'"}
    doubled["cells"].insert(0, copy)
    assert automatic(scores(grader, doubled)) == FULL


def test_stripped_labels_are_recovered(grader, released):
    tree = answer(notebook(released), SOLVED)
    for cell in tree["cells"]:
        cell["metadata"] = {}
    assert automatic(scores(grader, tree)) == FULL


def test_forged_points_and_labels_change_nothing(grader, released):
    tree = answer(notebook(released), SOLVED)
    labelled(tree, "correct_squares")["metadata"]["nbgrader"]["points"] = 1000
    labelled(tree, "correct_squares")["metadata"]["tags"] = ["skip-execution"]
    verdict = grader.grade(raw(tree))
    assert verdict.exercise("correct_squares").max_score == 1
    assert verdict.max_score == 10


def test_a_cell_that_ends_the_process_costs_only_itself(grader, released):
    tree = answer(notebook(released), {**SOLVED, "sum_of_squares": "import os\nos._exit(0)"})
    table = scores(grader, tree)
    assert table["correct_squares"] == 1
    assert table["correct_sum_of_squares"] == 0


def test_noise_costs_nothing(grader, released):
    noisy = "import sys, warnings\n" + SQUARES.replace(
        "def squares(n):", "def squares(n):\n    print('x'); print('y', file=sys.stderr); warnings.warn('z')"
    )
    assert scores(grader, answer(notebook(released), {**SOLVED, "squares": noisy}))["correct_squares"] == 1


def test_unreadable_files_get_a_verdict(grader, released):
    for content in (b"", b"nonsense", raw(notebook(released))[:100]):
        verdict = grader.grade(content)
        assert verdict.score == 0
        assert verdict.max_score == 10


def test_an_unknown_assignment_gets_a_verdict(released, tmp_path):
    with open_plain(released, "ps9", "x", tmp_path / "state") as grader:
        verdict = grader.grade(raw(notebook(released)))
    assert verdict.status == "unreadable"
    assert "source/ps9/x.ipynb" in verdict.message


def test_verdicts_come_from_the_store_the_second_time(grader, released, monkeypatch):
    first = grader.grade(raw(answer(notebook(released), SOLVED)))
    monkeypatch.setattr(PlainGrader, "_grade", lambda *args: pytest.fail("graded again"))
    assert grader.grade(raw(answer(notebook(released), SOLVED))).to_json() == first.to_json()


HIDDEN = '''"""It doubles."""
assert double(1) == 2
### BEGIN HIDDEN TESTS
assert double(21) == 42, "the hidden answer is 42"
### END HIDDEN TESTS'''


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """A course with hidden tests and a data file beside the notebook."""
    nb = nbformat.v4.new_notebook()
    for grade_id, source, flags in (
        ("double", "### BEGIN SOLUTION\ndef double(x): return 2 * x\n### END SOLUTION", {"solution": True}),
        ("test_double", HIDDEN, {"grade": True, "locked": True, "points": 2}),
        ("data", "len(open('data.txt').read()) / 3", {"grade": True, "locked": True, "points": 2}),
    ):
        cell = nbformat.v4.new_code_cell(source)
        cell.metadata["nbgrader"] = {
            "grade": False, "solution": False, "locked": False, "schema_version": 3, "grade_id": grade_id, **flags
        }  # fmt: skip
        nb.cells.append(cell)
    folder = tmp_path / "source" / "hw"
    folder.mkdir(parents=True)
    nbformat.write(nb, folder / "hw.ipynb")
    (folder / "data.txt").write_text("abc")
    write_config(tmp_path, "course")
    return tmp_path


def test_hidden_tests_run_and_are_nowhere_in_what_is_kept(hidden, sandbox):
    template = PlainNotebook.load(hidden, "hw", "hw")
    assert "hidden answer" not in template.cells["test_double"].released
    tree = json.loads(nbformat.writes(template.released))
    tree["cells"][0]["source"] = "def double(x): return 2"
    with open_plain(hidden, "hw", "hw", hidden / "state", sandbox) as grader:
        verdict = grader.grade(raw(tree))
        tree["cells"][0]["source"] = "def double(x): return x + x"
        right = grader.grade(raw(tree))
    assert verdict.exercise("test_double").score == 0
    assert right.exercise("test_double").score == 2
    for text in (verdict.to_json(), nbformat.writes(template.graded(verdict))):
        assert "== 42" not in text
        assert "hidden answer" not in text
    nbformat.validate(template.graded(verdict))


def test_files_beside_the_notebook_are_there_and_values_are_partial_credit(hidden, sandbox):
    template = PlainNotebook.load(hidden, "hw", "hw")
    with open_plain(hidden, "hw", "hw", hidden / "state", sandbox) as grader:
        assert grader.grade(nbformat.writes(template.released).encode()).exercise("data").score == 1


@pytest.mark.parametrize(
    ("text", "score"),
    [("1.5", 1.5), ("0", 0), ("2", 2), ("nan", 0), ("-1", 0), ("inf", 0), ("3", 0), ("'x'", 2)],
)
def test_partial_credit_is_a_finite_number_in_range(text, score):
    output = {"output_type": "execute_result", "data": {"text/plain": text}}
    assert partial_credit([output], 2.0)[0] == score


def test_no_value_earns_all():
    assert partial_credit([{"output_type": "stream", "text": "0"}], 2.0) == (2.0, "")


def test_outputs_lose_everything_that_acts():
    dirty = [
        {"output_type": "display_data", "data": {"text/html": "<script>", "text/plain": "a\x1b[31mb\x07"}},
        {"output_type": "display_data", "data": {"image/svg+xml": "<svg onload=x>"}},
        {"output_type": "display_data", "data": {"image/png": "PHNjcmlwdD4="}},
        {"output_type": "stream", "name": "stdout", "text": "x" * 100_000},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[0;31mE"]},
        {"output_type": "strange"},
        "no output",
    ]
    safe = safe_outputs(dirty)
    assert safe[0]["data"] == {"text/plain": "ab"}
    assert len(safe) == 3
    assert len(safe[1]["text"]) < 11_000
    assert safe[2]["traceback"] == ["E"]
    assert len(safe_outputs([dirty[0]] * 500)) == 21


def test_reading_keeps_the_labels_of_the_released_notebook(released):
    read = read_notebook(raw(notebook(released)))
    assert {c.grade_id for c in read.cells if c.grade_id} >= set(FULL)
