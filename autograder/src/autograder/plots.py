"""Two plots as inline SVG with their numbers in words: no script, no request, both colour schemes."""

from collections.abc import Sequence

from .page import escape

WIDTH, HEIGHT = 640, 220
MAX_BINS = 20


def histogram(values: Sequence[float], upper: float, unit: str, count_unit: str) -> str:
    """How `values`, between 0 and `upper`, are spread over equal bins; the last bin holds its upper edge."""
    bins = max(1, min(MAX_BINS, int(upper) or 1))
    edge = (upper or 1.0) / bins
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int(value / edge)))] += 1
    top = max(counts) or 1
    left, bottom, height, step = 34, HEIGHT - 34, HEIGHT - 54, (WIDTH - 44) / bins
    shapes = []
    for k, count in enumerate(counts):
        x, h = left + k * step, height * count / top
        span = f"{k * edge:g} to {(k + 1) * edge:g} {unit}: {count}"
        shapes.append(
            f'<rect x="{x + 1:.1f}" y="{bottom - h:.1f}" width="{max(1, step - 2):.1f}" height="{h:.1f}" '
            f'fill="var(--link)"><title>{escape(span)}</title></rect>'
        )
        if count:
            shapes.append(_text(x + step / 2, bottom - h - 4, str(count), "middle"))
    shapes.append(f'<path d="M{left} {bottom}H{WIDTH - 10}" stroke="var(--ink)"/>')
    for part in range(5):
        x = left + (WIDTH - 44) * part / 4
        value = upper * part / 4
        shapes.append(_text(x, bottom + 16, f"{value:.0f}" if upper >= 8 else f"{value:g}", "middle"))
    shapes.append(_text(left + (WIDTH - 44) / 2, bottom + 31, unit, "middle"))
    filled = [f"{k * edge:g} to {(k + 1) * edge:g}: {c}" for k, c in enumerate(counts) if c]
    words = f"Histogram of {len(values)} {count_unit} by {unit}. " + "; ".join(filled) + "."
    return _svg(shapes, WIDTH, HEIGHT, words)


def bars(rows: Sequence[tuple[str, float, str]], words: str) -> str:
    """Horizontal bars; each row is (label, share between 0 and 1, what to write at its end)."""
    line, left = 30, 240
    height = line * len(rows) + 6
    room = WIDTH - left - 60
    shapes = []
    for k, (label, share, end) in enumerate(rows):
        y = 4 + k * line
        length = room * max(0.0, min(1.0, share))
        short = label if len(label) <= 34 else label[:33] + "…"
        shapes.append(_text(left - 8, y + 16, short, "end"))
        shapes.append(f'<rect x="{left}" y="{y + 3}" width="{room}" height="18" fill="var(--soft)"/>')
        shapes.append(f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="18" fill="var(--link)"/>')
        shapes.append(_text(left + room + 8, y + 16, end, "start"))
    spoken = f"Bars, {words}. " + "; ".join(f"{label}: {end}" for label, _, end in rows) + "."
    return _svg(shapes, WIDTH, height, spoken)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="13" fill="var(--ink)">{escape(text)}</text>'


def _svg(shapes: list[str], width: int, height: int, words: str) -> str:
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {box} role="img" aria-label="{escape(words)}">{"".join(shapes)}</svg>'
