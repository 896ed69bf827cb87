"""The hand-derived backward passes, the invariances that define the norms, limits, bad input, doctests."""

import doctest
import importlib
import pkgutil
import re

import pytest
import torch
from torch.autograd import gradcheck

import gradatim.normalization as ours
from gradatim.normalization import batch, layer, rms
from gradatim.normalization.batch import BatchNormFunction
from gradatim.normalization.layer import LayerNormFunction

G = torch.Generator().manual_seed(0)


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=G)


@pytest.mark.parametrize("shape", [(7, 4), (3, 4, 5), (2, 4, 3, 5)], ids=str)
def test_batch_norm_backward_is_the_derivative(shape):
    x, w = draw(*shape), draw(4).reshape(1, 4, *[1] * (len(shape) - 2))
    b, grad = draw(4).reshape(w.shape), draw(*shape)
    leaves = [t.clone().requires_grad_() for t in (x, w, b)]
    dims = [0, *range(2, len(shape))]
    y = ours.standardize(leaves[0], dims, eps=0.1) * leaves[1] + leaves[2]
    expected = torch.autograd.grad(y, leaves, grad)
    x_hat = ours.standardize(x, dims, eps=0.1)
    inv_std = torch.rsqrt(x.var(dims, correction=0, keepdim=True) + 0.1)
    for backward in (ours.batch_norm_backward, ours.batch_norm_backward_in_place):
        torch.testing.assert_close(backward(grad, x_hat, inv_std, w), expected, rtol=1e-10, atol=1e-12)


def test_layer_norm_backward_is_the_derivative():
    x, w, b, grad = draw(7, 5), draw(5), draw(5), draw(7, 5)
    leaves = [t.clone().requires_grad_() for t in (x, w, b)]
    y = ours.standardize(leaves[0], [-1], eps=0.1) * leaves[1] + leaves[2]
    expected = torch.autograd.grad(y, leaves, grad)
    mean, inv_std = x.mean(-1, keepdim=True), torch.rsqrt(x.var(-1, correction=0, keepdim=True) + 0.1)
    for backward in (ours.layer_norm_backward, ours.layer_norm_backward_in_place):
        torch.testing.assert_close(backward(grad, x, mean, inv_std, w), expected, rtol=1e-10, atol=1e-12)


def test_rms_norm_backward_is_the_derivative():
    x, w, grad = draw(3, 7, 5), draw(5), draw(3, 7, 5)
    leaves = [t.clone().requires_grad_() for t in (x, w)]
    expected = torch.autograd.grad(ours.rms_norm(leaves[0], [5], leaves[1], eps=0.1), leaves, grad)
    inv_rms = torch.rsqrt(x.square().mean(-1, keepdim=True) + 0.1)
    torch.testing.assert_close(ours.rms_norm_backward(grad, x, inv_rms, w), expected, rtol=1e-10, atol=1e-12)


