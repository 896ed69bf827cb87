"""An append-only file of JSON lines that survives kill -9: what was written stays, a torn last line goes."""

import json
import os
from pathlib import Path
from typing import IO, Any

from .._check import checked, require

try:
    import fcntl
except ImportError:  # not on Windows: there, two processes on one file are not noticed
    fcntl = None  # type: ignore[assignment]


class Journal:
    """Records on disk, one JSON object a line, each on the disk before `append` returns.

    A process that is killed while it writes leaves at most one line without its newline. That line was never
    acknowledged, so opening the journal cuts it off. Any other unreadable line is damage, and is reported.

    Args:
        path: the file; made, with its folder, when it is not there.

    Raises:
        ValueError: a line that is not a JSON object; a journal that another process has open.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Journal(Path(folder) / "log.jsonl") as journal:
    ...         journal.append({"loss": 0.1})
    ...     with Journal(Path(folder) / "log.jsonl") as journal:
    ...         journal.records
    [{'loss': 0.1}]
    """

    @checked
    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = open(self.path, "a+b")  # noqa: SIM115 - closed by close()
        try:
            self._lock()
            self.records = self._read()
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            require(False, "Journal", "path", "open in one process only", str(self.path))

    def _read(self) -> list[dict[str, Any]]:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._file.truncate(whole)
        records = []
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            where = f"line {number} of {self.path}"
            require(
                isinstance(record, dict),
                "Journal",
                where,
                "a JSON object",
                line[:60].decode(errors="replace"),
            )
            records.append(record)
        return records

    def append(self, record: dict[str, Any]) -> None:
        """Write one record and wait until the system has it on disk. NaN and infinity are refused: not JSON."""
        line = json.dumps(record, allow_nan=False, separators=(", ", ": ")) + "\n"
        self._file.write(line.encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records.append(record)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
