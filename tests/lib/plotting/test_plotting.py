"""Figures: the words and the table say what the drawing shows, and both themes can be read."""

import json
import math
import re
import xml.etree.ElementTree as ET

import matplotlib.pyplot as plt
import pytest
import torch

from gradatim.plotting import _look, dot_chart, line_chart, moving_chart, table
from gradatim.plotting._words import describe_series, mean_and_sd, number, spoken

X = torch.linspace(-2, 2, 41, dtype=torch.float64)
SVG = "{http://www.w3.org/2000/svg}"


def parabola(name="parabola", **options):
    return line_chart(
        X, {"squared": X**2, "cubed": X**3}, name=name, caption="c", x_label="x", y_label="y", **options
    )


def slider(name="slider"):
    frames = {k: {"line": k * X} for k in (1.0, 2.0, 4.0)}
    return moving_chart(
        X, frames, name=name, caption="c", slider_label="slope", say=lambda k: f"slope {k}",
        x_label="x", y_label="y", y_limits=(-8, 8), start=1,
    )  # fmt: skip


def svg_of(html):
    return ET.fromstring(re.search(r"<svg.*?</svg>", html, flags=re.DOTALL).group())


def table_of(html):
    """The rows of the first table, header first."""
    root = ET.fromstring(re.search(r"<table.*?</table>", html, flags=re.DOTALL).group())
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


def contrast(one, other):
    """WCAG 2's contrast ratio of two hex colours."""

    def luminance(colour):
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0, "0"), (1234.5, "1234"), (0.12345, "0.123"), (2.0, "2.00"), (3e-9, "3.00e-09"),
     (math.nan, "nan"), (7, "7"), ("a", "a"), (True, "True")],
)  # fmt: skip
def test_number_shows_three_significant_digits(value, text):
    assert number(value) == text


def test_spoken_drops_trailing_zeros_and_rounding_noise():
    assert [spoken(v) for v in (2.0, 0.5, 1000.0)] == ["2", "0.5", "1000"]
    assert spoken(1e-12, scale=4.0) == "0"


def test_describe_series_names_ends_and_extremes_between():
    assert describe_series("f", [-1, 0, 2], [1.0, 0.0, 4.0]) == "f: 1 at -1, lowest 0 at 0, 4 at 2."
    assert describe_series("f", [0, 1], [1.0, 2.0]) == "f: 1 at 0, 2 at 1."
    assert describe_series("f", [0, 1, 2], [1.0, math.nan, 3.0]) == "f: 1 at 0, 3 at 2."
    assert describe_series("f", [0], [math.nan]) == "f: no finite value."


def test_mean_and_sd_use_n_minus_one():
    assert mean_and_sd([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2)))
    assert mean_and_sd([5.0]) == (5.0, 0.0)


def test_line_chart_alt_text_has_the_data_and_is_the_accessible_name():
    html = parabola().html
    svg = svg_of(html)
    assert svg.get("role") == "img"
    assert "squared: 4 at -2, lowest 0 at 0, 4 at 2." in svg.get("aria-label")
    assert "cubed: -8 at -2, 8 at 2." in svg.get("aria-label")


def test_line_chart_table_holds_the_plotted_values_with_both_ends():
    header, *rows = table_of(parabola().html)
    assert header == ["x", "squared", "cubed"]
    assert len(rows) == 13
    assert rows[0] == ["-2.00", "4.00", "-8.00"]
    assert rows[-1] == ["2.00", "4.00", "8.00"]
    for x, squared, cubed in rows:
        assert float(squared) == pytest.approx(float(x) ** 2, abs=0.02)
        assert float(cubed) == pytest.approx(float(x) ** 3, abs=0.05)


def test_two_figures_on_a_page_share_no_id():
    ids = [set(re.findall(r'\bid="([^"]+)"', parabola(name).html)) for name in ("one", "two")]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_every_reference_inside_a_figure_has_its_target():
    html = parabola().html + slider().html
    ids = set(re.findall(r'\bid="([^"]+)"', html))
    used = set(re.findall(r'xlink:href="#([^"]+)"', html)) | set(re.findall(r"url\(#([^)]+)\)", html))
    assert used
    assert used <= ids


