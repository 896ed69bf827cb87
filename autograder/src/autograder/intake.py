"""`autograder ingest`: from an LMS's download, or a student's own archive, to submitted/<student>/<assignment>/.

Each download is kept as it came, under its digest. A notebook is written whole, under a name of ours, never the
archive's; the version it replaces is kept. The log has a line before each change, so that a second run finds what the
first did and an interrupted one is simply run again.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import stat
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from .assignment import Assignment, AssignmentError, assignment_names
from .ingest import (
    NOTEBOOK_ENDING,
    PACKED_ENDING,
    REFUSED_NOTE,
    Refused,
    class_folder,
    expected_notebooks,
    known_assignments,
    match_notebooks,
    read_tree,
    safe_name,
    shown,
)
from .lms import Origin, People, origin_of, resubmission
from .reading import MAX_BYTES, read_notebook
from .store import write_whole
from .unpack import CLASS, OWN, Member, ZipArchive, archive_kind, holds_tar, path_parts, read_gzip, read_tar

LOG = "audit.jsonl"
_TAR = re.compile(r"\.(tgz|tar\.gz)$", re.IGNORECASE)
_GZIP = re.compile(r"\.gz$", re.IGNORECASE)
_JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini", "timestamp.txt"})
CHANGED = ("taken in", "replaced")


@dataclass(frozen=True)
class Arrived:
    """What became of one file. `outcome`: taken in, replaced, unchanged, older or refused; `notes` say the rest."""

    outcome: str
    student: str = ""
    file: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.student or '?':24} {self.outcome:9} {' '.join((self.file, *self.notes))}"


@dataclass
class _Submission:
    """All that one person has in one download. `files` are (name, bytes, as shown, serial)."""

    origin: Origin | None
    files: list[tuple[str, bytes, str, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, parts: Sequence[str], content: bytes, where: str = "", serial: int = 0) -> None:
        """Add a file; an archive, whatever it is called, is unpacked, once."""
        name, place = parts[-1], where + "/".join(parts)
        if not (PACKED_ENDING.search(name) or archive_kind(content[:512])):
            self.files.append((name, content, place, serial))
        elif where:
            self.problems.append(f"{shown(place)} is an archive in an archive; pack the notebook itself.")
        else:
            self._unpack(content, name, serial)

    def _unpack(self, raw: bytes, name: str, serial: int) -> None:
        kind = archive_kind(raw[:512])
        try:
            if kind not in ("zip", "gzip", "tar"):
                what = f"a {kind} archive" if kind else "no archive"
                raise Refused(f"It is {what}; hand in the notebook, a zip or a tar.gz.")
            if kind == "zip":
                archive = ZipArchive(io.BytesIO(raw), OWN)
                for member in archive.members:
                    self._take(archive, member, f"{name}/", serial)
            elif (inner := _bare_gzip(name)) and kind == "gzip" and not holds_tar(raw):
                if self.wants((inner,), f"{name}/"):
                    self.add((inner,), read_gzip(raw, OWN), f"{name}/", serial)
            else:
                for member, content in read_tar(raw, OWN):
                    if self._wanted(member, f"{name}/"):
                        self.add(member.parts, content, f"{name}/", serial)
        except Refused as err:
            self.problems.append(f"{shown(name)}: {err}")

    def _take(self, archive: ZipArchive, member: Member, where: str, serial: int) -> None:
        if self._wanted(member, where):
            try:
                self.add(member.parts, archive.read(member), where, serial)
            except Refused as err:
                self.problems.append(str(err))

    def _wanted(self, member: Member, where: str = "") -> bool:
        if member.refusal is not None:
            self.problems.append(member.refusal)
            return False
        return self.wants(member.parts, where)

    def wants(self, parts: Sequence[str], where: str = "") -> bool:
        """Whether a file is worth unpacking; what is no notebook is noted and left."""
        if any(p.startswith(".") or p.lower() in _JUNK for p in parts):
            return False
        if NOTEBOOK_ENDING.search(parts[-1]) or PACKED_ENDING.search(parts[-1]):
            return True
        self.notes.append(f"{shown(where + '/'.join(parts))} was ignored.")
        return False

    def notebooks(self, expected: Sequence[str]) -> dict[str, tuple[bytes, str, int]]:
        """{name: (bytes, as shown, serial)}, the last upload of each; names that differ in case alone are refused."""
        found: dict[str, tuple[int, list[tuple[str, bytes, str, int]]]] = {}
        for file in self.files:
            base, number = file[0], 0
            if self.origin is not None and self.origin.lms == "canvas" and _stem(base) not in expected:
                base, number = resubmission(base)
            key = unicodedata.normalize("NFC", base).casefold()
            best = found.get(key, (-1, []))
            if number > best[0]:
                found[key] = (number, [(base, *file[1:])])
            elif number == best[0]:
                best[1].append((base, *file[1:]))
        chosen = {}
        for _, files in found.values():
            if len({content for _, content, _, _ in files}) == 1:
                name, content, place, serial = max(files, key=lambda f: f[3])
                chosen[name] = (content, place, serial)
            else:
                several = ", ".join(shown(place) for _, _, place, _ in files[:5])
                self.problems.append(
                    f"Several different files have one name: {several}; hand in one of them."
                )
        return chosen


@dataclass(frozen=True)
class Intake:
    """One course, one assignment. `received` counts as the time of arrival for all that the LMS does not call late."""

    course: Path
    base: Path
    state: Path
    assignment: str
    people: People
    student: str | None = None
    received: datetime | None = None

    def take_in(self, download: Path) -> Iterator[Arrived]:
        """Take in one download; yield what became of each file in it.

        A download that cannot be read at all is refused by its name. AssignmentError if there is no such file.
        """
        kept, digest = self._keep(download)
        log = _Log(self.state / LOG)
        context = {"download": digest, "download_name": download.name, "assignment": self.assignment}
        try:
            with kept.open("rb") as source:
                for submission in self._submissions(download, source):
                    yield from _Placing(self, log, context, submission).place()
        except Refused as err:
            log.add({**context, "event": "ingest", "outcome": "refused", "refused": str(err)})
            yield Arrived("refused", self.student or "", download.name, (str(err),))

    def take_folder(self, folder: Path) -> Iterator[Arrived]:
        """Take in what lies in a folder as one student's own files; links and devices in it are refused by name."""
        own = _Submission(None)
        for parts, content in read_tree(folder, OWN.entries, OWN.total):
            if isinstance(content, Refused):
                own.problems.append(str(content))
            elif own.wants(parts):
                own.add(parts, content)
        log = _Log(self.state / LOG)
        context = {"download": "", "download_name": folder.name, "assignment": self.assignment}
        yield from _Placing(self, log, context, own).place()

    def _submissions(self, download: Path, source: Any) -> Iterator[_Submission]:
        head = source.read(512)
        source.seek(0)
        kind = archive_kind(head)
        if self.student is not None:
            own = _Submission(None)
            raw = source.read(CLASS.file + 1)
            if len(raw) > CLASS.file:
                raise Refused(f"It is larger than {MAX_BYTES >> 20} MiB.")
            own.add(path_parts(download.name), raw)
            yield own
        elif kind != "zip":
            raise Refused(
                "It is no zip archive as Moodle and Canvas give them; of one student's own file say whose: --student."
            )
        else:
            yield from self._class(ZipArchive(source, CLASS))

    @staticmethod
    def _class(archive: ZipArchive) -> Iterator[_Submission]:
        nobodys = _Submission(None)
        people: dict[str, tuple[_Submission, list[tuple[Member, Origin]]]] = {}
        for member in archive.members:
            origin = origin_of(member.parts)
            if origin is not None:
                own = people.setdefault(origin.key, (_Submission(origin), []))
                own[1].append((member, origin))
            elif member.refusal is not None:
                nobodys.problems.append(member.refusal)
            elif nobodys.wants(member.parts):
                nobodys.problems.append(f"{shown(member.name)} does not say whose it is.")
        yield nobodys
        for submission, members in people.values():
            for member, origin in members:
                if member.refusal is not None:
                    submission.problems.append(member.refusal)
                elif submission.wants(origin.path):
                    try:
                        submission.add(origin.path, archive.read(member), serial=origin.serial)
                    except Refused as err:
                        submission.problems.append(str(err))
            if any(origin.late for _, origin in members):
                submission.notes.append("Canvas calls it late.")
            yield submission
            submission.files.clear()  # one student's files in memory at a time

    def _keep(self, download: Path) -> tuple[Path, str]:
        """Copy a download to <state>/downloads/<digest>; what is read afterwards is the copy."""
        folder = self.state / "downloads"
        folder.mkdir(parents=True, exist_ok=True)
        with _open_file(download) as source:
            descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".part-")
            try:
                with os.fdopen(descriptor, "wb") as target:
                    h = hashlib.sha256()
                    while chunk := source.read(1 << 20):
                        h.update(chunk)
                        target.write(chunk)
                    target.flush()
                    os.fsync(target.fileno())
                kept = folder / h.hexdigest()
                os.replace(temporary, kept)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        return kept, h.hexdigest()


