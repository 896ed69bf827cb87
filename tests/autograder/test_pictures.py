"""Pictures pasted into a text cell: kept within their bounds, never more than a bitmap."""

import base64
import json
import struct
import time
import tracemalloc

import pytest

from autograder import pictures
from autograder.json_salvage import salvage
from autograder.pictures import with_own_names
from autograder.reading import ReadResult, read_notebook

MAGIC = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF89a\3\0\2\0"}
PNG, JPEG, GIF = (base64.b64encode(magic + b"picture").decode() for magic in MAGIC.values())


def picture(size: int, kind: str = "image/png") -> str:
    return base64.b64encode(MAGIC[kind].ljust(size, b"x")).decode()


def text_cell(source: str, attachments: object, solution: bool = False) -> dict:
    metadata = {"nbgrader": {"grade_id": "e", "solution": solution}}
    return {"cell_type": "markdown", "metadata": metadata, "source": source, "attachments": attachments}


def read(*cells: dict) -> ReadResult:
    return read_notebook(json.dumps({"nbformat": 4, "nbformat_minor": 5, "cells": list(cells)}).encode())


def read_one(name: str, bundle: object, source: str | None = None) -> ReadResult:
    return read(text_cell(f"![x](attachment:{name})" if source is None else source, {name: bundle}))


@pytest.mark.parametrize("kind", MAGIC)
def test_a_bitmap_is_kept(kind):
    bundle = {kind: picture(1000, kind)}
    result = read_one("a.b", bundle)
    assert result.cells[0].pictures == {"a.b": bundle}
    assert result.problems == ()


def gif(width: int, height: int, *images: tuple[int, int, int, int]) -> bytes:
    """The frame of a GIF: a screen, a comment, and images at their places, without any data."""
    blocks = b"".join(
        b"," + struct.pack("<HHHHBB", *image, 0x80, 2) + b"123456" + b"\3abc\0" for image in images
    )
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0x81, 0, 0)
        + b"x" * 12
        + b"!\xfe\2hi\0"
        + blocks
        + b";"
    )


def png(width: int, height: int) -> bytes:
    return MAGIC["image/png"] + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\0\0\0\0"


def jpeg(width: int, height: int, before: bytes = b"") -> bytes:
    frame = struct.pack(">BBHBHHB", 0xFF, 0xC2, 11, 8, height, width, 1) + b"\1\x11\0"
    return MAGIC["image/jpeg"][:2] + before + frame + b"\xff\xda\0\2" + b"\xff\xc0\0\x0b\x08\xff\xff\xff\xff"


EXIF = b"\xff\xe1\0\x10" + b"\xff\xc0\0\x0b\x08\xff\xff\xff\xff" + b"\0" * 5  # a thumbnail's header in it
SIZED = {
    "png": ("image/png", png, {}),
    "jpeg": ("image/jpeg", jpeg, {}),
    "jpeg with Exif": ("image/jpeg", jpeg, {"before": EXIF}),
    "jpeg with what does not belong there": ("image/jpeg", jpeg, {"before": b"\xff\xd0\0\1\xff\xff"}),
    "gif": ("image/gif", gif, {}),
}


@pytest.mark.parametrize(("kind", "make", "options"), SIZED.values(), ids=SIZED)
def test_a_picture_of_too_many_pixels_is_left_out(kind, make, options):
    def says(width, height):
        text = base64.b64encode(make(width, height, **options)).decode()
        return read_one("a", {kind: text}).problems

    assert says(4000, 6000) == ()
    assert says(8000, 5000) == ()
    assert says(0, 0) == ()
    for size in ((8000, 5001), (60000, 60000), (65535, 700)):
        assert says(*size) == ("Cell 1: the picture a was left out: it has more than 40 million pixels.",)


def test_an_image_of_a_gif_does_not_outgrow_its_screen():
    for images, kept in (
        (((0, 0, 9, 9), (60000, 60000, 1, 1)), False),
        (((0, 0, 60000, 60000),), False),
        (((0, 0, 9, 9), (1, 1, 8, 8)), True),
    ):
        text = base64.b64encode(gif(9, 9, *images)).decode()
        assert bool(read_one("a", {"image/gif": text}).cells[0].pictures) is kept


