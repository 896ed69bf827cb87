"""A whole class: speed by number of processes, memory, recording, and a run that is killed and resumed.

    .venv/bin/python benchmarks/class_scale.py --count 1000
    .venv/bin/python benchmarks/class_scale.py --count 10000 --once

The class solves the eight-function notebook of benchmarks/grading.py; each submission differs in a comment, so that no
verdict can come from the store. Every run's marks are checked. Bars: recording 1,000 verdicts under 60 s; no grading
process above 1 GB, also where students print without end or return huge values (--floods); after `kill -9` the same
marks.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from grading import (
    EXERCISES,
    HEADER,
    NAME,
    ONE_THREAD,
    make_our_course,
    make_our_submissions,
    nbgrader_cell,
    notebook,
    run,
)

MIB = 1 << 20
#: What a student may do to the grader's memory, as the body of `mse` or as an extra cell.
FLOODS = {
    "prints 200 MB at once": ("cell", "print('x' * 200_000_000)"),
    "prints a million lines": ("cell", "for k in range(1_000_000):\n    print('line', k)"),
    "shows 300 figures": (
        "cell",
        "for k in range(300):\n    plt.figure(figsize=(12, 12))\n    plt.imshow(torch.rand(600, 600))\n    plt.show()",
    ),
    "returns 2 GB": ("mse", "return torch.zeros(500_000_000)"),
    "returns 100 MB": ("mse", "return torch.zeros(25_000_000)"),
    "returns a million lists": ("mse", "return [[k] for k in range(1_000_000)]"),
    "returns a string of 500 MB": ("mse", "return 'x' * 500_000_000"),
    "raises with 500 MB of text": ("mse", "raise ValueError('x' * 500_000_000)"),
    "keeps every input": ("mse", "kept.append((a, b, torch.zeros(1_000_000)))\n    return a.sum()"),
}


class Memory(threading.Thread):
    """Samples the resident memory of a process and of all below it; keeps the highest of each kind."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.root, self.over = psutil.Process(pid), threading.Event()
        self.peak = {"grader": 0, "grading process": 0, "sandboxed process": 0}
        self.start()

    def run(self) -> None:
        while not self.over.wait(0.1):
            try:
                self._note("grader", self.root)
                for child in self.root.children(recursive=True):
                    self._note(self._kind(child), child)
            except psutil.Error:
                continue

    def _kind(self, process: psutil.Process) -> str:
        try:
            return (
                "grading process" if "multiprocessing" in " ".join(process.cmdline()) else "sandboxed process"
            )
        except psutil.Error:
            return "sandboxed process"

    def _note(self, kind: str, process: psutil.Process) -> None:
        try:
            self.peak[kind] = max(self.peak[kind], process.memory_info().rss)
        except psutil.Error:
            return


def command(target: Path, jobs: int, *extra: str) -> list[str]:
    script = [sys.executable, "-m", "autograder.cli", "grade", str(target), "--quiet", "--jobs", str(jobs)]
    return [*script, "--json", str(target / "marks.json"), *extra]


