"""HTML pages that stand alone: no request leaves them, light and dark, phone to print, readable without scripts."""

import html
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .outputs import clean_text, safe_outputs
from .pictures import KINDS, Pictures

STYLE = (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
#: Nothing may be loaded, run or sent, even if something hostile came through.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def escape(text: Any) -> str:
    return html.escape(clean_text(str(text), 20_000))


def page(title: str, body: str) -> str:
    """A whole document. `body` is HTML; everything in it that came from a student must be escaped already."""
    head = (
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}</style>",
    )
    lines = ("<!DOCTYPE html>", '<html lang="en">', "<head>", *head, "</head>", "<body>", "<main>", body)
    return "\n".join((*lines, "</main>", "</body>", "</html>", ""))


def table(
    header: Iterable[str], rows: Iterable[Iterable[Any]], numbers: Iterable[int] = (), caption: str = ""
) -> str:
    """A table of escaped cells; columns in `numbers` are set to the right. Cells that are Markup stay HTML."""
    right = set(numbers)

    def cells(tag: str, values: Iterable[Any]) -> str:
        return "".join(
            f"<{tag}{' class=num' if k in right else ''}{' scope=col' if tag == 'th' else ''}>"
            f"{v.html if isinstance(v, Markup) else escape(v)}</{tag}>"
            for k, v in enumerate(values)
        )

    head = f"<caption class=dim>{escape(caption)}</caption>" if caption else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>\n" for row in rows)
    top = f"{head}<thead><tr>{cells('th', header)}</tr></thead>"
    return f"<div class=scroll><table>{top}<tbody>\n{body}</tbody></table></div>"


class Markup:
    """HTML that was made here and is not escaped again."""

    def __init__(self, text: str) -> None:
        self.html = text


def highlight(source: str) -> str:
    """Python source as escaped HTML with coloured tokens; plain escaped text where it is too long to colour."""
    source = clean_text(source, 60_000)
    if len(source) > 20_000:
        return f"<pre>{html.escape(source)}</pre>"
    from pygments.lexers import PythonLexer
    from pygments.token import Comment, Keyword, Number, Operator, String

    kinds = ((Keyword, "k"), (Operator.Word, "k"), (String, "s"), (Comment, "c"), (Number, "m"))
    parts = []
    for token, text in PythonLexer(ensurenl=False).get_tokens(source):
        kind = next((name for group, name in kinds if token in group), "")
        parts.append(f"<span class={kind}>{html.escape(text)}</span>" if kind else html.escape(text))
    return f'<pre tabindex="0">{"".join(parts)}</pre>'


def outputs_html(outputs: Iterable[Any]) -> str:
    """A cell's outputs: escaped text and pictures, nothing that acts."""
    parts = []
    for output in safe_outputs(outputs):
        if output["output_type"] == "stream":
            parts.append(f'<pre class=out tabindex="0">{html.escape(output["text"])}</pre>')
        elif output["output_type"] == "error":
            text = "\n".join(output["traceback"][-15:])
            parts.append(f'<pre class="out bad" tabindex="0">{html.escape(text)}</pre>')
        else:
            parts.append(_data_html(output["data"]))
    return "".join(parts)


def _data_html(data: dict[str, str]) -> str:
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            return f'<p><img alt="A picture that this cell drew" src="data:{kind};base64,{data[kind]}"></p>'
    return f'<pre class=out tabindex="0">{html.escape(data.get("text/plain", ""))}</pre>'


def pictures_html(pictures: Pictures) -> str:
    """The pictures of an answer, each under the name by which its text refers to it."""
    return "".join(
        f'<p><img alt="{html.escape(name)}" src="data:{kind};base64,{html.escape(data)}"></p>'
        for name, bundle in pictures.items()
        for kind, data in bundle.items()
        if kind in KINDS
    )


def link(address: str, text: str) -> str:
    """A link if the address is a relative page or http(s), else the bare text."""
    plain = address.split("#")[0].split("?")[0]
    relative = ":" not in address and not address.startswith(("//", "\\")) and plain.isprintable()
    if not (relative or address.startswith(("https://", "http://"))):
        return escape(text)
    return f'<a href="{html.escape(address, quote=True)}" rel="noopener noreferrer">{escape(text)}</a>'


def section_link(section: str, book: str, text: str = "") -> str:
    """A link to a section such as losses.html#losses-stable below `book`; without a book, its bare address."""
    if not section:
        return ""
    if not book:
        return f"<span class=dim>({escape(section)})</span>"
    chapter, _, anchor = section.partition("#")
    chapter = chapter.removesuffix(".html")
    topic = anchor.removeprefix(f"{chapter}-").replace("-", " ")
    name = f"{chapter.capitalize()}: {topic}" if topic else chapter.capitalize()
    return link(f"{book.removesuffix('/')}/{section}", text or name)