@pytest.mark.parametrize("kind", MAGIC)
def test_a_damaged_header_does_no_harm(kind):
    _, make, _ = next(case for case in SIZED.values() if case[0] == kind)
    whole = make(300, 200)
    noise = bytes(k * 7919 % 256 for k in range(2000))
    for cut in range(len(MAGIC[kind]), len(whole)):
        for raw in (whole[:cut], whole[:cut] + noise):
            read_one("a", {kind: base64.b64encode(raw).decode()})
    start = time.process_time()
    for unit in (b"\xff", b"\xff\xd8", b"\xff\xc0", b"!\xfe\1a\0", b"\0"):
        read_one("a", {kind: base64.b64encode(whole[:13] + unit * ((1 << 20) // len(unit))).decode()})
    assert time.process_time() - start < 5


def test_base64_in_lines_is_kept_in_one():
    lines = [PNG[:8] + "\n", PNG[8:] + "\n"]
    for text in (lines, "".join(lines)):
        assert read_one("a.png", {"image/png": text}).cells[0].pictures == {"a.png": {"image/png": PNG}}


@pytest.mark.parametrize(
    ("bundle", "reason"),
    [
        ({"image/png": picture((2 << 20) + 1)}, "larger than 2 MiB"),
        ({"image/png": picture(7 << 20)}, "larger than 2 MiB"),
        ({"image/png": JPEG}, "it says that it is image/png, and is not"),
        ({"image/jpeg": base64.b64encode(b"<svg onload=alert(1)>").decode()}, "and is not"),
        ({"image/svg+xml": "<svg onload=alert(1)>"}, "only PNG, JPEG and GIF"),
        ({"text/html": PNG}, "only PNG, JPEG and GIF"),
        ({"image/png": PNG + "!"}, "base64 is damaged"),
        ({"image/png": PNG[:-1]}, "base64 is damaged"),
        ({"image/png": '"><script>' + PNG}, "base64 is damaged"),
        ({"image/png": "\u00e9" + PNG}, "base64 is damaged"),
        ({"image/png": 3}, "only PNG, JPEG and GIF"),
        ({}, "only PNG, JPEG and GIF"),
        ("x", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_anything_else_is_left_out_and_said(bundle, reason):
    result = read_one("graph 1.png", bundle, "![x](attachment:graph%201.png)")
    assert result.cells[0].pictures == {}
    assert len(result.problems) == 1
    assert result.problems[0].startswith("Cell 1: the picture graph 1.png was left out: ")
    assert reason in result.problems[0]


def test_of_several_types_the_first_good_one_is_kept():
    bundle = {"image/svg+xml": "<svg>", "image/png": "no", "image/gif": GIF}
    assert read_one("a", bundle).cells[0].pictures == {"a": {"image/gif": GIF}}


@pytest.mark.parametrize("attachments", [3, "x", [1], [[["x"]]], True])
def test_attachments_that_are_none_harm_nothing(attachments):
    result = read(text_cell("![x](attachment:a)", attachments))
    assert result.cells[0].source == "![x](attachment:a)"
    assert result.cells[0].pictures == {}
    assert any("cannot be read" in p for p in result.problems)


def test_only_text_cells_and_pictures_that_the_text_shows_are_read():
    code = {**text_cell("# attachment:a", {"a": {"image/png": PNG}}), "cell_type": "code"}
    other = text_cell("![x](attachment:b)", {"a": {"image/svg+xml": "x"}, "b": {"image/png": PNG}})
    result = read(code, text_cell("no reference", {"a": {"image/png": "?"}}), other)
    assert [c.pictures for c in result.cells] == [{}, {}, {"b": {"image/png": PNG}}]
    assert result.problems == ()


def test_a_notebook_has_ten_pictures_and_answers_come_first():
    prose = [text_cell(f"![x](attachment:{k}.png)", {f"{k}.png": {"image/png": PNG}}) for k in range(12)]
    essay = text_cell("![x](attachment:essay.png)", {"essay.png": {"image/png": PNG}}, solution=True)
    result = read(*prose, essay)
    assert [len(c.pictures) for c in result.cells] == [1] * 9 + [0] * 3 + [1]
    assert result.problems == ("Only the first 10 pictures were read.",)


def test_a_notebook_has_eight_mebibytes_of_pictures():
    large = {"image/jpeg": picture(2 << 20, "image/jpeg")}
    result = read(*(text_cell("![x](attachment:a)", {"a": large}) for _ in range(5)))
    assert [len(c.pictures) for c in result.cells] == [1, 1, 1, 1, 0]
    assert "Cell 5" in result.problems[0]
    assert "8 MiB together" in result.problems[0]


@pytest.mark.parametrize(
    "name",
    [
        '"><script>alert(1)</script>.png',
        "a'onerror='x",
        "../../etc/passwd",
        "a\nb",
        "\u202egnp.exe",
        "x" * 200,
    ],
)
def test_a_name_is_never_shown_unless_it_is_plain(name):
    reference = "![x](attachment:" + pictures.re.sub(
        r"\W", lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), name
    )
    kept = read_one(name, {"image/png": PNG}, reference + ")")
    taken: pictures.Pictures = {}
    text = with_own_names(kept.cells[0].source, kept.cells[0].pictures, taken)
    assert (text, taken) == ("![x](attachment:picture-1.png)", {"picture-1.png": {"image/png": PNG}})
    refused = read_one(name, {"image/png": "?"}, reference + ")")
    assert refused.problems == ("Cell 1: a picture was left out: its base64 is damaged.",)


def test_a_name_longer_than_any_is_no_name():
    assert read_one("x" * 201, {"image/png": PNG}).cells[0].pictures == {}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("![x](attachment:image%20%281%29.png)", "image%20%281%29.png"),  # Notebook 6
        ("![x](attachment:image%20(1).png)", "image (1).png"),  # VS Code
        ("![x](<attachment:image (1).png>)", "image (1).png"),
        ("![x](attachment:b2c8.png 'title')", "b2c8.png"),
        ("![x](attachment:\u00fc.png)", "\u00fc.png"),
    ],
)
def test_every_editor_s_way_to_write_a_name_is_found(text, name):
    cell = read_one(name, {"image/png": PNG}, text).cells[0]
    taken: pictures.Pictures = {}
    assert with_own_names(cell.source, cell.pictures, taken).startswith("![x](attachment:picture-1.png")
    assert taken == {"picture-1.png": {"image/png": PNG}}


def test_an_img_tag_becomes_a_picture():
    cell = read_one("a.gif", {"image/gif": GIF}, "See <img src='attachment:a.gif' width=300>.").cells[0]
    taken: pictures.Pictures = {}
    assert with_own_names(cell.source, cell.pictures, taken) == "See ![picture](attachment:picture-1.gif)."


def test_a_hundred_thousand_attachments_cost_little():
    attachments = {f"{k}.png": {"image/png": PNG} for k in range(100_000)}
    start = time.process_time()
    result = read(text_cell("![x](attachment:1.png)", attachments), text_cell("So.", {}))
    assert time.process_time() - start < 4
    assert [c.pictures for c in result.cells] == [{}, {}]
    assert result.problems == ("Cell 1: its pictures were left out: they cannot be read.",)


def test_many_cells_of_many_attachments_cost_little():
    source = " ".join(f"attachment:{k}" for k in range(300))
    cell = text_cell(source, {str(k): {"image/png": "?"} for k in range(300)})
    raw = json.dumps({"cells": [cell] * 1000}).encode()
    tree_time = time.process_time()
    salvage(raw.decode(), skip_keys=("attachments",))
    tree_time = time.process_time() - tree_time
    start = time.process_time()
    result = read_notebook(raw)
    assert time.process_time() - start < 3 * tree_time + 2
    assert len(result.cells) == 1000
    assert len(result.problems) == 21


def test_many_cells_of_pictures_that_no_text_shows_cost_little():
    cell = text_cell("attachment:none", {str(k): {"image/png": "?"} for k in range(300)})
    start = time.process_time()
    result = read(*[cell] * 1000)
    assert time.process_time() - start < 4
    assert len(result.cells) == 1000
    assert result.problems == ("Only the pictures of the first 100 cells that have any were read.",)


def test_a_picture_of_sixty_megabytes_is_only_passed_over():
    raw = json.dumps(
        {"cells": [text_cell("![x](attachment:a)", {"a": {"image/png": "A" * 60_000_000}})]}
    ).encode()
    start = time.process_time()
    result = read_notebook(raw)
    assert time.process_time() - start < 4
    assert "larger than 8 MiB" in result.problems[0]
    tracemalloc.start()
    try:
        read_notebook(raw)
        assert tracemalloc.get_traced_memory()[1] < 2.2 * len(raw)  # the text, and what surrounds it
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("damage", [b'"', b"}", b"]", b"{", b"\n", b"\\"])
def test_a_damaged_picture_costs_no_text_and_is_still_a_bitmap(damage):
    raw = json.dumps(
        {
            "cells": [
                text_cell("One. ![x](attachment:a)", {"a": {"image/png": picture(300)}}),
                text_cell("Two.", {}),
            ]
        },
        sort_keys=True,
        indent=1,
    ).encode()
    place = raw.index(b"iVBOR") + 100
    for damaged in (raw[:place] + damage + raw[place:], raw[:place] + damage + raw[place + 50 :]):
        result = read_notebook(damaged)
        assert "Two." in [c.source for c in result.cells]
        kept = [base64.b64decode(b["image/png"]) for c in result.cells for b in c.pictures.values()]
        assert all(data.startswith(MAGIC["image/png"]) and len(data) < 300 for data in kept)


def test_no_text_makes_the_search_slow():
    for unit in (
        "attachment:",
        "attachment:(",
        "<img src=",
        "<img src=attachment:",
        "<attachment:",
        "![x](attachment:a",
    ):
        start = time.process_time()
        with_own_names(unit * (1_000_000 // len(unit)), {"a": {"image/png": PNG}}, {})
        assert time.process_time() - start < 4, unit
