"""An nbgrader course directory: its configuration, its gradebook, and the cells of a release in it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import SaveCells
from traitlets.config import Config, PyFileConfigLoader

from .assignment import AssignmentError
from .nbgrader_config import FILE, write_config
from .store import write_soon

STATE = ".autograder"  # in the course directory: verdicts, the secret, what was moved away
STEPS = ("source", "release", "submitted", "autograded", "feedback")


def prepare_course(course_dir: Path, course_id: str | None = None) -> None:
    """Make the course directory and its nbgrader_config.py; one there already is left as it is.

    AssignmentError if that one does not use this grader: it would run student code in nbgrader's own kernel.
    """
    for step in STEPS:
        (course_dir / step).mkdir(parents=True, exist_ok=True)
    if not write_config(course_dir, course_id or course_dir.resolve().name):
        raise AssignmentError(
            f"{course_dir / FILE}: it must call `configure(c)` from autograder.nbgrader_config, add these two lines: "
            "`from autograder.nbgrader_config import configure` and `configure(c)`"
        )


def course_config(course_dir: Path) -> Config:
    """The course's nbgrader configuration, as the nbgrader commands see it."""
    if not (course_dir / FILE).is_file():
        return Config()
    try:
        return PyFileConfigLoader(FILE, path=str(course_dir.resolve())).load_config()
    except Exception as err:  # the file is the instructor's own Python: anything may go wrong in it
        raise AssignmentError(f"{course_dir / FILE}: it cannot be loaded: {err!r}") from None


def course_settings(course_dir: Path, config: Config | None = None) -> CourseDirectory:
    """nbgrader's view of a course: its directories, database and name."""
    return CourseDirectory(root=str(course_dir.resolve()), config=config or course_config(course_dir))


def open_gradebook(course_dir: Path, config: Config | None = None) -> Gradebook:
    """Open the gradebook; the caller closes it. One opening costs nine milliseconds, so keep it for a whole class."""
    settings = course_settings(course_dir, config)
    with _own_scripts():
        return Gradebook(settings.db_url, settings.course_id)


def save_cells(course_dir: Path, assignment: str, student: NotebookNode) -> None:
    """Enter an assignment and its cells into the gradebook, or update their points and sources.

    AssignmentError if cells were added or removed after students handed in: nbgrader's marks hang on them.
    """
    config = course_config(course_dir)
    settings = course_settings(course_dir, config)
    with open_gradebook(course_dir, config) as gradebook:
        gradebook.update_or_create_assignment(assignment)
    names = {"notebook": assignment, "assignment": assignment, "student": ".", "db_url": settings.db_url}
    try:
        SaveCells(config=config).preprocess(student.copy(), {"nbgrader": names})
    except RuntimeError as err:
        raise AssignmentError(f"{assignment}: {err}") from None


def write_graded(course_dir: Path, student: str, assignment: str, notebook: str, content: bytes) -> Path:
    """Write autograded/<student>/<assignment>/<notebook>.ipynb whole, read-only as nbgrader does."""
    path = course_dir / "autograded" / student / assignment / f"{notebook}.ipynb"
    if not (path.is_file() and path.read_bytes() == content):
        write_soon(path, content)
        os.chmod(path, 0o444)
    return path


@contextlib.contextmanager
def _own_scripts() -> Iterator[None]:
    """nbgrader makes a new gradebook with the `alembic` command, which need not be on the PATH of who calls us."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before