def test_the_same_figure_gives_the_same_text():
    assert parabola().html == parabola().html
    assert slider().html == slider().html


def test_no_figure_fixes_a_colour_that_a_theme_cannot_change():
    for html in (
        parabola(diagonal="y = x").html,
        slider().html,
        dot_chart({"a": [1, 2]}, name="d", caption="c", x_label="v").html,
    ):
        painted = re.findall(r"(?:fill|stroke): ?(#[0-9a-f]{3,6})\b", html)
        assert set(painted) <= {"#000000"}, "only masks and glyph defaults may be black"
        assert "currentColor" in html
        assert "var(--gradatim-series-1" in html
        assert "background" not in html


def test_text_is_drawn_in_the_colour_of_the_page():
    """A glyph without a colour of its own would be black, and invisible in the dark theme."""
    svg = svg_of(parabola().html)
    glyph_groups = [g for g in svg.iter(f"{SVG}g") if g.get("id", "").startswith("parabola-text")]
    assert glyph_groups
    for group in glyph_groups:
        assert "currentColor" in ET.tostring(group, encoding="unicode")


@pytest.mark.parametrize(("colours", "page"), [(_look.LIGHT, "#ffffff"), (_look.DARK, "#121212")])
def test_series_stand_out_from_the_page_by_three_to_one(colours, page):
    for colour in colours:
        assert contrast(colour, page) >= 3, colour


def test_series_differ_by_dash_and_marker_as_well_as_by_colour():
    assert len(set(map(str, _look.DASHES))) == len(set(_look.MARKERS)) == len(_look.LIGHT) == len(_look.DARK)


def test_dot_chart_says_mean_sd_and_number_of_seeds():
    html = dot_chart(
        {"a": [1.0, 2.0, 3.0], "b": torch.tensor([5.0, 5.0])}, name="d", caption="c", x_label="error"
    ).html
    assert "a: mean 2, standard deviation 1 over 3 seeds." in svg_of(html).get("aria-label")
    assert table_of(html)[1:] == [
        ["a", "2.00", "1.00", "1.00", "3.00", "3"],
        ["b", "5.00", "0", "5.00", "5.00", "2"],
    ]


def test_dot_chart_draws_every_repetition():
    drawn = svg_of(dot_chart({"a": [1.0, 2.0, 3.0, 4.0, 5.0]}, name="d", caption="c", x_label="error").html)
    lines = [g for g in drawn.iter(f"{SVG}g") if re.fullmatch(r"d-line2d_\d+", g.get("id", ""))]
    assert max(len(list(g.iter(f"{SVG}use"))) for g in lines) == 5


def frames_of(html):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html).group(1))


def test_moving_chart_starts_with_the_path_that_matplotlib_drew():
    html = slider().html
    drawn = (
        next(g for g in svg_of(html).iter(f"{SVG}g") if g.get("id") == "slider-moving-0")
        .find(f"{SVG}path")
        .get("d")
    )
    ends = [[float(v) for v in re.findall(r"-?[\d.]+", d)] for d in (drawn, frames_of(html)[1]["paths"][0])]
    for k in (0, 1, -2, -1):
        assert ends[0][k] == pytest.approx(ends[1][k], abs=0.11)


def test_moving_chart_frames_scale_with_the_slope():
    rises = []
    for frame in frames_of(slider().html):
        _, first, *_, last = (float(v) for v in re.findall(r"-?[\d.]+", frame["paths"][0]))
        rises.append(first - last)  # SVG's y points down
    assert rises[1] / rises[0] == pytest.approx(2, abs=0.01)
    assert rises[2] / rises[0] == pytest.approx(4, abs=0.02)


def test_moving_chart_has_a_labelled_slider_and_a_table_of_all_frames():
    html = slider().html
    assert '<label for="slider-slider">slope</label>' in html
    assert re.search(r'<input type="range" id="slider-slider" min="0" max="2" step="1" value="1">', html)
    header, *rows = table_of(html)
    assert header == ["slope", "x", "line"]
    assert len(rows) == 3 * 7
    for slope, x, y in rows:
        assert float(y) == pytest.approx(float(slope) * float(x), abs=0.03)


