"""Where torch has a function or class of the same name, ours is called in the same way.

Left out are torch's deprecated `size_average` and `reduce` and what follows them by position, and `inplace` for
activations. What we add is keyword-only, so that no argument changes its place.
"""

import inspect

import pytest
from torch import nn
from torch.nn import functional, init
from torch.nn.utils import parametrizations

from gradatim import activations, gradients, initialization, losses, normalization, regularization

PLACES = {
    losses: (functional, nn),
    normalization: (functional, nn, parametrizations),
    activations: (functional,),
    initialization: (init,),
    regularization: (functional, nn),
    gradients: (nn.utils,),
}
LEFT_OUT = {"size_average", "reduce", "_stacklevel"}
BUILT_IN = {
    "gelu",
    "hardshrink",
    "logsigmoid",
    "prelu",
    "softplus",
    "softshrink",
}  # have no signature to ask for


def pairs():
    for module, places in PLACES.items():
        for name in module.__all__:
            twin = next((getattr(place, name) for place in places if hasattr(place, name)), None)
            if callable(twin) and name not in BUILT_IN:
                left_out = LEFT_OUT | ({"inplace"} if module is activations else set())
                yield pytest.param(getattr(module, name), twin, left_out, id=name)


def by_position(parameters):
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def test_torch_has_most_of_what_we_have():
    assert len(list(pairs())) > 105


@pytest.mark.parametrize(("ours", "torchs", "left_out"), list(pairs()))
def test_arguments_are_torchs_in_name_order_and_default(ours, torchs, left_out):
    mine, theirs = inspect.signature(ours).parameters, inspect.signature(torchs).parameters
    expected = {name: p for name, p in theirs.items() if name not in left_out}
    assert set(expected) <= set(mine)
    for name, p in expected.items():
        if p.default is not None or name != "dim":  # softmax: torch warns when `dim` is left out
            assert mine[name].default == p.default, name
    first = by_position(theirs.values())
    first = first[: next((i for i, name in enumerate(first) if name in left_out), len(first))]
    assert by_position(mine.values())[: len(first)] == first
    added = set(mine) - set(theirs)
    assert all(mine[name].kind is inspect.Parameter.KEYWORD_ONLY for name in added), added
