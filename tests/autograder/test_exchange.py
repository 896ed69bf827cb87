"""The whole way through nbgrader's own exchange, with the real commands: release to fetched feedback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autograder.nbgrader_course import open_gradebook
from autograder.sandbox import available_tiers

from .hostile import submissions, unusual

pytestmark = pytest.mark.slow
TOY = Path(__file__).parent / "toy_course"
COURSE = "toy101"
CONFIG = """c = get_config()
c.Exchange.root = {root!r}
c.CourseDirectory.course_id = {course!r}
c.CourseDirectory.student_id = {user!r}  # one system user plays them all
"""


class Person:
    """Somebody at a shell of their own: home, working directory, nbgrader configuration."""

    def __init__(self, home: Path, user: str, root: Path, folder: Path | None = None) -> None:
        self.home, self.folder = home, folder or home
        self.folder.mkdir(parents=True, exist_ok=True)
        home.mkdir(exist_ok=True)
        # The shell's PATH has no `alembic`; commands are called by their full path.
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "USER": user, "LOGNAME": user,
                            "JUPYTER_DATA_DIR": str(home / "data"), "GRADATIM_COURSE": str(TOY),
                            "OMP_NUM_THREADS": "1"}  # fmt: skip
        self.environment["JUPYTER_CONFIG_DIR"] = str(home / "config")
        if folder is None:
            (home / "nbgrader_config.py").write_text(CONFIG.format(root=str(root), course=COURSE, user=user))

    def run(self, module: str, *arguments: str) -> str:
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def test_release_fetch_submit_collect_grade_feedback_and_back(tmp_path):
    if not any(t.available for t in available_tiers() if t.name != "none"):
        pytest.skip("no sandbox works here")
    root, course = tmp_path / "exchange", tmp_path / "course"
    root.mkdir()
    root.chmod(0o777)
    teacher = Person(tmp_path / "teacher", "teacher", root, course)
    project = tmp_path / "project"
    shutil.copytree(TOY, project, ignore=shutil.ignore_patterns("__pycache__"))  # the release writes into it
    teacher.environment["GRADATIM_COURSE"] = str(project)
    teacher.run("autograder.cli", "release", "toy", "--course", str(course))
    with (course / "nbgrader_config.py").open("a") as f:
        f.write(f"c.Exchange.root = {str(root)!r}\nc.CourseDirectory.course_id = {COURSE!r}\n")
    teacher.run("nbgrader", "release_assignment", "toy")

    answers = {"ann": unusual.GOOD, "bob": submissions.answer(submissions.WRONG_SOFTPLUS)}
    students = {name: Person(tmp_path / name, name, root) for name in answers}
    for name, student in students.items():
        student.run("nbgrader", "fetch_assignment", "toy")
        notebook = student.home / "toy" / "toy.ipynb"
        assert json.loads(notebook.read_text())["cells"]
        notebook.write_bytes(answers[name])
        student.run("nbgrader", "submit", "toy")

    teacher.run("nbgrader", "collect", "toy")
    # Somebody handed in by mail: no exchange, and no reason to hold up the others' feedback.
    mailed = course / "submitted" / "cy" / "toy" / "toy.ipynb"
    mailed.parent.mkdir(parents=True)
    mailed.write_bytes(unusual.GOOD)
    teacher.run("autograder.cli", "grade", str(course), "--record", "--quiet")
    with open_gradebook(course) as gradebook:
        marks = {s.student.id: s.score for s in gradebook.assignment_submissions("toy")}
    assert marks == {"ann": 6, "bob": 3, "cy": 6}
    teacher.run("autograder.cli", "feedback", str(course), "--quiet")
    teacher.run("nbgrader", "release_feedback", "toy")

    for name, student in students.items():
        student.run("nbgrader", "fetch_feedback", "toy")
        (page,) = (student.home / "toy" / "feedback").rglob("*.html")
        text = page.read_text()
        assert name in text
        assert "submission_secret" not in text
        assert ("Fails:" in text) == (name == "bob")
    assert len(os.listdir(root / COURSE / "feedback")) == 3

    (students["bob"].home / "toy" / "toy.ipynb").write_bytes(unusual.GOOD)
    students["bob"].run("nbgrader", "submit", "toy")
    teacher.run("nbgrader", "collect", "toy", "--update")
    teacher.run("nbgrader", "autograde", "toy", "--student", "bob", "--force")
    with open_gradebook(course) as gradebook:
        assert gradebook.find_submission("toy", "bob").score == 6
