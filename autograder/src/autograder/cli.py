"""The command line: each command is imported when it is run; `autograder --help` lists them."""

import argparse
import errno
import importlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .assignment import AssignmentError
from .imports import lean_imports

DESCRIPTION = "Grade Jupyter notebooks that may be hostile."
INTERRUPTED = 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="autograder", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = command("release", _release, "make the students' notebooks from solutions/")
    sub.add_argument("assignments", nargs="*", metavar="ASSIGNMENT", help="all, if none is named")
    sub.add_argument(
        "--course", type=Path, help="also an nbgrader course directory: its source/, release/, configuration"
    )

    sub = command("bundle", _bundle, "write one archive for students: notebooks, library, what to install")
    sub.add_argument("assignments", nargs="*", metavar="ASSIGNMENT", help="all, if none is named")
    sub.add_argument("--output", type=Path, default=Path("gradatim-students.zip"), metavar="FILE")

    sub = command("ingest", _ingest, "take in an LMS's download, or one student's own archive")
    sub.add_argument(
        "downloads", nargs="+", type=Path, metavar="DOWNLOAD", help="zip of Moodle or Canvas; the newest last"
    )
    sub.add_argument("directory", type=Path, metavar="DIRECTORY", help="the course directory")
    sub.add_argument("--assignment", required=True, metavar="NAME")
    sub.add_argument("--map", type=Path, metavar="FILE", help="CSV: LMS id or name, student id")
    sub.add_argument(
        "--student", metavar="ID", help="the downloads are this student's own notebook or archive"
    )
    sub.add_argument(
        "--received", type=_time, metavar="TIME", help="when all of it was handed in (default: now); ISO 8601"
    )
    sub.add_argument(
        "--state", type=Path, help="where originals and the log are kept (default: as for grade)"
    )

    sub = command("grade", _grade, "grade every submission below a directory")
    _directory(sub)
    sub.add_argument("--json", type=Path, metavar="FILE", help="write every mark to FILE")
    sub.add_argument("--record", action="store_true", help="also write the marks to nbgrader's gradebook")
    _grading_options(sub)

    sub = command("feedback", _feedback, "write an HTML page for every student")
    _directory(sub)
    sub.add_argument(
        "--book", default="", metavar="URL", help="where the book's pages lie; sections are links then"
    )
    _grading_options(sub)

    sub = command("report", _report, "write the class summary: HTML, CSV and JSON")
    _directory(sub)
    sub.add_argument(
        "--book", default="", metavar="URL", help="where the book's pages lie; sections are links then"
    )
    _grading_options(sub)

    sub = command("export", _export, "write the marks as a gradebook file")
    _directory(sub)
    sub.add_argument("--format", choices=("csv", "canvas", "moodle"), default="csv")
    sub.add_argument("--output", type=Path, metavar="FILE", help="default: marks-<format>.csv in DIRECTORY")
    _grading_options(sub)

    sub = command("gradescope", _gradescope, "write the archive to upload as a Gradescope autograder")
    sub.add_argument("assignment")
    sub.add_argument("--output", type=Path, metavar="FILE", help="default: gradescope-ASSIGNMENT.zip here")
    sub.add_argument(
        "--min-tier",
        choices=("namespaces", "landlock"),
        default="landlock",
        help="refuse a weaker sandbox there",
    )
    sub.add_argument(
        "--index", default="", metavar="URL", help="a further package index, as for torch without CUDA"
    )

    sub = command("check", _check, "a student's self-check: the public checks on a notebook")
    sub.add_argument("notebook", type=Path)
    sub.add_argument("--assignment", help="default: told from the notebook's name, then from its cells")

    sub = command("doctor", _doctor, "say which sandbox tiers work on this machine, and why")
    sub.add_argument(
        "--min-tier", choices=("namespaces", "landlock"), help="exit with 1 unless this tier works"
    )

    sub = command("gate", _gate, "prove that the tests of every exercise tell right from wrong")
    sub.add_argument("assignments", nargs="*", metavar="ASSIGNMENT", help="all, if none is named")

    sub = command("new", _new, "scaffold an exercise: source cells, tests, mutants, alternatives")
    sub.add_argument("assignment")
    sub.add_argument("exercise", help="its id, a Python identifier")
    sub.add_argument(
        "--type", default="implement", help="implement, derive, debug, experiment, challenge or explain"
    )
    sub.add_argument("--title")

    sub = command("sample", _sample, "make the sample class, grade it, record it, write feedback and report")
    sub.add_argument("directory", type=Path)
    sub.add_argument("--jobs", type=_positive, default=1)
    return parser


