"""Whose file is it? What Moodle and Canvas call the files in a download of all submissions, and who is meant.

Moodle   Ann Lee_123456_assignsubmission_file_/losses.ipynb, or the same in one name without the folder
Canvas   leeann_12345_67890_losses-1.ipynb, leeann_LATE_12345_67890_losses.ipynb
         (sortable name, LATE, user, number of the upload, the name it was uploaded under, which an upload of the same
         name extends by -1, -2, ...)
"""

import csv
import io
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from .assignment import AssignmentError
from .ingest import safe_name, shown

_MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_(?P<kind>file|onlinetext)(?:_(?P<file>.*))?")
_CANVAS = re.compile(r"(?P<name>.+?)(?P<late>_LATE)?_(?P<id>\d+)_(?P<serial>\d+)_(?P<file>.+)", re.DOTALL)
_AGAIN = re.compile(r"-(\d{1,3})(?=\.ipynb(?:\.txt|\.json)?$|\.zip$|\.tgz$|\.tar(?:\.gz)?$)", re.IGNORECASE)
_HEADERS = frozenset({"student", "studentid", "id"})


@dataclass(frozen=True)
class Origin:
    """What a name in a download says.

    Attributes:
        lms: "moodle" or "canvas".
        id: the LMS's number of the person.
        name: the person's name, as the LMS writes it.
        path: of the file below the person's own.
        late: Canvas calls it late.
        serial: Canvas's number of the upload; grows with time. 0 in Moodle.
    """

    lms: str
    id: str
    name: str
    path: tuple[str, ...]
    late: bool = False
    serial: int = 0

    @property
    def key(self) -> str:
        return f"{self.lms}:{self.id}"


def origin_of(parts: tuple[str, ...]) -> Origin | None:
    """Whose a file of a download is; None where the name follows neither LMS. One folder round it all is no matter."""
    for path in (parts, parts[1:]):
        if path and (found := _moodle(path) or _canvas(path)):
            return found
    return None


def _moodle(path: tuple[str, ...]) -> Origin | None:
    match = _MOODLE.fullmatch(path[0])
    if match is None:
        return None
    rest = (*((match["file"],) if match["file"] else ()), *path[1:])
    return Origin("moodle", match["id"], match["name"], rest) if rest else None


def _canvas(path: tuple[str, ...]) -> Origin | None:
    match = _CANVAS.fullmatch(path[0]) if len(path) == 1 else None
    if match is None:
        return None
    late, serial = match["late"] is not None, int(match["serial"][:18])
    return Origin("canvas", match["id"], match["name"], (match["file"],), late, serial)


def resubmission(name: str) -> tuple[str, int]:
    """Canvas's name of an upload without what it appended, and that number: ("losses.ipynb", 1) of losses-1.ipynb."""
    match = _AGAIN.search(name)
    return (_AGAIN.sub("", name), int(match[1])) if match else (name, 0)


def student_id(name: str) -> str:
    """A student id made from a person's name; "" if none can be."""
    text = "".join(c if c.isalnum() or c in ".@_+" else " " for c in unicodedata.normalize("NFC", name))
    made = "-".join(text.split())[:100].strip("-.")
    return made if safe_name(made) else ""


class People:
    """The course's own list: which LMS id or name is which student id."""

    def __init__(self, students: dict[str, str] | None = None) -> None:
        self._students = students

    @classmethod
    def load(cls, path: Path | None) -> "People":
        """Read a CSV of two columns: an LMS id or a name as the LMS writes it, and the student id. A header may lead.

        AssignmentError where a line is no such pair, or one key means two students.
        """
        if path is None:
            return cls()
        try:
            text = path.read_bytes().decode("utf-8-sig")
            rows = list(csv.reader(io.StringIO(text, newline="")))
        except (UnicodeDecodeError, csv.Error) as err:
            raise AssignmentError(f"{path.name}: it must be a CSV file in UTF-8: {err}") from None
        students: dict[str, str] = {}
        for number, row in enumerate(rows, 1):
            cells = [cell.strip() for cell in row]
            if not any(cells) or (number == 1 and len(cells) == 2 and _plain(cells[1]) in _HEADERS):
                continue
            if len(cells) != 2 or not _plain(cells[0]) or not safe_name(cells[1]):
                raise AssignmentError(
                    f"{path.name}, line {number}: it must be an LMS id or name and a student id, got {','.join(row)!r}"
                )
            if students.setdefault(_plain(cells[0]), cells[1]) != cells[1]:
                raise AssignmentError(f"{path.name}, line {number}: {cells[0]!r} means two students")
        return cls(students)

    def find(self, origin: Origin) -> tuple[str, str | None]:
        """The student id, and why there is none."""
        if self._students is None:
            made = student_id(origin.name)
            why = f"{shown(origin.name)} gives no student id; name {origin.id} in a map file (--map)."
            return made, None if made else why
        found = self._students.get(_plain(origin.id)) or self._students.get(_plain(origin.name))
        return found or "", None if found else f"{shown(origin.name)} ({origin.id}) is not in the map file."


def _plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())
