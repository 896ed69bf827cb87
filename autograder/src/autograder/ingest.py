"""Take in submissions: regular files only, by name, with the server's time. Everything else is refused and named.

Every folder and file below the class's folder is opened relative to its parent's descriptor, without following links
and without blocking. So nothing can be swapped between the look and the read, and a FIFO cannot hold up the class.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .assignment import assignment_names
from .reading import MAX_BYTES

MAX_ENTRIES = 100_000  # of one folder
MAX_NOTES = 20  # of one submission
TIMESTAMP, SECRET = "timestamp.txt", "submission_secret.txt"  # what `nbgrader submit` adds
MAX_TIMESTAMP = 200  # bytes of timestamp.txt
REFUSED_NOTE = ".ingest-refused"  # in a submission's folder: why `autograder ingest` took nothing in
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_COPY_MARK = re.compile(r"( ?\(\d+\)|[-_ ]?copy ?\d*|[-_ ]?v(ersion)?\d+|[-_ ]?final)+$", re.IGNORECASE)
PACKED_ENDING = re.compile(r"\.(zip|tar|t?gz|7z|rar|tbz2?|txz|bz2|xz)$", re.IGNORECASE)
NOTEBOOK_ENDING = re.compile(r"\.(ipynb(\.txt|\.json)?|json)\s*$", re.IGNORECASE)  # as browsers save one


class Refused(OSError):
    """A file that is not taken in; the message is the sentence for the student."""


@dataclass(frozen=True)
class SubmittedFile:
    """One notebook of one student. `path` is where nbgrader expects it; `actual` is the name it was handed in under,
    with its folder where that is one too deep.

    Attributes:
        refusal: why it is not taken in, None if it is.
        notes: what was noticed (a renamed file, files that were ignored), a sentence each.
        received: when the server stored the file, ISO 8601 in UTC. Set by the kernel, not by the student.
        claimed: the text of timestamp.txt, which the student's side wrote.
    """

    student: str
    assignment: str
    path: Path
    refusal: str | None = None
    actual: str = ""
    notes: tuple[str, ...] = ()
    size: int = 0
    received: str = ""
    claimed: str = ""
    base: Path = field(default=Path(), repr=False)

    def read(self) -> bytes:
        """The file's bytes; Refused if it is no regular file any more, is too large, or was refused at the start."""
        if self.refusal is not None:
            raise Refused(self.refusal)
        with open_submission_folder(self) as folder:
            return _read_below(folder, self.actual)


@contextlib.contextmanager
def open_submission_folder(file: SubmittedFile) -> Iterator[int]:
    """A descriptor of a submission's folder, reached without following a link; Refused if there is none."""
    with (
        _folder(file.base) as base,
        _folder(file.student, base) as student,
        _folder(file.assignment, student) as folder,
    ):
        yield folder


def read_beside(file: SubmittedFile, name: str, limit: int = 1000) -> bytes | None:
    """A small file that was handed in beside a notebook; None if there is no such regular file."""
    with contextlib.suppress(OSError), open_submission_folder(file) as folder:
        return _read_regular(folder, name, limit)
    return None


def class_folder(directory: Path) -> tuple[Path, Path]:
    """Return (course directory, folder that holds the students' folders) for either of the two."""
    directory = Path(directory).resolve()
    if (directory / "submitted").is_dir():
        return directory, directory / "submitted"
    return (directory.parent if directory.name == "submitted" else directory), directory


def scan(directory: Path) -> list[SubmittedFile]:
    """Every submitted notebook of a class, refused ones included, by student, assignment and name.

    Args:
        directory: an nbgrader course directory with `submitted/` in it, or that folder itself; below it lies
            <student>/<assignment>/<notebook>.ipynb.
    """
    course, base = class_folder(directory)
    files: list[SubmittedFile] = []
    refused: list[tuple[str, str]] = []
    with _folder(base) as handle:
        for student in _names(handle):
            try:
                files += _scan_student(course, base, handle, student)
            except Refused as err:
                refused.append((_printable(student), str(err)))
    # Of a folder that cannot be opened nobody knows what it held: it counts for all that the class handed in.
    seen = sorted({f.assignment for f in files}) or assignment_names()
    for student, reason in refused:
        for assignment in seen:
            files += [
                _refused(base, student, assignment, n, reason) for n in expected_notebooks(course, assignment)
            ]
    return sorted(files, key=lambda f: (f.student, f.assignment, str(f.path)))


def find_submission(directory: Path, student: str, assignment: str) -> list[SubmittedFile]:
    """The notebooks that one student handed in for one assignment; refused ones have their reason."""
    course, base = class_folder(directory)
    try:
        with _folder(base) as handle:
            return _scan_student(course, base, handle, student, only=assignment)
    except Refused as err:
        return [
            _refused(base, student, assignment, n, str(err)) for n in expected_notebooks(course, assignment)
        ]


