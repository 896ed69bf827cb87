"""Pictures that a student pasted into a text cell: bounded bitmaps, nothing that can act.

Jupyter keeps them in the cell's `attachments`, {name: {type: base64}}, and its text says `![x](attachment:name)`.

Source: nbformat's JSON schema 4.5, "attachments". Notebook 6 writes names percent-encoded in both places, VS Code in
the text alone, JupyterLab makes up plain ones.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from .json_salvage import Passed, salvage

#: A cell's attachments as nbformat has them: one type for each name.
Pictures = dict[str, dict[str, str]]

MAX_PICTURE = 2 << 20  # bytes of one
MAX_PICTURES = 10  # of a notebook
MAX_TOTAL = 8 << 20  # bytes of a notebook's
MAX_NAME = 200
KINDS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
}
ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif"}
_MAX_SPAN = 16 << 20  # characters of one cell's attachments that are looked into
_MAX_TOKENS = 2_000
_MAX_SENTENCES = 20
_MAX_CELLS = 100
_REFERENCE = re.compile(
    r"""(?:<img\b[^<>]{0,300}?\ssrc=["']?attachment:(?P<tag>[^\s<>"']{1,1000})["']?[^<>]{0,300}>
      | <attachment:(?P<angle>[^<>\n]{1,1000})>
      | attachment:(?P<bare>(?:[^\s()<>"]|\([^\s()<>"]{0,200}+\)){1,1000}+))""",
    re.VERBOSE | re.IGNORECASE,
)
_PLAIN = re.compile(r"[\w .,()%+=@~-]{1,80}")


@dataclass
class PictureReader:
    """Takes the pictures of one notebook's cells, within its bounds; says in `problems` what it left out and why."""

    text: str  # of the file
    problems: list[str]
    count: int = 0
    total: int = 0
    cells: int = 0
    sentences: int = 0
    full: bool = False

    def read(self, attachments: Any, source: str, place: str) -> Pictures:
        """The pictures among a cell's attachments to which its text refers. Never raises.

        Args:
            attachments: the value itself, or where it stands in the file.
            source: the cell's text.
            place: how a sentence names the cell.
        """
        if not attachments or self.full or "attachment:" not in source:
            return {}
        self.cells += 1
        if self.cells > _MAX_CELLS:
            self._stop(f"Only the pictures of the first {_MAX_CELLS} cells that have any were read.")
            return {}
        found = self._tree(attachments, place)
        kept: Pictures = {}
        for name in _referred(source, found):
            if self.full:
                break
            if self.count == MAX_PICTURES:
                self._stop(f"Only the first {self.count} pictures were read.")
                break
            picture = _picture(found[name])
            if not isinstance(picture, str) and self.total + picture[2] > MAX_TOTAL:
                picture = f"the notebook's pictures are larger than {MAX_TOTAL >> 20} MiB together"
            if isinstance(picture, str):
                shown = f"the picture {name}" if _PLAIN.fullmatch(name) else "a picture"
                self._say(f"{place}: {shown} was left out: {picture}.")
                continue
            kind, data, size = picture
            kept[name] = {kind: data}
            self.count, self.total = self.count + 1, self.total + size
        return kept

    def _tree(self, attachments: Any, place: str) -> dict[str, Any]:
        if isinstance(attachments, Passed):
            start, end = attachments
            if end - start > _MAX_SPAN:
                self._say(f"{place}: its pictures were left out: they are larger than {MAX_TOTAL >> 20} MiB.")
                return {}
            read = salvage(self.text[start:end], max_tokens=_MAX_TOKENS)
            attachments = None if read.exhausted else read.root
        if isinstance(attachments, dict):
            return attachments
        self._say(f"{place}: its pictures were left out: they cannot be read.")
        return {}

    def _say(self, sentence: str) -> None:
        self.problems.append(sentence)
        self.sentences += 1
        if self.sentences == _MAX_SENTENCES:
            self._stop("No more pictures were read.")

    def _stop(self, sentence: str) -> None:
        self.problems.append(sentence)
        self.full = True


def _picture(bundle: Any) -> tuple[str, str, int] | str:
    """(type, canonical base64, bytes) of an attachment, or why it is none."""
    if not isinstance(bundle, dict):
        return "it cannot be read"
    reason = "only PNG, JPEG and GIF pictures are shown"
    for kind, starts in KINDS.items():
        text = bundle.get(kind)
        if isinstance(text, list):
            text = "".join(part for part in text if isinstance(part, str))
        if not isinstance(text, str):
            continue
        if len(text) > 2 * MAX_PICTURE:
            return f"it is larger than {MAX_PICTURE >> 20} MiB"
        try:
            raw = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            reason = "its base64 is damaged"
            continue
        if len(raw) > MAX_PICTURE:
            return f"it is larger than {MAX_PICTURE >> 20} MiB"
        if raw.startswith(starts):
            return kind, base64.b64encode(raw).decode(), len(raw)
        reason = f"it says that it is {kind}, and is not"
    return reason


def _spelled(reference: re.Match[str]) -> Iterator[str]:
    """The names that a reference in a text may mean."""
    name = next(filter(None, reference.group("tag", "angle", "bare")))
    yield name
    yield unquote(name)


def _referred(source: str, names: dict[str, Any]) -> list[str]:
    """Those of `names` to which a text refers, in its order."""
    found = _lookup(names)
    seen: dict[str, None] = {}
    for reference in _REFERENCE.finditer(source):
        if (name := next((found[n] for n in _spelled(reference) if n in found), None)) is not None:
            seen[name] = None
    return list(seen)


def _lookup(names: dict[str, Any]) -> dict[str, str]:
    usable = [name for name in names if 0 < len(name) <= MAX_NAME]
    return {unquote(name): name for name in usable} | {name: name for name in usable}


def with_own_names(source: str, pictures: Pictures, taken: Pictures) -> str:
    """The text, with names of ours for the pictures it refers to; they are put into `taken` under these.

    A student's name may be anything, and Jupyter calls every pasted picture `image.png`, so that two cells of one
    answer have two pictures of one name.
    """
    found = _lookup(pictures)
    ours: dict[str, str] = {}

    def renamed(reference: re.Match[str]) -> str:
        name = next((found[n] for n in _spelled(reference) if n in found), None)
        if name is None:
            return reference[0]
        if name not in ours:
            ((kind, _),) = pictures[name].items()
            ours[name] = f"picture-{len(taken) + 1}.{ENDINGS[kind]}"
            taken[ours[name]] = pictures[name]
        own = f"attachment:{ours[name]}"
        return f"![picture]({own})" if reference["tag"] else own

    return _REFERENCE.sub(renamed, source)
