import json
import time

import nbformat.v4 as v4
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autograder import reading
from autograder.reading import read_notebook


def notebook(*sources: str, **metadata: dict) -> dict:
    cells = [v4.new_code_cell(s, id=f"c{i}") for i, s in enumerate(sources)]
    for cell in cells:
        cell.metadata["nbgrader"] = {"grade_id": cell.id, "solution": True}
        cell.outputs = [v4.new_output("stream", text='print("]}{[")\n')]
    return v4.new_notebook(cells=cells, metadata=metadata)


def raw(tree: object, **options: object) -> bytes:
    return json.dumps(tree, **{"indent": 1, "sort_keys": True, **options}).encode()


PLAIN = notebook("x = 1\ny = 'é\\n'", "def f(a):\n    return [a, {}]", "")


def sources(result: reading.ReadResult) -> list[str]:
    return [cell.source for cell in result.cells]


def test_a_valid_notebook_is_read_as_the_standard_parser_reads_it():
    for options in ({"indent": 1}, {"indent": None}, {"ensure_ascii": False}, {"separators": (",", ":")}):
        result = read_notebook(raw(PLAIN, **options))
        assert sources(result) == [c["source"] for c in PLAIN["cells"]]
        assert [c.grade_id for c in result.cells] == ["c0", "c1", "c2"]
        assert result.problems == ()
        assert result.fatal is None


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"], ids=lambda e: e
)
def test_every_unicode_encoding_is_read(encoding):
    result = read_notebook(raw(PLAIN, ensure_ascii=False).decode().encode(encoding))
    assert sources(result)[0] == "x = 1\ny = 'é\\n'"


def test_a_file_in_the_windows_encoding_keeps_its_letters():
    whole = raw(notebook("größe = 1  # déjà vu"), ensure_ascii=False).decode()
    result = read_notebook(whole.encode("cp1252"))
    assert sources(result) == ["größe = 1  # déjà vu"]
    assert "Windows-1252" in result.problems[0]


def test_bad_bytes_cost_only_the_characters_they_stand_for():
    result = read_notebook(raw(PLAIN).replace(b"x = 1", b"x = 1 # \xff\xfe"))
    assert sources(result)[1:] == sources(read_notebook(raw(PLAIN)))[1:]
    assert "not UTF-8" in result.problems[0]


def test_a_notebook_cut_off_keeps_the_cells_before_the_cut():
    whole = raw(PLAIN)
    middle = whole.index(b"return [a") + 4
    result = read_notebook(whole[:middle])
    assert sources(result) == ["x = 1\ny = 'é\\n'"]
    assert any("cut off" in p for p in result.problems)
    assert any("incomplete" in p for p in result.problems)


def test_no_cut_invents_a_source():
    whole = raw(PLAIN)
    true = set(sources(read_notebook(whole)))
    for end in range(0, len(whole), 3):
        assert set(sources(read_notebook(whole[:end]))) <= true


@pytest.mark.parametrize("damage", [b"}", b"]", b'"', b",", b":", b"{"])
def test_one_lost_character_costs_at_most_the_cell_it_stood_in(damage):
    whole = raw(PLAIN)
    start, kept = whole.index(b'"c1"'), "x = 1\ny = 'é\\n'"
    place = whole.index(damage, start)
    result = read_notebook(whole[:place] + whole[place + 1 :])
    assert result.fatal is None
    assert kept in sources(result)


def test_unclosed_outputs_do_not_swallow_the_cells_after_them():
    whole = raw(PLAIN)
    place = whole.index(b"]", whole.index(b'"outputs"'))
    result = read_notebook(whole[:place] + whole[place + 1 :])
    assert sources(result)[1] == "def f(a):\n    return [a, {}]"


