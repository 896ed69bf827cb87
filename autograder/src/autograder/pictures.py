"""Pictures that a student pasted into a text cell: bounded bitmaps, nothing that can act.

Jupyter keeps them in the cell's `attachments`, {name: {type: base64}}, and its text says `![x](attachment:name)`.

Source: nbformat's JSON schema 4.5, "attachments". Notebook 6 writes names percent-encoded in both places, VS Code in
the text alone, JupyterLab makes up plain ones.
"""

import base64
import binascii
import re
import struct
from collections.abc import Callable, Iterator
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
MAX_PIXELS = 40_000_000  # of one: a page scanned at 600 dpi, and no more than a browser can hold


@dataclass(frozen=True)
class Kind:
    """A kind of bitmap: how its files end and start, and the sizes that one says it has."""

    ending: str
    starts: tuple[bytes, ...]
    sizes: Callable[[bytes], Iterator[tuple[int, int]]]


def _png_sizes(raw: bytes) -> Iterator[tuple[int, int]]:
    """Source: W3C, Portable Network Graphics (third edition), 11.2.1: IHDR comes first, or nothing is shown."""
    if raw[12:16] == b"IHDR" and len(raw) >= 24:
        yield struct.unpack(">II", raw[16:24])


def _jpeg_sizes(raw: bytes) -> Iterator[tuple[int, int]]:
    """Source: ITU-T T.81, B.1.1.2 (markers) and B.2.2 (frame header). What lies between segments is passed over."""
    place = 2
    while (place := raw.find(b"\xff", place)) >= 0 and place + 9 <= len(raw):
        marker = raw[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", raw[place + 5 : place + 9])
            yield width, height
            place += 2
        elif marker in _JPEG_ALONE:
            place += 2
        elif marker == 0xDA:  # the scan: the picture itself
            return
        else:
            place += 2 + max(2, int.from_bytes(raw[place + 2 : place + 4], "big"))


_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = frozenset((0x00, 0x01, *range(0xD0, 0xDA)))


def _gif_sizes(raw: bytes) -> Iterator[tuple[int, int]]:
    """Source: CompuServe, GIF89a specification, 18 (logical screen) and 20 (each image's own place on it)."""
    if len(raw) < 13:
        return
    yield struct.unpack("<HH", raw[6:10])
    place = 13 + _gif_table(raw[10])
    while place + 10 <= len(raw):
        if raw[place] == 0x2C:
            left, top, width, height = struct.unpack("<HHHH", raw[place + 1 : place + 9])
            yield left + width, top + height
            place += 11 + _gif_table(raw[place + 9])
        elif raw[place] == 0x21:
            place += 2
        else:
            return
        while place < len(raw) and raw[place]:
            place += 1 + raw[place]
        place += 1


def _gif_table(flags: int) -> int:
    """Bytes of a table of colours."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


KINDS = {
    "image/png": Kind("png", (b"\x89PNG\r\n\x1a\n",), _png_sizes),
    "image/jpeg": Kind("jpg", (b"\xff\xd8\xff",), _jpeg_sizes),
    "image/gif": Kind("gif", (b"GIF87a", b"GIF89a"), _gif_sizes),
}
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
    for name, kind in KINDS.items():
        text = bundle.get(name)
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
        if not raw.startswith(kind.starts):
            reason = f"it says that it is {name}, and is not"
        elif any(width * height > MAX_PIXELS for width, height in kind.sizes(raw)):
            return f"it has more than {MAX_PIXELS // 10**6} million pixels"
        else:
            return name, base64.b64encode(raw).decode(), len(raw)
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
            ours[name] = f"picture-{len(taken) + 1}.{KINDS[kind].ending}"
            taken[ours[name]] = pictures[name]
        own = f"attachment:{ours[name]}"
        return f"![picture]({own})" if reference["tag"] else own

    return _REFERENCE.sub(renamed, source)
