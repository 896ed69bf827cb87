"""Grade on a Dask cluster: the tasks of `runner`, on workers that need not share a file system.

What travels to a worker: the notebook's bytes, the course's secret, the sandbox's limits and, for a plain assignment,
the instructor's files. What comes back: a verdict as JSON text. A worker grades only if its Python, its torch, its
grader and its copy of the assignment are this machine's. The store is asked, and written, on this machine alone: so an
interrupted run goes on where it stopped, on a cluster or without one.

Whoever can reach a Dask scheduler can run code on its workers, and the secret passes through it. Between machines use
TLS: `tls://host:port`, with certificates named in Dask's own configuration (distributed.comm.tls, or
DASK_DISTRIBUTED__COMM__TLS__CA_FILE and its like), on the scheduler, on the workers and here.

Source: Dask's documentation of TLS, https://distributed.dask.org/en/stable/tls.html
"""

import functools
import hashlib
import ipaddress
import json
import platform
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from .assignment import Assignment, AssignmentError, assignment_names
from .ingest import SubmittedFile
from .runner import Graded, Graders, Options
from .sandbox import SandboxConfig
from .sandbox.failure import SandboxError
from .store import ResultStore
from .verdict import SubmissionVerdict

CONNECT_SECONDS = 10
#: How long a run waits while no worker at all is connected.
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 2.0
MAX_SOURCE = 256 << 20  # bytes of a plain assignment's files
AGAIN = "nothing is lost, run the same command again to go on"


@dataclass(frozen=True)
class Order:
    """One task. Nothing secret is in its repr, which Dask may write to a log."""

    assignment: str
    notebook: str
    version: dict[str, str]
    sandbox: dict[str, Any]
    raw: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    files: dict[str, bytes] | None = field(default=None, repr=False)  # of a plain assignment, once asked for


# Which version of the course


@functools.cache
def package_digest(name: str) -> str:
    """Of a package's sources, as they were when this process first asked: about what it has imported."""
    package = __import__(name)
    folder = Path(next(iter(package.__path__)))
    h = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        h.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return h.hexdigest()


def course_version(assignment: str, files: dict[str, bytes] | None = None) -> dict[str, str]:
    """What must be equal on both sides, by the words that a mismatch is reported in.

    Args:
        files: what a plain assignment consists of; None for one of the course's own.
    """
    import torch

    version = {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "torch": torch.__version__.partition("+")[0],
        "the grader": package_digest("autograder"),
        "the library": package_digest("gradatim"),
    }
    if files is not None:
        return version | {"the instructor's files": files_digest(files)}
    loaded = Assignment.load(assignment)
    digests = "".join(loaded.digest(e.id) for e in loaded.exercises)
    return version | {f"the assignment {assignment}": hashlib.sha256(digests.encode()).hexdigest()}


def files_digest(files: dict[str, bytes]) -> str:
    h = hashlib.sha256()
    for name, content in sorted(files.items()):
        h.update(f"{name}\0{len(content)}\0".encode() + content)
    return h.hexdigest()


def plain_files(course_dir: Path, assignment: str) -> dict[str, bytes]:
    """The instructor's files of a plain assignment and the course's settings, by their path in the course."""
    source = course_dir / "source" / assignment
    paths = [p for p in sorted(source.rglob("*")) if p.is_file()] if source.is_dir() else []
    if (config := course_dir / "nbgrader_config.py").is_file():
        paths.append(config)
    if (total := sum(p.stat().st_size for p in paths)) > MAX_SOURCE:
        raise AssignmentError(
            f"source/{assignment} must be at most {MAX_SOURCE >> 20} MiB to travel to a cluster, got {total >> 20} MiB"
        )
    return {str(p.relative_to(course_dir)): p.read_bytes() for p in paths}


# On a worker


