"""A figure drawn once and cropped is the picture that IPython's inline backend makes by drawing it twice."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.pylabtools import print_figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

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
