"""Grade a class: every submission of a directory, in parallel, resumable.

Verdicts go to the result store as they are reached, each whole. So an interruption at any moment loses at most the
submissions in flight, and the next run takes the rest from the store.
"""

import contextlib
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from .assignment import assignment_names
from .imports import lean_imports, uncollected
from .ingest import SubmittedFile
from .sandbox import SandboxConfig
from .sandbox.client import Offer, Zygote, use_offered
from .sandbox.tiers import choose_tier
from .verdict import SubmissionVerdict

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Options:
    """What every grading process must know; picklable."""

    course_dir: Path
    state_dir: Path  # verdicts and the secret
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    scheduler: str | None = None  # of a Dask cluster that grades in this machine's place


@dataclass(frozen=True)
class Graded:
    """One notebook's verdict."""

    file: SubmittedFile
    verdict: SubmissionVerdict


def grade_class(
    files: list[SubmittedFile],
    options: Options,
    *,
    jobs: int = 1,
    some_are_new: bool = False,
    meanwhile: Callable[[], object] | None = None,
) -> Iterator[Graded]:
    """Yield the verdict on every file, in the order they are reached.

    Args:
        jobs: grading processes; 1 grades in this process. Without meaning on a cluster.
        some_are_new: not every verdict is in the store. Then the sandbox starts at once, while this process and the
            grading processes still import what they need.
        meanwhile: called once while the grading processes start, if there are any: for slow imports. Not in a thread,
            because two threads that import packages with circular imports can see each other's halves.
    """
    if options.scheduler is not None:
        from .cluster import grade_on_cluster

        yield from grade_on_cluster(files, options, options.scheduler)
        return
    with ExitStack() as resources:
        offer = None
        if some_are_new and (tier := choose_tier(options.sandbox)) == "namespaces":
            # A weaker tier needs a directory of each process's own, so there each starts its own zygote.
            zygote = Zygote(options.sandbox.for_zygote(tier), None)
            resources.callback(zygote.close)
            offer = zygote.offer()
        if jobs == 1:
            yield from _grade_here(files, options, offer)
        else:
            yield from _grade_in_pool(files, options, jobs, offer, meanwhile)


class Graders:
    """The graders of this process, one an assignment, opened at first need."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._open: dict[str, Any] = {}

    def grade(self, file: SubmittedFile) -> SubmissionVerdict:
        try:
            raw = file.read()
        except OSError as err:  # refused at ingest, or swapped since
            return self.unreadable(file, str(err))
        return self.grade_bytes(file, raw)

    def grade_bytes(self, file: SubmittedFile, raw: bytes) -> SubmissionVerdict:
        return self.with_notes(file, self.open(file).grade(raw))

    def unreadable(self, file: SubmittedFile, reason: str) -> SubmissionVerdict:
        return self.with_notes(file, self.open(file).unreadable(reason))

    def with_notes(self, file: SubmittedFile, verdict: SubmissionVerdict) -> SubmissionVerdict:
        """The verdict, with what was noticed when the file was taken in."""
        return replace(verdict, repairs=(*file.notes, *verdict.repairs)) if file.notes else verdict

    def failed(self, file: SubmittedFile) -> SubmissionVerdict:
        return self.open(file).unreadable(
            "grading this submission ended the grading process; please look at it by hand"
        )

    def open(self, file: SubmittedFile) -> Any:
        """The grader that a file needs."""
        from .grading import open_grader
        from .plain import open_plain

        plain = file.assignment not in assignment_names()
        name = f"{file.assignment}/{file.path.stem}" if plain else file.assignment
        if name not in self._open:
            state, sandbox = self.options.state_dir, self.options.sandbox
            if plain:
                course = self.options.course_dir
                self._open[name] = open_plain(course, file.assignment, file.path.stem, state, sandbox)
            else:
                self._open[name] = open_grader(file.assignment, state, sandbox)
        return self._open[name]

    def close(self) -> None:
        for grader in self._open.values():
            grader.close()
        self._open.clear()


def _grade_here(files: list[SubmittedFile], options: Options, offer: Offer | None) -> Iterator[Graded]:
    with lean_imports(), uncollected():
        from . import grading  # noqa: F401

    use_offered(offer)
    graders = Graders(options)
    try:
        for file in files:
            yield Graded(file, graders.grade(file))
    finally:
        graders.close()
        use_offered(None)


def _grade_in_pool(
    files: list[SubmittedFile],
    options: Options,
    jobs: int,
    offer: Offer | None,
    meanwhile: Callable[[], object] | None,
) -> Iterator[Graded]:
    waiting = deque(range(len(files)))
    while True:
        running: dict[Future[str], int] = {}
        try:
            with _pool(options, jobs, offer) as pool:
                _submit(pool, files, waiting, running, 2 * jobs)
                if meanwhile is not None:
                    meanwhile()
                    meanwhile = None
                for k, verdict in _through(pool, files, waiting, running):
                    yield Graded(files[k], verdict)
            return
        except BrokenProcessPool:
            # One of those in flight ended its process. Each is tried alone, so that only that one is blamed.
            for k in running.values():
                yield Graded(files[k], _grade_alone(files[k], options))


def _grade_alone(file: SubmittedFile, options: Options) -> SubmissionVerdict:
    try:
        with _pool(options, 1) as pool:
            return SubmissionVerdict.from_json(pool.submit(_grade_in_process, file).result())
    except BrokenProcessPool:
        graders = Graders(options)
        try:
            return graders.failed(file)
        finally:
            graders.close()


@contextlib.contextmanager
def _pool(options: Options, jobs: int, offer: Offer | None = None) -> Iterator[ProcessPoolExecutor]:
    """Grading processes. Not forked from this one: a fork after torch has run threads can deadlock.

    On Linux they are forked from a server process that has imported everything once and has one thread.
    """
    os.environ.update(ONE_THREAD)  # as OpenBLAS makes its threads when it is imported
    if sys.platform == "linux":
        context: BaseContext = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["autograder.preloaded"])
    else:
        context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, _open_process, (options, dict(os.environ), offer))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(
    pool: ProcessPoolExecutor,
    files: list[SubmittedFile],
    waiting: deque[int],
    running: dict[Future[str], int],
    count: int = 1,
) -> None:
    """Hand in `count` more of the waiting files; `running` says which are in flight, also when the pool breaks."""
    for _ in range(min(count, len(waiting))):
        running[pool.submit(_grade_in_process, files[waiting[0]])] = waiting[0]
        waiting.popleft()  # only now: a broken pool refuses it, and then it still waits


def _through(
    pool: ProcessPoolExecutor,
    files: list[SubmittedFile],
    waiting: deque[int],
    running: dict[Future[str], int],
) -> Iterator[tuple[int, SubmissionVerdict]]:
    """Yield (index, verdict). For each one, another is handed in, so that memory does not grow with the class."""
    while running:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            verdict = SubmissionVerdict.from_json(future.result())
            k = running.pop(future)
            _submit(pool, files, waiting, running)
            yield k, verdict


_process: Graders | None = None


def _open_process(options: Options, environment: dict[str, str], offer: Offer | None) -> None:
    """Set up a grading process: one thread, and an end of its own when its parent dies."""
    global _process
    import torch

    os.environ.clear()
    os.environ.update(environment)  # the server may have been started under another one
    use_offered(offer)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait_for([parent.sentinel]), os._exit(1)), daemon=True).start()
    _process = Graders(options)


def _grade_in_process(file: SubmittedFile) -> str:
    assert _process is not None
    return _process.grade(file).to_json()