class _Placing:
    """One person's files of one download: which notebooks they are, and where they go."""

    def __init__(self, intake: Intake, log: "_Log", context: dict[str, Any], submission: _Submission) -> None:
        self.intake, self.log, self.submission = intake, log, submission
        self.student, self.why = intake.student or "", None
        origin = submission.origin
        if origin is not None:
            self.student, self.why = intake.people.find(origin)
        self.late = any("calls it late" in note for note in submission.notes)
        self.context = {
            **context,
            "event": "ingest",
            "student": self.student,
            "lms": origin.key if origin else "",
        }

    def place(self) -> Iterator[Arrived]:
        intake, own = self.intake, self.submission
        if own.origin is None and intake.student is None:
            for problem in own.problems:
                yield self._refuse("", problem)
            return
        self.why = self.why or self._taken_by_another()
        if self.why is not None:
            yield self._refuse(", ".join(place for _, _, place, _ in own.files[:5]), self.why)
            return
        expected = expected_notebooks(intake.course, intake.assignment)
        found = own.notebooks(expected)
        notes: list[str] = []
        names = expected_notebooks(intake.course, intake.assignment, list(found))
        matched, reasons = match_notebooks(names, list(found), notes)
        self._settle_by_content(found, matched, reasons)
        own.notes += [n for n in notes if not any(shown(a) in n and "ignored" in n for a in matched.values())]
        for name in names:
            if name in matched:
                content, place, serial = found[matched[name]]
                yield self._store(name, content, place, serial)
            else:
                why = reasons.get(name) or (
                    f"There is no notebook {name}.ipynb."
                    if not own.problems
                    else "Nothing could be taken in."
                )
                yield self._refuse("", " ".join([why, *own.problems[:3]]), missing=True)
        if matched:
            for problem in own.problems:
                yield self._refuse("", problem)

    def _settle_by_content(
        self, found: dict[str, tuple[bytes, str, int]], matched: dict[str, str], reasons: dict[str, str]
    ) -> None:
        """Of several files that a name could mean, the one (or copies of it) that has the assignment's own cells."""
        for name in list(reasons):
            labels = _labels(self.intake.course, self.intake.assignment, name)
            have = [
                file
                for file in found
                if file not in matched.values()
                and labels & {c.grade_id for c in read_notebook(found[file][0]).cells}
            ]
            if len({found[file][0] for file in have}) == 1:
                matched[name] = have[-1]
                del reasons[name]
                self.submission.notes.append(f"{shown(have[-1])} was taken for {name}.ipynb by its cells.")

    def _taken_by_another(self) -> str | None:
        """Two people must not share a folder, in names that differ in case alone neither."""
        origin, mine = self.submission.origin, self.student
        with contextlib.suppress(FileNotFoundError):
            for other in () if (self.intake.base / mine).is_dir() else os.listdir(self.intake.base):
                if other != mine and other.casefold() == mine.casefold():
                    return (
                        f"The class has a student {shown(other)}; tell the two apart in a map file (--map)."
                    )
        if origin is None:
            return None
        for line in self.log.of(mine, self.intake.assignment):
            other = line.get("lms") or ""
            if other.startswith(f"{origin.lms}:") and other != origin.key:
                return (
                    f"{shown(origin.name)} ({origin.id}) would be {shown(mine)}, as {other.split(':')[1]} is; "
                    "tell the two apart in a map file (--map)."
                )
        return None

    def _store(self, name: str, content: bytes, place: str, serial: int) -> Arrived:
        intake, notes = self.intake, tuple(self.submission.notes[:10])
        digest = hashlib.sha256(content).hexdigest()
        folder = intake.base / self.student / intake.assignment
        target = folder / f"{name}.ipynb"
        for level in (folder.parent, folder, target):
            kind = level.lstat().st_mode if os.path.lexists(level) else None
            if kind is not None and not (stat.S_ISREG(kind) if level is target else stat.S_ISDIR(kind)):
                return self._refuse(
                    place, f"{shown(level.name)} in {intake.base.name}/ is in the way; move it."
                )
        before = self.log.notebooks(self.student, intake.assignment, name)
        standing = target.read_bytes() if target.is_file() else None
        record = {**self.context, "notebook": name, "file": place, "sha256": digest, "size": len(content)}
        record |= {"serial": serial, "late": self.late, "notes": list(notes)}
        again = [e for e in before if e["download"] == self.context["download"]]
        if standing == content:
            if not again:
                self.log.add({**record, "outcome": "unchanged"})
            self._note_time(name, digest)
            return Arrived("unchanged", self.student, f"{name}.ipynb", notes)
        superseded = again and before[-1]["sha256"] != digest
        if superseded or (serial and before and before[-1].get("serial", 0) > serial):
            if not again:
                self.log.add({**record, "outcome": "older"})
            return Arrived("older", self.student, f"{name}.ipynb", ("A newer one stands.",))
        outcome = "taken in" if standing is None else "replaced"
        if not again:
            self.log.add({**record, "outcome": outcome})
        if standing is not None:
            old = hashlib.sha256(standing).hexdigest()[:16]
            kept = intake.state / "older" / self.student / intake.assignment / f"{name}-{old}.ipynb"
            if not kept.is_file():
                write_whole(kept, standing)
        self._note_time(name, digest)
        write_whole(target, content)
        target.chmod(0o644)
        (folder / REFUSED_NOTE).unlink(missing_ok=True)
        return Arrived(outcome, self.student, f"{name}.ipynb", notes)

    def _note_time(self, name: str, digest: str) -> None:
        from .arrival import note_arrival

        if self.intake.received is not None and not self.late:
            place = (self.student, self.intake.assignment, name)
            note_arrival(*place, digest, self.intake.received, self.intake.state)

    def _refuse(self, file: str, why: str, *, missing: bool = False) -> Arrived:
        """Log a refusal; a student who has no notebook at all gets a folder that says so, and so a mark."""
        self.log.add({**self.context, "file": file, "outcome": "refused", "refused": why})
        folder = self.intake.base / self.student / self.intake.assignment
        if missing and not os.path.lexists(folder):
            folder.mkdir(parents=True)
        if missing and folder.is_dir() and not folder.is_symlink() and not list(folder.glob("*.ipynb")):
            write_whole(folder / REFUSED_NOTE, why.encode("utf-8", "replace")[:2000])
        return Arrived("refused", self.student, file, (why, *self.submission.notes[:10]))


