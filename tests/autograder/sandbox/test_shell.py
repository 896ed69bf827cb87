"""The shell that runs the cells: IPython's syntax, looked for only where Python's does not do."""

import json
from pathlib import Path

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from autograder.sandbox.shell import _Transformers

ROOT = Path(__file__).parents[3]
ODD = [
    "%matplotlib inline\nx = 1",
    "x = %pwd",
    "x = !ls\ny = 2",
    "!ls",
    "torch.exp?",
    "def f():\n    %time g()\n    return 1",
    "%%time\nx = 1",
    "  x = 1\n  y = 2",
    "  # indented\n  x = '''\n  kept\n'''",
    "\n\n\nx = 1",
    ">>> x = 1\n>>> y = 2",
    '"""\n>>> f(1)\n2\n"""\nx = 1',
    "In [1]: x = 1\nIn [2]: y = 2",
    "In [3]: int",
    "x = (1 +\n% 2)",
    "x = [1,\n     %pwd\n]",
    "s = '''\n%matplotlib\n!ls\nf?\n'''",
    "x = 5 \\\n  % 3",
    "/f 1",
    ",f a b",
    "f(x) = 2",
    "await f()",
    "x = '\\d'",
    "# nothing\n",
    "",
    "x = 1;\n; y",
    "x\t=\t1\r\ny = 2\r\n",
    "print 'hello'",
]


def result(transformers: TransformerManager, source: str) -> str:
    try:
        return transformers.transform_cell(source)
    except SyntaxError as error:
        return f"SyntaxError: {error.msg}"


@pytest.mark.parametrize("source", ODD)
def test_cells_become_what_ipython_makes_of_them(source):
    assert result(_Transformers(), source) == result(TransformerManager(), source)


def test_so_do_the_cells_of_the_released_notebooks():
    notebooks = sorted((ROOT / "book" / "exercises").glob("*.ipynb"))
    cells = [c for n in notebooks for c in json.loads(n.read_text())["cells"] if c["cell_type"] == "code"]
    assert cells
    for source in ("".join(c["source"]) for c in cells):
        assert result(_Transformers(), source) == result(TransformerManager(), source)


def test_a_notebooks_own_transformer_is_asked_of_every_cell():
    class Seen(Exception):
        pass

    class Own:
        @classmethod
        def find(cls, tokens_by_line):
            raise Seen

    transformers = _Transformers()
    transformers.token_transformers = [*transformers.token_transformers, Own]
    with pytest.raises(Seen):
        transformers.transform_cell("x = 1\n")
