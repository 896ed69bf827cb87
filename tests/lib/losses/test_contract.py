"""What every loss promises, checked on every loss."""

import inspect
import warnings

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import jacfwd, jacrev, vmap
from torch.testing import assert_close

import gradatim.losses as losses

HALF = [torch.float16, torch.bfloat16]
NOT_LOSSES = {"smooth_labels"}

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")


def test_every_public_loss_is_under_contract(members):
    public = {n for n in losses.__all__ if inspect.isfunction(getattr(losses, n))}
    assert public - NOT_LOSSES == {m.name for m in members}


def test_mean_and_sum_are_those_of_none(reducing_member, device):
    member = reducing_member
    inputs = member.inputs(device=device)
    each = member(*inputs, reduction="none")
    assert each.numel() > 1
    assert_close(member(*inputs, reduction="sum"), each.sum(), rtol=1e-12, atol=1e-12)
    if member.mean_is_mean:
        assert_close(member(*inputs, reduction="mean"), each.mean(), rtol=1e-12, atol=1e-12)
        assert_close(member(*inputs), each.mean(), rtol=1e-12, atol=1e-12)


def test_matches_torch_where_torch_has_it(twin_member, device):
    member = twin_member
    for options in member.reductions:
        ours, theirs = (
            member.inputs(device=device, requires_grad=True),
            member.inputs(device=device, requires_grad=True),
        )
        got, expected = member(*ours, **options), member.twin(*theirs, **member.settings, **options)
        assert_close(got, expected, rtol=1e-12, atol=1e-13)
        upstream = torch.randn_like(expected)
        got_g = torch.autograd.grad(got, ours[: member.wrt], upstream)
        expected_g = torch.autograd.grad(expected, theirs[: member.wrt], upstream)
        assert_close(got_g, expected_g, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF], ids=str)
def test_dtype_and_device_follow_the_input(member, dtype, device):
    for options in member.reductions:
        inputs = member.inputs(dtype, device, requires_grad=True)
        loss = member(*inputs, **options)
        loss.sum().backward()
        assert loss.dtype == dtype
        assert loss.device.type == device
        assert all(t.grad.dtype == dtype for t in inputs[: member.wrt])


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_precision_computes_in_float32(member, dtype, device):
    inputs = member.inputs(dtype, device)
    wide = tuple(t.double() if t.is_floating_point() else t for t in inputs)
    each = {"reduction": "none"} if member.reduces else {}
    got, exact = member(*inputs, **each).double(), member(*wide, **each)
    settings_rounding = 4 if any(torch.is_tensor(v) for v in member.settings.values()) else 1
    assert_close(got, exact, rtol=settings_rounding * torch.finfo(dtype).eps, atol=1e-5)


def test_inputs_are_left_as_they_were(member, device):
    inputs = member.inputs(device=device, requires_grad=True)
    before = [t.detach().clone() for t in inputs]
    member(*inputs, **member.scalar).backward()
    assert all(torch.equal(t, b) for t, b in zip(inputs, before, strict=True))


def test_memory_layout_does_not_matter(member, device):
    inputs = member.inputs(device=device)
    strided = tuple(torch.stack([t, t], dim=-1)[..., 0] for t in inputs)
    assert not strided[0].is_contiguous()
    for options in member.reductions:
        assert_close(member(*strided, **options), member(*inputs, **options), rtol=1e-13, atol=1e-13)


def test_derivatives_are_those_of_the_value(member):
    inputs = member.inputs(requires_grad=True)
    assert gradcheck(lambda *t: member(*t, **member.scalar), inputs)


def test_second_derivatives_are_those_of_the_first(member):
    inputs = tuple(t[:3] if t.shape[:1] == (6,) else t for t in member.inputs())
    if any(torch.is_tensor(v) and v.shape[:1] == (6,) for v in member.settings.values()):
        inputs = member.inputs()
    inputs = tuple(t.detach().requires_grad_(i < member.wrt) for i, t in enumerate(inputs))
    assert gradgradcheck(lambda *t: member(*t, **member.scalar), inputs)


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated:DeprecationWarning"
)  # torch's, at first use
def test_forward_mode_agrees_with_reverse_mode(member):
    inputs = member.inputs()
    which = tuple(range(member.wrt))
    forward = jacfwd(lambda *t: member(*t, **member.scalar), argnums=which)(*inputs)
    reverse = jacrev(lambda *t: member(*t, **member.scalar), argnums=which)(*inputs)
    assert_close(forward, reverse, rtol=1e-10, atol=1e-12)


def test_vmap_is_a_loop(member):
    instances = [member.make() for _ in range(3)]
    stacked = [torch.stack(ts) for ts in zip(*instances, strict=True)]
    for options in member.reductions:
        looped = torch.stack([member(*inputs, **options) for inputs in instances])
        assert_close(vmap(lambda *t, o=options: member(*t, **o))(*stacked), looped, rtol=1e-12, atol=1e-12)


