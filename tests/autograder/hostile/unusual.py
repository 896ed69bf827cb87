"""Damaged notebooks, and right answers that come in an unusual way. Each with the points it must get."""

import json

from .submissions import RIGHT_MEAN, RIGHT_SOFTPLUS, WRONG_SOFTPLUS, answer, body, cell, notebook

GOOD = notebook(cell(RIGHT_SOFTPLUS, "softplus-answer"), cell(RIGHT_MEAN, "running_mean-answer"))
TREE = json.loads(GOOD)
#: A small class: one of each kind of outcome. student -> the notebook's bytes
FIVE_KINDS = {
    "good": GOOD,
    "wrong": answer(WRONG_SOFTPLUS),
    "empty": b"",
    "exits": body("os._exit(1)"),
    "half": GOOD[: GOOD.index(b"RunningMean")],
}


def changed(**top):
    return json.dumps({**TREE, **top}).encode()


#: name -> (bytes, softplus, running_mean)
DAMAGED = {
    "empty": (b"", 0, 0),
    "blank": (b" \n\n", 0, 0),
    "text": (b"dear grader", 0, 0),
    "binary": (bytes(range(256)) * 40, 0, 0),
    "a zip": (b"PK\x03\x04" + bytes(100), 0, 0),
    "html": (b"<!doctype html><p>log in", 0, 0),
    "no cells": (b'{"metadata": {}, "nbformat": 4, "nbformat_minor": 4, "cells": []}', 0, 0),
    "cells of another type": (b'{"cells": {"a": 1}, "nbformat": 4}', 0, 0),
    "a list": (b"[1, 2, 3]", 0, 0),
    "null": (b"null", 0, 0),
    "deep nesting": (b'{"cells": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 0, 0),
    "BOM": (b"\xef\xbb\xbf" + GOOD, 3, 3),
    "UTF-16": (GOOD.decode().encode("utf-16"), 3, 3),
    "bad bytes in a comment": (GOOD.replace(b"def softplus", b"# \xff\xfe\\ndef softplus"), 3, 3),
    "trailing garbage": (GOOD + b"}}}\0\0", 3, 3),
    "truncated after the first answer": (GOOD[: GOOD.index(b"RunningMean")], 3, 0),
    "metadata stripped": (
        notebook(cell(RIGHT_SOFTPLUS), cell(RIGHT_MEAN)),
        3,
        3,
    ),
    "answers in the other order": (
        notebook(cell(RIGHT_MEAN, "running_mean-answer"), cell(RIGHT_SOFTPLUS, "softplus-answer")),
        3,
        3,
    ),
    "an answer missing": (notebook(cell(RIGHT_MEAN, "running_mean-answer")), 0, 3),
    "an answer twice, the second right": (
        notebook(
            cell(WRONG_SOFTPLUS, "softplus-answer"),
            cell(RIGHT_SOFTPLUS, "softplus-answer"),
            cell(RIGHT_MEAN, "running_mean-answer"),
        ),
        3,
        3,
    ),
    "an answer made markdown": (
        notebook(
            cell("```python\n" + RIGHT_SOFTPLUS + "```", "softplus-answer", "markdown"),
            cell(RIGHT_MEAN, "running_mean-answer"),
        ),
        3,
        3,
    ),
    "an answer made raw": (
        notebook(cell(RIGHT_SOFTPLUS, "softplus-answer", "raw"), cell(RIGHT_MEAN, "running_mean-answer")),
        3,
        3,
    ),
    "everything in one cell": (notebook(cell(RIGHT_SOFTPLUS + "\n\n" + RIGHT_MEAN)), 3, 3),
    "an answer in an extra cell, the stub left": (
        notebook(
            cell(RIGHT_SOFTPLUS),
            cell(
                'raise NotImplementedError("softplus: write your answer in this cell")',
                "softplus-answer",
            ),
            cell(RIGHT_MEAN, "running_mean-answer"),
        ),
        3,
        3,
    ),
    "ids swapped": (
        notebook(cell(RIGHT_MEAN, "softplus-answer"), cell(RIGHT_SOFTPLUS, "running_mean-answer")),
        3,
        3,
    ),
    "source as a list of lines": (
        notebook(
            {**cell("", "softplus-answer"), "source": RIGHT_SOFTPLUS.splitlines(keepends=True)},
            cell(RIGHT_MEAN, "running_mean-answer"),
        ),
        3,
        3,
    ),
    "a source that is a number": (
        notebook({**cell("", "softplus-answer"), "source": 5}, cell(RIGHT_MEAN, "running_mean-answer")),
        0,
        3,
    ),
    "format 3": (
        json.dumps(
            {
                "metadata": {},
                "nbformat": 3,
                "nbformat_minor": 0,
                "worksheets": [
                    {
                        "cells": [
                            {
                                "cell_type": "code",
                                "language": "python",
                                "input": RIGHT_SOFTPLUS,
                                "outputs": [],
                            },
                            {"cell_type": "code", "language": "python", "input": RIGHT_MEAN, "outputs": []},
                        ]
                    }
                ],
            }
        ).encode(),
        3,
        3,
    ),
    "a format of the future": (changed(nbformat=9, nbformat_minor=9), 3, 3),
    "no format": (json.dumps({"cells": TREE["cells"]}).encode(), 3, 3),
    "metadata of a wrong type": (changed(metadata=[1, 2]), 3, 3),
    "not-a-number in it": (GOOD.replace(b'"nbformat": 4', b'"x": NaN, "nbformat": 4'), 3, 3),
    "a key twice": (GOOD.replace(b'"nbformat": 4,', b'"nbformat": 3, "nbformat": 4,'), 3, 3),
    "merge conflict markers": (
        notebook(
            cell("<<<<<<< HEAD\n" + RIGHT_SOFTPLUS + "=======\n>>>>>>> main", "softplus-answer"),
            cell(RIGHT_MEAN, "running_mean-answer"),
        ),
        0,
        3,
    ),
    "an answer cell emptied": (
        notebook(cell("", "softplus-answer"), cell(RIGHT_MEAN, "running_mean-answer")),
        0,
        3,
    ),
}

#: Right answers, every one worth full marks.
NOISY = {
    "prints": "print('hello ' * 1000)\n" + RIGHT_SOFTPLUS.replace("return", "print('x', x)\n    return"),
    "prints to stderr": "import sys\n"
    + RIGHT_SOFTPLUS.replace("return", "sys.stderr.write('e')\n    return"),
    "warnings": "import warnings\n"
    + RIGHT_SOFTPLUS.replace("return", "warnings.warn('careful')\n    return"),
    "logging": "import logging\nlogging.basicConfig(level=0)\n"
    + RIGHT_SOFTPLUS.replace("return", "logging.error(1)\n    return"),
    "magics": "%matplotlib inline\n%precision 3\n" + RIGHT_SOFTPLUS + "\n%who",
    "a cell magic": "%%time\n" + RIGHT_SOFTPLUS,
    "a plot": RIGHT_SOFTPLUS + "\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()",
    "an error after the definition": RIGHT_SOFTPLUS + "\nsoftplus(None)",
    "a failing own test": RIGHT_SOFTPLUS + "\nassert False, 'my test'",
    "output of 50 MB": RIGHT_SOFTPLUS + "\n'x' * (50 << 20)",
    "script in the output": RIGHT_SOFTPLUS
    + "\nfrom IPython.display import HTML\nHTML('<script>alert(1)</script>')",
    "a progress bar": "from tqdm.auto import tqdm\n" + RIGHT_SOFTPLUS + "\nfor _ in tqdm(range(3)): pass",
    "a lambda": "softplus = lambda x: torch.logaddexp(x, torch.zeros_like(x))",
    "another library": "import numpy as np\ndef softplus(x): return torch.from_numpy(np.logaddexp(x.numpy(), 0))",
    "a class with __call__": "class S:\n    def __call__(self, x): return torch.logaddexp(x, 0 * x)\nsoftplus = S()",
    "a module": (
        "class S(torch.nn.Module):\n    def forward(self, x): return torch.logaddexp(x, 0 * x)\nsoftplus = S()"
    ),
    "a partial": "from functools import partial\nsoftplus = partial(torch.logaddexp, other=torch.zeros((), dtype=torch.float64))",
    "jit": "@torch.jit.script\ndef softplus(x: torch.Tensor) -> torch.Tensor:\n    return torch.logaddexp(x, torch.zeros_like(x))",
    "compiled": "@torch.compile\n" + RIGHT_SOFTPLUS,
    "cached": "from functools import lru_cache\n@lru_cache\n" + RIGHT_SOFTPLUS,
    "type hints and a docstring": (
        "def softplus(x: 'torch.Tensor', /) -> 'torch.Tensor':\n    '''Doc.'''\n    return torch.logaddexp(x, 0 * x)"
    ),
    "a Parameter returned": RIGHT_SOFTPLUS.replace(
        "return torch.logaddexp(x, torch.zeros_like(x))",
        "return torch.nn.Parameter(torch.logaddexp(x, torch.zeros_like(x)))",
    ),
    "a view returned": RIGHT_SOFTPLUS.replace("return ", "return torch.stack([x, x])[0] * 0 + "),
    "default dtype changed": "torch.set_default_dtype(torch.float16)\n" + RIGHT_SOFTPLUS,
    "default dtype changed inside": RIGHT_SOFTPLUS.replace(
        "return", "torch.set_default_dtype(torch.float16)\n    return"
    ),
    "grad mode off": "torch.set_grad_enabled(False)\n" + RIGHT_SOFTPLUS,
    "deterministic mode": "torch.use_deterministic_algorithms(True)\n" + RIGHT_SOFTPLUS,
    "more threads": "torch.set_num_threads(2)\n" + RIGHT_SOFTPLUS,
    "a global seed": "torch.manual_seed(0)\n" + RIGHT_SOFTPLUS,
    "anomaly mode": "torch.autograd.set_detect_anomaly(True)\n" + RIGHT_SOFTPLUS,
    "warnings as errors": "import warnings\nwarnings.simplefilter('error')\n" + RIGHT_SOFTPLUS,
    "numpy errors raised": "import numpy as np\nnp.seterr(all='raise')\n" + RIGHT_SOFTPLUS,
    "recursion limit": "import sys\nsys.setrecursionlimit(2000)\n" + RIGHT_SOFTPLUS,
    "names of the setup shadowed": "check = None\n" + RIGHT_SOFTPLUS,
    "a module renamed": "import torch as t\ndef softplus(x): return t.logaddexp(x, t.zeros_like(x))",
    "windows line ends": RIGHT_SOFTPLUS.replace("\n", "\r\n"),
    "tabs": RIGHT_SOFTPLUS.replace("    ", "\t"),
    "unicode names": "def softplus(ξ):\n    return torch.logaddexp(ξ, torch.zeros_like(ξ))",
    "an own forbidden-like name": "class F:\n    softplus = 1\n" + RIGHT_SOFTPLUS,
    "comparison with the forbidden call in a cell": RIGHT_SOFTPLUS
    + "\nassert torch.allclose(softplus(torch.ones(1)), torch.nn.functional.softplus(torch.ones(1)))",
    "async loop used": "import asyncio\n" + RIGHT_SOFTPLUS + "\nawait asyncio.sleep(0)",
    "a file written and read": "open('f.txt', 'w').write('1')\nassert open('f.txt').read() == '1'\n"
    + RIGHT_SOFTPLUS,
    "a data loader with workers": (
        "from torch.utils.data import DataLoader\nlist(DataLoader([1, 2, 3], num_workers=2))\n"
        + RIGHT_SOFTPLUS
    ),
}

#: name -> (answer to softplus, points): wrong in a way that looks right.
NEARLY = {
    "float32 for float64": ("def softplus(x): return torch.logaddexp(x, 0 * x).float()", 0),
    "a broadcastable shape": ("def softplus(x): return torch.logaddexp(x, 0 * x)[None]", 0),
    "one element of a shape": ("def softplus(x): return torch.logaddexp(x, 0 * x)[:1]", 0),
    "a list": ("def softplus(x): return torch.logaddexp(x, 0 * x).tolist()", 0),
    "an array": ("def softplus(x): return torch.logaddexp(x, 0 * x).numpy()", 0),
    "NaN": ("def softplus(x): return x * float('nan')", 0),
    "None": ("def softplus(x): print(torch.logaddexp(x, 0 * x))", 0),
    "the input changed and returned": ("def softplus(x): return x.zero_()", 0),
    "overflow": ("def softplus(x): return (1 + x.exp()).log()", 2),
    "hard-coded": ("import math\ndef softplus(x): return torch.full_like(x, math.log(2))", 2),
    "linear": ("def softplus(x): return x", 1),
    "off by a millionth of a percent too much": (
        "def softplus(x): return torch.logaddexp(x, 0 * x) * (1 + 1e-4)",
        0,
    ),
    "random": ("def softplus(x): return torch.rand_like(x)", 0),
    "right at the first call only": (
        "calls = []\ndef softplus(x):\n    calls.append(1)\n    return torch.logaddexp(x, 0 * x) * len(calls)",
        2,
    ),
    "a string": ("def softplus(x): return 'log 2'", 0),
    "the function itself": ("def softplus(x): return softplus", 0),
    "not implemented": ("def softplus(x): raise NotImplementedError('softplus')", 0),
    "too many arguments": ("def softplus(x, y): return torch.logaddexp(x, 0 * x)", 0),
}


def with_softplus(source):
    return answer(source)
