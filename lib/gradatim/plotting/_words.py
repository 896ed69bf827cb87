"""What a figure says in words and in a table, made from the same numbers as the figure."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from gradatim._check import require

Row = Sequence[object]


def number(value: object) -> str:
    """Three significant digits for a float; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or math.isnan(value) or math.isinf(value):
        return str(value)
    value = value + 0.0 if value else 0.0  # no "-0"
    size = abs(value)
    if size and (size >= 1e5 or size < 1e-3):
        return f"{value:.2e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(size))) if size else 0}f}"


def spoken(value: float, scale: float = 0.0) -> str:
    """`number` without trailing zeros; rounding noise against values of size `scale` is zero."""
    text = number(0.0 if abs(value) < 1e-6 * scale else float(value))
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def as_floats(where: str, name: str, values: Any) -> list[float]:
    """Plain floats from a tensor, an array or a sequence of numbers."""
    listed = isinstance(values, Iterable) and not isinstance(values, str | Mapping)
    rows: Any = values.tolist() if hasattr(values, "tolist") else list(values) if listed else None
    rows = rows if isinstance(rows, list) else [None]
    require(all(isinstance(v, int | float) for v in rows), where, name, "one-dimensional numbers", values)
    require(len(rows) > 0, where, name, "not empty", values)
    return [float(v) for v in rows]


def check_frame(
    where: str, name: str, height: float, y_limits: tuple[float, float] | None, x: Sequence[float]
) -> None:
    """Refuse what no chart can be drawn from, before anything is drawn."""
    require(re.fullmatch(r"[a-z][a-z0-9-]*", name) is not None, where, "name", "words joined by '-'", name)
    require(0 < height <= 30, where, "height", "in (0, 30] inches", height)
    require(all(map(math.isfinite, x)), where, "x", "finite", list(x))
    if y_limits is not None:
        pair = as_floats(where, "y_limits", y_limits)
        ok = len(pair) == 2 and all(map(math.isfinite, pair)) and pair[0] != pair[1]
        require(ok, where, "y_limits", "two different finite numbers", y_limits)


def describe_series(label: str, x: Sequence[float], y: Sequence[float]) -> str:
    """Where a series starts and ends and, where they lie between, its lowest and highest points."""
    finite = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(b)]
    if not finite:
        return f"{label}: no finite value."
    x_scale, y_scale = (max(abs(pair[k]) for pair in finite) for k in (0, 1))

    def point(pair: tuple[float, float]) -> str:
        return f"{spoken(pair[1], y_scale)} at {spoken(pair[0], x_scale)}"

    first, last = finite[0], finite[-1]
    words = [point(first)]
    for word, extreme in (
        ("lowest", min(finite, key=lambda pair: pair[1])),
        ("highest", max(finite, key=lambda pair: pair[1])),
    ):
        if abs(extreme[1] - first[1]) > 1e-6 * y_scale and abs(extreme[1] - last[1]) > 1e-6 * y_scale:
            words.append(f"{word} {point(extreme)}")
    return f"{label}: {', '.join([*words, point(last)] if len(finite) > 1 else words)}."


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the sample standard deviation (n - 1); the latter is 0 for a single value."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return mean, 0.0
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def html_table(header: Sequence[str], rows: Sequence[Row], caption: str | None = None) -> str:
    """A table that scrolls inside itself on a narrow screen; the first column heads the rows."""
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    head = "".join(f'<th scope="col">{escape(str(cell))}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{escape(number(row[0]))}</th>'
        + "".join(f"<td>{escape(number(cell))}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    table = (
        f'<table class="gradatim-table">{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    )
    label = escape(caption or ", ".join(map(str, header)), quote=True)
    return (
        f'<div class="gradatim-scroll" tabindex="0" role="region" aria-label="Table: {label}">{table}</div>'
    )


def sampled(x: Sequence[float], most: int = 13) -> list[int]:
    """At most `most` evenly spread positions in x, both ends among them."""
    if len(x) <= most:
        return list(range(len(x)))
    return sorted({round(k * (len(x) - 1) / (most - 1)) for k in range(most)})


def series_rows(x: Sequence[float], series: Mapping[str, Sequence[float]]) -> list[Row]:
    """Rows (x, one value per series) at the sampled positions."""
    return [(x[k], *(values[k] for values in series.values())) for k in sampled(x)]
