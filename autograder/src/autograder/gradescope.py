"""Gradescope: an upload that grades one assignment there, and the run inside it.

The archive holds the grader, the library, one assignment with its hidden tests and solution, and a secret of its own. A
student's code runs in the sandbox, which shows it none of that. Students see of each test its claim, its points and, if
it failed, its hint: no input, no value, no line of a test.

Source: Gradescope's "Autograder Specifications" (archive, directories, results.json).
"""

import io
import json
import math
import re
import secrets
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .assignment import Assignment, AssignmentError
from .store import write_whole
from .verdict import ExerciseVerdict, SubmissionVerdict, TestVerdict

#: What grading imports, and what students' notebooks may; versions come from the lock.
REQUIREMENTS = (
    *("torch", "numpy", "matplotlib", "scikit-learn", "ipython", "ipykernel"),
    *("nbgrader", "jupytext", "pytest", "tqdm"),
)
STUDENT = "submission"
_TEMPLATES = Path(__file__).parent / "templates"
_DATE = (2020, 1, 1, 0, 0, 0)  # the same sources give the same archive, but for the secret
_URL = re.compile(r"https?://[A-Za-z0-9._~:/@%+-]+")


def build_upload(name: str, output: Path, *, minimum: str = "landlock", index: str = "") -> Path:
    """Write the archive to upload; AssignmentError if the assignment is not whole.

    Args:
        minimum: the weakest sandbox to grade in; where there is none, Gradescope reports a failed autograder.
        index: address of a further package index, as torch's for builds without CUDA.
    """
    assignment = Assignment.load(name)
    if index and not _URL.fullmatch(index):
        raise AssignmentError(f"--index: it must be an http or https address, got {index!r}")
    for exercise in assignment.exercises:
        if not exercise.manual and not assignment.test_path(exercise.id).is_file():
            raise AssignmentError(f"{name}: {assignment.test_path(exercise.id).name} is missing")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content, mode in _contents(assignment, minimum, index):
            info = zipfile.ZipInfo(path, _DATE)
            info.create_system, info.external_attr = 3, (0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    write_whole(output, out.getvalue())  # readable by its owner alone: it holds tests and solutions
    return output


def _contents(assignment: Assignment, minimum: str, index: str) -> Iterator[tuple[str, bytes, int]]:
    import gradatim

    setup = (_TEMPLATES / "gradescope_setup.sh").read_text(encoding="utf-8")
    run = (_TEMPLATES / "gradescope_run.sh").read_text(encoding="utf-8")
    yield (
        "setup.sh",
        setup.replace("@INDEX@", f"--extra-index-url '{index}'" if index else "").encode(),
        0o755,
    )
    yield (
        "run_autograder",
        run.replace("@ASSIGNMENT@", assignment.name).replace("@MINIMUM@", minimum).encode(),
        0o755,
    )
    yield "requirements.lock", _lock(assignment.root), 0o644
    yield "requirements.txt", "".join(f"{r}\n" for r in REQUIREMENTS).encode(), 0o644
    yield "course_secret", secrets.token_hex(32).encode(), 0o600
    package, library = Path(__file__).parent, Path(str(gradatim.__file__)).parent
    folders = [
        (package, "python/autograder", 0o644),
        (library, "python/gradatim", 0o644),
        (assignment.folder, f"course/autograder/assignments/{assignment.name}", 0o600),
    ]
    for folder, place, mode in folders:
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            hidden = any(part == "__pycache__" or part.startswith(".") for part in relative.parts)
            if path.is_file() and not hidden:
                yield f"{place}/{relative.as_posix()}", path.read_bytes(), mode
    yield f"course/solutions/{assignment.name}.py", assignment.solution_path.read_bytes(), 0o600


def _lock(root: Path) -> bytes:
    for folder in (root, Path(__file__).resolve().parents[3]):
        path = folder / "requirements.lock"
        if path.is_file():
            return path.read_bytes()
    raise AssignmentError(f"{root}: requirements.lock is missing; `make lock` writes it")


def results(verdict: SubmissionVerdict, seconds: float, tier: str) -> dict[str, Any]:
    """results.json of a verdict. Every number is finite and in range; what is marked by hand is left to Gradescope."""
    graded = [e for e in verdict.exercises if not e.manual]
    by_hand = [e for e in verdict.exercises if e.manual]
    tests = [row for e in graded for row in _rows(e)]
    lines = [verdict.message] if verdict.message else []
    lines += [f"Repaired in your notebook: {r}" for r in verdict.repairs[:20]]
    for e in graded:
        if e.diagnosis is not None:
            sure = "exactly" if e.diagnosis.certain else "much"
            lines.append(
                f"{e.title}: your code behaves {sure} like one with this mistake: {e.diagnosis.misconception} "
                f"See {e.diagnosis.section} in the book."
            )
    lines += [f"{e.title}: {e.max_score:g} more points are given by hand." for e in by_hand]
    return {
        "score": _mark(sum(row["score"] for row in tests), math.inf),
        "execution_time": round(seconds, 1),
        "output": "\n".join(lines) or "Graded.",
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "extra_data": {"sandbox": tier},
        "tests": tests,
    }


def _rows(e: ExerciseVerdict) -> list[dict[str, Any]]:
    told = math.isclose(sum(t.earned for t in e.tests), e.score, abs_tol=1e-9)
    if e.tests and told:
        return [_row(f"{e.title}: {t.claim}", t.earned, t.points, _words(t)) for t in e.tests]
    return [_row(e.title, e.score, e.max_score, e.message or e.status)]


def _words(test: TestVerdict) -> str:
    if test.status == "passed":
        return "Holds."
    said = "Not run." if test.status == "skipped" else "Fails."
    return f"{said} Hint: {test.hint}" if test.hint else said


def _row(name: str, score: float, points: float, output: str) -> dict[str, Any]:
    score = _mark(score, points)
    return {
        "name": name,
        "score": score,
        "max_score": points,
        "status": "passed" if score >= points else "failed",
        "output": output,
        "visibility": "visible",
    }


def _mark(score: float, points: float) -> float:
    return round(min(max(score, 0.0), points), 6) if math.isfinite(score) else 0.0


def grade_submission(root: Path, name: str, minimum: str) -> Path:
    """Grade <root>/submission as Gradescope lays it out; write and return <root>/results/results.json.

    AssignmentError where no sandbox works: then there must be no result, for that is not the student's fault.
    """
    from .ingest import find_submission
    from .intake import open_intake
    from .runner import Options, grade_class
    from .sandbox import SandboxConfig, SandboxUnavailable
    from .sandbox.tiers import choose_tier

    start = time.monotonic()
    sandbox = SandboxConfig(minimum=minimum)
    try:
        tier = choose_tier(sandbox)
    except SandboxUnavailable as err:
        raise AssignmentError(str(err)) from None
    with tempfile.TemporaryDirectory(prefix="gradatim-") as folder:
        course = Path(folder)
        state = course / ".autograder"
        state.mkdir()
        write_whole(state / "course_secret", (root / "source" / "course_secret").read_bytes())
        (course / "submitted").mkdir()
        for arrived in open_intake(course, name, student=STUDENT).take_folder(root / "submission"):
            print(arrived)
        (file,) = find_submission(course, STUDENT, name)
        (graded,) = grade_class([file], Options(course, state, sandbox))
    told = results(graded.verdict, time.monotonic() - start, str(tier))
    path = root / "results" / "results.json"
    write_whole(path, json.dumps(told, indent=1, allow_nan=False).encode())
    path.chmod(0o644)
    print(f"sandbox: {tier}; {told['score']:g} points in {told['execution_time']} s")
    return path


def main(arguments: list[str]) -> int:
    """`run_autograder` ends here: root, assignment, least tier."""
    root, name, minimum = arguments
    try:
        grade_submission(Path(root), name, minimum)
    except AssignmentError as err:
        print(f"gradatim: {err}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