def test_vmap_of_grad_is_a_loop_of_grads(member):
    instances = [member.make() for _ in range(3)]
    stacked = [torch.stack(ts) for ts in zip(*instances, strict=True)]
    gradient = torch.func.grad(lambda *t: member(*t, **member.scalar))
    looped = torch.stack([gradient(*inputs) for inputs in instances])
    assert_close(vmap(gradient)(*stacked), looped, rtol=1e-12, atol=1e-12)


def test_compiles_without_a_graph_break(member):
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", category=DeprecationWarning
        )  # of torch's own making, while it compiles
        compiled = torch.compile(lambda *t: member(*t, **member.scalar), fullgraph=True, backend="eager")
        ours, eager = member.inputs(requires_grad=True), member.inputs(requires_grad=True)
        got, expected = compiled(*ours), member(*eager, **member.scalar)
    got.backward()
    expected.backward()
    assert_close(got, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(ours[: member.wrt], eager[: member.wrt], strict=True):
        assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF], ids=str)
@pytest.mark.parametrize("factor", [1e3, 1e4])
def test_huge_scores_give_finite_losses_and_gradients(scored_member, dtype, factor, device):
    member = scored_member
    squares = member.name in {"mse_loss", "squared_hinge_loss", "multi_margin_loss"}
    largest = (
        50 if squares and dtype == torch.float16 else 1e4
    )  # beyond, the loss itself is larger than float16 holds
    inputs = member.extreme(member.inputs(dtype, device), factor)
    x = inputs[0].clamp(-largest, largest).requires_grad_()
    loss = member(x, *inputs[1:], **({"reduction": "none"} if member.reduces else {}))
    (g,) = torch.autograd.grad(loss.float().mean(), x)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(g).all()


def test_empty_batch_is_torchs(twin_member):
    member = twin_member
    undefined = {"multi_margin_loss", "multilabel_margin_loss"}  # torch returns uninitialized memory
    settings = {
        k: v[:0] if torch.is_tensor(v) and v.shape[:1] == (6,) else v for k, v in member.settings.items()
    }
    inputs = tuple(t[:0] for t in member.inputs())
    for options in member.reductions:
        got = getattr(losses, member.name)(*inputs, **settings, **options)
        if member.name in undefined:
            expected = {"none": torch.empty(0), "mean": torch.tensor(torch.nan), "sum": torch.tensor(0.0)}
            assert_close(got, expected[options["reduction"]].double(), equal_nan=True)
        else:
            assert_close(got, member.twin(*inputs, **settings, **options), equal_nan=True)


def test_unknown_reduction_is_named(reducing_member):
    member = reducing_member
    with pytest.raises(
        ValueError, match=rf"^{member.name}: reduction must be one of \('none', .*\), got 'avg'"
    ):
        member(*member.inputs(), reduction="avg")


def test_shapes_that_do_not_fit_are_named(member):
    inputs = list(member.inputs())
    inputs[1] = torch.cat([inputs[1], inputs[1]])[: len(inputs[0]) + 1]
    with pytest.raises(
        (ValueError, TypeError), match=rf"^{member.name}: .* must (be|have) .*, got .*\d"
    ) as caught:
        member(*inputs)
    assert "\n" not in str(caught.value)


def test_integers_are_refused_where_a_gradient_should_flow(differentiable_only_member):
    member = differentiable_only_member
    inputs = [t.long() for t in member.inputs()]
    with pytest.raises(
        TypeError, match=rf"^{member.name}: \w+ must be a floating-point tensor, got torch.int64"
    ):
        getattr(losses, member.name)(*inputs)


def test_documentation_has_its_parts(member):
    text = inspect.getdoc(getattr(losses, member.name))
    for part in ("Args:", "Returns:", "Raises:", "Source:", ">>>"):
        assert part in text, part
    for name in inspect.signature(getattr(losses, member.name)).parameters:
        assert f"\n    {name}: " in text, name
    if member.twin is not None:
        assert f"torch.nn.functional.{member.name}" in text


def test_compiled_cross_entropy_keeps_the_digits_of_large_logits():
    """log(sum(exp(x))) of logits near 1e4 alone would round to 1e-3 in float32."""
    x = (torch.tensor([[1e4, 1e4 - 3, -1e4], [2.0, -torch.inf, 1.0]])).requires_grad_()
    y = torch.tensor([1, 0])
    torch._dynamo.reset()
    loss = torch.compile(losses.cross_entropy, fullgraph=True, backend="eager")(x, y, reduction="none")
    expected = torch.nn.functional.cross_entropy(x, y, reduction="none")
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)
    grads = [torch.autograd.grad(value.sum(), x)[0] for value in (loss, expected)]
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-7)