def audit_line(file: SubmittedFile) -> str:
    """One line of JSON for the class's log: who, what, when, how large, which digest, or why it was refused."""
    record: dict[str, Any] = {
        "student": file.student,
        "assignment": file.assignment,
        "file": file.actual,
        "size": file.size,
        "received": file.received,
        "claimed": file.claimed,
        "notes": list(file.notes),
    }
    try:
        record["sha256"] = hashlib.sha256(file.read()).hexdigest()
    except OSError as err:
        record["refused"] = str(err)
    return json.dumps(record, ensure_ascii=True, sort_keys=True)


def safe_name(name: str) -> bool:
    """Whether a name can stand for a student or an assignment: printable, no path, no pattern, not hidden."""
    return (
        0 < len(name) <= 128
        and not name.startswith((".", "-"))
        and name == name.strip()
        and not any(c in '/\\*?[]{}<>|"' or not c.isprintable() for c in name)
    )


def _scan_student(
    course: Path, base: Path, handle: int, student: str, only: str | None = None
) -> list[SubmittedFile]:
    kind = _kind(handle, student)
    if kind == "a file":
        return []  # a stray file beside the students' folders belongs to nobody
    if not safe_name(student):
        raise Refused(f"The folder name {student!r} cannot be a student's.")
    files: list[SubmittedFile] = []
    strays: list[SubmittedFile] = []
    known = known_assignments(course)
    with _folder(student, handle) as own:
        for assignment in [only] if only else _names(own):
            is_file = _kind(own, assignment) == "a file"
            if not only and (found := list(_strays(course, base, student, assignment, is_file, known))):
                strays += found
                continue
            if not only and is_file:
                continue
            try:
                if not safe_name(assignment):
                    raise Refused(f"The folder name {assignment!r} cannot be an assignment's.")
                with _folder(assignment, own) as folder:
                    files += _scan_assignment(course, base, folder, student, assignment)
            except Refused as err:
                files += [
                    _refused(base, student, assignment, n, str(err))
                    for n in expected_notebooks(course, assignment)
                ]
    seen = {file.assignment for file in files}
    return files + list({f.path: f for f in strays if f.assignment not in seen}.values())


def _strays(
    course: Path, base: Path, student: str, name: str, is_file: bool, known: list[str]
) -> Iterator[SubmittedFile]:
    """Refuse a notebook beside its assignment's folder, or a folder nearly of its name, that would be passed over."""
    if name in known or (is_file and not NOTEBOOK_ENDING.search(name)):
        return
    for assignment in known:
        for notebook in expected_notebooks(course, assignment):
            if is_file and _plain(name) == _plain(notebook):
                reason = f"{shown(name)} lies beside the folder {assignment}/; move it into that folder."
            elif not is_file and _plain(name) == _plain(assignment):
                reason = f"The folder {shown(name)} must be called {assignment}."
            else:
                continue
            yield _refused(base, student, assignment, notebook, reason)


def _scan_assignment(
    course: Path, base: Path, folder: int, student: str, assignment: str
) -> list[SubmittedFile]:
    found, notes = _sort_entries(folder)
    found = found or _one_deeper(folder, notes)
    claimed = ""
    with contextlib.suppress(OSError):
        claimed = _read_regular(folder, TIMESTAMP, MAX_TIMESTAMP).decode("utf-8", "replace").strip()
    refused = ""
    if not found:
        with contextlib.suppress(OSError):
            refused = _printable(_read_regular(folder, REFUSED_NOTE, 2000).decode("utf-8", "replace").strip())
    own_names = list(dict.fromkeys(name.rpartition("/")[2] for name in found))
    expected = expected_notebooks(course, assignment, own_names)
    matched, reasons = match_notebooks(
        expected, list(found), notes, lambda names: _alike(folder, names, found)
    )
    if len(notes) > MAX_NOTES:
        notes = [*notes[: MAX_NOTES - 1], f"{len(notes) - MAX_NOTES + 1} more files were noticed."]
    files = []
    folder_time = _iso(os.fstat(folder).st_ctime)
    for name in expected:
        actual = matched.get(name)
        if actual is None:
            nothing = _packed(folder) or f"No notebook {name}.ipynb was handed in."
            reason = refused or reasons.get(name, nothing)
            missing = _refused(base, student, assignment, name, reason, tuple(notes))
            files.append(replace(missing, received=folder_time, claimed=claimed))
            continue
        info = found[actual]
        path = base / student / assignment / f"{name}.ipynb"
        received = _iso(info.st_ctime)
        refusal = _refusal(info, actual)
        files.append(
            SubmittedFile(
                student,
                assignment,
                path,
                refusal,
                actual,
                tuple(notes),
                info.st_size,
                received,
                claimed,
                base,
            )
        )
    return files