def test_older_formats_are_read():
    old = {
        "nbformat": 3,
        "worksheets": [
            {"cells": [{"cell_type": "code", "input": ["a\n", "b"], "language": "python", "outputs": []}]},
            {"cells": [{"cell_type": "heading", "source": "Title", "level": 1}]},
        ],
    }
    result = read_notebook(raw(old))
    assert [(c.kind, c.source) for c in result.cells] == [("code", "a\nb"), ("markdown", "Title")]
    assert "older" in result.problems[0]


CODE = "def f(a):\n    return a\n\nx = 1"


@pytest.mark.parametrize(
    "source",
    [
        CODE,
        CODE.splitlines(keepends=True),
        CODE.splitlines(),  # as nbformat 2 wrote it
        list(CODE),
        [part for line in CODE.splitlines(keepends=True) for part in (line, None)],
        CODE.replace("\n", "\r\n"),
        CODE.replace("\n", "\r"),
        CODE.replace("\n", "\r", 1),
    ],
)
def test_every_way_to_write_a_source_gives_its_lines(source):
    assert sources(read_notebook(raw({"cells": [{"cell_type": "code", "source": source}]}))) == [CODE]


def test_the_parts_of_one_line_are_put_together():
    assert sources(read_notebook(raw({"cells": [{"cell_type": "code", "source": list("x = 1")}]}))) == [
        "x = 1"
    ]


@pytest.mark.parametrize("source", [None, 5, {"0": CODE}, [[CODE]], True])
def test_a_cell_without_text_is_named(source):
    result = read_notebook(raw({"cells": [{"cell_type": "code", "source": source}]}))
    assert sources(result) == [""]
    assert result.problems == ("Cell 1 has no text that can be read.",)


@pytest.mark.parametrize(
    "source",
    [
        CODE.replace(" ", "\u00a0"),
        CODE.replace("    ", "\u3000 "),
        "\ufeff" + CODE,
        CODE.replace("return", "\u200breturn") + "\u200b",
    ],
)
def test_invisible_characters_are_replaced_where_that_mends_a_cell(source):
    result = read_notebook(raw(notebook(source)))
    defined = sources(result)[0]
    compile(defined, "cell", "exec")
    assert "invisible characters" in result.problems[0]


@pytest.mark.parametrize(
    "source", ["x = 'a\u00a0b\u200b'", "x = (\u00a0", "# déjà\u00a0vu\nx = 1", "x = “a”"]
)
def test_other_special_characters_are_the_student_s_own(source):
    result = read_notebook(raw(notebook(source)))
    assert sources(result) == [source]
    assert result.problems == ()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tree: tree["cells"],
        lambda tree: {"type": "notebook", "format": "json", "content": tree},  # of Jupyter's contents API
        lambda tree: {**tree, "cells": {str(k): cell for k, cell in enumerate(tree["cells"])}},
    ],
)
def test_cells_in_another_place_are_found(wrap):
    result = read_notebook(raw(wrap(PLAIN)))
    assert sources(result) == [c["source"] for c in PLAIN["cells"]]


def test_a_newer_format_is_read_and_said():
    result = read_notebook(raw({**PLAIN, "nbformat": 6}))
    assert len(result.cells) == 3
    assert "newer" in result.problems[0]


def test_missing_fields_are_supplied():
    tree = {
        "cells": [{"source": "x = 1", "outputs": []}, {"source": ["# T"]}, {"cell_type": "code"}, 7, None]
    }
    result = read_notebook(raw(tree))
    assert [(c.kind, c.source) for c in result.cells] == [
        ("code", "x = 1"),
        ("markdown", "# T"),
        ("code", ""),
    ]


def test_nan_deep_nesting_and_huge_numbers_do_no_harm():
    deep = b"[" * 100_000 + b"]" * 100_000
    text = raw(PLAIN)[:-2] + b',"a":NaN,"b":-Infinity,"c":' + deep + b',"d":' + b"9" * 10_000 + b"}"
    assert len(read_notebook(text).cells) == 3


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_a_number_as_only_python_writes_it_costs_nothing(number):
    result = read_notebook(raw(PLAIN).replace(b'"metadata": {', b'"metadata": {"loss": ' + number + b","))
    assert [c.grade_id for c in result.cells] == ["c0", "c1", "c2"]
    assert result.problems == ()


