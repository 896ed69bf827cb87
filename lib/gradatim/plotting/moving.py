"""A chart with a slider. Every frame is computed beforehand, so it moves without a kernel and without a network."""

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from gradatim._check import checked, require
from gradatim.plotting._look import LIGHT, RC, style
from gradatim.plotting._words import as_floats, check_frame, describe_series, sampled, spoken
from gradatim.plotting.charts import Numbers, legend_below, new_axes
from gradatim.plotting.figure import Html, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _path(axes: "Axes", height: float, x: Numbers, y: Numbers) -> str:
    """The SVG path of a line, in the drawing's own coordinates (points, y downwards)."""
    points = axes.transData.transform(list(zip(x, y, strict=True)))
    return "M" + "L".join(f"{px:.1f} {height - py:.1f}" for px, py in points)


@checked
def moving_chart(
    x: Numbers,
    frames: Mapping[float, Mapping[str, Numbers]],
    *,
    name: str,
    caption: str,
    slider_label: str,
    say: Callable[[float], str],
    x_label: str,
    y_label: str,
    y_limits: tuple[float, float],
    start: int = 0,
    height: float = 3.4,
) -> Html:
    """Lines over a common x that follow a slider.

    Args:
        x: shape (N,), finite.
        frames: slider position -> {label -> shape (N,)}; every frame has the same labels, at most five.
        name: unique on the page, lower-case words joined by "-".
        caption: one sentence under the figure.
        slider_label: what the slider sets.
        say: position -> one sentence to show beside it.
        x_label: the quantity and its unit.
        y_label: the quantity and its unit.
        y_limits: of the axis, the same in every frame.
        start: index of the frame that is shown first, and alone where there is no JavaScript.
        height: inches, in (0, 30].

    Returns:
        The piece of the page.

    Raises:
        ValueError: no frame; frames that differ in labels; not N numbers; a setting out of range.
    """
    import matplotlib

    where = "moving_chart"
    x = as_floats(where, "x", x)
    positions = list(frames)
    require(len(positions) > 0, where, "frames", "at least one frame", positions)
    as_floats(where, "frames' positions", positions)
    require(all(isinstance(f, Mapping) for f in frames.values()), where, "frames", "mappings", dict(frames))
    require(0 <= start < len(positions), where, "start", f"in [0, {len(positions) - 1}]", start)
    labels = list(frames[positions[0]])
    lines = {p: {k: as_floats("moving_chart", k, y) for k, y in frame.items()} for p, frame in frames.items()}
    require(
        all(list(f) == labels for f in lines.values()), "moving_chart", "frames", "alike in labels", labels
    )
    require(len(labels) <= len(LIGHT), "moving_chart", "frames", f"at most {len(LIGHT)} lines", labels)
    lengths = {len(y) for frame in lines.values() for y in frame.values()}
    require(lengths == {len(x)}, where, "frames", f"of length {len(x)} like x", sorted(lengths))
    check_frame(where, name, height, y_limits, x)
    with matplotlib.rc_context(RC):
        drawing, axes = new_axes(height)
        for k, (label, y) in enumerate(lines[positions[start]].items()):
            axes.plot(x, y, label=label, gid=f"moving-{k}", **style(k))
        axes.set(xlabel=x_label, ylabel=y_label, xlim=(min(x), max(x)), ylim=y_limits)
        legend_below(drawing, axes)
        drawing.canvas.draw()  # fixes the layout that the paths are computed in
        drawing.set_layout_engine("none")
        tall = drawing.get_figheight() * 72
        moves = [
            {
                "value": f"{slider_label} {spoken(p)}",
                "said": say(p),
                "paths": [_path(axes, tall, x, y) for y in frame.values()],
            }
            for p, frame in lines.items()
        ]
    alt = f"Line chart of {y_label} against {x_label}, with a slider for {slider_label}. "
    for p in (positions[0], positions[-1]):
        words = " ".join(describe_series(label, x, y) for label, y in lines[p].items())
        alt += f"At {slider_label} {spoken(p)}: {words} "
    rows = [(p, x[k], *(y[k] for y in frame.values())) for p, frame in lines.items() for k in sampled(x, 7)]
    return figure(
        drawing,
        name=name,
        alt=alt.strip(),
        caption=caption,
        header=[slider_label, x_label, *labels],
        rows=rows,
        controls=_controls(name, slider_label, moves, start),
        script=files("gradatim.plotting").joinpath("moving.js").read_text("utf-8").replace("NAME", name),
    )


def _controls(name: str, label: str, moves: Sequence[dict], start: int) -> str:
    """The slider, what it says, and the frames' data. Hidden until the script runs."""
    data = json.dumps(moves, separators=(",", ":")).replace("</", "<\\/")
    return (
        f'<div class="gradatim-controls" hidden><label for="{name}-slider">{escape(label)}</label>'
        f'<input type="range" id="{name}-slider" min="0" max="{len(moves) - 1}" step="1" value="{start}">'
        f'<output for="{name}-slider" aria-live="polite"></output></div>'
        f'<script type="application/json">{data}</script>'
    )
