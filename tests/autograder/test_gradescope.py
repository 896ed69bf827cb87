"""The Gradescope upload, run by its own script in the documented layout."""

import ast
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from autograder.cli import main
from autograder.gradescope import results
from autograder.sandbox import available_tiers
from autograder.verdict import Diagnosis, ExerciseVerdict, SubmissionVerdict, TestVerdict

from .hostile import submissions, unusual

TOY = Path(__file__).parent / "toy_course"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def upload(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADATIM_COURSE", str(TOY))
        path = tmp_path_factory.mktemp("upload") / "toy.zip"
        assert main(["gradescope", "toy", "--output", str(path)]) == 0
    return path


@pytest.fixture
def root(upload, tmp_path) -> Path:
    """/autograder as Gradescope lays it out, with the script copied to where it is run from."""
    root = tmp_path / "autograder"
    source = root / "source"
    with zipfile.ZipFile(upload) as archive:
        archive.extractall(source)
    (root / "submission").mkdir()
    (root / "results").mkdir()
    shutil.copy(source / "run_autograder", root / "run_autograder")
    (root / "run_autograder").chmod(0o755)
    return root


def run(root: Path) -> subprocess.CompletedProcess:
    environment = {
        "PATH": os.environ["PATH"],
        "GRADESCOPE_ROOT": str(root),
        "GRADESCOPE_PYTHON": sys.executable,
    }
    return subprocess.run(
        [str(root / "run_autograder")], cwd=root, env=environment, capture_output=True, text=True, timeout=300
    )


def check_format(told: dict) -> None:
    """The documented fields and their types, every number finite and in range."""
    assert set(told) <= {"score", "execution_time", "output", "output_format", "test_output_format", "test_name_format",
                         "visibility", "stdout_visibility", "extra_data", "tests"}  # fmt: skip
    assert told["stdout_visibility"] == "hidden"
    assert told["tests"]
    for test in told["tests"]:
        assert set(test) == {"name", "score", "max_score", "status", "output", "visibility"}
        assert 0 <= test["score"] <= test["max_score"]
        assert test["status"] in ("passed", "failed")
        assert test["visibility"] == "visible"
        assert isinstance(test["output"], str)
    assert told["score"] == pytest.approx(sum(t["score"] for t in told["tests"]))


def secrets_of_tests() -> set[str]:
    """Assertions and literals of the hidden tests, and lines of the solution: none may reach a student."""
    found = set()
    for path in (TOY / "autograder" / "assignments" / "toy" / "tests").glob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Assert | ast.Assign | ast.Compare):
                found.add(ast.get_source_segment(text, node))
            if isinstance(node, ast.Call) and "claim" not in ast.unparse(node.func):
                found.add(ast.get_source_segment(text, node))
    return {f for f in found if f and len(f) > 8}


CASES = {
    "good": ({"toy.ipynb": unusual.GOOD}, 6, "Holds."),
    "wrong": ({"homework.ipynb": submissions.answer(submissions.WRONG_SOFTPLUS)}, 3, "Fails."),
    "missing": ({"essay.txt": b"nothing"}, 0, "There is no notebook toy.ipynb."),
    "damaged": ({"toy.ipynb": unusual.GOOD[: unusual.GOOD.index(b"RunningMean")]}, 3, "not answered"),
    "hostile": (
        {
            "toy.ipynb": submissions.attack("import os\nprint(os.listdir('/'))\nos._exit(0)"),
            "torch.py": b"1/0",
        },
        3,
        "",
    ),
    "forged": ({"toy.ipynb": next(iter(submissions.FORGED.values()))}, 3, "Fails."),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(CASES))
def test_each_submission_gets_its_mark_in_the_documented_form(root, case):
    files, score, words = CASES[case]
    for name, content in files.items():
        (root / "submission" / name).write_bytes(content)
    done = run(root)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (root / "results" / "results.json").read_text()
    told = json.loads(text)
    check_format(told)
    assert told["score"] == score
    assert words.lower() in text.lower()
    assert told["extra_data"]["sandbox"] in ("namespaces", "landlock")
    secret = (root / "source" / "course_secret").read_text()
    assert not [s for s in (*secrets_of_tests(), secret) if s in text]
    assert secret not in done.stdout + done.stderr


@pytest.mark.slow
def test_links_in_a_submission_are_not_followed(root):
    (root / "submission" / "toy.ipynb").symlink_to("../source/course/solutions/toy.py")
    done = run(root)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((root / "results" / "results.json").read_text())
    check_format(told)
    assert told["score"] == 0
    assert "'toy.ipynb' is a symbolic link" in told["output"] + str(told["tests"])