class _Desk:
    """What one worker process has open: the graders of one version of the course."""

    def __init__(self) -> None:
        self._graders: dict[tuple[str, ...], Any] = {}
        self._folders: dict[str, tempfile.TemporaryDirectory[str]] = {}

    def grade(self, order: Order) -> tuple[str, str]:
        plain = "the instructor's files" in order.version
        if plain and order.files is None and order.version["the instructor's files"] not in self._folders:
            return "need", "files"
        key = (order.assignment, order.notebook if plain else "", json.dumps([order.version, order.sandbox]))
        key = (*key, hashlib.sha256(order.secret).hexdigest())
        if key not in self._graders:
            if problem := self._mismatch(order, plain):
                return "refused", problem
            self._graders[key] = self._open(order, plain)
        return "verdict", self._graders[key].grade(order.raw).to_json()

    def _mismatch(self, order: Order, plain: bool) -> str:
        if plain:  # its files come from where the order comes from
            own = course_version(order.assignment, {}) | {
                "the instructor's files": order.version["the instructor's files"]
            }
        elif order.assignment not in assignment_names():
            return f"has no assignment {order.assignment!r}; install the course there as it is here"
        else:
            own = course_version(order.assignment)
        wrong = [name for name, value in order.version.items() if own.get(name) != value]
        if not wrong:
            return ""
        return (
            f"has another version of {', '.join(wrong)}; bring its checkout to this one's and start it again"
        )

    def _open(self, order: Order, plain: bool) -> Any:
        from .grading import Grader
        from .plain import PlainGrader

        config = SandboxConfig(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in order.sandbox.items()}
        )
        if plain:
            return PlainGrader(self._folder(order), order.assignment, order.notebook, None, config)
        others = [k for k in self._graders if k[0] == order.assignment]
        for key in others:  # an older version of the same assignment
            self._graders.pop(key).close()
        return Grader(Assignment.load(order.assignment), secret=order.secret, sandbox=config)

    def _folder(self, order: Order) -> Path:
        digest = order.version["the instructor's files"]
        if digest not in self._folders:
            for name in order.files or {}:
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                    raise AssignmentError(f"was sent a file outside its folder: {name!r}")
            folder = tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True)
            for name, content in (order.files or {}).items():
                path = Path(folder.name, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._folders[digest] = folder
        return Path(self._folders[digest].name)


_lock = threading.Lock()
_desk: _Desk | None = None


def grade_order(order: Order) -> tuple[str, str]:
    """Run on a worker, in whichever of its threads: one submission at a time a process.

    Returns:
        ("verdict", JSON), ("need", "files") to be sent the instructor's files too, or ("refused", what is wrong with
        this worker).
    """
    global _desk
    import torch

    with _lock:
        if _desk is None:
            torch.set_num_threads(1)
            _desk = _Desk()
        try:
            return _desk.grade(order)
        except (AssignmentError, SandboxError) as err:
            return "refused", f"cannot grade: {err}"


# On the machine that asks


class _Absent(Exception):
    """The store does not have this verdict."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class _Shelf(ResultStore):
    """The store as it is asked here: what it does not have is not computed here."""

    def get(self, key: str) -> SubmissionVerdict:
        verdict = super().get(key)
        if verdict is None:
            raise _Absent(key)
        return verdict


class _Clerks(Graders):
    """The graders of this machine, which find keys and stored verdicts, and run nothing."""

    def open(self, file: SubmittedFile) -> Any:
        grader = super().open(file)
        if not isinstance(grader.store, _Shelf):
            grader.store = _Shelf(grader.store.folder)
        return grader


@dataclass
class _Waiting:
    """A task under way: the file, its bytes as they were looked up, and the key that its verdict is stored under."""

    index: int
    key: str
    raw: bytes
    with_files: bool = False


def grade_on_cluster(files: list[SubmittedFile], options: Options, address: str) -> Iterator[Graded]:
    """Yield the verdict on every file, in the order they are reached; what the store has comes from there.

    Args:
        address: of a Dask scheduler, such as tcp://host:8786 or tls://host:8786.

    Raises:
        AssignmentError: the package `distributed` is missing, nobody answers at the address, no worker is there, or a
            worker has another version of the course.
    """
    with closing(_connect(address)) as client, closing(_Clerks(options)) as clerks:
        yield from _Run(files, options, client, clerks).verdicts()


def _connect(address: str) -> Any:
    try:
        import distributed
    except ImportError:
        raise AssignmentError(
            "--scheduler needs the package distributed; install it with `pip install distributed`"
        ) from None
    warnings.filterwarnings("ignore", message="Sending large graph")  # a notebook with pictures in it
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, RuntimeError) as err:
        raise AssignmentError(
            f"no Dask scheduler answers at {address}: {' '.join(str(err).split())}"
        ) from None
    if _in_the_clear(address):
        print(
            f"autograder: {address} is not encrypted: submissions and the course's secret can be read on the way; "
            "use tls:// on a network that others share",
            file=sys.stderr,
        )
    return client


def _in_the_clear(address: str) -> bool:
    scheme, _, rest = address.rpartition("://")
    host = rest.rpartition(":")[0].strip("[]")
    if scheme not in ("", "tcp", "ws"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


class _Run:
    """One class on one cluster, a bounded number of tasks at a time."""

    def __init__(self, files: list[SubmittedFile], options: Options, client: Any, clerks: _Clerks) -> None:
        self.files, self.options, self.client, self.clerks = files, options, client, clerks
        self.running: dict[Any, _Waiting] = {}
        self.suspects: list[_Waiting] = []  # were being graded when several workers died
        self.versions: dict[str, dict[str, str]] = {}
        self.sources: dict[str, dict[str, bytes] | None] = {}
        self.sandbox = {f.name: getattr(options.sandbox, f.name) for f in fields(options.sandbox)}
        self.secrets: bytes | None = None
        self.workers, self.looked, self.last_seen = 0, 0.0, time.monotonic()

    def verdicts(self) -> Iterator[Graded]:
        todo = iter(range(len(self.files)))
        try:
            more = True
            while more or self.running:
                while more and len(self.running) < self._depth():
                    if (k := next(todo, None)) is None:
                        more = False
                    elif (graded := self._from_store_or_submit(k)) is not None:
                        yield graded
                for waiting, verdict in self._arrivals():
                    yield self._keep(waiting, verdict)
            for suspect in self.suspects:
                yield self._alone(suspect)
        finally:
            self.client.cancel(list(self.running))

    def _depth(self) -> int:
        """Two tasks a worker: one being graded, one there already when it ends."""
        return 2 * max(1, self._count_workers())

    def _count_workers(self) -> int:
        now = time.monotonic()
        if now - self.looked >= LOOK_SECONDS or not self.looked:
            self.looked, self.workers = now, len(self.client.nthreads())
            if self.workers:
                self.last_seen = now
            elif now - self.last_seen > PATIENCE_SECONDS:
                raise AssignmentError(
                    f"no worker has been connected to the scheduler for {PATIENCE_SECONDS:g} s; start some with "
                    f"`dask worker {self.client.scheduler.address} --nthreads 1`; {AGAIN}"
                )
        return self.workers

    def _from_store_or_submit(self, k: int) -> Graded | None:
        file = self.files[k]
        try:
            raw = file.read()
        except OSError as err:  # refused at ingest, or swapped since
            return Graded(file, self.clerks.unreadable(file, str(err)))
        try:
            return Graded(file, self.clerks.grade_bytes(file, raw))
        except _Absent as absent:
            self._submit(_Waiting(k, absent.key, raw))
        return None

    def _submit(self, waiting: _Waiting) -> None:
        file = self.files[waiting.index]
        version = self._version(file.assignment)
        order = Order(
            assignment=file.assignment,
            notebook=file.path.stem,
            version=version,
            sandbox=self.sandbox,
            raw=waiting.raw,
            secret=self._secret(),
            files=self.sources[file.assignment] if waiting.with_files else None,
        )
        self.running[self.client.submit(grade_order, order, pure=False)] = waiting

    def _secret(self) -> bytes:
        from .grading import course_secret

        if self.secrets is None:
            self.secrets = course_secret(self.options.state_dir)
        return self.secrets

    def _version(self, assignment: str) -> dict[str, str]:
        if assignment not in self.versions:
            own = assignment in assignment_names()
            self.sources[assignment] = None if own else plain_files(self.options.course_dir, assignment)
            self.versions[assignment] = course_version(assignment, self.sources[assignment])
        return self.versions[assignment]

    def _arrivals(self) -> Iterator[tuple[_Waiting, SubmissionVerdict]]:
        """Wait a little for any task to end; yield the verdicts that came."""
        import distributed

        if not self.running:
            return
        try:
            distributed.wait(list(self.running), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
        except TimeoutError:
            self._count_workers()
            self._still_connected()
        for future in [f for f in self.running if f.status != "pending"]:
            waiting = self.running.pop(future)
            if (verdict := self._result(future, waiting)) is not None:
                yield waiting, verdict

    def _still_connected(self) -> None:
        if self.client.status not in ("running", "connecting"):
            raise AssignmentError(f"the connection to the scheduler was lost; {AGAIN}")

    def _result(self, future: Any, waiting: _Waiting) -> SubmissionVerdict | None:
        """A finished task's verdict; None if it is to be run again, and is."""
        import distributed

        if future.status in ("cancelled", "lost"):
            self._still_connected()
            self._submit(waiting)
            return None
        if future.status == "error":
            error = future.exception()
            if not isinstance(error, distributed.KilledWorker):
                raise AssignmentError(_sentence(error))
            self.suspects.append(waiting)
            return None
        kind, text = future.result()
        if kind == "verdict":
            return SubmissionVerdict.from_json(text)
        if kind == "need":
            self._submit(replace(waiting, with_files=True))
            return None
        raise AssignmentError(f"a worker of the cluster {text}; {AGAIN}")

    def _keep(self, waiting: _Waiting, verdict: SubmissionVerdict) -> Graded:
        file = self.files[waiting.index]
        self.clerks.open(file).store.put(waiting.key, verdict)
        return Graded(file, self.clerks.with_notes(file, verdict))

    def _alone(self, suspect: _Waiting) -> Graded:
        """Try again with nothing else under way, so that only what ends the worker by itself is blamed."""
        self.suspects = []
        self._submit(suspect)
        while self.running:
            for waiting, verdict in self._arrivals():
                return self._keep(waiting, verdict)
        file = self.files[suspect.index]
        return Graded(file, self.clerks.failed(file))


def _sentence(error: BaseException | None) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"a worker of the cluster has no module {error.name}; install the course there as it is here; {AGAIN}"
    text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return f"a worker of the cluster could not grade ({text}); {AGAIN}"