def _directory(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "directory",
        type=Path,
        help="holds submitted/<student>/<assignment>/<notebook>.ipynb (or is that submitted/ itself)",
    )


def _grading_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--jobs", type=_positive, default=1, metavar="N", help="grading processes (default: 1)")
    sub.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="grade on the workers of this Dask scheduler, such as tls://host:8786, not in processes here",
    )
    sub.add_argument("--student", help="only this student")
    sub.add_argument("--assignment", help="only this assignment")
    sub.add_argument(
        "--since",
        type=_time,
        metavar="TIME",
        help="only what this server got then or later; ISO 8601, or 2h (ago)",
    )
    sub.add_argument(
        "--state", type=Path, help="where verdicts and the secret are kept (default: DIRECTORY/.autograder)"
    )
    sub.add_argument(
        "--min-tier", choices=("namespaces", "landlock"), help="refuse to grade in a weaker sandbox"
    )
    sub.add_argument(
        "--unsafe-no-sandbox",
        action="store_true",
        help="grade without isolation where none is to be had; only for submissions that you trust",
    )
    sub.add_argument("--quiet", action="store_true", help="no progress bar")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


_AGO = re.compile(r"(\d{1,4})\s*(min|h|d)")
_UNITS = {"min": "minutes", "h": "hours", "d": "days"}


def _time(text: str) -> datetime:
    """An ISO 8601 time (UTC unless it names a zone), or so long ago: 90min, 2h, 3d."""
    now = datetime.now(UTC)
    if match := _AGO.fullmatch(text.strip()):
        return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a time such as 2026-03-01, 2026-03-01T18:00+01:00 or 2h (ago), got {text!r}"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        with lean_imports():
            return options.run(options)
    except AssignmentError as err:
        print(f"autograder: {err}", file=sys.stderr)
        return 2
    except FileNotFoundError as err:
        print(f"autograder: no such file or directory: {err.filename}", file=sys.stderr)
        return 2
    except (FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError) as err:
        reason = (err.strerror or "cannot be used").lower()
        print(f"autograder: {err.filename}: it cannot be written or read there: {reason}", file=sys.stderr)
        return 2
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        reason = (err.strerror or "cannot be written").lower()
        print(f"autograder: {err.filename or 'the disk'}: {reason}; nothing is lost", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nautograder: interrupted; nothing is lost, run the same command again to go on", file=sys.stderr
        )
        return INTERRUPTED


# Each command imports what it needs: `autograder doctor` should not wait for torch and nbgrader.


def _release(options: argparse.Namespace) -> int:
    from .assignment import Assignment, assignment_names
    from .release import release

    for name in options.assignments or assignment_names():
        released = release(Assignment.load(name), options.course)
        for path in (released.student, released.source, released.release):
            if path is not None:
                print(path)
    return 0


def _bundle(options: argparse.Namespace) -> int:
    from .assignment import Assignment, assignment_names
    from .bundle import write_bundle

    names = options.assignments or assignment_names()
    print(write_bundle([Assignment.load(name) for name in names], options.output))
    return 0


def _ingest(options: argparse.Namespace) -> int:
    from .intake import open_intake, run_intake

    if not options.directory.is_dir():
        raise AssignmentError(f"{options.directory}: there is no such directory")
    intake = open_intake(
        options.directory,
        options.assignment,
        state=options.state,
        people=options.map,
        student=options.student,
        received=options.received,
    )
    return run_intake(intake, options.downloads)


