"""Initializers: the bits of torch's, the statistics of the papers, bad input, doctests."""

import doctest
import itertools
import math
import warnings

import pytest
import torch
from torch.nn import init as theirs

import gradatim.initialization as ours

SHAPES = [(7, 5), (5, 7), (6, 4, 3), (6, 3, 3, 2), (4, 2, 2, 3, 2)]
CASES = [
    ("uniform_", (-0.3, 0.7)),
    ("normal_", (0.3, 0.7)),
    ("constant_", (0.3,)),
    ("ones_", ()),
    ("zeros_", ()),
    ("xavier_uniform_", (1.7,)),
    ("xavier_normal_", (1.7,)),
    ("kaiming_uniform_", ()),
    ("kaiming_uniform_", (0.3, "fan_out")),
    ("kaiming_normal_", (0.1, "fan_in", "leaky_relu")),
    ("kaiming_normal_", (0, "fan_out", "relu")),
    ("orthogonal_", (1.7,)),
]


def filled(library, name, shape, args, dtype=torch.float32, generator=False):
    tensor = torch.zeros(shape, dtype=dtype)
    torch.manual_seed(5)
    options = {"generator": torch.Generator().manual_seed(9)} if generator else {}
    result = getattr(library, name)(tensor, *args, **options)
    assert result is tensor
    return tensor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "args"), CASES, ids=lambda x: str(x))
def test_one_seed_gives_torch_s_bits(name, args, shape, dtype):
    if name == "orthogonal_" and dtype == torch.bfloat16:
        pytest.skip("torch has no QR decomposition of bfloat16")
    assert torch.equal(filled(ours, name, shape, args, dtype), filled(theirs, name, shape, args, dtype))
    if name not in ("constant_", "ones_", "zeros_"):
        mine = filled(ours, name, shape, args, dtype, generator=True)
        assert torch.equal(mine, filled(theirs, name, shape, args, dtype, generator=True))


def test_matrix_and_convolution_fills_equal_torch_s():
    for name, args, shape in [
        ("eye_", (), (3, 5)),
        ("sparse_", (0.3, 0.7), (7, 5)),
        ("dirac_", (), (4, 6, 3)),
        ("dirac_", (), (6, 4, 3, 2)),
        ("dirac_", (3,), (6, 4, 3, 5)),
        ("dirac_", (2,), (6, 2, 3, 2, 4)),
    ]:
        assert torch.equal(filled(ours, name, shape, args), filled(theirs, name, shape, args)), name


NEW_TRUNCATION = "log_peak" in theirs._no_grad_trunc_normal_.__code__.co_varnames


@pytest.mark.skipif(not NEW_TRUNCATION, reason="this torch truncates by inverting the distribution function")
@pytest.mark.parametrize(
    "args",
    [(), (0.3, 0.7, -1.0, 1.0), (0.0, 1.0, 1.0, 1.5), (0.0, 1.0, 2.5, 9.0), (0.0, 0.02, -2.0, 2.0)],
    ids=str,
)
def test_truncated_normal_gives_torch_s_bits(args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.equal(
            filled(ours, "trunc_normal_", (40, 9), args), filled(theirs, "trunc_normal_", (40, 9), args)
        )


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (-0.3, 2.0), (1.2, 1.9), (2.1, 8.0)], ids=str)
def test_truncated_normal_has_the_truncated_distribution(bounds):
    stats = pytest.importorskip("scipy.stats")
    mean, std, (a, b) = 0.3, 0.7, bounds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = ours.trunc_normal_(
            torch.empty(20_000, dtype=torch.float64),
            mean,
            std,
            a,
            b,
            generator=torch.Generator().manual_seed(1),
        )
    assert a <= x.min() <= x.max() <= b
    exact = stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
    assert stats.kstest(x.numpy(), exact.cdf).pvalue > 1e-6


@pytest.mark.parametrize(
    "name", ["xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "lecun_normal_"]
)
def test_spread_is_the_paper_s_in_every_row(name):
    shape = (300, 50, 3, 3)
    fan_in, fan_out = 50 * 9, 300 * 9
    expected = {
        "xavier": math.sqrt(2 / (fan_in + fan_out)),
        "kaiming": math.sqrt(2 / fan_in),
        "lecun": math.sqrt(1 / fan_in),
    }[name.split("_")[0]]
    w = getattr(ours, name)(torch.empty(shape), generator=torch.Generator().manual_seed(2)).flatten(1)
    n = w.numel()
    assert abs(w.std().item() / expected - 1) < 5 / math.sqrt(2 * n)
    assert abs(w.mean().item()) < 5 * expected / math.sqrt(n)
    assert (w.std(1) / expected - 1).abs().max() < 7 / math.sqrt(2 * fan_in)
    if "uniform" in name:
        assert w.abs().max() <= math.sqrt(3) * expected


@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (6, 6), (4, 3, 3, 3)], ids=str)
def test_orthogonal_has_one_singular_value(shape):
    w = ours.orthogonal_(torch.empty(shape, dtype=torch.float64), gain=1.7)
    values = torch.linalg.svdvals(w.flatten(1))
    torch.testing.assert_close(values, torch.full_like(values, 1.7))