class _Log:
    """The class's log, and what earlier runs wrote into it. A line is added whole; a torn one is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._events: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._known: set[str] = set()
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and event.get("event") == "ingest":
                    self._remember(event)

    def of(self, student: str, assignment: str) -> list[dict[str, Any]]:
        return [e for e in self._events.get((student, assignment), []) if e["outcome"] != "refused"]

    def notebooks(self, student: str, assignment: str, notebook: str) -> list[dict[str, Any]]:
        """What was taken in of one notebook, in order; the last one stands."""
        own = self.of(student, assignment)
        return [e for e in own if e.get("notebook") == notebook and e["outcome"] != "older"]

    def add(self, event: dict[str, Any]) -> None:
        """Add a line with the server's time, on disk before this returns. A refusal is logged once for a download."""
        if event["outcome"] == "refused" and _identity(event) in self._known:
            return
        event = {**event, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        line = json.dumps(event, ensure_ascii=True, sort_keys=True).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(handle).st_size
            torn = size and os.pread(handle, 1, size - 1) != b"\n"
            os.write(handle, (b"\n" if torn else b"") + line)
            os.fsync(handle)
        finally:
            os.close(handle)
        self._remember(event)

    def _remember(self, event: dict[str, Any]) -> None:
        self._known.add(_identity(event))
        self._events.setdefault((event.get("student", ""), event.get("assignment", "")), []).append(event)


def _open_file(path: Path) -> BinaryIO:
    """Open a regular file; AssignmentError for anything else. A pipe is not waited for."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise AssignmentError(f"{path}: it could not be read ({err.strerror})") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise AssignmentError(f"{path}: it is no file")
    return open(handle, "rb")


def _identity(event: dict[str, Any]) -> str:
    return json.dumps([event.get(k, "") for k in ("download", "student", "assignment", "file", "refused")])


def _bare_gzip(name: str) -> str:
    """What a file packed by gzip alone is called; empty if the name says that it is a tar archive."""
    return "" if _TAR.search(name) else _GZIP.sub("", name) or name


def _stem(name: str) -> str:
    return NOTEBOOK_ENDING.sub("", name)


def _labels(course: Path, assignment: str, notebook: str) -> set[str | None]:
    """The labels of an assignment's own cells."""
    if assignment in assignment_names():
        return {label for e in Assignment.load(assignment).exercises for label in (e.id, f"{e.id}-answer")}
    try:
        raw = (course / "source" / assignment / f"{notebook}.ipynb").read_bytes()
    except OSError:
        return set()
    return {c.grade_id for c in read_notebook(raw).cells if c.grade_id}


def open_intake(
    directory: Path,
    assignment: str,
    *,
    state: Path | None = None,
    people: Path | None = None,
    student: str | None = None,
    received: datetime | None = None,
) -> Intake:
    """Check what the command line says before anything is read; AssignmentError in one sentence."""
    course, base = class_folder(directory)
    if not (course / "submitted").is_dir() and (directory.resolve() == base):
        base = course / "submitted"
    known = known_assignments(course)
    if assignment not in known:
        raise AssignmentError(f"assignment must be one of {', '.join(known) or 'none'}, got {assignment!r}")
    if student is not None and not safe_name(student):
        raise AssignmentError(f"--student: {student!r} cannot be a student's id")
    if received is not None and received > datetime.now(UTC):
        raise AssignmentError(f"--received: {received:%Y-%m-%d %H:%M} UTC is still to come")
    where = state or course / ".autograder"
    return Intake(course, base, where.resolve(), assignment, People.load(people), student, received)


def run_intake(intake: Intake, downloads: Sequence[Path]) -> int:
    """Take in the downloads, in this order, print what became of them; exit status 1 if anything was refused."""
    for download in downloads:  # a misspelt name must not leave half of them taken in
        _open_file(download).close()
    intake.state.mkdir(parents=True, exist_ok=True)
    intake.base.mkdir(parents=True, exist_ok=True)
    counts = dict.fromkeys((*CHANGED, "unchanged", "older", "refused"), 0)
    with (intake.state / "ingest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at once would each think the other's notebook the older one
        for download in downloads:
            for arrived in intake.take_in(download):
                counts[arrived.outcome] += 1
                if arrived.outcome != "unchanged":
                    print(arrived)
    print(
        ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "nothing to take in"
    )
    return 1 if counts["refused"] else 0
