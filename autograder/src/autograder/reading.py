"""Read a student's notebook from bytes: any bytes. Never raises, never trusts an output.

Only what grading needs is kept: each cell's kind, source text, nbgrader metadata and the pictures pasted
into its text. Outputs are passed over unread, so a 50 MB picture costs nothing and a forged output cannot exist.
"""

import codecs
import re
from dataclasses import dataclass, field, replace
from typing import Any

from .cell_names import looks_like_code, with_plain_blanks
from .json_salvage import Salvage, salvage
from .pictures import PictureReader, Pictures

MAX_BYTES = 64 << 20  # of a file
MAX_CELLS = 5_000
MAX_SOURCE = 1 << 20  # characters of one cell
MAX_TOTAL_SOURCE = 8 << 20  # characters of all cells
KINDS = {"code": "code", "markdown": "markdown", "raw": "raw", "heading": "markdown", "html": "markdown"}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BAD_BYTES = re.compile("[\udc80-\udcff]+")  # as "surrogateescape" decodes them


@dataclass(frozen=True)
class ReadCell:
    """One cell as the student left it. `index` counts the cells of the file from 0."""

    kind: str  # code | markdown | raw
    source: str
    index: int = 0
    grade_id: str | None = None
    nbgrader: dict[str, Any] = field(default_factory=dict)
    pictures: Pictures = field(default_factory=dict)  # to which the source refers


