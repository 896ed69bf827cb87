"""Pictures of figures as the inline backend makes them, drawn once where it draws twice.

Cropping to what is drawn ("tight") needs the places of all texts, which matplotlib finds by a whole drawing that it
throws away. Here the texts are laid out, the figure is drawn, and the picture is cropped; and ticks and texts, which
matplotlib lays out again for every artist that asks for their places, are laid out once. A simple figure takes three
fifths of the time.
"""

from __future__ import annotations

import contextlib
import io
import math
from base64 import b64encode
from collections.abc import Iterator
from typing import Any


def draw_figures_once() -> None:
    """Have IPython use `print_figure` of this module. Matplotlib must be installed."""
    from IPython.core import pylabtools

    stock = pylabtools.print_figure

    def print_figure(figure: Any, fmt: str = "png", bbox_inches: Any = "tight", **options: Any) -> Any:
        picture = None
        if fmt == "png" and bbox_inches == "tight" and (figure.axes or figure.lines):
            try:
                picture = cropped_png(figure, **options.get("pil_kwargs", {}))
            except Exception:
                picture = (
                    None  # an odd figure: the stock way raises what is to be raised, where it is expected
                )
        if picture is None:
            return stock(figure, fmt, bbox_inches, **options)
        return b64encode(picture).decode() if options.get("base64") else picture

    pylabtools.print_figure = print_figure


def cropped_png(figure: Any, **packing: Any) -> bytes | None:
    """A PNG of the figure, cropped to what is drawn and matplotlib's usual margin; `packing` is for Pillow.

    None where something lies outside the figure, and where another canvas or a layout engine is in charge.
    """
    import matplotlib
    import numpy
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = figure.canvas
    if type(canvas).print_png is not FigureCanvasAgg.print_png or figure.get_layout_engine() is not None:
        return None
    margin, dpi = matplotlib.rcParams["savefig.pad_inches"], figure.dpi
    width, height = canvas.get_width_height(physical=True)
    with _laying_out_once():
        box = figure.get_tightbbox(canvas.get_renderer())  # lays the texts out, as drawing would
        left, bottom, right, top = (edge * dpi for edge in box.extents)
        if not (left >= 0 and bottom >= 0 and right <= width and top <= height):
            return None
        canvas.draw()
    drawn = Image.fromarray(numpy.asarray(canvas.buffer_rgba()))
    left, bottom, right, top = (edge * dpi for edge in box.padded(margin).extents)
    left, above = math.floor(left), math.floor(drawn.height - top)
    size = (math.ceil(right) - left, math.ceil(drawn.height - bottom) - above)
    colour = tuple(round(255 * part) for part in matplotlib.colors.to_rgba(figure.get_facecolor()))
    picture = Image.new("RGBA", size, colour)  # the margin may reach beyond the figure's edge
    picture.paste(drawn, (-left, -above))
    packed = io.BytesIO()
    picture.save(packed, "png", dpi=(dpi, dpi), **packing)
    return packed.getvalue()


@contextlib.contextmanager
def _laying_out_once() -> Iterator[None]:
    """While one figure is drawn: the ticks of an axis and the lines of a text are found once, not eight times.

    Found again whenever what they depend on has changed in between: limits and size of the axes, text and rotation.
    Both methods are matplotlib's own affair. Where another version lacks them, nothing is remembered.
    """
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    ticks, layouts = getattr(Axis, "_update_ticks", None), getattr(Text, "_get_layout", None)
    if ticks is None or layouts is None:
        yield
        return
    known: dict[Any, Any] = {}

    def update_ticks(axis: Any) -> Any:
        key = (axis, tuple(axis.get_view_interval()), axis.axes.bbox.bounds)
        if key not in known:
            known[key] = ticks(axis)
        return known[key]

    def get_layout(text: Any, renderer: Any) -> Any:
        if text.get_wrap():  # its lines depend on its place
            return layouts(text, renderer)
        key = (text, text.get_text(), text.get_rotation())
        if key not in known:
            known[key] = layouts(text, renderer)
        return known[key]

    Axis._update_ticks, Text._get_layout = update_ticks, get_layout
    try:
        yield
    finally:
        Axis._update_ticks, Text._get_layout = ticks, layouts