def test_without_a_sandbox_there_is_no_result_and_the_instructor_is_told(root, monkeypatch, capsys):
    from autograder.gradescope import main as grade
    from autograder.sandbox import SandboxUnavailable, tiers

    def none(config):
        raise SandboxUnavailable("the sandbox tier 'namespaces' is not available here.")

    monkeypatch.setattr(tiers, "choose_tier", none)
    assert grade([str(root), "toy", "namespaces"]) == 1
    assert "gradatim: the sandbox tier 'namespaces' is not available here." in capsys.readouterr().out
    assert not (root / "results" / "results.json").exists()


def test_the_archive_holds_what_it_needs_and_opens_for_its_owner_alone(upload, root):
    source = root / "source"
    for name in ("setup.sh", "run_autograder", "requirements.lock", "requirements.txt", "course_secret"):
        assert (source / name).is_file()
    assert stat.S_IMODE(upload.stat().st_mode) == 0o600
    with zipfile.ZipFile(upload) as archive:
        modes = {i.filename: stat.S_IMODE(i.external_attr >> 16) for i in archive.infolist()}
    assert modes["setup.sh"] == modes["run_autograder"] == 0o755
    assert all(mode == 0o600 for name, mode in modes.items() if name.startswith("course"))
    assert not [name for name in modes if "__pycache__" in name or ".autograder" in name]
    script = "import autograder, gradatim; print(autograder.__file__, gradatim.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(source / "python")}
    out = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert all(path.startswith(str(source / "python")) for path in out.stdout.split())


@pytest.mark.parametrize("script", ["setup.sh", "run_autograder"])
def test_the_scripts_parse_and_name_files_that_are_there(root, script):
    source = root / "source"
    subprocess.run(["bash", "-n", str(source / script)], check=True)
    text = (source / script).read_text()
    assert "@" not in text.replace("$@", "")
    named = set(re.findall(r'"\$here/([\w./-]+)"', text))
    assert named
    assert all((source / name).exists() for name in named)


def test_every_requirement_is_pinned_by_the_lock(root):
    pins = {
        line.split("==")[0].lower()
        for line in (root / "source" / "requirements.lock").read_text().splitlines()
    }
    wanted = (root / "source" / "requirements.txt").read_text().split()
    assert wanted
    assert set(wanted) <= pins
    assert (root / "source" / "requirements.lock").read_bytes() == (ROOT / "requirements.lock").read_bytes()


def test_results_tell_claims_hints_and_causes_but_no_message():
    failed = TestVerdict("t", "It holds.", 2, 0, "failed", "got 0.125 for x = 0.3", "Look at large inputs.")
    passed = TestVerdict("u", "It also holds.", 1, 1, "passed", "", "unused")
    exercise = ExerciseVerdict("a", "Softplus", 1, 3, "partial", "1 of 2", (failed, passed),
                               Diagnosis("naive", "The logarithm comes last.", "toy.html#s", True))  # fmt: skip
    forbidden = ExerciseVerdict("b", "Mean", 0, 3, "forbidden", "Uses torch.mean.", (passed,))
    manual = ExerciseVerdict("c", "Why", 0, 4, "manual", "", manual=True)
    told = results(SubmissionVerdict("toy", (exercise, forbidden, manual)), 1.234, "namespaces")
    check_format(told)
    assert [(t["name"], t["score"], t["max_score"], t["output"]) for t in told["tests"]] == [
        ("Softplus: It holds.", 0, 2, "Fails. Hint: Look at large inputs."),
        ("Softplus: It also holds.", 1, 1, "Holds."),
        ("Mean", 0, 3, "Uses torch.mean."),
    ]
    assert "exactly like one with this mistake: The logarithm comes last." in told["output"]
    assert "Why: 4 more points are given by hand." in told["output"]
    assert "0.125" not in json.dumps(told)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no_such"], "assignment must be one of toy"),
        (["toy", "--index", "https://x/'; rm -rf /; '"], "--index: it must be an http or https address"),
    ],
)
def test_bad_input_gives_one_sentence_and_no_file(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.setenv("GRADATIM_COURSE", str(TOY))
    assert main(["gradescope", *arguments, "--output", str(tmp_path / "x.zip")]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


if not any(t.available for t in available_tiers() if t.name != "none"):
    pytestmark = pytest.mark.skip(reason="no sandbox works here")
