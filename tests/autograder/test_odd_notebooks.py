"""A right submission as real tools and hurried hands leave it: every answer that can be recovered is planned to run.

Each case changes the whole `losses` notebook. What is planned is compared with the right answers, name by name; nothing
runs here but in the last test.
"""

import ast
import copy
import json
import random
from pathlib import Path

import pytest

from autograder.assignment import Assignment
from autograder.cell_names import parse
from autograder.grading import Grader
from autograder.reading import read_notebook
from autograder.recovery import CellPlan, plan_cells
from autograder.release import load_template, notebook_bytes, source_notebook, student_notebook

from .hostile.submissions import RIGHT_MEAN, RIGHT_SOFTPLUS, cell, notebook

ASSIGNMENT = Assignment.load("losses")
SOURCE = source_notebook(ASSIGNMENT)
TEMPLATE = load_template(ASSIGNMENT)
RELEASED = json.loads(notebook_bytes(student_notebook(SOURCE)))
ESSAY = "Wrong labels pull hardest on the samples that the model is sure of."
CE, REGRESSION, OWN_WORDS = "cross_entropy-answer", "huber_quantile_log_cosh-answer", "explain_label_noise"
EVERYTHING = {e.id for e in ASSIGNMENT.exercises}


def raw(tree: object) -> bytes:
    return json.dumps(tree, indent=1, ensure_ascii=False).encode()


def right() -> dict:
    """The released notebook with every answer in it."""
    tree = copy.deepcopy(RELEASED)
    for node, solved in zip(tree["cells"], SOURCE.cells, strict=True):
        if node["metadata"].get("nbgrader", {}).get("solution"):
            lines = [line for line in solved.source.splitlines() if "SOLUTION" not in line]
            text = "\n".join(lines).strip("\n") if node["cell_type"] == "code" else ESSAY
            node["source"] = text.splitlines(keepends=True)
    return tree


