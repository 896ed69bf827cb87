"""Every benchmark of the library, one after the other: Markdown tables with date, device and torch's version.

    python benchmarks/run_all.py                   # what `make bench` runs
    python benchmarks/run_all.py --write           # and puts the tables into the book's page (book/_data/)
    python benchmarks/run_all.py --quick           # few rounds and seeds: minutes, and rough
    python benchmarks/run_all.py --grading         # also the grader beside stock nbgrader, and the sandbox
    python benchmarks/run_all.py --only losses     # this part anew

Each finished part is kept in _build/benchmarks, so that an interrupted run goes on with the part it was in; a run that
is complete, `--fresh` or another setting begins anew. Each part measures both sides side by side in one process, so
compare figures within a table only. Close other programs before figures are taken that will be published.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "_build" / "benchmarks"
PAGE_DATA = ROOT / "book" / "_data" / "benchmarks-cpu.md"


@dataclass(frozen=True)
class Part:
    """A benchmark's script, its title in the page, and its arguments for a full and a quick run."""

    name: str
    title: str
    full: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    of_the_grader: bool = False


PARTS = (
    Part("losses", "Losses against torch", quick=("--rounds", "3")),
    Part("normalization", "Norms against torch", quick=("--rounds", "3")),
    Part("optim", "Optimizer steps against torch", quick=("--rounds", "3")),
    Part("search", "Search methods on equal budgets", quick=("--seeds", "2", "--trials", "12")),
    Part("mnist_baseline", "The MNIST baseline", quick=("--seeds", "1", "--only", "4 epochs")),
    Part(
        "grading",
        "Grading against stock nbgrader",
        quick=("--stock", "2", "--ours", "20"),
        of_the_grader=True,
    ),
    Part("sandbox_spawn", "The sandbox", quick=("--rounds", "5"), of_the_grader=True),
)


def write_whole(path: Path, text: str) -> None:
    """Write a file that is never seen half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def processor() -> str:
    """What the machine calls its processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def command(part: Part, quick: bool) -> list[str]:
    return [f"benchmarks/{part.name}.py", *(part.quick if quick else part.full)]


def run(part: Part, quick: bool) -> str | None:
    """The part's output, shown line by line as it comes; None if it failed."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [sys.executable, "-u", *command(part, quick)],
        cwd=ROOT,
        env=os.environ | threads | {"PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            print(line, end="", flush=True)
        return None if process.wait() else "".join(lines)
    finally:  # an interrupt ends the part too
        process.stdout.close()
        process.kill()
        process.wait()


def measured(part: Part, options: argparse.Namespace) -> dict[str, str] | None:
    """The part's record, from an earlier run with the same settings if there is one; None if the part failed."""
    keep = KEPT / f"{part.name}.json"
    asked = {
        "command": " ".join(command(part, options.quick)),
        "torch": version("torch"),
        "processor": processor(),
    }
    if keep.is_file() and part.name not in options.only:
        record: dict[str, str] = json.loads(keep.read_text(encoding="utf-8"))
        if asked.items() <= record.items():
            print(f"kept from {record['date']}\n")
            return record
    begin = time.monotonic()
    output = run(part, options.quick)
    if output is None:
        return None
    record = asked | {"date": datetime.date.today().isoformat(), "output": output.strip()}
    write_whole(keep, json.dumps(record, indent=1))
    print(f"\n({time.monotonic() - begin:.0f} s)\n", flush=True)
    return record


def as_page(records: dict[Part, dict[str, str]], quick: bool) -> str:
    """The tables, each under its title with its date and the command that repeats it."""
    rough = "**A short run: the figures are rough.**\n\n" if quick else ""
    pieces = [f"{rough}Each table was measured in one run, on one thread of the processor it names.\n"]
    for part, record in records.items():
        taken = (
            f"{record['date']}, {record['processor']}, torch {record['torch']}: `python {record['command']}`"
        )
        pieces.append(f"## {part.title}\n\n{taken}\n\n{record['output']}\n")
    return "\n".join(pieces)


def chosen(options: argparse.Namespace) -> list[Part]:
    """The parts to run; says which are left out."""
    parts = []
    for part in PARTS:
        if part.name in options.only:
            parts.append(part)
        elif options.only or (part.of_the_grader and not options.grading):
            continue
        elif part.name == "mnist_baseline" and not os.environ.get("GRADATIM_MNIST"):
            print("mnist_baseline is left out: GRADATIM_MNIST does not name the folder of the MNIST files\n")
        else:
            parts.append(part)
    return parts


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", default=[], choices=[part.name for part in PARTS], metavar="PART"
    )
    parser.add_argument("--quick", action="store_true", help="few rounds and seeds; the page says so")
    parser.add_argument("--grading", action="store_true", help="also the grader's benchmarks")
    parser.add_argument("--fresh", action="store_true", help="do not go on with an interrupted run")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE_DATA.relative_to(ROOT)}")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write must have every part, got --only")
    parts, records, failed = chosen(options), {}, []
    complete = KEPT / "complete"
    if options.fresh or (complete.is_file() and not options.only):
        for keep in [*KEPT.glob("*.json"), complete]:
            keep.unlink(missing_ok=True)
    for number, part in enumerate(parts, start=1):
        print(f"## {part.title} ({number} of {len(parts)})\n", flush=True)
        record = measured(part, options)
        if record is None:
            failed.append(part.name)
        else:
            records[part] = record
    if failed:
        print(
            f"run_all.py: every part must run, got failures in {', '.join(failed)} (see above)",
            file=sys.stderr,
        )
        return 1
    if not options.only:
        write_whole(complete, "")
    if options.write:
        write_whole(PAGE_DATA, as_page(records, options.quick))
        print(f"wrote {PAGE_DATA.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        sys.exit("\nrun_all.py: interrupted; the same command goes on with the part it was in")