def test_the_fast_forward_passes_equal_the_formula():
    x, w, b = draw(4, 3, 5), draw(1, 3, 1), draw(1, 3, 1)
    y, x_hat, mean, var = BatchNormFunction.apply(x, w, b, 0.1)
    torch.testing.assert_close(x_hat, ours.standardize(x, [0, 2], 0.1), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(y, x_hat * w + b)
    torch.testing.assert_close(
        (mean, var), (x.mean((0, 2), keepdim=True), x.var((0, 2), False, keepdim=True))
    )
    w, b = draw(5), draw(5)
    rows = x.reshape(-1, 5)
    y, mean, inv_std = layer.layer_norm_in_place(rows, w, b, 0.1)
    torch.testing.assert_close(y, LayerNormFunction.apply(rows, w, b, 0.1), rtol=0, atol=0)
    torch.testing.assert_close(y, ours.standardize(rows, [1], 0.1) * w + b, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(
        (mean, inv_std), (rows.mean(1, True), (rows.var(1, False, keepdim=True) + 0.1).rsqrt())
    )


def test_intermediate_outputs_of_the_functions_have_right_derivatives():
    """Second derivatives pass through them."""
    x, w, b = draw(5, 3).requires_grad_(), draw(1, 3).requires_grad_(), draw(1, 3).requires_grad_()
    assert gradcheck(lambda x, w, b: BatchNormFunction.apply(x, w, b, 0.1)[1::2], (x, w, b))
    w = draw(3).requires_grad_()
    assert gradcheck(lambda x, w: rms.RMSNormFunction.apply(x, w, 0.1)[1], (x, w))


@pytest.mark.parametrize("dims", [[0], [1], [0, 2], [1, 2]], ids=str)
def test_input_gradient_is_orthogonal_to_ones_and_to_x_hat(dims):
    """Because standardize(a x + c) = standardize(x) for eps = 0."""
    x, g = draw(4, 5, 3), draw(4, 5, 3)
    x_hat = ours.standardize(x, dims, eps=0.0)
    inv_std = torch.rsqrt(x.var(dims, correction=0, keepdim=True))
    grad = ours.standardize_backward(g, x_hat, inv_std, dims)
    zero = torch.zeros_like(inv_std)
    torch.testing.assert_close(grad.sum(dims, keepdim=True), zero, rtol=0, atol=1e-12)
    torch.testing.assert_close((grad * x_hat).sum(dims, keepdim=True), zero, rtol=0, atol=1e-12)


def test_scale_and_shift_of_the_input_do_not_matter():
    x = draw(6, 4, 3, 5)
    for norm in (
        lambda x: ours.batch_norm(x, None, None, training=True, eps=1e-300),
        lambda x: ours.layer_norm(x, (4, 3, 5), eps=0.0),
        lambda x: ours.group_norm(x, 2, eps=0.0),
        lambda x: ours.instance_norm(x, eps=0.0),
    ):
        torch.testing.assert_close(norm(3.7 * x + 11.0), norm(x), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(ours.rms_norm(3.7 * x, (5,), eps=0.0), ours.rms_norm(x, (5,), eps=0.0))
    assert not torch.allclose(ours.rms_norm(x + 1, (5,), eps=0.0), ours.rms_norm(x, (5,), eps=0.0))


def test_group_norm_is_layer_norm_with_one_group_and_instance_norm_with_c():
    x = draw(3, 4, 5, 2)
    torch.testing.assert_close(ours.group_norm(x, 1, eps=0.1), ours.layer_norm(x, (4, 5, 2), eps=0.1))
    torch.testing.assert_close(ours.group_norm(x, 4, eps=0.1), ours.instance_norm(x, eps=0.1))


def test_running_variance_is_unbiased_and_momentum_weighs_the_new_value():
    x = torch.tensor([[1.0], [2.0], [6.0]])  # mean 3, biased variance 14/3, unbiased 7
    mean, var = torch.full((1,), 10.0), torch.full((1,), 20.0)
    ours.batch_norm(x, mean, var, training=True, momentum=0.3)
    torch.testing.assert_close(mean, torch.tensor([0.7 * 10 + 0.3 * 3]))
    torch.testing.assert_close(var, torch.tensor([0.7 * 20 + 0.3 * 7]))


def test_momentum_none_is_the_plain_average_of_all_batches():
    norm = ours.BatchNorm1d(3, momentum=None).double()
    batches = [draw(5, 3) for _ in range(4)]
    for x in batches:
        norm(x)
    expected = torch.stack([x.mean(0) for x in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, expected, rtol=1e-12, atol=1e-13)
    expected = torch.stack([x.var(0) for x in batches]).mean(0)
    torch.testing.assert_close(norm.running_var, expected, rtol=1e-12, atol=1e-13)
    assert norm.num_batches_tracked == 4
    norm.reset_running_stats()
    assert norm.num_batches_tracked == 0
    assert norm.running_var.tolist() == [1.0, 1.0, 1.0]


def test_buffers_are_not_parameters_and_get_no_gradient():
    norm = ours.BatchNorm2d(3)
    assert {name for name, _ in norm.named_parameters()} == {"weight", "bias"}
    norm(torch.randn(2, 3, 4, 4, requires_grad=True)).sum().backward()
    assert not norm.running_mean.requires_grad
    assert norm.running_mean.grad_fn is None


def test_empty_batches_pass_in_the_norms_without_batch_statistics():
    assert ours.LayerNorm(3)(torch.zeros(0, 3)).shape == (0, 3)
    assert ours.RMSNorm(3)(torch.zeros(0, 3)).shape == (0, 3)
    assert ours.GroupNorm(2, 4)(torch.zeros(0, 4, 5)).shape == (0, 4, 5)
    assert ours.BatchNorm1d(3).eval()(torch.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("shape", "axes"), [((1, 6), 2), ((4, 0), 1), ((0, 3), 1), ((2, 3, 4), 1), ((2, 3, 4), 3)], ids=str
)
def test_layer_norm_gradients_have_the_shapes_of_their_inputs(shape, axes):
    leaves = [draw(*s).requires_grad_() for s in (shape, shape[-axes:], shape[-axes:])]
    values = []
    for norm in (ours.layer_norm, torch.nn.functional.layer_norm):
        y = norm(leaves[0], shape[-axes:], *leaves[1:], eps=0.1)
        values.append((y, *torch.autograd.grad(y, leaves, y.detach().sin())))
    torch.testing.assert_close(*values)


x23, x234 = torch.ones(2, 3), torch.ones(2, 3, 4)
BAD = {
    "batch_norm: input must be more than one value per channel, got (1, 3)": lambda: ours.batch_norm(
        torch.ones(1, 3), None, None, training=True
    ),
    "batch_norm: input must be of shape (N, C) or (N, C, *), got (3,)": lambda: ours.batch_norm(
        torch.ones(3), None, None, training=True
    ),
    "batch_norm: weight must be of shape (3,), one per channel, got (2,)": lambda: ours.batch_norm(
        x23, None, None, torch.ones(2), training=True
    ),
    "batch_norm: running_mean and running_var must be given in evaluation": lambda: ours.batch_norm(
        x23, None, None
    ),
    "BatchNorm2d: input must be 4-dimensional, got (2, 3)": lambda: ours.BatchNorm2d(3)(x23),
    "BatchNorm1d: input must be 2-dimensional or 3-dimensional, got (3,)": lambda: ours.BatchNorm1d(3)(
        x23[0]
    ),
    "BatchNorm1d: num_features must be >= 0, got -1": lambda: ours.BatchNorm1d(-1),
    "layer_norm: input must be of shape (*, 4), got (2, 3)": lambda: ours.layer_norm(x23, (4,)),
    "layer_norm: weight must be of normalized_shape (3,), got (2,)": lambda: ours.layer_norm(
        x23, (3,), torch.ones(2)
    ),
    "LayerNorm: eps must be >= 0, got -1.0": lambda: ours.LayerNorm(3, eps=-1.0),
    "rms_norm: normalized_shape must be of at least one size, got ()": lambda: ours.rms_norm(x23, ()),
    "group_norm: num_groups must be a divisor of C = 3, got 2": lambda: ours.group_norm(x23, 2),
    "group_norm: num_groups must be a divisor of C = 3, got 0": lambda: ours.group_norm(x23, 0),
    "instance_norm: input must be more than one pixel per channel": lambda: ours.instance_norm(x234[..., :1]),
    "instance_norm: input must be of shape (N, C, *), got (2, 3)": lambda: ours.instance_norm(x23),
    "InstanceNorm1d: input must be of num_features = 4 channels, got 3": lambda: ours.InstanceNorm1d(
        4, affine=True
    )(x234),
    "local_response_norm: size must be an integer >= 1, got 0": lambda: ours.local_response_norm(x234, 0),
    "local_response_norm: input must be of shape (N, C, *), got (2, 3)": lambda: ours.local_response_norm(
        x23, 2
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_argument_is_named_with_its_rule_and_value(message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        BAD[message]()


def test_integer_input_is_a_type_error():
    for call in (
        lambda x: ours.batch_norm(x, None, None, training=True),
        lambda x: ours.layer_norm(x, (3,)),
        lambda x: ours.group_norm(x, 1),
    ):
        with pytest.raises(TypeError, match=r"input must be a floating-point tensor, got torch\.int64"):
            call(torch.ones(2, 3, dtype=torch.int64))


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(ours.__path__)])
def test_docstring_examples_are_true(module):
    result = doctest.testmod(importlib.import_module(f"gradatim.normalization.{module}"))
    assert result.failed == 0
    assert result.attempted > 0


def test_every_public_name_is_documented():
    for name in ours.__all__:
        assert getattr(ours, name).__doc__, name


@pytest.mark.parametrize("shape", [(5, 6, 3, 7), (50, 6), (1, 6, 40, 2)], ids=str)
def test_block_by_block_equals_all_at_once(monkeypatch, shape):
    x, upstream, w, b = draw(*shape), draw(*shape), draw(6), draw(6)
    channels = [1, 6, *[1] * (len(shape) - 2)]
    rows, upstream_rows = draw(60, 6), draw(60, 6)

    def everything():
        y, x_hat, mean, var = batch.batch_norm_in_place(x, w.view(channels), b.view(channels), 0.1)
        backward = ours.batch_norm_backward_in_place(upstream, x_hat, (var + 0.1).rsqrt(), w.view(channels))
        z, m, s = layer.layer_norm_in_place(rows, w, b, 0.1)
        of_layer = z, *ours.layer_norm_backward_in_place(upstream_rows, rows, m, s, w)
        v, r = rms.rms_norm_in_place(rows, w, 0.1)
        of_rms = v, *rms.rms_norm_backward_in_place(upstream_rows, rows, r, w)
        return *of_layer, *of_rms, y, mean, var, *backward

    at_once = everything()
    monkeypatch.setitem(batch.blocks.__globals__, "BLOCK", 64)
    torch.testing.assert_close(everything(), at_once, rtol=1e-12, atol=1e-12)
    written_out = rms.rms_norm_backward(upstream_rows, rows, rms.rms_norm_in_place(rows, w, 0.1)[1], w)
    torch.testing.assert_close(at_once[0], ours.layer_norm(rows, [6], w, b, eps=0.1))
    torch.testing.assert_close(at_once[4], ours.rms_norm(rows, [6], w, eps=0.1))
    torch.testing.assert_close(at_once[5:7], written_out)


def test_weight_of_another_dtype_is_refused():
    x, w = torch.zeros(3, 6), torch.ones(6, dtype=torch.float64)
    message = "_norm: weight must be of the input's dtype torch.float32, got torch.float64"
    with pytest.raises(TypeError, match=message):
        ours.layer_norm(x, [6], w)
    with pytest.raises(TypeError, match=message):
        ours.batch_norm(x, None, None, w, training=True)