@dataclass(frozen=True)
class ReadResult:
    """What could be read. `fatal` is the sentence for the student when nothing could; `problems` are for both."""

    cells: tuple[ReadCell, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    fatal: str | None = None


def read_notebook(raw: bytes) -> ReadResult:
    """Return the cells of a notebook of any nbformat version, whole, damaged or cut off.

    Time and memory grow linearly with the length and are capped. Source: the nbformat JSON schemas, versions 1 to 4.5.
    """
    fatal = _refuse(raw)
    if fatal:
        return ReadResult(fatal=fatal)
    text, problems = _decode(raw)
    tree = salvage(text, skip_keys=("outputs", "attachments", "widgets"), marker="cell_type")
    problems += tree.problems
    if "\n<<<<<<< " in text and "\n>>>>>>> " in text:
        problems.append("The file holds unresolved merge conflicts; both sides were read.")
    nodes = _cell_nodes(tree)
    if nodes is None:
        return ReadResult(problems=tuple(problems), fatal=_not_a_notebook(text))
    root = tree.root if isinstance(tree.root, dict) else {}
    metadata = root.get("metadata")
    _check_version(root, problems)
    cells = _cells(nodes, tree, problems)
    cells = _with_pictures(cells, nodes, PictureReader(text, problems))
    if not cells and tree.damaged:
        return ReadResult(
            problems=tuple(problems), fatal="The file is damaged or cut off before its first whole cell."
        )
    return ReadResult(
        tuple(cells), metadata if isinstance(metadata, dict) else {}, tuple(dict.fromkeys(problems))
    )


def _refuse(raw: bytes) -> str | None:
    """Say why bytes cannot be a notebook, or None."""
    if len(raw) > MAX_BYTES:
        return f"The file is larger than {MAX_BYTES >> 20} MiB; clear the outputs and hand it in again."
    if not raw.strip(b"\0 \t\r\n"):
        return "The file is empty."
    if raw.startswith((b"PK\x03\x04", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")):
        return "The file is an archive, not a notebook; hand in the .ipynb file itself."
    return None


def _decode(raw: bytes) -> tuple[str, list[str]]:
    for bom, encoding in _BOMS:
        if raw.startswith(bom):
            text = raw[len(bom) :].decode(encoding, "replace")
            return text, [] if encoding == "utf-8" else [
                f"The file was saved as {encoding.upper()}, not UTF-8."
            ]
    head = raw[:64]
    if len(head) > 3 and head.count(0) * 3 > len(head):
        encoding = "utf-16-be" if head[0] == 0 else "utf-16-le"
        return raw.decode(encoding, "replace"), [f"The file was saved as {encoding.upper()}, not UTF-8."]
    try:
        return raw.decode("utf-8"), []
    except UnicodeDecodeError:
        text = _BAD_BYTES.sub(_as_windows_text, raw.decode("utf-8", "surrogateescape"))
        return text, ["The file holds bytes that are not UTF-8; they were read as Windows-1252."]


def _as_windows_text(match: re.Match[str]) -> str:
    return match[0].encode("utf-8", "surrogateescape").decode("cp1252", "replace")


def _not_a_notebook(text: str) -> str:
    start = text.lstrip("\ufeff \t\r\n")[:200].lower()
    if start.startswith(("<!doctype", "<html", "<?xml")):
        return "The file is a web page, not a notebook; download the .ipynb file itself."
    if start.startswith("version https://git-lfs"):
        return "The file is a Git LFS pointer, not the notebook itself."
    if looks_like_code(text):
        return "The file is a Python script, not a notebook; hand in the .ipynb file itself."
    if not start.startswith(("{", "[")):
        return "The file is not a notebook: it does not hold JSON."
    return "The file is not a notebook: no cell was found in it."


def _cell_nodes(tree: Salvage) -> list[Any] | None:
    """Return the cell objects in order, None if this is no notebook."""
    root = tree.root
    found: list[Any] = []
    is_notebook = False
    if isinstance(root, dict):
        sheets = root.get("worksheets")
        holders = [root, *(sheets if isinstance(sheets, list) else [])]
        for holder in holders:
            if isinstance(holder, dict) and isinstance(holder.get("cells"), list):
                is_notebook = True
                found += holder["cells"]
    if tree.damaged or not is_notebook:
        # Damage, or another tool's wrapping, may have hung cells in the wrong place: take them wherever they are.
        here = {id(node) for node in found}
        lost = [node for node in tree.marked if id(node) not in here and _source_of(node) is not None]
        if lost:
            order = {id(node): place for place, node in enumerate(tree.marked)}
            known = [node for node in found if id(node) in order]
            found = sorted(known + lost, key=lambda node: order[id(node)])
    return found if is_notebook or found else None


def _check_version(root: dict[str, Any], problems: list[str]) -> None:
    version = root.get("nbformat")
    if isinstance(version, int) and not isinstance(version, bool) and version != 4:
        age = "older" if version < 4 else "newer"
        problems.append(f"The notebook's format is {age} than nbformat 4 (it says {version}).")


def _source_of(node: dict[str, Any]) -> str | None:
    """Return a cell's text, None if it has none. Older formats call it `input`, `code` or `text`."""
    for key in ("source", "input", "code", "text"):
        value = node.get(key)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            parts = [part for part in value if isinstance(part, str)]
            return _joined(parts) if parts or not value else None
    return None


def _joined(parts: list[str]) -> str:
    """Put a text together from its lines, which must end in line breaks but for the last, and in nbformat 2 do not.

    Source: `rejoin_lines` of nbformat.v2 and v3. Some tools write one character at a time, without being wrong.
    """
    lines_only = len(parts) > 1 and max(map(len, parts)) > 1 and not any(map(_has_break, parts))
    return ("\n" if lines_only else "").join(parts)


def _has_break(text: str) -> bool:
    return "\n" in text or "\r" in text


def _cells(nodes: list[Any], tree: Salvage, problems: list[str]) -> list[ReadCell]:
    cells: list[ReadCell] = []
    total = 0
    for index, node in enumerate(nodes):
        if len(cells) >= MAX_CELLS:
            problems.append(f"Only the first {MAX_CELLS} cells were read.")
            break
        if not isinstance(node, dict):
            problems.append(f"Cell {index + 1} is not a cell; it was left out.")
            continue
        source = _source_of(node)
        if source is None or any(
            id(node.get(key)) in tree.cut for key in ("source", "input", "code", "text")
        ):
            if id(node) in tree.cut:
                problems.append(f"Cell {index + 1}, where the file ends, is incomplete; it was left out.")
                continue
            if source is None:
                problems.append(f"Cell {index + 1} has no text that can be read.")
            source = source or ""
        if len(source) > MAX_SOURCE or total + len(source) > MAX_TOTAL_SOURCE:
            problems.append(f"Cell {index + 1} is too long ({len(source):,} characters); it was left out.")
            continue
        total += len(source)
        cell = _cell(node, source, index)
        if cell.kind == "code" and (plain := with_plain_blanks(cell.source)) != cell.source:
            problems.append(
                f"Cell {index + 1} held invisible characters that Python cannot read; they were replaced."
            )
            cell = replace(cell, source=plain)
        cells.append(cell)
    return cells


def _with_pictures(cells: list[ReadCell], nodes: list[Any], reader: PictureReader) -> list[ReadCell]:
    """The cells with their pictures. Those labelled as answers come first, should there be too many pictures."""
    texts = [place for place, cell in enumerate(cells) if cell.kind != "code"]
    for place in sorted(texts, key=lambda place: not cells[place].nbgrader.get("solution")):
        cell = cells[place]
        attachments = nodes[cell.index].get("attachments")
        if pictures := reader.read(attachments, cell.source, f"Cell {cell.index + 1}"):
            cells[place] = replace(cell, pictures=pictures)
    return cells


def _cell(node: dict[str, Any], source: str, index: int) -> ReadCell:
    source = _SURROGATE.sub(
        "\ufffd", source.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    )
    named = node.get("cell_type")
    kind = KINDS.get(named) if isinstance(named, str) else None
    if kind is None:  # unnamed: only code cells have outputs or an execution count
        kind = (
            "code" if {"outputs", "execution_count", "input", "prompt_number"} & node.keys() else "markdown"
        )
    metadata = node.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    nbgrader = nbgrader if isinstance(nbgrader, dict) else {}
    grade_id = nbgrader.get("grade_id")
    if not (isinstance(grade_id, str) and 0 < len(grade_id) <= 200):
        grade_id = None
    flags = {
        k: v
        for k, v in nbgrader.items()
        if isinstance(v, str | int | float | bool) and len(str(v)[:201]) <= 200
    }
    return ReadCell(kind, source, index, grade_id, flags)
