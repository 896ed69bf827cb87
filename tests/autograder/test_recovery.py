import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autograder.assignment import Assignment
from autograder.cell_names import code_in_markdown, defined_names, looks_like_code
from autograder.reading import read_notebook
from autograder.recovery import CellPlan, Template, TemplateCell, plan_cells
from autograder.release import load_template, source_notebook, student_notebook

TOY = Assignment.load("toy", Path(__file__).parent / "toy_course")
TEMPLATE = load_template(TOY)
SOFTPLUS = "def softplus(x):\n    return torch.logaddexp(x, torch.zeros_like(x))"
MEAN = "class RunningMean:\n    pass"


@pytest.fixture
def nb() -> dict:
    """The released notebook with three answers in it."""
    tree = json.loads(json.dumps(student_notebook(source_notebook(TOY))))
    cell(tree, "softplus-answer")["source"] = SOFTPLUS
    cell(tree, "running_mean-answer")["source"] = MEAN
    cell(tree, "explain_overflow")["source"] = "exp(x) is too large."
    return tree


def cell(tree: dict, grade_id: str) -> dict:
    return next(c for c in tree["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)


def code(source: str, **nbgrader: object) -> dict:
    metadata = {"nbgrader": nbgrader} if nbgrader else {}
    return {"cell_type": "code", "source": source, "metadata": metadata, "outputs": []}


def plan(tree: dict) -> CellPlan:
    return plan_cells(read_notebook(json.dumps(tree).encode()), TEMPLATE)


def answer(result: CellPlan, exercise: str) -> str:
    return "\n".join(c.source for c in result.cells if c.exercise == exercise and c.origin == "answer")


def test_an_untouched_order_needs_no_repair(nb):
    result = plan(nb)
    assert result.repairs == []
    assert result.unanswered == set()
    assert [(c.origin, c.exercise) for c in result.cells] == [
        ("setup", None),
        ("answer", "softplus"),
        ("setup", None),
        ("answer", "running_mean"),
    ]
    assert result.manual == {"explain_overflow": "exp(x) is too large."}


def test_the_released_notebook_itself_answers_nothing():
    result = plan(json.loads(json.dumps(student_notebook(source_notebook(TOY)))))
    assert result.unanswered == {"softplus", "running_mean", "explain_overflow"}
    assert result.manual == {}


def test_grade_cells_never_run_and_setup_is_ours(nb):
    cell(nb, "softplus")["source"] = "import os; os._exit(0)"
    cell(nb, "setup")["source"] = "torch = None"
    result = plan(nb)
    assert "os._exit" not in "".join(c.source for c in result.cells)
    assert result.cells[0].source == TEMPLATE.of_role("setup")[0].source
    assert [c.source for c in result.cells if c.origin == "extra"] == ["torch = None"]
    assert len(result.repairs) == 2


@pytest.mark.parametrize("change", [str.expandtabs, lambda s: s.replace("    ", "\t") + "\n\n", str.strip])
def test_blanks_that_an_editor_changed_make_no_changed_cell(nb, change):
    template = Template((*TEMPLATE.cells, TemplateCell("code", "if x:\n    y = 1", "setup", None, "s")))
    nb["cells"].append(code(change("if x:\n    y = 1\n"), grade_id="s"))
    result = plan_cells(read_notebook(json.dumps(nb).encode()), template)
    assert result.repairs == []


def test_a_grade_cell_that_holds_the_answer_runs(nb):
    cell(nb, "softplus")["source"] = SOFTPLUS
    nb["cells"].remove(cell(nb, "softplus-answer"))
    result = plan(nb)
    assert answer(result, "softplus") == SOFTPLUS
    assert "locked cell 'softplus'" in result.repairs[0]
    assert "softplus" not in result.unanswered


def test_missing_answer_is_unanswered(nb):
    nb["cells"].remove(cell(nb, "softplus-answer"))
    assert plan(nb).unanswered == {"softplus"}


def test_stripped_metadata_is_recovered_by_name_and_place(nb):
    for c in nb["cells"]:
        c["metadata"] = {}
    result = plan(nb)
    assert answer(result, "softplus") == SOFTPLUS
    assert answer(result, "running_mean") == MEAN
    assert result.manual == {"explain_overflow": "exp(x) is too large."}
    assert result.unanswered == set()
    assert len([c for c in result.cells if c.origin == "setup"]) == 2
    assert not any(c.origin == "extra" for c in result.cells)
    assert len(result.repairs) == 3


def test_a_code_cell_made_text_is_still_the_answer(nb):
    for kind, wrap in (("markdown", "{}"), ("raw", "{}"), ("markdown", "```python\n{}\n```")):
        target = cell(nb, "softplus-answer")
        target.update(cell_type=kind, source=wrap.format(SOFTPLUS))
        result = plan(nb)
        assert answer(result, "softplus").strip() == SOFTPLUS
        assert "had been made" in result.repairs[0]


def test_unlabelled_text_with_the_answer_is_found(nb):
    nb["cells"].remove(cell(nb, "softplus-answer"))
    nb["cells"].append({"cell_type": "markdown", "metadata": {}, "source": SOFTPLUS})
    assert answer(plan(nb), "softplus") == SOFTPLUS


def test_an_essay_beside_its_untouched_cell_is_found(nb):
    stub = next(c for c in TEMPLATE.cells if c.role == "manual").source
    place = nb["cells"].index(cell(nb, "explain_overflow"))
    nb["cells"][place]["source"] = stub
    nb["cells"].insert(place + 1, {"cell_type": "markdown", "metadata": {}, "source": "My essay."})
    result = plan(nb)
    assert result.manual == {"explain_overflow": "My essay."}
    assert "by its place" in result.repairs[0]


PNG, GIF = "iVBORw0KGgo=", "R0lGODlh"
TWO = {"image.png": {"image/png": PNG}, "unused.png": {"image/png": PNG}}


def test_the_pictures_of_an_essay_go_with_it_and_no_others(nb):
    cell(nb, "explain_overflow").update(source="So: ![x](attachment:image.png)", attachments=TWO)
    other = {
        "cell_type": "markdown",
        "metadata": {},
        "source": "![x](attachment:image.png)",
        "attachments": TWO,
    }
    nb["cells"].insert(0, other)
    result = plan(nb)
    assert result.manual == {"explain_overflow": "So: ![x](attachment:picture-1.png)"}
    assert result.pictures == {"explain_overflow": {"picture-1.png": {"image/png": PNG}}}
    assert result.repairs == []


def test_a_picture_alone_is_an_answer(nb):
    cell(nb, "explain_overflow").update(source="![x](attachment:image.png)", attachments=TWO)
    assert plan(nb).unanswered == set()


def test_two_cells_may_use_one_name_for_two_pictures(nb):
    place = nb["cells"].index(cell(nb, "explain_overflow"))
    first = nb["cells"][place]
    first.update(source="A: ![x](attachment:image.png)", attachments=TWO)
    second = json.loads(json.dumps(first))
    second.update(source="B: ![x](attachment:image.png)", attachments={"image.png": {"image/gif": GIF}})
    nb["cells"].insert(place + 1, second)
    result = plan(nb)
    assert result.manual["explain_overflow"] == (
        "A: ![x](attachment:picture-1.png)\n\nB: ![x](attachment:picture-2.gif)"
    )
    assert result.pictures["explain_overflow"] == {
        "picture-1.png": {"image/png": PNG},
        "picture-2.gif": {"image/gif": GIF},
    }


def test_a_picture_below_the_question_or_beside_the_cell_is_found(nb):
    place = nb["cells"].index(cell(nb, "explain_overflow"))
    nb["cells"][place]["source"] = next(c for c in TEMPLATE.cells if c.role == "manual").source
    beside = {
        "cell_type": "markdown",
        "metadata": {},
        "source": "![x](attachment:image.png)",
        "attachments": TWO,
    }
    nb["cells"].insert(place + 1, beside)
    assert plan(nb).pictures == {"explain_overflow": {"picture-1.png": {"image/png": PNG}}}
    del nb["cells"][place : place + 2]
    question = nb["cells"][place - 1]
    question["source"] = "".join(question["source"]) + "\n\n![x](attachment:image.png)"
    question["attachments"] = TWO
    assert plan(nb).pictures == {"explain_overflow": {"picture-1.png": {"image/png": PNG}}}


def test_prose_that_mentions_code_is_not_run(nb):
    nb["cells"].append({"cell_type": "markdown", "metadata": {}, "source": "Then x = 1 follows, see above."})
    assert all("follows" not in c.source for c in plan(nb).cells)


def test_an_answer_elsewhere_wins_over_the_stub(nb):
    stub = next(c for c in TEMPLATE.cells if c.grade_id == "softplus-answer").source
    cell(nb, "softplus-answer")["source"] = stub
    nb["cells"].insert(1, code(SOFTPLUS))
    result = plan(nb)
    order = [c.source for c in result.cells]
    assert order.index(stub) < order.index(SOFTPLUS)
    assert "softplus" not in result.unanswered
    assert "recognised by its name" in result.repairs[0]


def test_of_duplicated_cells_the_last_counts(nb):
    nb["cells"].append(code(SOFTPLUS + "  # second", grade_id="softplus-answer", solution=True))
    result = plan(nb)
    assert [c.source for c in result.cells if c.exercise == "softplus"][-1].endswith("# second")
    assert "2 times" in result.repairs[0]


def test_a_definition_repeated_elsewhere_is_reported(nb):
    nb["cells"].append(code("def softplus(x):\n    return x"))
    result = plan(nb)
    assert result.repairs[0].startswith("softplus: softplus is defined again in cell ")
    assert result.cells[-1].source == "def softplus(x):\n    return x"


def test_a_hand_graded_cell_s_label_on_an_answer_costs_neither(nb):
    cell(nb, "softplus-answer")["metadata"]["nbgrader"]["grade_id"] = "explain_overflow"
    result = plan(nb)
    assert answer(result, "softplus") == SOFTPLUS
    assert result.manual == {"explain_overflow": "exp(x) is too large."}


def test_an_essay_and_an_answer_with_exchanged_labels_are_both_found(nb):
    one, other = cell(nb, "softplus-answer"), cell(nb, "explain_overflow")
    one["metadata"], other["metadata"] = other["metadata"], one["metadata"]
    result = plan(nb)
    assert answer(result, "softplus") == SOFTPLUS
    assert result.manual == {"explain_overflow": "exp(x) is too large."}
    assert result.unanswered == set()


@pytest.mark.parametrize("text", ["My essay.", "# My essay.", '"""My essay."""'])
def test_an_essay_in_a_new_code_cell_is_found(nb, text):
    cell(nb, "explain_overflow")["source"] = ""
    place = nb["cells"].index(cell(nb, "explain_overflow"))
    nb["cells"].insert(place + 1, code(text))
    assert plan(nb).manual == {"explain_overflow": text}


def test_code_beside_an_empty_essay_is_no_essay(nb):
    cell(nb, "explain_overflow")["source"] = ""
    place = nb["cells"].index(cell(nb, "explain_overflow"))
    nb["cells"].insert(place + 1, code("x = 1"))
    assert plan(nb).unanswered == {"explain_overflow"}


def test_an_essay_written_below_its_question_is_found(nb):
    target = cell(nb, "explain_overflow")
    place = nb["cells"].index(target)
    target["source"] = next(c for c in TEMPLATE.cells if c.role == "manual").source
    nb["cells"][place - 1]["source"] = nb["cells"][place - 1]["source"] + "\n\nMy essay."
    assert plan(nb).manual == {"explain_overflow": "My essay."}


@pytest.mark.parametrize("kind", ["code", "markdown"])
def test_an_answer_merged_with_its_question_is_found(nb, kind):
    target = cell(nb, "softplus-answer")
    question = nb["cells"][nb["cells"].index(target) - 1]
    nb["cells"].remove(question)
    target.update(cell_type=kind, source=question["source"] + "\n\n" + SOFTPLUS, metadata={})
    assert answer(plan(nb), "softplus") == SOFTPLUS


def test_code_added_to_a_cell_of_the_release_keeps_what_it_builds_on():
    shown = TemplateCell("code", "ratio = 2")
    template = Template((*TEMPLATE.cells, shown))
    tree = {"cells": [code("ratio = 2\nprint(ratio)")]}
    result = plan_cells(read_notebook(json.dumps(tree).encode()), template)
    assert "ratio = 2\nprint(ratio)" in [c.source for c in result.cells]


def test_an_essay_beside_its_own_untouched_copy_is_one_essay(nb):
    stub = next(c for c in TEMPLATE.cells if c.role == "manual").source
    nb["cells"].append({**cell(nb, "explain_overflow"), "source": stub})
    result = plan(nb)
    assert result.manual == {"explain_overflow": "exp(x) is too large."}
    assert result.repairs == []


@pytest.mark.parametrize("labelled", [True, False])
def test_a_setup_between_answers_runs_before_the_cells_below_it(nb, labelled):
    setup = TEMPLATE.of_role("setup")[1]
    place = nb["cells"].index(cell(nb, setup.grade_id))
    nb["cells"].insert(place + 1, code("doubled = 2 * START"))
    if not labelled:
        for c in nb["cells"]:
            c["metadata"] = {}
    order = [c.source for c in plan(nb).cells]
    assert order.index(setup.source) < order.index("doubled = 2 * START")
    assert order.count(setup.source) == 1


def test_a_changed_setup_between_answers_never_replaces_ours(nb):
    setup = TEMPLATE.of_role("setup")[1]
    cell(nb, setup.grade_id)["source"] = "START = 5"
    order = [c.source for c in plan(nb).cells]
    assert order.index("START = 5") < order.index(setup.source)


def test_helper_cells_run_in_notebook_order(nb):
    nb["cells"].insert(0, code("helper = 1"))
    nb["cells"].insert(5, code("other = helper"))
    result = plan(nb)
    extras = [c.source for c in result.cells if c.origin == "extra"]
    assert extras == ["helper = 1", "other = helper"]
    assert result.repairs == []


def test_an_answer_split_over_two_cells_keeps_both(nb):
    cell(nb, "softplus-answer")["source"] = "def zero(x):\n    return torch.zeros_like(x)"
    second = "def softplus(x):\n    return torch.logaddexp(x, zero(x))"
    nb["cells"].append(code(second))
    result = plan(nb)
    assert second in answer(result, "softplus")
    assert "softplus" not in result.unanswered


def test_all_answers_in_one_cell_count(nb):
    nb["cells"].remove(cell(nb, "running_mean-answer"))
    cell(nb, "softplus-answer")["source"] = SOFTPLUS + "\n\n" + MEAN
    assert plan(nb).unanswered == set()


def test_moved_cells_bring_their_setup_first(nb):
    target = cell(nb, "running_mean-answer")
    nb["cells"].remove(target)
    nb["cells"].insert(0, target)
    result = plan(nb)
    order = [(c.origin, c.exercise) for c in result.cells]
    assert order == [("setup", None), ("setup", None), ("answer", "running_mean"), ("answer", "softplus")]


def test_an_answer_that_does_not_parse_is_recognised_by_its_lines(nb):
    nb["cells"].remove(cell(nb, "softplus-answer"))
    nb["cells"].append(code("def softplus(x):\n    return (x"))
    assert "def softplus" in answer(plan(nb), "softplus")


def test_two_texts_that_could_be_the_answer_are_ambiguous(nb):
    nb["cells"].remove(cell(nb, "softplus-answer"))
    for ending in ("", "  # or so"):
        nb["cells"].append({"cell_type": "markdown", "metadata": {}, "source": SOFTPLUS + ending})
    assert plan(nb).unanswered == {"softplus"}


def test_the_digest_changes_with_the_release():
    other = type(TEMPLATE)(TEMPLATE.cells[:-1])
    assert other.digest != TEMPLATE.digest == load_template(TOY).digest


def test_defined_names_see_what_a_cell_binds():
    source = "%matplotlib inline\nif True:\n    def f(): g = 1\nelse:\n    a, (b, *c) = x\nd: int = 1\nclass E: h = 1"
    assert defined_names(source) == {"f", "a", "b", "c", "d", "E"}
    assert defined_names("x = (") == {"x"}
    assert defined_names("a == b") == set()


def test_fences_are_taken_off():
    assert code_in_markdown("Text\n```python\nx = 1\n```\nmore\n~~~\ny = 2\n~~~\n") == "x = 1\n\ny = 2\n"
    assert looks_like_code("x = 1")
    assert not looks_like_code("Here x equals one.")


_CELLS = st.lists(
    st.fixed_dictionaries(
        {
            "cell_type": st.sampled_from(["code", "markdown", "raw"]),
            "source": st.sampled_from(
                [c.source for c in TEMPLATE.cells] + [SOFTPLUS, MEAN, "", "x = (", "%%time\nx=1"]
            )
            | st.text(max_size=40),
            "metadata": st.fixed_dictionaries(
                {
                    "nbgrader": st.fixed_dictionaries(
                        {"grade_id": st.sampled_from([c.grade_id for c in TEMPLATE.cells])}
                    )
                }
            ),
        }
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(_CELLS)
def test_any_arrangement_of_cells_is_planned(cells):
    result = plan({"cells": cells})
    ours = [c.source for c in TEMPLATE.of_role("setup")]
    assert [c.source for c in result.cells if c.origin == "setup"] == ours
    assert not any(c.source.strip() in ('check("softplus")', 'check("running_mean")') for c in result.cells)
    answered = set(result.manual) | {c.exercise for c in result.cells if c.origin == "answer"}
    assert {"softplus", "running_mean", "explain_overflow"} <= answered | result.unanswered
