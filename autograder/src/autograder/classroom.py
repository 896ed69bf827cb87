"""What the command line does with a class: grade it as a stream, and hand each verdict to whoever wants it.

Nothing here holds the class's verdicts in memory; ten thousand submissions pass through one by one.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .assignment import Assignment, AssignmentError, project_root
from .ingest import SubmittedFile, audit_line, class_folder, scan
from .runner import Graded, Options, grade_class
from .sandbox import SandboxConfig, SandboxUnavailable
from .sandbox.tiers import choose_tier

STATE = ".autograder"
LOOKED_AT = 50  # notebooks that are searched for the libraries that the class uses
ALWAYS = {"matplotlib", "matplotlib_inline", "tqdm"}  # IPython's own figures need the first two


def class_options(arguments: argparse.Namespace) -> Options:
    """The grading options that a command line names; AssignmentError where the sandbox asked for is not to be had."""
    if not arguments.directory.is_dir():
        raise AssignmentError(f"{arguments.directory}: there is no such directory")
    course, _ = class_folder(arguments.directory)
    scheduler, unsafe = getattr(arguments, "scheduler", None), arguments.unsafe_no_sandbox
    if scheduler is None:
        tier = "none" if unsafe and not _isolates() else None
        sandbox = SandboxConfig(minimum=arguments.min_tier or "landlock", tier=tier, unsafe=unsafe)
    else:  # each worker takes the strongest tier that it has
        minimum = arguments.min_tier or ("none" if unsafe else "landlock")
        sandbox = SandboxConfig(minimum=minimum, unsafe=unsafe)
    try:
        if scheduler is None:
            choose_tier(sandbox)
    except SandboxUnavailable as err:
        raise AssignmentError(f"{err} (`autograder doctor` says more)") from None
    state = arguments.state or course / STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
        usable = os.access(state, os.W_OK)
    except OSError:
        usable = False
    if not usable:
        raise AssignmentError(
            f"{state}: verdicts cannot be kept there; name a folder you can write with --state"
        )
    return Options(course.resolve(), state.resolve(), sandbox, scheduler)


def _isolates() -> bool:
    try:
        choose_tier(SandboxConfig())
    except SandboxUnavailable:
        return False
    return True


def find_submissions(arguments: argparse.Namespace) -> list[SubmittedFile]:
    """The submissions that the filters leave, refused files included, each with its reason.

    AssignmentError that names the filter, or the folder, which leaves none.
    """
    files = scan(arguments.directory)
    if not files:
        raise AssignmentError(
            f"{arguments.directory}: no submission found; expected "
            "submitted/<student>/<assignment>/<notebook>.ipynb below it"
        )
    for name in ("student", "assignment"):
        wanted = getattr(arguments, name)
        if wanted is not None:
            there = sorted({getattr(f, name) for f in files})
            files = [f for f in files if getattr(f, name) == wanted]
            if not files:
                shown = ", ".join(there[:10]) + (", ..." if len(there) > 10 else "")
                raise AssignmentError(f"--{name} {wanted}: no submission found; there is one of {shown}")
    if arguments.since is not None:
        files = _since(files, arguments)
    return files


def _since(files: list[SubmittedFile], arguments: argparse.Namespace) -> list[SubmittedFile]:
    """Those which this server received at `--since` or later. A file of unknown time is kept: rather once too often."""
    from .arrival import arrival_time

    course, _ = class_folder(arguments.directory)
    state = arguments.state or course / STATE
    times = [(f, arrival_time(f, state)) for f in files]
    late = [f for f, time in times if time is None or time >= arguments.since]
    if not late:
        last = max(time for _, time in times if time is not None)
        raise AssignmentError(
            f"--since {arguments.since:%Y-%m-%d %H:%M} UTC: no submission found; the last one came at "
            f"{last:%Y-%m-%d %H:%M} UTC"
        )
    return late


def _preloading(sandbox: SandboxConfig, files: list[SubmittedFile]) -> SandboxConfig:
    """The sandbox without libraries that the first notebooks do not mention: scikit-learn takes seconds to import.

    Only time depends on it. A notebook that does import such a library does so itself.
    """
    mentioned: set[str] = set()
    optional = {name.partition(".")[0] for name in sandbox.preload_if_present}
    for file in files[:LOOKED_AT]:
        with contextlib.suppress(OSError):
            raw = file.read()
            mentioned |= {name for name in optional if name.encode() in raw}
    needed = [n for n in sandbox.preload_if_present if {n.partition(".")[0]} & (mentioned | ALWAYS)]
    return replace(sandbox, preload_if_present=tuple(needed))


class GradedClass:
    """Iterates over the verdicts of a class, with a progress bar; `missing` counts what got none.

    Args:
        meanwhile: see `runner.grade_class`.
    """

    def __init__(self, arguments: argparse.Namespace, meanwhile: Callable[[], object] | None = None) -> None:
        self.meanwhile = meanwhile
        self.options = class_options(arguments)
        self.files = find_submissions(arguments)
        self.jobs, self.quiet = arguments.jobs, arguments.quiet
        self.missing = len(self.files)
        self.options = replace(self.options, sandbox=_preloading(self.options.sandbox, self.files))

    def __iter__(self) -> Iterator[Graded]:
        some_are_new = self._log_arrivals()
        bar = tqdm(
            total=len(self.files), unit="notebook", disable=self.quiet, file=sys.stderr, mininterval=0.5
        )
        with bar:
            for graded in grade_class(
                self.files,
                self.options,
                jobs=self.jobs,
                some_are_new=some_are_new,
                meanwhile=self.meanwhile,
            ):
                yield graded
                self.missing -= 1
                bar.update()

    def _log_arrivals(self) -> bool:
        """One line a file that was not logged before: who, what, when, which digest, or why it was refused.

        Returns whether there was one.
        """
        path = self.options.state_dir / "audit.jsonl"
        known = set(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else set()
        new = [line for line in map(audit_line, self.files) if line not in known]
        with path.open("a", encoding="utf-8") as log:
            log.writelines(f"{line}\n" for line in new)
        return bool(new)


class Marks:
    """{student: {assignment: summary}}; an assignment of several notebooks has their exercises together."""

    def __init__(self) -> None:
        self.table: dict[str, dict[str, Any]] = {}

    def add(self, graded: Graded) -> None:
        own, file = graded.verdict.summary(), graded.file
        entry = self.table.setdefault(file.student, {}).setdefault(
            file.assignment, {"score": 0.0, "max_score": 0.0, "exercises": {}}
        )
        entry["score"] = round(entry["score"] + own["score"], 6)
        entry["max_score"] = round(entry["max_score"] + own["max_score"], 6)
        for name, exercise in own["exercises"].items():
            taken = name in entry["exercises"]
            entry["exercises"][f"{file.path.stem}/{name}" if taken else name] = exercise

    def rows(self) -> list[tuple[str, str, float, float]]:
        return [
            (student, assignment, entry["score"], entry["max_score"])
            for student, own in sorted(self.table.items())
            for assignment, entry in sorted(own.items())
        ]


def _book_from(folder: Path) -> str:
    """The built book's pages, as seen from a page in this folder."""
    return os.path.relpath(project_root() / "_build" / "html" / "book", folder.resolve()) + "/"


def run_sample_class(directory: Path, jobs: int) -> None:
    """Make the sample class in an nbgrader course directory, grade and record it, write feedback and report."""
    from .cli import main
    from .release import release
    from .sample import write_sample_class

    directory.mkdir(parents=True, exist_ok=True)
    assignment = Assignment.load("losses")
    release(assignment, directory)
    write_sample_class(assignment, directory)
    where = str(directory)
    steps = [
        ["grade", where, "--jobs", str(jobs), "--record", "--json", str(directory / "marks.json")],
        ["feedback", where, "--quiet", "--book", _book_from(directory / "feedback" / "s" / "a")],
        ["report", where, "--quiet", "--book", _book_from(directory / "report")],
        ["export", where, "--quiet"],
    ]
    for step in steps:
        if status := main(step):
            raise AssignmentError(f"autograder {step[0]} ended with status {status}")
