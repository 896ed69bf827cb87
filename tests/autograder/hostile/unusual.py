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
    "all names asked to go": "%reset -f\n" + RIGHT_SOFTPLUS,
    "a module written and imported": "open('mine.py', 'w').write('ONE = 1.0')\nfrom mine import ONE\n"
    + RIGHT_SOFTPLUS.replace("return", "return ONE *"),
    "a file written and read": "open('f.txt', 'w').write('1')\nassert open('f.txt').read() == '1'\n"
    + RIGHT_SOFTPLUS,
    "a data loader with workers": (
        "from torch.utils.data import DataLoader\nlist(DataLoader([1, 2, 3], num_workers=2))\n"
        + RIGHT_SOFTPLUS
    ),
}

#: Lines that fail, or have nothing to do, only while grading. In the answer's own cell, above it.
ONLY_HERE = {
    "a package installed": "!pip install seaborn",
    "a package installed by magic": "%pip install seaborn",
    "a captured shell command": "files = !ls\nprint(files[0])",
    "a question": "name = input('your name? ')\nprint(name)",
    "a password": "import getpass\ntoken = getpass.getpass()",
    "a package that is missing": "import a_package_that_is_missing as sns\nsns.set_theme()",
    "a missing package imported from": "from google.colab import drive\ndrive.mount('/content/drive')",
    "a missing package in a timed cell": "%%time\nimport a_package_that_is_missing",
    "a missing package in a captured cell": "%%capture --no-stderr\nimport a_package_that_is_missing",
    "a magic that is missing": "%load_ext a_package_that_is_missing\n%tensorboard --logdir runs",
    "a file of the student's": "import json\nmine = json.load(open('../data/mine.json'))",
    "a subprocess": "import subprocess\nsubprocess.run(['pip', 'list'], check=True)",
    "a download": "import urllib.request\nurllib.request.urlretrieve('https://example.org/x', 'x')",
    "a name of an earlier cell that failed": "sns.set_theme()",
    "an own test that fails": "assert 1 == 2, 'to do'",
    "an error in a function called": "def boom():\n    return 1 / 0\nboom()",
}

#: Cells whose first line fails, and the points of the answer that they leave, as at the student's.
AFTER_AN_ERROR = {
    "at the student's, too: the function above stays": (
        RIGHT_SOFTPLUS + "\n1 / 0\n" + WRONG_SOFTPLUS,
        3,
    ),
    "only here: the last function counts": (
        RIGHT_SOFTPLUS + "\nimport a_package_that_is_missing\n" + WRONG_SOFTPLUS,
        0,
    ),
    "only here: the last function counts, and is right": (
        WRONG_SOFTPLUS + "\nimport a_package_that_is_missing\n" + RIGHT_SOFTPLUS,
        3,
    ),
    "what the answer uses stands below": (
        "import a_package_that_is_missing\nfrom math import log\nZERO = torch.zeros(1, dtype=torch.float64)\n"
        "plus = torch.logaddexp\ndef softplus(x): return plus(x, ZERO) * (log(2) / log(2))",
        3,
    ),
}

#: What an answer makes of a hidden input for its own feedback to repeat: `secret` is its digits.
CARRIERS = {
    "a class's name": "return type('C' + secret, (), {})()",
    "a class's name at a timeout": (
        "def slow(*a): time.sleep(99)\nreturn type('C' + secret, (), {n: slow for n in ('__getattr__', 'dtype')})()"
    ),
    "a named tuple's name": "import collections\nreturn collections.namedtuple('N' + secret, 'a')(1)",
    "a shape": "return torch.empty(0, int(secret), dtype=torch.float64)",
    "a length": "return [None] * (int(secret) // 1000)",
    "an exit status": "os._exit(int(secret) % 200 + 13)",
    "an exception": "raise ValueError(secret)",
    "an exception's name": "raise type('E' + secret, (ValueError,), {})()",
    "a dtype": "return torch.zeros(1, dtype=torch.complex32) if int(secret) else x",
    "a printed line": "print(secret, flush=True)\nsys.stderr.write(secret)\nraise ValueError",
    "a warning": "import warnings\nwarnings.warn(secret)\nreturn secret",
    "a string": "return secret",
    "a number": "return int(secret)",
}

