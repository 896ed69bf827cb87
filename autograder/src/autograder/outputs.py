"""What of a student's outputs may reach somebody else's browser: bounded text and bitmaps, nothing that can act."""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any

MAX_OUTPUTS = 20  # of one cell
MAX_TEXT = 10_000  # characters of one output
MAX_IMAGE = 2 << 20  # bytes of one picture
_IMAGES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def clean_text(text: Any, limit: int = MAX_TEXT) -> str:
    """Text without terminal codes and control characters, cut in its middle if longer than `limit`."""
    if isinstance(text, list):
        text = "".join(part for part in text if isinstance(part, str))
    if not isinstance(text, str):
        return ""
    text = _CONTROL.sub("", text[: 4 * limit])
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"


def safe_markdown(text: str, pictures: Iterable[str] = ()) -> str:
    """Markdown that renders as before but can hold no HTML tag, entity or script address.

    Args:
        pictures: names of the cell's attachments. nbconvert gives up on a page that refers to any other one.

    nbgrader's templates do not sanitize text cells and comments (`HTMLExporter.sanitize_html` reaches only nbconvert's
    own templates), so the text itself must be harmless. A blank after `<` and `&` is invisible in formulas.
    """
    text = re.sub(r"<(?=[A-Za-z/!?])", "< ", text)
    text = re.sub(r"&(?=[#A-Za-z])", "& ", text)
    text = re.sub(r"(?i)(script|data|file)(\s*):", r"\1\2 :", text)
    known = "|".join(re.escape(name) for name in pictures) or "(?!)"
    return re.sub(
        rf"(?P<whole>\(attachment:(?:{known})(?=[ \t\n)]))|(?i:(?P<word>attachment)(?P<colon>\\?:))",
        lambda m: m["whole"] or f"{m['word']} {m['colon']}",
        text,
    )


def safe_outputs(outputs: Iterable[Any]) -> list[dict[str, Any]]:
    """Rebuild nbformat outputs from their harmless parts: streams, errors, plain text, PNG and JPEG pictures.

    HTML, SVG, JavaScript and LaTeX are dropped; what Jupyter shows as HTML carries plain text beside it.
    """
    safe = []
    for output in outputs:
        made = _safe(output) if isinstance(output, dict) else None
        if made is not None:
            safe.append(made)
        if len(safe) == MAX_OUTPUTS:
            safe.append(
                {"output_type": "stream", "name": "stdout", "text": "... more outputs left out ...\n"}
            )
            break
    return safe


def _safe(output: dict[str, Any]) -> dict[str, Any] | None:
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return {"output_type": "stream", "name": name, "text": clean_text(output.get("text"))}
    if kind == "error":
        name, value = clean_text(output.get("ename"), 200), clean_text(output.get("evalue"), 2_000)
        trace = clean_text("\n".join(t for t in output.get("traceback") or [] if isinstance(t, str)))
        return {
            "output_type": "error",
            "ename": name,
            "evalue": value,
            "traceback": (trace or f"{name}: {value}").split("\n"),
        }
    if kind in ("display_data", "execute_result"):
        data = _safe_data(output.get("data"))
        if data:
            made: dict[str, Any] = {"output_type": kind, "data": data, "metadata": {}}
            return {**made, "execution_count": None} if kind == "execute_result" else made
    return None


def _safe_data(data: Any) -> dict[str, str]:
    if not isinstance(data, dict):
        return {}
    kept = {}
    for kind, magic in _IMAGES.items():
        if (picture := _picture(data.get(kind), magic)) is not None:
            kept[kind] = picture
    if "text/plain" in data:
        kept["text/plain"] = clean_text(data["text/plain"])
    return kept


def _picture(text: Any, magic: bytes) -> str | None:
    """The picture in canonical base64, None unless it is one of the kind it says and not too large."""
    if isinstance(text, list):
        text = "".join(part for part in text if isinstance(part, str))
    if not isinstance(text, str) or len(text) > 2 * MAX_IMAGE:
        return None
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return base64.b64encode(raw).decode() if raw.startswith(magic) and len(raw) <= MAX_IMAGE else None