def graded(target: Path, course: Path, jobs: int, *extra: str) -> tuple[float, dict[str, int]]:
    """Grade a class; return the seconds it took and the peaks of memory."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command(target, jobs, *extra),
        stdout=subprocess.DEVNULL,
        env={**os.environ, **ONE_THREAD, "GRADATIM_COURSE": str(course)},
    )
    memory = Memory(process.pid)
    if process.wait() != 0:
        sys.exit(f"autograder grade ended with status {process.returncode}")
    seconds = time.perf_counter() - start
    memory.over.set()
    memory.join()
    return seconds, memory.peak


def new_class(folder: Path, course: Path, count: int) -> Path:
    target = Path(tempfile.mkdtemp(dir=folder, prefix="class-"))
    run(["autograder", "release", NAME, "--course", str(target)], folder, GRADATIM_COURSE=str(course))
    make_our_submissions(target, count)
    return target


def check_marks(report: Path, count: int) -> None:
    """A fast wrong verdict is worth nothing: everybody must have every point."""
    marks = json.loads(report.read_text())
    wrong = [
        f"{student}: {name}: {exercise['status']}: {exercise['message']}"
        for student, own in marks.items()
        for name, exercise in own[NAME]["exercises"].items()
        if exercise["score"] != exercise["max_score"]
    ]
    if wrong or len(marks) != count:
        sys.exit("\n".join([f"{len(marks)} of {count} submissions have marks; not right:", *wrong[:10]]))


def results(target: Path) -> int:
    return sum(1 for _ in (target / ".autograder" / "results").rglob("*.json"))


def killed_and_resumed(folder: Path, course: Path, count: int, jobs: int, seed: int) -> tuple[int, int]:
    """End a run by kill -9 at a random moment and go on; return (verdicts kept, verdicts reached by the second run)."""
    target = new_class(folder, course, count)
    process = subprocess.Popen(
        command(target, jobs),
        stdout=subprocess.DEVNULL,
        env={**os.environ, **ONE_THREAD, "GRADATIM_COURSE": str(course)},
    )
    stop_at = random.Random(seed).randrange(1, max(2, count - 1))
    while results(target) < stop_at and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(3)  # its grading processes notice, and end
    kept = {p.name: p.stat().st_mtime_ns for p in (target / ".autograder" / "results").rglob("*.json")}
    graded(target, course, jobs)
    check_marks(target / "marks.json", count)
    after = {p.name: p.stat().st_mtime_ns for p in (target / ".autograder" / "results").rglob("*.json")}
    if any(after.get(name) != date for name, date in kept.items()):
        sys.exit("a verdict that was kept has been reached again")
    shutil.rmtree(target)
    return len(kept), len(after) - len(kept)


def flooded(folder: Path, course: Path) -> dict[str, int]:
    """Peaks of memory while floods are graded, each beside seven right answers, which must keep their marks."""
    target = Path(tempfile.mkdtemp(dir=folder, prefix="floods-"))
    for k, (where, code) in enumerate(FLOODS.values()):
        cells = [nbgrader_cell("code", HEADER + "\nkept = []")]
        for name, (solution, _) in EXERCISES.items():
            source = f"def mse(a, b):\n    {code}" if name == where else solution
            cells.append(
                nbgrader_cell("code", source, f"{name}-answer", grade=False, locked=False, solution=True)
            )
        if where == "cell":
            cells.insert(1, nbgrader_cell("code", code))
        path = target / "submitted" / f"s{k:02}" / NAME
        path.mkdir(parents=True)
        (path / f"{NAME}.ipynb").write_text(notebook(cells))
    _, peak = graded(target, course, 1)
    marks = json.loads((target / "marks.json").read_text())
    for k, (what, (where, _)) in enumerate(FLOODS.items()):
        least = 2 * len(EXERCISES) - 2 * (where == "mse")
        if marks[f"s{k:02}"][NAME]["score"] < least:
            print(f"not contained: {what}: {marks[f's{k:02}'][NAME]['score']:g} of at least {least} points")
    shutil.rmtree(target)
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="submissions")
    parser.add_argument("--jobs", type=int, default=2, help="processes to compare with one")
    parser.add_argument(
        "--floods", type=int, default=1, choices=(0, 1), help="measure memory under floods too"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moment of the kill")
    parser.add_argument(
        "--once",
        action="store_true",
        help="grade with --jobs processes, again from the store, and record; nothing else",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="class-scale-") as name:
        folder = Path(name)
        course = folder / "course"
        make_our_course(course)
        measure(options, folder, course)


def measure(options: argparse.Namespace, folder: Path, course: Path) -> None:
    count, rates = options.count, {}
    print(f"{count} submissions\n\n| what | figure |\n|---|---|")
    for jobs in [options.jobs] if options.once else sorted({1, options.jobs}):
        target = new_class(folder, course, count)
        seconds, peak = graded(target, course, jobs)
        check_marks(target / "marks.json", count)
        rates[jobs] = 60 * count / seconds
        sizes = ", ".join(f"{kind} {size / MIB:.0f} MiB" for kind, size in peak.items() if size)
        print(f"| {jobs} job{'s' * (jobs > 1)}: submissions per minute | {rates[jobs]:.0f} |")
        print(f"| {jobs} job{'s' * (jobs > 1)}: peak resident memory of one | {sizes} |", flush=True)
        if jobs == options.jobs:
            again, _ = graded(target, course, 1)
            recorded, peak = graded(target, course, 1, "--record")
            check_marks(target / "marks.json", count)
            print(f"| a second run, all from the store | {again:.1f} s |")
            print(f"| a run that records them, start included | {recorded:.1f} s |", flush=True)
        shutil.rmtree(target)
    if options.once:
        return
    if options.jobs > 1:
        ratio = rates[options.jobs] / rates[1]
        print(f"| {options.jobs} jobs over 1 job | {ratio:.2f} times |")
    kept, redone = killed_and_resumed(folder, course, count, options.jobs, options.seed)
    print(
        f"| killed -9 and resumed: kept, graded by the second run | {kept}, {redone} (equal marks) |",
        flush=True,
    )
    if options.floods:
        peak = flooded(folder, course)
        print(f"| floods of output and huge returns: peak of the grader | {peak['grader'] / MIB:.0f} MiB |")


if __name__ == "__main__":
    main()
