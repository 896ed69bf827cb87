"""Dropout: torch's bits under one seed, the binomial distribution, the same mask backward, and the modules."""

import itertools
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing._internal.common_methods_invocations import op_db

import gradatim.regularization as ours

NAMES = ("dropout", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
OPS = [op for op in op_db if op.name.removeprefix("nn.functional.") in NAMES]
FUNCTIONS = {
    "dropout": (7, 5),
    "dropout1d": (4, 6, 5),
    "dropout2d": (4, 6, 3, 5),
    "dropout3d": (4, 6, 2, 3, 2),
    "alpha_dropout": (7, 5),
    "feature_alpha_dropout": (4, 6, 3, 5),
}


def both(name, x, *args, **kwargs):
    out = []
    for library in (ours, F):
        torch.manual_seed(3)
        leaf = x.detach().clone().requires_grad_()
        y = getattr(library, name)(leaf, *args, **kwargs)
        upstream = torch.linspace(-1.3, 0.7, y.numel(), dtype=y.dtype).reshape(y.shape)
        out.append((y.detach(), torch.autograd.grad(y, leaf, upstream)[0]))
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.full_name)
def test_every_sample_of_torch_s_database_gives_torch_s_bits(op, dtype):
    for sample in op.sample_inputs("cpu", dtype):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mine, theirs = both(
                op.name.removeprefix("nn.functional."), sample.input, *sample.args, **sample.kwargs
            )
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_seed_gives_torch_s_values_and_gradients(name, p):
    x = torch.randn(FUNCTIONS[name], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mine, theirs = both(name, x, p, training=True)
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["dropout1d", "dropout3d"])
def test_a_single_sample_equals_torch_s(name):
    mine, theirs = both(name, torch.randn(FUNCTIONS[name][1:]), 0.3, training=True)
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_inplace_equals_torch_s(name):
    for p in (0.0, 0.3, 1.0):
        x = torch.ones(FUNCTIONS[name])
        torch.manual_seed(3)
        expected = getattr(F, name)(x.clone(), p, True)
        torch.manual_seed(3)
        y = x.clone()
        assert getattr(ours, name)(y, p, True, True) is y or name in ("dropout1d", "dropout3d")
        torch.testing.assert_close(y, expected)


@pytest.mark.parametrize(
    ("p", "name"), list(itertools.product([0.1, 0.5, 0.9], ["dropout", "dropout2d", "drop_path"]))
)
def test_share_of_kept_units_is_binomial_and_the_mean_is_kept(p, name):
    shape = {"dropout": (20_000,), "dropout2d": (200, 100, 2, 2), "drop_path": (20_000, 3)}[name]
    y = getattr(ours, name)(torch.ones(shape), p, generator=torch.Generator().manual_seed(4))
    kept = (y.reshape(20_000, -1)[:, 0] != 0).double()
    bound = 5 * math.sqrt(p * (1 - p) / 20_000)  # 5 sigma: 6e-7
    assert abs(kept.mean().item() - (1 - p)) < bound
    assert y.unique().tolist() == [0.0, pytest.approx(1 / (1 - p))]


def test_units_are_dropped_independently_and_anew_in_each_call():
    generator = torch.Generator().manual_seed(0)
    a, b = (ours.dropout(torch.ones(20_000), 0.5, generator=generator) != 0 for _ in range(2))
    assert abs((a == b).double().mean().item() - 0.5) < 5 * 0.5 / math.sqrt(20_000)
    assert abs((a[1:] == a[:-1]).double().mean().item() - 0.5) < 5 * 0.5 / math.sqrt(20_000)


def test_drop_path_keeps_or_drops_whole_samples():
    x = torch.randn(40, 3, 4)
    y = ours.drop_path(x, 0.3, generator=torch.Generator().manual_seed(0))
    ratio = (y / x).flatten(1)
    assert ((ratio == ratio[:, :1]) | (ratio - ratio[:, :1]).abs().lt(1e-5)).all()
    assert 0 < (ratio[:, 0] == 0).sum() < 40


