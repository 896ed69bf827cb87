"""Settings that make stock nbgrader, on the command line and in formgrader, use this grader. No fork: nbgrader's
traits accept dotted names.
"""

import os
import sys
from pathlib import Path

from traitlets.config import Config

PLUGIN = "autograder.nbgrader_plugin"
FILE = "nbgrader_config.py"

TEXT = '''"""nbgrader's configuration for this course. Add your own settings below the last line."""

c = get_config()

c.CourseDirectory.course_id = {course_id!r}

# Student code runs in the autograder's sandbox, never in nbgrader's kernel; marks come from its verdicts.
from autograder.nbgrader_config import configure

configure(c)

# Submission times are those at which this server stored the files. If you collect through nbgrader's exchange and want
# the times that `nbgrader submit` wrote, which a student can change:
# c.SaveVerdict.trust_timestamps = True
'''


def configure(c: Config) -> None:
    """Apply the settings to nbgrader's configuration object."""
    # nbgrader makes a gradebook with the `alembic` command, and needs it on the PATH even when called by its full path.
    scripts, path = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    if scripts not in path.split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([path, scripts])
    c.Autograde.exporter_class = f"{PLUGIN}.TolerantExporter"
    c.Autograde.pre_convert_hook = f"{PLUGIN}.prepare_submission"
    c.Autograde.sanitize_preprocessors = [
        f"{PLUGIN}.RebuildNotebook",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    c.Autograde.autograde_preprocessors = [
        f"{PLUGIN}.SaveVerdict",
        "nbgrader.preprocessors.AssignLatePenalties",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    c.GenerateAssignment.preprocessors = [
        "nbgrader.preprocessors.IncludeHeaderFooter",
        "nbgrader.preprocessors.LockCells",
        "autograder.release.StubSolutions",
        "nbgrader.preprocessors.ClearOutput",
        "nbgrader.preprocessors.CheckCellMetadata",
        "nbgrader.preprocessors.ComputeChecksums",
        "nbgrader.preprocessors.SaveCells",
        "nbgrader.preprocessors.ClearHiddenTests",
        "nbgrader.preprocessors.ClearMarkScheme",
        "nbgrader.preprocessors.ComputeChecksums",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    # A student's <script> must not run in the instructor's browser.
    c.HTMLExporter.sanitize_html = True


def write_config(course_dir: Path, course_id: str) -> bool:
    """Write nbgrader_config.py unless there is one; return whether the course is configured for this grader."""
    path = course_dir / FILE
    if not path.exists():
        path.write_text(TEXT.format(course_id=course_id), encoding="utf-8")
        return True
    return "autograder.nbgrader_config" in path.read_text(encoding="utf-8", errors="replace")
