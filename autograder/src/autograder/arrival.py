"""When a submission counts as handed in: the server's time, kept from the first sight of these very bytes.

nbgrader reads timestamp.txt, which the student's side wrote: it can be forged, be a pipe, or hold nonsense that takes
formgrader's list down. So it is replaced by one with the server's time. What it claimed stays in the audit log.
"""

import contextlib
import hashlib
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

from nbgrader.utils import parse_utc

from .ingest import SubmittedFile, open_submission_folder
from .store import write_soon

FORMAT = "%Y-%m-%d %H:%M:%S UTC"
_NAME = "timestamp.txt"


def settle_arrival(
    file: SubmittedFile, state_dir: Path, *, trust_timestamps: bool = False
) -> datetime | None:
    """Return the time of a submission, naive UTC as nbgrader keeps it, and make timestamp.txt say the same.

    Args:
        state_dir: keeps the first time at which these bytes were seen, so that a copied or restored course directory
            does not make everybody late.
        trust_timestamps: take the time that timestamp.txt claims, if it is one.
    """
    if trust_timestamps and (claimed := _claimed(file)) is not None:
        return claimed
    time = _first_seen(file, state_dir)
    if time is not None:
        with contextlib.suppress(OSError):  # a submitted/ that cannot be written stays as it is
            _write_timestamp(file, time.strftime(FORMAT))
    return time


def note_arrival(
    student: str, assignment: str, notebook: str, digest: str, time: datetime, state_dir: Path
) -> None:
    """Set the time at which these bytes count as handed in; an earlier one stays."""
    path = _record(state_dir, student, assignment, notebook, digest)
    time = time.astimezone(UTC).replace(tzinfo=None)
    if (known := _recorded(path)) is None or time < known:
        write_soon(path, time.strftime(FORMAT).encode())


def arrival_time(file: SubmittedFile, state_dir: Path) -> datetime | None:
    """The time of a submission, in UTC, as `settle_arrival` would return it; nothing is written."""
    if not file.received:
        return None
    now = datetime.fromisoformat(file.received).astimezone(UTC)
    known = _recorded(_record(state_dir, file.student, file.assignment, file.path.stem, _digest(file)))
    return min(now, known.replace(tzinfo=UTC)) if known else now


def _claimed(file: SubmittedFile) -> datetime | None:
    if not file.claimed:
        return None
    try:
        return parse_utc(file.claimed)
    except (ValueError, OverflowError, TypeError):
        return None


def _first_seen(file: SubmittedFile, state_dir: Path) -> datetime | None:
    if not file.received:
        return None
    now = datetime.fromisoformat(file.received).astimezone(UTC).replace(tzinfo=None)
    path = _record(state_dir, file.student, file.assignment, file.path.stem, _digest(file))
    if (known := _recorded(path)) is not None:
        return min(now, known)
    write_soon(path, now.strftime(FORMAT).encode())
    return now


def _digest(file: SubmittedFile) -> str:
    try:
        return hashlib.sha256(file.read()).hexdigest()
    except OSError as err:
        return hashlib.sha256(str(err).encode()).hexdigest()


def _record(state_dir: Path, student: str, assignment: str, notebook: str, digest: str) -> Path:
    return state_dir / "arrivals" / student / assignment / f"{notebook}-{digest[:16]}"


def _recorded(path: Path) -> datetime | None:
    try:
        return datetime.strptime(path.read_text(encoding="ascii"), FORMAT)
    except (OSError, ValueError):
        return None


def _write_timestamp(file: SubmittedFile, text: str) -> None:
    """Replace timestamp.txt, whatever it is, in a folder that is reached through no link."""
    with open_submission_folder(file) as folder:
        with contextlib.suppress(FileNotFoundError):
            kind = os.stat(_NAME, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISREG(kind) and file.claimed == text:
                return
            if stat.S_ISDIR(kind):
                os.rename(_NAME, f".{_NAME}-refused", src_dir_fd=folder, dst_dir_fd=folder)
        temporary = f".{_NAME}-{os.getpid()}"
        handle = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder
        )
        with os.fdopen(handle, "w") as f:
            f.write(text + "\n")
        os.rename(temporary, _NAME, src_dir_fd=folder, dst_dir_fd=folder)
