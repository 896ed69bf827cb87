"""What a worker reports reaches nobody in its own words."""

import pytest

from autograder.sandbox import wording

REFUSED = "may not be used here: write it yourself"


@pytest.mark.parametrize(
    ("reported", "told"),
    [
        (
            "a tensor of dtype complex32 cannot leave the notebook",
            "a tensor of dtype complex32 cannot leave the notebook",
        ),
        ("a tensor of dtype x4711 cannot leave the notebook", "what it returned cannot be read"),
        ("a tensor of dtype float cannot leave the notebook 4711", "what it returned cannot be read"),
        ("the tensor is too large: 4711 elements", "the tensor is too large"),
        ("4711", "what it returned cannot be read"),
        ("", "what it returned cannot be read"),
    ],
)
def test_an_unreadable_value(reported, told):
    assert wording.unreadable(reported) == told


@pytest.mark.parametrize(
    ("reported", "told"),
    [
        (f"torch.exp {REFUSED}", f"torch.exp {REFUSED}"),
        (f"torch.optim.SGD {REFUSED}", f"torch.optim {REFUSED}"),
        (f"torch.optim.x4711 {REFUSED}", f"torch.optim {REFUSED}"),
        (f"torch.exp4711 {REFUSED}", f"what this exercise forbids {REFUSED}"),
        (f"torch.autograd {REFUSED}", f"torch.autograd {REFUSED}"),
        ("4711", f"what this exercise forbids {REFUSED}"),
    ],
)
def test_a_forbidden_call(reported, told):
    assert wording.forbidden(reported, ("torch.exp", "torch.optim")) == told
