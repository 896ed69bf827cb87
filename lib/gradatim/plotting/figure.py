"""A figure as a page shows it: the drawing, its words for a screen reader, its caption and its data."""

import re
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from gradatim._check import checked, require, require_type
from gradatim.plotting._inline import inline_svg
from gradatim.plotting._words import Row, html_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Html:
    """A piece of a page.

    Args:
        html: what a notebook shows.
        text: what a terminal shows.
    """

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


@checked
def figure(
    drawing: "Figure",
    *,
    name: str,
    alt: str,
    caption: str,
    header: Sequence[str],
    rows: Sequence[Row],
    controls: str = "",
    script: str = "",
) -> Html:
    """Wrap a matplotlib figure for the page: themed inline SVG, alt text, caption, and its data as a table.

    Args:
        drawing: a matplotlib Figure; it is closed.
        name: unique on the page, lower-case words joined by "-"; `#fig-<name>` links to the figure.
        alt: what the figure shows, in words and numbers taken from its data.
        caption: one sentence under the figure.
        header: headings of the data's table, which stands behind a disclosure.
        rows: its rows.
        controls: HTML of a moving figure's slider.
        script: the plain JavaScript that moves it.

    Returns:
        The piece of the page.

    Raises:
        ValueError: an alt text of fewer than five words, or a name that cannot be an id.
    """
    require(re.fullmatch(r"[a-z][a-z0-9-]*", name) is not None, "figure", "name", "words joined by '-'", name)
    require(len(alt.split()) >= 5, "figure", "alt", "a description of at least five words", alt)
    svg = inline_svg(drawing, name=name, alt=alt)
    _close(drawing)
    table = html_table(header, rows, f"Data of the figure: {caption}")
    parts = (
        f'<figure class="gradatim-figure" id="fig-{name}">',
        svg,
        controls,
        f"<figcaption>{escape(caption)}</figcaption>",
        f"<details><summary>The figure's data as a table</summary>{table}</details>",
        f"<script>{script}</script>" if script else "",
        "</figure>",
    )
    return Html("".join(parts), f"[figure {name}: {alt}]")


@checked
def table(columns: Mapping[str, Sequence[object]], *, caption: str) -> Html:
    """A table of results. Floats are shown to three significant digits.

    Args:
        columns: heading -> cells; the first column heads the rows. Columns have equal lengths.
        caption: what the table shows.

    Returns:
        The piece of the page.

    Raises:
        TypeError: a column is no sequence.
        ValueError: columns of different lengths, or none.
    """
    sized = all(isinstance(cells, Sized) and not isinstance(cells, str) for cells in columns.values())
    require_type(sized, "table", "columns", "sequences of cells", dict(columns))
    lengths = {len(cells) for cells in columns.values()}
    require(len(lengths) == 1, "table", "columns", "of equal length", {k: len(v) for k, v in columns.items()})
    cells = [column.tolist() if hasattr(column, "tolist") else list(column) for column in columns.values()]
    rows = list(zip(*cells, strict=True))
    return Html(html_table(list(columns), rows, caption), f"[table: {caption}]")


def _close(drawing: "Figure") -> None:
    import matplotlib.pyplot as plt

    plt.close(drawing)
