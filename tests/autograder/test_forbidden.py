"""Forbidden calls: what must be found, however it is spelled, and what must not."""

import pytest

from autograder.forbidden import find_forbidden

FORBID = ("torch.nn.functional.cross_entropy", "torch.nn.CrossEntropyLoss")
HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn"

USES = {
    "plain": "def ce(x, t): return F.cross_entropy(x, t)",
    "full path": "def ce(x, t): return torch.nn.functional.cross_entropy(x, t)",
    "nn": "def ce(x, t): return nn.functional.cross_entropy(x, t)",
    "class": "def ce(x, t): return nn.CrossEntropyLoss()(x, t)",
    "imported name": "from torch.nn.functional import cross_entropy as q\ndef ce(x, t): return q(x, t)",
    "imported as itself": "from torch.nn.functional import cross_entropy as ce",
    "local import": "def ce(x, t):\n    import torch.nn.functional as G\n    return G.cross_entropy(x, t)",
    "helper": "def h(x, t): return F.cross_entropy(x, t)\ndef ce(x, t): return h(x, t)",
    "alias of the module": "G = F\ndef ce(x, t): return G.cross_entropy(x, t)",
    "alias in the function": "def ce(x, t):\n    G = F\n    return G.cross_entropy(x, t)",
    "alias of an alias in a method": "class M:\n    def f(self, x, t):\n        H = (G := nn.functional)\n"
    "        return H.cross_entropy(x, t)\nce = M().f",
    "the module as a default": "def ce(x, t, *, G=F): return G.cross_entropy(x, t)",
    "assignment": "ce = F.cross_entropy",
    "below a captured shell command": "files = !ls\ndef ce(x, t): return F.cross_entropy(x, t)",
    "below a question mark": "torch.exp?\nce = F.cross_entropy",
    "below a magic's value": "%%capture\nhere = %pwd\nce = F.cross_entropy",
    "below a command over two lines": "!ls \\\n  -l\nce = F.cross_entropy",
    "lambda": "ce = lambda x, t: F.cross_entropy(x, t)",
    "another path": "def ce(x, t): return nn.modules.loss.F.cross_entropy(x, t)",
    "getattr": "def ce(x, t): return getattr(F, 'cross_' + 'entropy')(x, t)",
    "getattr at run time": "def ce(x, t): return getattr(F, ''.join(['cross', '_entropy']))(x, t)",
    "vars": "def ce(x, t): return vars(F)['cross_entropy'](x, t)",
    "dict": "def ce(x, t): return F.__dict__['cross_entropy'](x, t)",
    "eval": "def ce(x, t): return eval('F.cross_entropy')(x, t)",
    "importlib": "import importlib\ndef ce(x, t): return importlib.import_module('torch.nn').functional",
    "default argument": "def ce(x, t, f=F.cross_entropy): return f(x, t)",
    "decorator": "def use(f): return lambda x, t: F.cross_entropy(x, t)\n@use\ndef ce(x, t): pass",
    "in an if": "if True:\n    def ce(x, t): return F.cross_entropy(x, t)",
    "class body": "class C:\n    f = staticmethod(F.cross_entropy)\ndef ce(x, t): return C.f(x, t)",
    "global in a nested function": "h = F.cross_entropy\ndef ce(x, t):\n    def f(): return h(x, t)\n    return f()",
    "global in a method": "h = F.cross_entropy\nclass M:\n    def f(self, x, t): return h(x, t)\nce = M().f",
    "global set inside": "def s():\n    global h\n    h = F.cross_entropy\ndef ce(x, t):\n    s()\n    return h(x, t)",
    "torch's references": "import torch._refs.nn.functional as R\ndef ce(x, t): return R.nll_loss(x, t)",
    "a decomposition": "from torch._decomp import decompositions as d\ndef ce(x, t): return d.nll_loss_forward(x, t)",
    "an operator by a name made at run time": "def ce(x, t): return torch.ops.aten.__getattr__('nll_' + t)(x, t)",
    "the hook switched off": "def ce(x, t):\n    with torch._C.DisableTorchFunction(): return G(x, t)",
    "the hook taken off": "def ce(x, t):\n    torch.overrides._pop_mode()\n    return G(x, t)",
    "globals of a neighbour": "def ce(x, t): return (lambda: F)().mse_loss.__globals__['cross' + '_entropy'](x, t)",
    "frames of the caller": "import sys\ndef ce(x, t): return sys._getframe(1).f_locals['forbid'].clear()",
    "all objects": "import gc\nh = gc.get_objects()[9]\ndef ce(x, t): return h(x, t)",
    "with a magic before": "%matplotlib inline\ndef ce(x, t): return F.cross_entropy(x, t)",
}