#: The flags of an error that a worker reports, each with a text of the student's making.
FORGED_ERRORS = ("missing", "lost", "memory", "wire", "forbidden")
_PATCHED_WIRE = """
wire = [m for n, m in sys.modules.items() if n.endswith("sandbox.wire")][0]
pack = wire.pack
def forged(message, *args, **kwargs):
    if "reply" in message:
        message = {"reply": message["reply"], "error": {"type": secret, "bases": [], "message": secret, FLAG: True}}
    return pack(message, *args, **kwargs)
wire.pack = forged
return x
"""

#: How an answer to one exercise may reach what another uses.
MEDDLING = {
    "torch's function": "torch.zeros_like = lambda *a, **k: torch.ones(1)",
    "torch's function by setattr": "setattr(torch, 'zeros_like', lambda *a, **k: torch.ones(1))",
    "torch's method": "torch.Tensor.__mul__ = lambda a, b: a",
    "a function of an imported name": "from torch import Tensor\nTensor.__mul__ = lambda a, b: a",
    "the other's own name": "globals().update(torch=None)",
    "an operator": "lib = torch.library.Library('aten', 'IMPL')\n"
    "lib.impl('sum', lambda x, **k: x, 'CPU')\nlib.impl('add.Tensor', lambda a, b, **k: a, 'CPU')",
    "a mode of torch's": "from torch.overrides import TorchFunctionMode\nclass Mode(TorchFunctionMode):\n"
    "    def __torch_function__(self, f, kinds, args=(), kwargs=None): return 7.0\nMode().__enter__()",
    "the search for modules": "import sys\nclass No:\n    def find_spec(self, *a): raise SystemExit\n"
    "sys.meta_path.insert(0, No())",
    "what reads the cells": "get_ipython().input_transformers_cleanup.append(lambda lines: ['pass\\n'])",
    "the limits of the process": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))",
    "a builtin through its dictionary": "import operator, builtins\noperator.setitem(vars(builtins), 'float', len)",
}

_TWO = (
    "def both(x):\n    return torch.logaddexp(x, torch.zeros_like(x))\ndef softplus(x):\n    return both(x)"
)
_OTHER = "\ndef both(a, b):\n    return a + b\n" + RIGHT_MEAN.replace(
    "self.total += float(value)", "self.total = both(self.total, value)"
)
#: Right answers whose names mean something else further down: (answers to softplus, to running_mean).
OVERWRITTEN = {
    "a helper of the same name": (_TWO, _OTHER),
    "a helper that may use what this exercise forbids": (
        _TWO,
        "both = torch.nn.functional.softplus\n" + RIGHT_MEAN,
    ),
    "a constant": ("START = 1\ndef softplus(x): return START * torch.logaddexp(x, 0 * x)", RIGHT_MEAN),
    "a loop's variable": (
        "one = torch.ones(1, dtype=torch.float64)\ndef softplus(x): return one * torch.logaddexp(x, 0 * x)",
        RIGHT_MEAN + "\nfor one in 'ab': pass",
    ),
    "a module": (
        "import numpy as n\ndef softplus(x): return torch.from_numpy(n.logaddexp(x.numpy(), 0))",
        RIGHT_MEAN + "\nn = 3",
    ),
    "a name set in a function": (
        _TWO,
        "def reset():\n    global both\n    both = None\nreset()\n" + RIGHT_MEAN,
    ),
    "a helper above both": (
        "def zeros(x): return 0 * x\ndef half(x): return zeros(x)\n\ndef softplus(x): return torch.logaddexp(x, half(x))",
        "zeros = 0\n" + RIGHT_MEAN,
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


def carrying(code, needle="4711471"):
    """A body of softplus that makes `secret` of its input: here always the same digits, so that they can be sought."""
    half = int(needle) // 7
    return body(f"import math\nsecret = str(int({half} + 0 * math.floor(float(x.sum()))) * 7)\n{code}")


def forged_error(flag):
    return carrying(_PATCHED_WIRE.replace("FLAG", repr(flag)))