def _packed(folder: int) -> str:
    """What to say of an archive that was handed in for a notebook."""
    name = next((name for name in _names(folder) if PACKED_ENDING.search(name)), None)
    return f"{shown(name)} is an archive, not a notebook; hand in the .ipynb file itself." if name else ""


def _one_deeper(folder: int, notes: list[str]) -> dict[str, os.stat_result]:
    """Notebooks in the folders of a submission that has none itself, as an archive that was unpacked leaves them."""
    found: dict[str, os.stat_result] = {}
    for inner in _names(folder)[:MAX_NOTES]:
        if _kind(folder, inner) != "a folder" or inner.casefold() == "__macosx":
            continue
        with contextlib.suppress(Refused), _folder(inner, folder) as handle:
            own, _ = _sort_entries(handle)
            found |= {f"{inner}/{name}": info for name, info in own.items()}
            if own:
                notes[:] = [note for note in notes if not note.startswith(f"{shown(inner)} (")]
    return found


def _alike(folder: int, names: list[str], found: dict[str, os.stat_result]) -> bool:
    """Whether files hold the same bytes."""
    if len({found[name].st_size for name in names}) > 1 or found[names[0]].st_size > MAX_BYTES:
        return False
    try:
        return len({hashlib.sha256(_read_below(folder, name)).digest() for name in names[:MAX_NOTES]}) == 1
    except Refused:
        return False


def _read_below(folder: int, path: str) -> bytes:
    """The bytes of a regular file in a folder, or in a folder of that; no link is followed."""
    inner, _, name = path.rpartition("/")
    if not inner:
        return _read_regular(folder, name, MAX_BYTES)
    with _folder(inner, folder) as handle:
        return _read_regular(handle, name, MAX_BYTES)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _sort_entries(folder: int) -> tuple[dict[str, os.stat_result], list[str]]:
    """Return notebook files by name, and a note on everything else that was handed in."""
    found: dict[str, os.stat_result] = {}
    notes: list[str] = []
    for name in _names(folder):
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if NOTEBOOK_ENDING.search(name):
            found[name] = info
            if stat.S_ISREG(info.st_mode) and info.st_nlink > 1:
                notes.append(f"{shown(name)} is a hard link; it has another name elsewhere.")
        elif name not in (TIMESTAMP, SECRET):
            kind = _kind_of(info)
            why = "a module that would stand in for an installed one" if name.endswith(".py") else kind
            notes.append(f"{shown(name)} ({why}) was ignored.")
    return found, notes


def known_assignments(course: Path) -> list[str]:
    """Ours, and the course's own in source/."""
    known = {*assignment_names()}
    with contextlib.suppress(OSError):
        known |= {p.name for p in (course / "source").iterdir() if p.is_dir()}
    return sorted(known)


def expected_notebooks(course: Path, assignment: str, found: list[str] | None = None) -> list[str]:
    """Names of the notebooks that belong to an assignment, without their ending."""
    if assignment in assignment_names():
        return [assignment]
    with contextlib.suppress(OSError):
        if names := sorted(p.stem for p in (course / "source" / assignment).glob("*.ipynb")):
            return names
    return sorted(n[:-6] for n in found or [] if n.endswith(".ipynb")) or [assignment]


def match_notebooks(
    expected: list[str],
    found: list[str],
    notes: list[str],
    alike: Callable[[list[str]], bool] = lambda names: False,
) -> tuple[dict[str, str], dict[str, str]]:
    """Say which file is which notebook. A renamed file counts where only one can be meant, copies of it apart.

    Args:
        expected, found: names of notebooks, without their ending, and of files.
        notes: takes a sentence on each file that is not simply right.
        alike: whether files hold the same bytes.
    """
    matched = {name: f"{name}.ipynb" for name in expected if f"{name}.ipynb" in found}
    reasons: dict[str, str] = {}
    unclear: set[str] = set()
    left = [file for file in found if file not in matched.values()]
    open_names = [name for name in expected if name not in matched]
    for name in open_names:
        similar = [file for file in left if _plain(file) == _plain(name)]
        similar = similar or [file for file in left if _plain(name) in _plain(file)]
        if not similar and len(open_names) == 1:
            similar = list(left)
        similar = [file for file in similar if ".ipynb" in file.lower()] or similar
        if len(similar) == 1 or (similar and alike(similar)):
            actual = similar[0]
            matched[name] = actual
            left = [file for file in left if file not in similar]
            notes.append(f"{shown(actual)} was taken for {name}.ipynb.")
            notes += [f"{shown(file)} is a copy of it." for file in similar[1:]]
        elif similar:
            unclear.update(similar)
            several = ", ".join(shown(file) for file in similar[:5])
            reasons[name] = (
                f"None of the files is called {name}.ipynb, and several could be meant: {several}."
            )
    notes += [
        f"{shown(file)} was ignored: it is no notebook of this assignment."
        for file in left
        if file not in unclear
    ]
    return matched, reasons