def test_orthogonal_is_uniform_on_the_rotations():
    """Without the signs of R the diagonal would be one-sided."""
    torch.manual_seed(0)
    signs = torch.stack([ours.orthogonal_(torch.empty(3, 3)).diagonal() for _ in range(400)]) > 0
    assert 0.35 < signs.double().mean() < 0.65


def test_gains_equal_torch_s():
    for name in (*ours.GAINS, "leaky_relu"):
        assert ours.calculate_gain(name) == theirs.calculate_gain(name)
    assert ours.calculate_gain("leaky_relu", 0.3) == theirs.calculate_gain("leaky_relu", 0.3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fans_equal_torch_s(shape):
    assert ours.fans(torch.empty(shape)) == theirs._calculate_fan_in_and_fan_out(torch.empty(shape))


def test_parameters_are_filled_without_a_graph():
    p = torch.nn.Parameter(torch.zeros(4, 3))
    for (name, args), _ in itertools.product(CASES, range(2)):
        getattr(ours, name)(p, *args)
        assert p.grad_fn is None
        assert p.requires_grad


def test_empty_tensor_is_left_alone_with_a_warning():
    with pytest.warns(UserWarning, match="Initializing zero-element tensors is a no-op"):
        ours.kaiming_uniform_(torch.empty(0, 3))
    assert ours.orthogonal_(torch.empty(0, 3)).shape == (0, 3)


BAD = {
    "xavier_normal_: tensor must be of at least 2 dimensions (out, in, *kernel), got (3,)": lambda: (
        ours.xavier_normal_(torch.empty(3))
    ),
    "kaiming_normal_: mode must be 'fan_in' or 'fan_out', got 'fan'": lambda: ours.kaiming_normal_(
        torch.empty(3, 3), mode="fan"
    ),
    "calculate_gain: nonlinearity must be one of": lambda: ours.calculate_gain("softmax"),
    "calculate_gain: param must be a number or None, got True": lambda: ours.calculate_gain(
        "leaky_relu", True
    ),
    "eye_: tensor must be of 2 dimensions, got (3,)": lambda: ours.eye_(torch.empty(3)),
    "dirac_: tensor must be of 3, 4 or 5 dimensions, got (3, 3)": lambda: ours.dirac_(torch.empty(3, 3)),
    "dirac_: groups must be a divisor of tensor.shape[0] = 3, got 2": lambda: ours.dirac_(
        torch.empty(3, 3, 3), 2
    ),
    "orthogonal_: tensor must be of at least 2 dimensions, got (3,)": lambda: ours.orthogonal_(
        torch.empty(3)
    ),
    "sparse_: sparsity must be in [0, 1], got 1.3": lambda: ours.sparse_(torch.empty(3, 3), 1.3),
    "trunc_normal_: a must be below b = 1.0, got 2.0": lambda: ours.trunc_normal_(
        torch.empty(3), a=2.0, b=1.0
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_argument_is_named_with_its_rule_and_value(message):
    with pytest.raises((ValueError, TypeError)) as caught:
        BAD[message]()
    assert str(caught.value).startswith(message)


def test_docstring_examples_are_true():
    assert doctest.testmod(ours) == (0, 4)


@pytest.mark.parametrize("name", [n for n in ours.__all__ if n.endswith("_")])
def test_a_tensor_that_cannot_be_filled_is_refused_in_one_sentence(name):
    fill = getattr(ours, name)
    options = {"constant_": {"val": 1.0}, "sparse_": {"sparsity": 0.5}}.get(name, {})
    with pytest.raises(TypeError, match=f"^{name}: tensor must be a tensor, got list$"):
        fill([[1.0]], **options)
    if name not in ("constant_", "ones_", "zeros_", "eye_", "dirac_"):
        with pytest.raises(
            TypeError, match=f"^{name}: tensor must be of a floating-point dtype, got torch.int64$"
        ):
            fill(torch.zeros(3, 3, dtype=torch.int64), **options)