def labelled(tree: dict, grade_id: str) -> dict:
    return next(c for c in tree["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)


def text(node: dict) -> str:
    return "".join(node["source"])


def place(tree: dict, grade_id: str) -> int:
    return tree["cells"].index(labelled(tree, grade_id))


def code(source: str, **metadata: object) -> dict:
    return {
        "cell_type": "code",
        "metadata": metadata,
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def prose(source: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def statements(source: str) -> list[str]:
    return [ast.unparse(node) for node in ast.parse(source).body]


def planned_names(plan: CellPlan) -> dict[str, str]:
    """{name: its last definition, as a syntax tree} of what would run."""
    names = {}
    for planned in plan.cells:
        tree = parse(planned.source)
        for node in tree.body if tree else ():
            if isinstance(node, ast.FunctionDef):
                names[node.name] = ast.dump(ast.parse(ast.unparse(node)))
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names[node.targets[0].id] = ast.dump(node)
    return names


def planned(content: bytes) -> CellPlan:
    return plan_cells(read_notebook(content), TEMPLATE)


WANTED = planned_names(planned(raw(right())))


def lost(content: bytes) -> set[str]:
    """The exercises whose right answer would not be what counts."""
    plan = planned(content)
    names = planned_names(plan)
    wrong = {
        c.exercise
        for c in TEMPLATE.of_role("answer")
        if c.exercise in plan.unanswered or any(names.get(n) != WANTED[n] for n in c.names)
    }
    return wrong | {
        c.exercise for c in TEMPLATE.of_role("manual") if ESSAY not in plan.manual.get(c.exercise, "")
    }


# What tools make of a notebook. A case is a change of the tree in place, or gives the new bytes or tree.

TOOLS, EDITS = {}, {}


def case(group: dict, name: str, *costs: str):
    """Add a case; `costs` are the exercises that it rightly loses."""

    def add(change):
        group[name] = (change, set(costs))
        return change

    return add


def each(group: dict, name: str):
    """Add a case that changes every cell."""

    def add(change):
        case(group, name)(lambda tree: [change(node, k) for k, node in enumerate(tree["cells"])] and None)

    return add


def outcome(change) -> bytes:
    tree = right()
    changed = change(tree)
    return changed if isinstance(changed, bytes) else raw(tree if changed is None else changed)


@case(TOOLS, "Colab")
def _(tree):
    tree["metadata"] = {"colab": {"provenance": [], "collapsed_sections": ["a"]}, "accelerator": "GPU"}
    tree["metadata"]["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {"a": {"cells": [code("x = 1")]}}
    }
    for k, node in enumerate(tree["cells"]):
        node.pop("id")
        node["metadata"] |= {"id": f"x{k}", "colab": {"height": 35}, "outputId": "f", "cellView": "form"}
        if "-answer" in str(node["metadata"]):
            node["source"] = ['#@title Answer { display-mode: "form" }\n', *node["source"]]


@each(TOOLS, "VS Code, labels lost")
def _(node, k):
    node.pop("id")
    node["metadata"] = {"vscode": {"languageId": "python"}}


@each(TOOLS, "Kaggle")
def _(node, k):
    node["metadata"] |= {"trusted": True, "_uuid": "8f28", "execution": {"iopub.status.busy": "2024"}}


@each(TOOLS, "Deepnote")
def _(node, k):
    node["metadata"] |= {"cell_id": "00", "deepnote_cell_type": "code", "execution_start": 1}


@each(TOOLS, "PyCharm's cell marks")
def _(node, k):
    node["source"] = ["#%%\n" if node["cell_type"] == "code" else "#%% md\n", *node["source"]]


@each(TOOLS, "ids all the same")
def _(node, k):
    node["id"] = "same"


def older(tree: dict, version: int) -> dict:
    cells = []
    for node in tree["cells"]:
        if node["cell_type"] == "code":
            kept = {"input": node["source"], "language": "python", "outputs": [], "prompt_number": 1}
        else:
            kept = {"source": node["source"]}
        if version == 2:
            kept = {k: text(node).splitlines() if k in ("input", "source") else v for k, v in kept.items()}
        cells.append(
            {
                "cell_type": node["cell_type"],
                **kept,
                **({"metadata": node["metadata"]} if version == 3 else {}),
            }
        )
    return {
        "nbformat": version,
        "worksheets": [{"cells": cells[:9]}, {"cells": cells[9:]}],
        "metadata": {"name": ""},
    }


case(TOOLS, "nbformat 3")(lambda tree: older(tree, 3))
case(TOOLS, "nbformat 2")(lambda tree: older(tree, 2))
for minor in (0, 4, "5", 4.5, 99, None, [5]):
    case(TOOLS, f"nbformat_minor {minor!r}")(lambda tree, minor=minor: {**tree, "nbformat_minor": minor})
for version in ("4", 4.0, None, -1, 10**30):
    case(TOOLS, f"nbformat {version!r}")(lambda tree, version=version: {**tree, "nbformat": version})
for name, change in {
    "one string": text,
    "lines without breaks": lambda node: text(node).split("\n"),
    "characters": lambda node: list(text(node)),
    "CRLF": lambda node: text(node).replace("\n", "\r\n"),
    "CR": lambda node: text(node).replace("\n", "\r"),
    "trailing blanks": lambda node: "\n\n" + text(node).replace("\n", "  \n") + "\n \n",
}.items():
    each(TOOLS, f"sources as {name}")(lambda node, k, change=change: node.update(source=change(node)))
for name, change in {
    "tabs": lambda s: s.replace("    ", "\t"),
    "non-breaking spaces": lambda s: s.replace(" ", "\u00a0"),
    "a byte order mark": lambda s: "\ufeff" + s,
    "zero-width spaces": lambda s: f"\u200b{s}\u200b",
}.items():
    each(TOOLS, f"code with {name}")(
        lambda node, k, change=change: (
            node.update(source=change(text(node))) if node["cell_type"] == "code" else None
        )
    )
for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
    case(TOOLS, encoding)(lambda tree, encoding=encoding: raw(tree).decode().encode(encoding))
for name, change in {
    "CRLF in the file": lambda b: b.replace(b"\n", b"\r\n"),
    "NULs at the end": lambda b: b + bytes(5000),
    "garbage at the end": lambda b: b + b'\n]]}} garbage "',
    "the file twice": lambda b: b + b,
    "comments": lambda b: b"// mine\n" + b.replace(b'"cells": [', b'"cells": [ // the cells\n /* all */'),
    "no comma between cells": lambda b: b.replace(b"},\n  {", b"}\n  {"),
    "no last bracket": lambda b: b.rstrip().rstrip(b"}"),
    "no end": lambda b: b[: b.rindex(b" ],\n")],
    "a merge conflict in an output": lambda b: b.replace(
        b'"outputs": []', b'"outputs": [],\n<<<<<<< HEAD\n"a": 1,\n=======\n"a": 2,\n>>>>>>> main\n"b": 1', 1
    ),
}.items():
    case(TOOLS, name)(lambda tree, change=change: change(raw(tree)))
for key in ("metadata", "cell_type", "outputs", "id"):
    each(TOOLS, f"cells without {key}")(lambda node, k, key=key: node.pop(key, None))
for key, value in {"metadata": None, "cell_type": "CODE?", "outputs": {"a": 1}, "attachments": "x"}.items():
    each(TOOLS, f"{key} {value!r}")(
        lambda node, k, key=key, value=value: (
            node.update({key: value}) if node["cell_type"] == "code" else None
        )
    )


@case(TOOLS, "unknown cells between")
def _(tree):
    kinds = ("raw", "heading", "sql", 7)
    tree["cells"][3:3] = [{"cell_type": kind, "metadata": {}, "source": "SELECT 1"} for kind in kinds] + [
        None,
        "x",
    ]


# What students do.


def split(tree, labels):
    at = place(tree, REGRESSION)
    parts = statements(text(tree["cells"][at]))
    metadata = tree["cells"][at]["metadata"]
    cells = [code(part, **(metadata if k in labels else {})) for k, part in enumerate(parts)]
    tree["cells"][at : at + 1] = cells


for name, labels in {"first": (0,), "last": (2,), "all": (0, 1, 2), "none": ()}.items():
    case(EDITS, f"answer split, label on {name}")(lambda tree, labels=labels: split(tree, labels))


@case(EDITS, "two answers merged")
def _(tree):
    labelled(tree, CE)["source"] += ["\n\n", *labelled(tree, REGRESSION)["source"]]
    tree["cells"].remove(labelled(tree, REGRESSION))


@case(EDITS, "answer merged into its check")
def _(tree):
    check = labelled(tree, "cross_entropy")
    check["source"] = [*labelled(tree, CE)["source"], "\n\n", *check["source"]]
    tree["cells"].remove(labelled(tree, CE))


@case(EDITS, "all code in one cell")
def _(tree):
    sources = [text(c) for c in tree["cells"] if c["cell_type"] == "code"]
    tree["cells"] = [code("\n\n".join(sources)), labelled(tree, OWN_WORDS)]


def moved(tree, to, left):
    answer = labelled(tree, CE)
    tree["cells"].insert(to if to >= 0 else len(tree["cells"]), code(text(answer)))
    answer["source"] = left


STUB = text(labelled(RELEASED, CE))
for name, (to, left) in {
    "below, cell emptied": (-1, ""),
    "below, stub left": (-1, STUB),
    "above, stub left": (1, STUB),
    "below, a comment left": (-1, "# see the end"),
    "below, stub with a comment left": (-1, STUB + "\n# TODO"),
}.items():
    case(EDITS, f"answer moved {name}")(lambda tree, to=to, left=left: moved(tree, to, left))
case(EDITS, "answer above a changed stub", "cross_entropy")(lambda tree: moved(tree, 1, STUB + "\n# TODO"))

WRONG = "def cross_entropy(logits, target):\n    return 0"


def twice(tree, *sources, labels=True):
    at = place(tree, CE)
    found = tree["cells"][at]
    kept = {"metadata": found["metadata"] if labels else {}}
    tree["cells"][at : at + 1] = [{**found, **kept, "source": s or text(found)} for s in sources]


for labels in (True, False):
    how = "labelled" if labels else "unlabelled"
    case(EDITS, f"two {how} answers, the last right")(
        lambda tree, labels=labels: twice(tree, WRONG, "", labels=labels)
    )
    case(EDITS, f"two {how} answers, the last wrong", "cross_entropy")(
        lambda tree, labels=labels: twice(tree, "", WRONG, labels=labels)
    )
case(EDITS, "a wrong definition at the end", "cross_entropy")(lambda tree: tree["cells"].append(code(WRONG)))
for label in ("cell-1a2b", "", "cross_entropy", "setup", REGRESSION, OWN_WORDS, None, 7, ["x"]):
    case(EDITS, f"answer labelled {label!r}")(
        lambda tree, label=label: labelled(tree, CE)["metadata"]["nbgrader"].update(grade_id=label)
    )


def exchanged(tree, one, other):
    a, b = labelled(tree, one), labelled(tree, other)
    a["metadata"], b["metadata"] = b["metadata"], a["metadata"]


for other in (REGRESSION, "cross_entropy", OWN_WORDS):
    case(EDITS, f"labels exchanged with {other}")(lambda tree, other=other: exchanged(tree, CE, other))


@case(EDITS, "all labels renamed")
def _(tree):
    for k, node in enumerate(tree["cells"]):
        node["metadata"] = {"nbgrader": {**node["metadata"].get("nbgrader", {}), "grade_id": f"cell-{k}"}}


@case(EDITS, "one label on every cell")
def _(tree):
    for node in tree["cells"]:
        if "nbgrader" in node["metadata"]:
            node["metadata"]["nbgrader"]["grade_id"] = CE


case(EDITS, "answer deleted", "cross_entropy")(lambda tree: tree["cells"].remove(labelled(tree, CE)))
case(EDITS, "essay deleted", OWN_WORDS)(lambda tree: tree["cells"].remove(labelled(tree, OWN_WORDS)))
case(EDITS, "cells reversed")(lambda tree: tree["cells"].reverse())
case(EDITS, "released cells below")(lambda tree: tree["cells"].extend(copy.deepcopy(RELEASED["cells"])))
case(EDITS, "released cells above")(lambda tree: {**tree, "cells": RELEASED["cells"] + tree["cells"]})
for kind in ("markdown", "raw", "code"):
    each(EDITS, f"all cells {kind}")(lambda node, k, kind=kind: node.update(cell_type=kind))


@case(EDITS, "answer in the setup cell")
def _(tree):
    labelled(tree, "setup")["source"] += ["\n\n", *labelled(tree, CE)["source"]]
    labelled(tree, CE)["source"] = STUB


@case(EDITS, "locked cells deleted")
def _(tree):
    tree["cells"] = [c for c in tree["cells"] if not c["metadata"].get("nbgrader", {}).get("locked")]


@case(EDITS, "locked cells made text")
def _(tree):
    for node in tree["cells"]:
        if node["metadata"].get("nbgrader", {}).get("locked"):
            node["cell_type"] = "markdown"


@case(EDITS, "only the answers left")
def _(tree):
    tree["cells"] = [c for c in tree["cells"] if c["metadata"].get("nbgrader", {}).get("solution")]


for flags in (
    *({"schema_version": v} for v in (1, 2, 4, "3")),
    *({"points": p} for p in (1000, -5, None)),
    {"solution": False},
    {"grade": True},
    {"locked": True},
    {"task": True},
    {"cell_type": "markdown"},
    {"checksum": "0"},
):
    each(EDITS, f"nbgrader says {flags}")(
        lambda node, k, flags=flags: node["metadata"].get("nbgrader", {}).update(flags)
    )
for tag in ("skip-execution", "raises-exception", "remove-cell"):
    each(EDITS, f"tag {tag}")(lambda node, k, tag=tag: node["metadata"].update(tags=[tag], editable=False))


@pytest.mark.parametrize(("change", "costs"), TOOLS.values(), ids=TOOLS)
def test_what_a_tool_writes_keeps_every_answer(change, costs):
    assert lost(outcome(change)) == costs


@pytest.mark.parametrize(("change", "costs"), EDITS.values(), ids=EDITS)
def test_what_students_do_to_a_notebook_keeps_what_running_it_gives(change, costs):
    assert lost(outcome(change)) == costs


def test_the_released_notebook_answers_nothing():
    assert lost(raw(RELEASED)) == EVERYTHING


def test_a_notebook_cut_off_anywhere_keeps_the_answers_before_the_cut():
    whole = raw(right())
    ends = {}
    for node in right()["cells"]:
        if node["metadata"].get("nbgrader", {}).get("solution"):
            last = json.dumps(node["source"][-1]).encode()
            ends[node["metadata"]["nbgrader"]["grade_id"].removesuffix("-answer")] = whole.rindex(last) + len(
                last
            )
    assert set(ends) == EVERYTHING
    draw = random.Random(5)
    for cut in (draw.randrange(len(whole)) for _ in range(50)):
        assert lost(whole[:cut]) == {e for e, end in ends.items() if end + len("\n   ]") > cut}, cut


# What stands in a cell of its own costs no answer: graded for real.


@pytest.fixture(scope="module")
def grader():
    toy = Assignment.load("toy", Path(__file__).parent / "toy_course")
    with Grader(toy, secret=b"secret", cell_seconds=4.0) as opened:
        yield opened


@pytest.mark.parametrize(
    "extra",
    [
        "from IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))",
        "%matplotlib inline",
        "%matplotlib widget",
        "%%time\nx = 1",
        "%%capture out\nprint(1)",
        "%timeit -n1 -r1 1 + 1",
        "!ls",
        "files = !ls",
        "%pip install torch",
        "%load_ext autoreload\n%autoreload 2",
        "%%bash\nls",
        "%%html\n<b>x</b>",
        "%%writefile torch.py\n1 / 0",
        "%cd /",
        "print??",
        "x = (",
        "from google.colab import drive\ndrive.mount('/content/drive')",
        "from helper import *",
        "quit()",
        "from math import *",
        "$$x^2$$",
    ],
)
def test_a_cell_beside_the_answers_costs_nothing(grader, extra):
    cells = [cell(extra), cell(RIGHT_SOFTPLUS, "softplus-answer"), cell(extra), cell(RIGHT_MEAN)]
    verdict = grader.grade(notebook(*cells, cell(extra)))
    assert verdict.score == 6, verdict.exercises