def _plain(name: str) -> str:
    """A notebook's name without folder, ending, copy marks, case and separators."""
    stem = NOTEBOOK_ENDING.sub("", name.rpartition("/")[2])
    return re.sub(r"[\s_\-.]+", "", _COPY_MARK.sub("", stem)).lower()


def _refusal(info: os.stat_result, name: str) -> str | None:
    if not stat.S_ISREG(info.st_mode):
        return f"{shown(name)} is {_kind_of(info)}, not a file; hand in the notebook itself."
    if info.st_size > MAX_BYTES:
        return f"{shown(name)} is larger than {MAX_BYTES >> 20} MiB; clear the outputs and hand it in again."
    return None


def _refused(
    base: Path, student: str, assignment: str, name: str, reason: str, notes: tuple[str, ...] = ()
) -> SubmittedFile:
    path = base / student / assignment / f"{name}.ipynb"
    return SubmittedFile(student, assignment, path, reason, notes=notes, base=base)


def _read_regular(folder: int, name: str, limit: int) -> bytes:
    """The bytes of a regular file, looked at through the descriptor that is then read."""
    try:
        before = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if refusal := _refusal(before, name):
            raise Refused(refusal)
        handle = os.open(name, _FILE, dir_fd=folder)
    except Refused:
        raise
    except OSError as err:
        raise Refused(f"{shown(name)} could not be read ({err.strerror}).") from None
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode) or info.st_size > limit:
            raise Refused(_refusal(info, name) or f"{shown(name)} is too large.")
        parts, size = [], 0
        while chunk := os.read(handle, 1 << 20):
            size += len(chunk)
            if size > limit:
                raise Refused(f"{shown(name)} grew while it was read.")
            parts.append(chunk)
        return b"".join(parts)
    finally:
        os.close(handle)


def read_tree(
    folder: Path, entries: int, total: int, depth: int = 8
) -> Iterator[tuple[tuple[str, ...], "bytes | Refused"]]:
    """The files below a folder with their bytes, or why one is not read; hidden ones are passed over.

    Args:
        entries, total: files and bytes after which the rest is refused.
        depth: folders within folders that are looked into.
    """
    count = size = 0

    def walk(handle: int, parts: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], "bytes | Refused"]]:
        nonlocal count, size
        for name in _names(handle):
            count += 1
            here = (*parts, name)
            try:
                if count > entries or size > total:
                    raise Refused(f"{shown(name)} is one file too many, or the files are too large in all.")
                if _kind(handle, name) == "a folder":
                    if len(here) > depth:
                        raise Refused(f"{shown(name)} lies too deep; hand in the notebook itself.")
                    with _folder(name, handle) as inner:
                        yield from walk(inner, here)
                    continue
                content = _read_regular(handle, name, MAX_BYTES)
                size += len(content)
            except Refused as err:
                yield here, err
            else:
                yield here, content

    with _folder(folder) as top:
        yield from walk(top, ())


@contextlib.contextmanager
def _folder(name: str | Path, parent: int | None = None) -> Iterator[int]:
    """Open a folder; below the class's folder links are not followed."""
    try:
        flags = _FOLDER if parent is not None else _FOLDER & ~os.O_NOFOLLOW
        handle = os.open(name, flags, dir_fd=parent)
    except OSError as err:
        label = shown(Path(name).name)
        if parent is not None and err.errno in (errno.ELOOP, errno.ENOTDIR):
            kind = _kind(parent, str(name))
            raise Refused(f"{label} is {kind}, not a folder; hand in the files themselves.") from None
        raise Refused(f"The folder {label} could not be opened ({err.strerror}).") from None
    try:
        yield handle
    finally:
        os.close(handle)


def _names(folder: int) -> list[str]:
    """The visible names in a folder, sorted; Refused if there are absurdly many."""
    names = []
    with os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            if count >= MAX_ENTRIES:
                raise Refused(f"The folder holds more than {MAX_ENTRIES:,} entries.")
            if not entry.name.startswith("."):
                names.append(entry.name)
    return sorted(names)


def _kind(folder: int, name: str) -> str:
    try:
        return _kind_of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except (OSError, ValueError):
        return "not there"


def _kind_of(info: os.stat_result) -> str:
    return next((words for test, words in _KINDS if test(info.st_mode)), "a file")


def shown(name: str) -> str:
    """A name as it may stand in a sentence: short and printable."""
    text = _printable(name)
    return f"'{text if len(text) <= 80 else text[:77] + '...'}'"


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)