def test_moving_chart_cannot_break_out_of_its_script():
    html = moving_chart(
        [0, 1], {0: {"a": [0, 1]}}, name="m", caption="c", slider_label="k", say=lambda _: "</script><b>",
        x_label="x", y_label="y", y_limits=(0, 1),
    ).html  # fmt: skip
    assert "</script><b>" not in html
    assert frames_of(html)[0]["said"] == "</script><b>"


def test_words_are_escaped():
    html = line_chart([0, 1], {'<i>&"': [0, 1]}, name="e", caption="a < b", x_label="x", y_label="y").html
    assert "<i>" not in html
    assert "a &lt; b" in html
    assert '<i>&"' in svg_of(html).get("aria-label")


def test_table_shows_its_cells_and_scrolls_by_keyboard():
    html = table({"name": ["a", "b"], "value": [0.12345, 2]}, caption="results").html
    assert table_of(html) == [["name", "value"], ["a", "0.123"], ["b", "2"]]
    assert 'tabindex="0"' in html
    assert "<caption>results</caption>" in html


def test_charts_refuse_what_they_cannot_show():
    with pytest.raises(ValueError, match=r"line_chart: y must be of length 2 like x, got 3"):
        line_chart([0, 1], {"y": [1, 2, 3]}, name="n", caption="c", x_label="x", y_label="y")
    with pytest.raises(ValueError, match=r"line_chart: name must be words joined by '-', got 'a b'"):
        parabola("a b")
    with pytest.raises(ValueError, match=r"table: columns must be of equal length"):
        table({"a": [1], "b": [1, 2]}, caption="c")
    with pytest.raises(ValueError, match=r"line_chart: series must be 1 to 5 lines"):
        line_chart([0], {str(k): [k] for k in range(6)}, name="n", caption="c", x_label="x", y_label="y")


def test_no_figure_stays_open():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    parabola(), slider()
    assert plt.get_fignums() == before


def test_the_package_imports_without_matplotlib():
    import subprocess
    import sys

    code = "import sys; sys.modules['matplotlib'] = None; import gradatim.plotting; print('ok')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "ok\n"


LINE = {"x": [0, 1], "series": {"a": [0, 1]}, "name": "n", "caption": "c", "x_label": "x", "y_label": "y"}
MOVING = {
    **{name: LINE[name] for name in ("x", "name", "caption", "x_label", "y_label")},
    **{"frames": {0: {"a": [0, 1]}}, "slider_label": "k", "say": str, "y_limits": (0, 1)},
}
DOTS = {"groups": {"a": [1, 2]}, "name": "n", "caption": "c", "x_label": "x"}


@pytest.mark.parametrize(
    ("chart", "right", "wrong"),
    [
        *((line_chart, LINE, w) for w in ({"x": 3}, {"x": [0, math.nan]}, {"series": [1]}, {"name": 3})),
        *((line_chart, LINE, w) for w in ({"height": -1}, {"y_limits": (0, math.nan)}, {"y_limits": (1,)})),
        *((line_chart, LINE, w) for w in ({"bands": {"b": ([0, 0], [1, 1])}}, {"bands": {"a": ([0], [1])}})),
        *(
            (moving_chart, MOVING, w)
            for w in ({"frames": {}}, {"frames": {"k": {"a": [0, 1]}}}, {"start": 1})
        ),
        *(
            (moving_chart, MOVING, w)
            for w in ({"frames": {0: {"a": [0]}}}, {"frames": {0: 3}}, {"say": None})
        ),
        *((dot_chart, DOTS, w) for w in ({"groups": {}}, {"groups": {"a": None}}, {"styles": 0})),
        *(
            (table, {"columns": {"a": [1]}, "caption": "c"}, w)
            for w in ({"columns": {"a": "text"}}, {"caption": 3})
        ),
    ],
)
def test_wrong_argument_is_named_before_anything_is_drawn(chart, right, wrong):
    chart(**right)
    with pytest.raises((TypeError, ValueError)) as caught:
        chart(**{**right, **wrong})
    assert re.fullmatch(rf"{chart.__name__}: [^\n]+ must [^\n]+, got [^\n]*", str(caught.value))
    assert plt.get_fignums() == []
