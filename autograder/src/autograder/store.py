"""The result store: verdicts in files named by what they depend on.

A key is a digest of the assignment's version and the submission's sources. So an unchanged submission is never
graded twice, a changed test makes new keys, and there is no database to lock: a verdict appears whole, by a rename,
or not at all.
"""

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .verdict import SubmissionVerdict

#: Raised when grading itself changes meaning: every stored verdict is then graded anew.
ENGINE_VERSION = "4"


def store_key(parts: Iterable[str]) -> str:
    """A digest of `parts`; no two different sequences of parts share one."""
    h = hashlib.sha256(ENGINE_VERSION.encode())
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        h.update(len(encoded).to_bytes(8, "big") + encoded)
    return h.hexdigest()


class ResultStore:
    """Verdicts under one folder. Any number of processes may read and write at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def get(self, key: str) -> SubmissionVerdict | None:
        """The verdict stored under `key`, or None; a damaged file counts as absent and is graded anew."""
        try:
            return SubmissionVerdict.from_json(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def put(self, key: str, verdict: SubmissionVerdict) -> None:
        """Store `verdict`; whoever reads meanwhile sees the old file or the new one, never a part.

        Without waiting for the disk: what a power cut takes is graded anew, to the same verdict.
        """
        write_soon(self._path(key), verdict.to_json().encode("utf-8", "surrogatepass"))

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file by a rename in its own folder, so that an interruption leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _write_and_rename(path, content)
    except OSError as err:  # it may name the temporary file, of which the caller knows nothing
        raise type(err)(err.errno, err.strerror, str(path)) from err


def check_writable(path: Path) -> None:
    """Raise the OSError with which `write_whole` would end later. Whatever stands at the path stays as it is."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        tempfile.TemporaryFile(dir=path.parent, prefix=".part-").close()
    except OSError as err:
        raise type(err)(err.errno, err.strerror, str(path)) from err


def _write_and_rename(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_soon(path: Path, content: bytes) -> None:
    """Write whole by a rename, without waiting for the disk: for what can be made again from the result store."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