def test_alpha_dropout_keeps_mean_and_variance_of_normal_inputs():
    x = torch.randn(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = ours.alpha_dropout(x, 0.3, training=True, generator=torch.Generator().manual_seed(1))
    assert abs(y.mean().item()) < 0.02
    assert abs(y.var().item() - 1) < 0.03


MODULES = [
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "AlphaDropout",
    "FeatureAlphaDropout",
    "DropPath",
]
SHAPES = dict(zip(MODULES, [*FUNCTIONS.values(), (9, 4)], strict=True))


@pytest.mark.parametrize("name", MODULES)
def test_module_is_the_identity_in_evaluation_and_random_in_training(name):
    module, x = (
        getattr(ours, name)(0.5, generator=torch.Generator().manual_seed(0)),
        torch.randn(SHAPES[name]),
    )
    assert module.eval()(x) is x
    module.train()
    assert not torch.equal(module(x), module(x))
    assert list(module.state_dict()) == []
    if name != "DropPath":
        torch.manual_seed(1)
        mine = getattr(ours, name)(0.3)(x)
        torch.manual_seed(1)
        torch.testing.assert_close(mine, getattr(nn, name)(0.3)(x))


@pytest.mark.parametrize("name", MODULES)
def test_generator_makes_masks_repeatable_without_touching_the_global_seed(name):
    x = torch.ones(SHAPES[name])
    state = torch.get_rng_state()
    a, b = (getattr(ours, name)(0.5, generator=torch.Generator().manual_seed(7))(x) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", MODULES)
def test_dtype_is_kept(name, dtype):
    assert getattr(ours, name)(0.3)(torch.ones(SHAPES[name], dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("name", MODULES)
def test_compiles_without_a_graph_break_and_vmaps(name):
    torch._dynamo.reset()
    x = torch.ones(SHAPES[name])
    module = getattr(ours, name)(0.5)
    y = torch.compile(module, fullgraph=True, backend="eager")(x)
    assert y.shape == x.shape
    assert not torch.equal(y, x)
    z = torch.func.vmap(module, randomness="different")(torch.stack([x, x]))
    assert z.shape == (2, *x.shape)
    assert not torch.equal(z[0], z[1])


def test_mc_dropout_switches_on_only_dropout():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 64), nn.BatchNorm1d(64), ours.Dropout(0.5), nn.Dropout(0.5), nn.Linear(64, 2)
    )
    model[0].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    mean, std = ours.mc_dropout(model, torch.randn(3, 4), passes=50)
    assert mean.shape == std.shape == (3, 2)
    assert (std > 0).all()
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert [m.training for m in model] == [False, True, True, True, True]


def test_bad_arguments_are_named():
    for name in NAMES:
        with pytest.raises(
            ValueError, match=rf"{name}: p must be in \[0, 1\], the probability to drop, got 1.3"
        ):
            getattr(ours, name)(torch.ones(2, 2, 2, 2), 1.3)
    with pytest.raises(ValueError, match=r"DropPath: p must be in \[0, 1\]"):
        ours.DropPath(-0.1)
    with pytest.raises(TypeError, match="dropout: input must be a floating-point tensor"):
        ours.dropout(torch.ones(3, dtype=torch.long))
    with pytest.raises(ValueError, match="dropout1d: input must be of 2 or 3 dimensions"):
        ours.dropout1d(torch.ones(3))
    with pytest.warns(UserWarning, match="dropout3d: input should have 4 or 5 dimensions, got 3"):
        ours.dropout3d(torch.ones(2, 2, 2))


@pytest.mark.parametrize("name", ["Dropout", "Dropout2d", "AlphaDropout"])
def test_inplace_module_changes_its_input(name):
    x = torch.ones(2, 50, 3, 3)
    y = getattr(ours, name)(0.5, inplace=True)(x)
    assert y is x
    assert not torch.equal(x, torch.ones_like(x))