def _grade(options: argparse.Namespace) -> int:
    from .classroom import GradedClass, Marks
    from .store import check_writable, write_whole

    def import_recorder() -> None:
        """nbgrader takes seconds to import."""
        importlib.import_module(f"{__package__}.nbgrader_record")

    if options.json is not None:  # not only after hours of grading
        check_writable(options.json)
    graded, marks = GradedClass(options, import_recorder if options.record else None), Marks()
    with ExitStack() as resources:
        recorder = None
        for one in graded:
            marks.add(one)
            if options.record:
                from .nbgrader_record import GradedBytes, Recorder

                if recorder is None:
                    recorder = resources.enter_context(Recorder(graded.options.course_dir))
                    notebook = GradedBytes(graded.options.course_dir)
                recorder.record(one.file, one.verdict, notebook(one.file, one.verdict))
    if options.json is not None:
        write_whole(
            options.json, (json.dumps(marks.table, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
        )
    rows = marks.rows()
    for student, assignment, score, max_score in rows if len(rows) <= 40 else ():
        print(f"{student:24} {assignment:16} {score:6.2f} / {max_score:g}")
    print(f"{len(graded.files)} notebooks graded" + (f"; marks in {options.json}" if options.json else ""))
    return 1 if graded.missing else 0


def _feedback(options: argparse.Namespace) -> int:
    from .assignment import assignment_title
    from .by_hand import HandMarks
    from .classroom import GradedClass
    from .feedback import feedback_html, write_feedback

    graded = GradedClass(options)
    with HandMarks(graded.options.course_dir) as hand:
        for one in graded:
            file = one.file
            text = feedback_html(
                one.verdict,
                title=assignment_title(file.assignment),
                student=file.student,
                book=options.book,
                by_hand=hand.of(file.student, file.assignment, file.path.stem),
            )
            write_feedback(graded.options.course_dir, file, text)
    print(f"{len(graded.files)} feedback pages in {graded.options.course_dir / 'feedback'}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from .classroom import GradedClass
    from .report import ClassReport

    graded = GradedClass(options)
    report = ClassReport()
    for one in graded:
        report.add(one.file, one.verdict)
    for path in report.write(graded.options.course_dir / "report", options.book):
        print(path)
    return 0


def _export(options: argparse.Namespace) -> int:
    from .classroom import GradedClass, Marks
    from .export import export_marks, marks_with_manual
    from .store import check_writable

    if options.output is not None:
        check_writable(options.output)
    graded, marks = GradedClass(options), Marks()
    for one in graded:
        marks.add(one)
    course = graded.options.course_dir
    target = options.output or course / f"marks-{options.format}.csv"
    print(export_marks(marks_with_manual(marks.table, course), target, options.format))
    return 0


def _gradescope(options: argparse.Namespace) -> int:
    from .gradescope import build_upload

    output = options.output or Path(f"gradescope-{options.assignment}.zip")
    print(build_upload(options.assignment, output, minimum=options.min_tier, index=options.index))
    return 0


def _check(options: argparse.Namespace) -> int:
    from .selfcheck import check_notebook

    return check_notebook(options.notebook, options.assignment)


def _doctor(options: argparse.Namespace) -> int:
    from .sandbox import available_tiers

    tiers = available_tiers()
    for tier in tiers:
        print(f"{'yes' if tier.available else 'no ':3} {tier.name:11} {tier.reason}")
    best = next((t.name for t in tiers if t.available and t.name != "none"), None)
    print(
        f"autograder grade uses: {best}"
        if best
        else "autograder grade refuses, unless told --unsafe-no-sandbox"
    )
    wanted = options.min_tier or "landlock"
    enough = [t.name for t in tiers if t.available and t.name in ("namespaces", wanted)]
    return 0 if enough else 1


def _gate(options: argparse.Namespace) -> int:
    from .assignment import assignment_names
    from .gate import main as gate

    return gate(options.assignments or assignment_names())


def _new(options: argparse.Namespace) -> int:
    from .scaffold import scaffold

    for path in scaffold(options.assignment, options.exercise, options.type, options.title):
        print(path)
    return 0


def _sample(options: argparse.Namespace) -> int:
    from .classroom import run_sample_class

    run_sample_class(options.directory, options.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