HONEST = {
    "own formula": "def ce(x, t): return -x.log_softmax(1).gather(1, t[:, None]).mean()",
    "comparison elsewhere": "def ce(x, t): return x.sum()\nassert ce(y, z) == F.cross_entropy(y, z)",
    "in a docstring": "def ce(x, t):\n    '''Like F.cross_entropy.'''\n    return x.sum()",
    "in another exercise": "def train(x, t): return F.cross_entropy(x, t)\ndef ce(x, t): return x.sum()",
    "own method": "class M:\n    def cross_entropy(self, x): return x\ndef ce(x, t): return M().cross_entropy(x)",
    "own getattr": "class M: a = 1\ndef ce(x, t): return getattr(M, t)",
    "own name compile": "def compile(x): return x\ndef ce(x, t): return compile(x)",
    "a variable elsewhere": "loss = F.cross_entropy(y, z)\ndef ce(x, t):\n    loss = x.sum()\n    return loss",
    "a parameter's name": "for x in [F.cross_entropy(y, z)]: pass\ndef ce(x, t): return x.sum()",
    "an alias in another function": "def g(y, z):\n    q = F.cross_entropy\n    return q(y, z)\n"
    "def ce(x, t):\n    q = x.sum()\n    return q",
    "torch's version": "def ce(x, t): return x.sum() if torch.__version__ > '2' else x.mean()",
    "a public name from a private module": "from torch._C import device\ndef ce(x, t): return x.to(device('cpu'))",
    "a name of torch's given another value": "def ce(x, t): return torch.sum(x)\nF.cross_entropy = None",
    "module eval": "def ce(x, t, model): return model.eval()(x)",
}


@pytest.mark.parametrize("code", USES.values(), ids=USES)
def test_a_forbidden_use_is_found(code):
    assert find_forbidden([HEADER, code], ["ce"], FORBID)


@pytest.mark.parametrize("code", HONEST.values(), ids=HONEST)
def test_an_honest_answer_is_not_accused(code):
    assert find_forbidden([HEADER, code], ["ce"], FORBID) == []


def test_the_message_quotes_the_line_and_names_the_function():
    (finding,) = find_forbidden([HEADER, "def ce(x, t):\n    return F.cross_entropy(x, t)"], ["ce"], FORBID)
    assert finding.sentence() == (
        "`return F.cross_entropy(x, t)` uses torch.nn.functional.cross_entropy, "
        "which is not allowed in this exercise"
    )


def test_cells_that_do_not_parse_are_passed_over():
    assert find_forbidden([HEADER, "def ce(:", "ce = F.cross_entropy", "(" * 10_000], ["ce"], FORBID)


def test_nothing_forbidden_finds_nothing():
    assert find_forbidden([HEADER, "ce = F.cross_entropy"], ["ce"], ()) == []


def test_a_method_of_tensors_is_found_by_its_name():
    forbid = ("torch.Tensor.backward",)
    assert find_forbidden(["def f(x):\n    x.sum().backward()\n    return x.grad"], ["f"], forbid)
    assert find_forbidden(["def f(x):\n    step = x.sum().backward\n    return step()"], ["f"], forbid)
    assert not find_forbidden(["def f(backward):\n    return backward"], ["f"], forbid)
    assert not find_forbidden(["def g(x):\n    x.backward()\ndef f(x):\n    return x"], ["f"], forbid)
