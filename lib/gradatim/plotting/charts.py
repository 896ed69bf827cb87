"""The course's still charts. Each takes numbers, and gives a figure with alt text and a table of those numbers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gradatim._check import checked, require
from gradatim.plotting._look import LIGHT, MARKERS, RC, TEXT, WIDTH, style
from gradatim.plotting._words import as_floats, check_frame, describe_series, mean_and_sd, series_rows, spoken
from gradatim.plotting.figure import Html, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = Sequence[float]


def new_axes(height: float) -> "tuple[Figure, Axes]":
    """A figure of the course's width and its axes."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(WIDTH, height), layout="constrained")


def legend_below(drawing: "Figure", axes: "Axes") -> None:
    """A legend under the axes, where it hides no data, in as many columns as fit the width."""
    labels = axes.get_legend_handles_labels()[1]
    if len(labels) > 1:
        widest = max(map(len, labels)) + 7  # characters, the line's sample included
        drawing.legend(loc="outside lower center", ncols=max(1, min(3, 58 // widest)))


@checked
def line_chart(
    x: Numbers,
    series: Mapping[str, Numbers],
    *,
    name: str,
    caption: str,
    x_label: str,
    y_label: str,
    bands: Mapping[str, tuple[Numbers, Numbers]] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    y_limits: tuple[float, float] | None = None,
    diagonal: str | None = None,
    markers: bool = False,
    height: float = 3.4,
) -> Html:
    """Lines over a common x, at most five of them.

    Args:
        x: shape (N,), finite.
        series: label -> shape (N,) (NaN leaves a gap).
        name: unique on the page, lower-case words joined by "-".
        caption: one sentence under the figure.
        x_label: the quantity and its unit.
        y_label: the quantity and its unit.
        bands: label -> (low, high), each of shape (N,): a shaded spread around that series.
        log_x: logarithmic x axis.
        log_y: logarithmic y axis.
        y_limits: cut the y axis there (the table keeps every value).
        diagonal: label of the line y = x, for reliability diagrams.
        markers: mark every point.
        height: inches, in (0, 30].

    Returns:
        The piece of the page.

    Raises:
        ValueError: no line or more than five; not N numbers; a setting out of range.
    """
    import matplotlib

    x = as_floats("line_chart", "x", x)
    lines = {label: as_floats("line_chart", label, y) for label, y in series.items()}
    require(1 <= len(lines) <= len(LIGHT), "line_chart", "series", f"1 to {len(LIGHT)} lines", list(lines))
    for label, y in lines.items():
        require(len(y) == len(x), "line_chart", label, f"of length {len(x)} like x", len(y))
    check_frame("line_chart", name, height, y_limits, x)
    edges = {label: check_band(label, band, lines) for label, band in (bands or {}).items()}
    with matplotlib.rc_context(RC):
        drawing, axes = new_axes(height)
        if diagonal:
            axes.plot([min(x), max(x)], [min(x), max(x)], color=TEXT, linewidth=1, label=diagonal)
        for k, (label, y) in enumerate(lines.items()):
            marker = MARKERS[k] if markers else None
            axes.plot(x, y, label=label, marker=marker, **style(k))
            if label in edges:
                low, high = edges[label]
                axes.fill_between(x, low, high, color=LIGHT[k], alpha=0.2, linewidth=0)
        axes.set(xlabel=x_label, ylabel=y_label)
        if log_x:
            axes.set_xscale("log")
        if log_y:
            axes.set_yscale("log")
        if y_limits:
            axes.set_ylim(*y_limits)
        legend_below(drawing, axes)
    alt = f"Line chart of {y_label} against {x_label}, from {spoken(min(x))} to {spoken(max(x))}. "
    alt += " ".join(describe_series(label, x, y) for label, y in lines.items())
    rows = series_rows(x, lines)
    return figure(drawing, name=name, alt=alt, caption=caption, header=[x_label, *lines], rows=rows)


def check_band(
    label: str, band: tuple[Numbers, Numbers], lines: Mapping[str, list[float]]
) -> list[list[float]]:
    """The low and the high edge of a band around one of the lines."""
    require(label in lines, "line_chart", "bands", f"around one of {list(lines)}", label)
    pair = isinstance(band, tuple | list) and len(band) == 2
    require(pair, "line_chart", "bands", "a pair (low, high) for each line", band)
    edges = [as_floats("line_chart", "bands", edge) for edge in band]
    length = len(lines[label])
    require(
        all(len(e) == length for e in edges),
        "line_chart",
        "bands",
        f"of length {length}",
        list(map(len, edges)),
    )
    return edges


@checked
def dot_chart(
    groups: Mapping[str, Numbers],
    *,
    name: str,
    caption: str,
    x_label: str,
    log_x: bool = False,
    styles: int = len(LIGHT),
) -> Html:
    """One row per group: a dot per repetition, and a bar for the mean and one standard deviation each way.

    Args:
        groups: label -> one value per repetition (seed), the same seeds in the same order in every group.
        name: unique on the page, lower-case words joined by "-".
        caption: one sentence under the figure.
        x_label: the quantity and its unit.
        log_x: logarithmic axis.
        styles: colour and marker repeat after so many rows: 3 where the same three stand under two conditions.

    Returns:
        The piece of the page.

    Raises:
        ValueError: no group, or something else than numbers in one; a setting out of range.
    """
    import matplotlib

    values = {label: as_floats("dot_chart", label, group) for label, group in groups.items()}
    require(len(values) > 0, "dot_chart", "groups", "at least one group", list(values))
    require(1 <= styles <= len(LIGHT), "dot_chart", "styles", f"in [1, {len(LIGHT)}]", styles)
    check_frame("dot_chart", name, 1.0, None, ())
    with matplotlib.rc_context(RC):
        drawing, axes = new_axes(0.9 + 0.42 * len(values))
        for k, group in enumerate(values.values()):
            mean, sd = mean_and_sd(group)
            row = len(values) - 1 - k
            shade, marker = LIGHT[k % styles], MARKERS[k % styles]
            spread = [row - 0.13 if n % 2 else row - 0.25 for n in range(len(group))]
            axes.plot(group, spread, marker, color=shade, alpha=0.55, markersize=4)
            axes.errorbar(mean, row + 0.14, xerr=sd, fmt=marker, color=shade, capsize=4)
        axes.set_yticks(range(len(values)), reversed(values.keys()))
        axes.set_ylim(-0.6, len(values) - 0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(x_label)
        if log_x:
            axes.set_xscale("log")
    rows = [
        (label, *mean_and_sd(group), min(group), max(group), len(group)) for label, group in values.items()
    ]
    alt = f"Dot chart of {x_label}, one dot per seed. "
    alt += " ".join(
        f"{row[0]}: mean {spoken(row[1])}, standard deviation {spoken(row[2])} over {row[5]} seeds."
        for row in rows
    )
    header = ["", "mean", "standard deviation", "lowest", "highest", "seeds"]
    return figure(drawing, name=name, alt=alt, caption=caption, header=header, rows=rows)