def test_lone_surrogates_are_replaced():
    result = read_notebook(raw({"cells": [{"cell_type": "code", "source": "x = '\ud800'"}]}))
    assert sources(result) == ["x = '\ufffd'"]
    sources(result)[0].encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\0" * 5000, "empty"),
        (b"PK\x03\x04....", "archive"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"hello", "does not hold JSON"),
        (b"# %% [markdown]\n# Title\n\n# %%\nx = 1\n", "Python script"),
        (b"# Title\n\n```python\nx = 1\n```\n", "does not hold JSON"),
        (b"{}", "no cell"),
        (b"[1, 2]", "no cell"),
        (b'{"cells": [{"cell_type": "code", "source": ["x', "before its first whole cell"),
    ],
)
def test_what_is_no_notebook_is_named(content, words):
    result = read_notebook(content)
    assert result.fatal is not None
    assert words in result.fatal


def test_an_empty_notebook_is_a_notebook():
    result = read_notebook(raw(notebook()))
    assert result.cells == ()
    assert result.fatal is None


def test_caps_hold(monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 2000)
    assert "larger" in read_notebook(b" " * 2001).fatal
    monkeypatch.undo()
    many = read_notebook(raw({"cells": [{"cell_type": "code", "source": ""}] * 6000}))
    assert len(many.cells) == reading.MAX_CELLS
    long = read_notebook(raw(notebook("x" * (reading.MAX_SOURCE + 1), "y = 1")))
    assert sources(long) == ["y = 1"]
    assert "too long" in long.problems[0]


def test_large_outputs_cost_no_time_and_no_memory():
    tree = notebook("x = 1")
    tree["cells"][0]["outputs"][0]["text"] = "y" * 20_000_000
    start = time.process_time()
    assert sources(read_notebook(raw(tree))) == ["x = 1"]
    assert time.process_time() - start < 2


def test_many_small_outputs_cost_no_cell():
    tree = notebook("x = 1", "y = 2")
    tree["cells"][0]["outputs"] = [{"name": "stdout", "output_type": "stream", "text": ["0.5\n"]}] * 220_000
    whole = raw(tree, indent=None)
    start = time.process_time()
    assert sources(read_notebook(whole)) == ["x = 1", "y = 2"]
    assert time.process_time() - start < 4


@pytest.mark.parametrize(
    "unit", [b"[", b'{"a":[', b'"', b'"\\', b"{},", b"]", b'{"outputs":[', b'{"cells":["\\n'], ids=str
)
def test_time_grows_no_faster_than_length(unit):
    start = time.process_time()
    read_notebook(unit * (8_000_000 // len(unit)))
    assert time.process_time() - start < 6


_WHOLE = raw(PLAIN)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(_WHOLE)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(data) - 1)) if data else 0
        kind = draw(st.sampled_from(["flip", "cut", "drop", "insert", "repeat"]))
        if kind == "flip" and data:
            data[place] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[place:]
        elif kind == "drop":
            del data[place : place + draw(st.integers(1, 40))]
        elif kind == "insert":
            data[place:place] = draw(st.binary(max_size=20))
        else:
            data[place:place] = data[place : place + draw(st.integers(1, 200))]
    return bytes(data)


@settings(max_examples=1500, deadline=2000, suppress_health_check=list(HealthCheck))
@example(b"\xff\xfe")
@example(b"\xef\xbb\xbf")
@given(damaged() | st.binary(max_size=300))
def test_damaged_notebooks_are_always_read(content):
    result = read_notebook(content)
    assert (result.fatal is None) or result.cells == ()
    for cell in result.cells:
        assert cell.kind in ("code", "markdown", "raw")
        cell.source.encode()
    assert all(p.endswith(".") for p in result.problems)
