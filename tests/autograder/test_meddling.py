"""Which answers may have changed what the others use."""

import pytest

from autograder.meddling import meddles, meddling_line


@pytest.mark.parametrize(
    "source",
    [
        "torch.sigmoid = abs",
        "import torch.nn.functional as G\nG.softmax = None",
        "from torch import Tensor\nTensor.__add__ = max",
        "setattr(torch, 'exp', None)",
        "torch.nn.functional.softmax.__code__ = f.__code__",
        "del torch.exp",
        "torch.Tensor.sum: object = None",
        "np.random.seed += 1",
        "globals()['torch'] = None",
        "import sys\nsys.modules['torch'] = None",
        "import builtins as b\nb.sum = max",
        "from unittest.mock import patch",
        "exec('torch.exp = 0')",
    ],
)
def test_reaches_beyond_its_own_objects(source):
    assert meddles(source)


@pytest.mark.parametrize(
    "source",
    [
        "def f(x):\n    y = x.clone()\n    y[0] = 1\n    return torch.exp(y)",
        "class Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.w = 1",
        "x = torch.ones(3)\nx.requires_grad = True\nx.grad = None",
        "import os\nos.environ['OMP_NUM_THREADS'] = '1'",
        "import matplotlib.pyplot as plt\nplt.rcParams['figure.figsize'] = (4, 3)",
        "import math\nprint(math.pi, sum([1]))",
        "def f(:",
    ],
)
def test_keeps_to_its_own_objects(source):
    assert not meddles(source)


@pytest.mark.parametrize(
    "source",
    [
        "torch.inference_mode().__enter__()",
        "from torch.library import Library\nL = Library('aten', 'IMPL')",
        "torch._C._functorch._grad_increment_nesting()",
        "import signal\nsignal.alarm(1)",
        "import resource as r\nr.setrlimit(r.RLIMIT_CPU, (1, 1))",
        "import sys\nsys.meta_path.insert(0, Finder())",
        "import operator\noperator.setitem(torch.__dict__, 'exp', None)",
        "from concurrent.futures import ThreadPoolExecutor",
    ],
)
def test_what_stays_switched_on_is_nothing_to_suspect_anybody_for(source):
    assert meddles(source)
    assert meddling_line(source) is None or "__dict__" in source
