"""A figure drawn once and cropped is the picture that IPython's inline backend makes by drawing it twice."""

import contextlib
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.pylabtools import print_figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from autograder.sandbox import figures
from autograder.sandbox.figures import cropped_png


@pytest.fixture
def figure():
    drawn = plt.figure(dpi=72)
    FigureCanvasAgg(drawn)
    yield drawn
    plt.close(drawn)


def darkness(png):
    """How much is drawn in a picture, and its size."""
    picture = Image.open(io.BytesIO(png)).convert("L")
    return (255 - np.asarray(picture, dtype=float)).sum(), picture.size


def is_as_the_stock_picture(figure):
    (ink, size), (stock_ink, stock_size) = (
        darkness(cropped_png(figure)),
        darkness(print_figure(figure, "png")),
    )
    assert max(abs(a - b) for a, b in zip(size, stock_size, strict=True)) <= 3
    assert ink == pytest.approx(stock_ink, rel=0.05)


def test_the_picture_is_the_stock_one(figure):
    axes = figure.subplots()
    axes.plot([0, 1, 4, 9], label="squares")
    axes.set(xlabel="step", ylabel="loss", title="a title")
    axes.legend()
    is_as_the_stock_picture(figure)


def test_the_margin_has_the_figures_colour(figure):
    figure.set_facecolor("black")
    figure.subplots().plot([1, 2])
    picture = Image.open(io.BytesIO(cropped_png(figure)))
    assert [
        picture.getpixel((x, y)) for x in (0, picture.width - 1) for y in (0, picture.height - 1)
    ] == 4 * [(0, 0, 0, 255)]


def test_many_axes_and_a_fixed_aspect_are_placed_as_in_the_stock_picture(figure):
    for k, axes in enumerate(figure.subplots(2, 2).flat):
        axes.imshow(np.eye(3 + k))
        axes.set_title(f"eye {k}")
    is_as_the_stock_picture(figure)


def test_what_lies_outside_the_figure_is_left_to_the_stock_way(figure):
    axes = figure.subplots()
    axes.plot([1, 2], label="a")
    axes.legend(bbox_to_anchor=(1.5, 1))
    assert cropped_png(figure) is None


def test_a_layout_engine_is_left_to_the_stock_way(figure):
    figure.set_layout_engine("constrained")
    figure.subplots().plot([1, 2])
    assert cropped_png(figure) is None


def _log_axes_with_a_twin(figure):
    axes = figure.subplots()
    axes.loglog([1, 10, 1000], [1e-3, 1, 5], label="a")
    axes.legend(title="two\nlines")
    axes.twinx().plot([1, 100], [3, -4])


def _a_picture_with_a_colour_bar(figure):
    figure.colorbar(figure.subplots().imshow(np.arange(12.0).reshape(3, 4)), label="value")
    figure.suptitle("a title")


def _shared_axes_of_equal_aspect(figure):
    for axes in figure.subplots(2, 2, sharex=True).flat:
        axes.plot([0, 1, 2], [0, 40, 2])
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title("left", loc="left")


def _a_polar_plot(figure):
    figure.add_subplot(projection="polar").plot([0, 1, 2], [1, 2, 3])


def _a_surface(figure):
    x, y = np.meshgrid(np.arange(3.0), np.arange(4.0))
    figure.add_subplot(projection="3d").plot_surface(x, y, x * y)


def _turned_and_wrapped_texts(figure):
    axes = figure.subplots()
    axes.bar(["one", "two", "three"], [1, 2, 3])
    axes.tick_params(axis="x", rotation=45)
    axes.text(0.5, 1, "a long sentence that is wrapped at the edge", wrap=True)
    axes.annotate("here", (1, 2), (1.5, 2.5), arrowprops={"arrowstyle": "->"})


@pytest.mark.parametrize(
    "draw",
    [
        *(_log_axes_with_a_twin, _a_picture_with_a_colour_bar, _shared_axes_of_equal_aspect),
        *(_a_polar_plot, _a_surface, _turned_and_wrapped_texts),
    ],
)
def test_laying_out_once_changes_no_pixel(draw, monkeypatch):
    pictures = []
    for remembering in (True, False):
        if not remembering:
            monkeypatch.setattr(figures, "_laying_out_once", contextlib.nullcontext)
        figure = plt.figure(dpi=72)
        FigureCanvasAgg(figure)
        draw(figure)
        pictures.append(cropped_png(figure))
        plt.close(figure)
    assert pictures[0] is not None
    assert pictures[0] == pictures[1]


def test_matplotlib_is_left_as_it_was_after_a_figure_that_cannot_be_drawn(figure):
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    before = Axis._update_ticks, Text._get_layout
    figure.subplots().set_title("$\\unknown{}$")
    with pytest.raises(ValueError, match="unknown"):
        cropped_png(figure)
    assert (Axis._update_ticks, Text._get_layout) == before
