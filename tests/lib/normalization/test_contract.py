"""What every norm must satisfy: derivatives of both orders, torch.func, torch.compile, no host read, dtype kept."""

import copy

import pytest
import torch
from torch.autograd import forward_ad

import gradatim.normalization as ours

# torch's own forward-mode decompositions are still written in TorchScript
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

X2 = (5, 6)
X4 = (3, 6, 4, 5)


def batch(x, w, b):
    return ours.batch_norm(x, None, None, w, b, training=True, eps=0.1)


def batch_eval(x, w, b):
    mean, var = torch.linspace(-1, 1, 6).to(x), torch.linspace(0.3, 2, 6).to(x)
    return ours.batch_norm(x, mean, var, w, b, eps=0.1)


NORMS = {
    "batch, features": (batch, X2, (6,)),
    "batch, images": (batch, X4, (6,)),
    "batch, evaluation": (batch_eval, X4, (6,)),
    "layer, features": (lambda x, w, b: ours.layer_norm(x, (6,), w, b, eps=0.1), X2, (6,)),
    "layer, two axes": (lambda x, w, b: ours.layer_norm(x, (4, 5), w, b, eps=0.1), X4, (4, 5)),
    "group": (lambda x, w, b: ours.group_norm(x, 2, w, b, eps=0.1), X4, (6,)),
    "instance": (lambda x, w, b: ours.instance_norm(x, None, None, w, b, eps=0.1), X4, (6,)),
    "rms": (lambda x, w, b: ours.rms_norm(x, (4, 5), w, eps=0.1) + 0 * b, X4, (4, 5)),
    "local response": (
        lambda x, w, b: ours.local_response_norm(x, 3, 0.3, 0.7, 1.3) + 0 * (w.sum() + b.sum()),
        X4,
        (6,),
    ),
}


def arguments(name, dtype=torch.float64, seed=0):
    _, shape, affine = NORMS[name]
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype).requires_grad_()

    return draw(*shape), draw(*affine), draw(*affine)


@pytest.mark.parametrize("name", NORMS)
def test_first_and_second_derivatives_are_right(name):
    fn, inputs = NORMS[name][0], arguments(name)
    assert torch.autograd.gradcheck(fn, inputs, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(fn, inputs, fast_mode=True, check_fwd_over_rev=True)


@pytest.mark.parametrize("name", ["batch, images", "layer, features"])
def test_every_entry_of_the_derivatives_is_right(name):
    fn, inputs = NORMS[name][0], arguments(name)
    assert torch.autograd.gradcheck(fn, inputs)


def test_third_derivative_is_right():
    for name in ("batch, features", "layer, features"):
        fn, (x, w, b) = NORMS[name][0], arguments(name)

        def first(x, w, b, fn=fn):
            (g,) = torch.autograd.grad(fn(x, w, b).sin().sum(), x, create_graph=True)
            return g

        assert torch.autograd.gradgradcheck(first, (x, w, b), fast_mode=True)


@pytest.mark.parametrize("name", NORMS)
def test_per_sample_gradients_by_vmap_equal_a_loop(name):
    fn, (_, w, b) = NORMS[name][0], arguments(name)
    batches = torch.stack([arguments(name, seed=s)[0].detach() for s in range(3)])

    def loss(w, x):
        return fn(x, w, b).sin().sum()

    per_batch = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(None, 0))(w, batches)
    loop = [torch.func.grad(loss, argnums=(0, 1))(w, x) for x in batches]
    torch.testing.assert_close(per_batch, tuple(torch.stack(g) for g in zip(*loop, strict=True)))


@pytest.mark.parametrize("name", NORMS)
def test_batched_backward_pass_equals_a_loop(name):
    fn, inputs = NORMS[name][0], arguments(name)
    y = fn(*inputs)
    upstream = torch.randn(3, *y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(5))
    batched = torch.autograd.grad(y, inputs, upstream, is_grads_batched=True, retain_graph=True)
    loop = [torch.autograd.grad(y, inputs, g, retain_graph=True) for g in upstream]
    torch.testing.assert_close(batched, tuple(torch.stack(g) for g in zip(*loop, strict=True)))


@pytest.mark.parametrize("name", NORMS)
def test_forward_mode_over_a_first_derivative_needs_no_graph(name):
    fn, (x, w, b) = NORMS[name][0], arguments(name)
    dx, upstream = torch.ones_like(x).cumsum(-1), torch.linspace(-1, 2, x.numel()).reshape(x.shape).to(x)
    with forward_ad.dual_level():
        y = fn(forward_ad.make_dual(x, dx), w, b)
        tangents = [
            forward_ad.unpack_dual(
                torch.autograd.grad(y, x, upstream, retain_graph=True, create_graph=graph)[0]
            )[1]
            for graph in (False, True)
        ]
    torch.testing.assert_close(*tangents)


@pytest.mark.parametrize("name", NORMS)
def test_forward_and_reverse_jacobians_and_hessians_agree(name):
    fn, (x, w, b) = NORMS[name][0], [t.detach() for t in arguments(name)]
    x = x[:2, :6] if x.dim() == 2 else x[:2, :, :, :2] if w.shape == (6,) else x[:2, :2]
    forward, reverse = torch.func.jacfwd(fn)(x, w, b), torch.func.jacrev(fn)(x, w, b)
    torch.testing.assert_close(forward, reverse)

    def loss(x):
        return fn(x, w, b).sin().sum()

    torch.testing.assert_close(torch.func.hessian(loss)(x), torch.func.jacrev(torch.func.jacrev(loss))(x))


@pytest.mark.parametrize("name", NORMS)
def test_compiles_without_a_graph_break(name):
    fn, inputs = NORMS[name][0], arguments(name)
    torch._dynamo.reset()
    compiled = torch.compile(fn, fullgraph=True, backend="eager")
    y, expected = compiled(*inputs), fn(*inputs)
    torch.testing.assert_close(y, expected)
    upstream = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
    grads = torch.autograd.grad(y, inputs, upstream)
    torch.testing.assert_close(grads, torch.autograd.grad(expected, inputs, upstream))


MODULES = {
    "BatchNorm1d": (lambda m: m.BatchNorm1d(6, eps=0.1, momentum=0.3), X2),
    "BatchNorm2d average": (lambda m: m.BatchNorm2d(6, momentum=None), X4),
    "BatchNorm2d": (lambda m: m.BatchNorm2d(6, momentum=0.7), X4),
    "BatchNorm2d without statistics": (lambda m: m.BatchNorm2d(6, track_running_stats=False), X4),
    "InstanceNorm2d": (lambda m: m.InstanceNorm2d(6, affine=True, track_running_stats=True), X4),
    "LayerNorm": (lambda m: m.LayerNorm((4, 5)), X4),
    "RMSNorm": (lambda m: m.RMSNorm((4, 5), eps=0.1), X4),
    "GroupNorm": (lambda m: m.GroupNorm(3, 6), X4),
    "LocalResponseNorm": (lambda m: m.LocalResponseNorm(2), X4),
}


@pytest.mark.parametrize("name", MODULES)
def test_module_compiles_without_a_graph_break_and_updates_its_statistics(name):
    build, shape = MODULES[name]
    torch._dynamo.reset()
    plain, compiled = build(ours), build(ours)
    fast = torch.compile(compiled, fullgraph=True, backend="eager")
    for i in range(3):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(i))
        torch.testing.assert_close(fast(x), plain(x))
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict())


@pytest.mark.parametrize("name", MODULES)
def test_thirty_steps_of_training_equal_torch_s(name):
    build, shape = MODULES[name]
    mine, reference = build(ours).double(), build(torch.nn).double()
    for t in range(30):
        x = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(t), dtype=torch.float64) + 1
        for module in (mine, reference):
            y = module(x)
            params = list(module.parameters())
            if params:
                grads = torch.autograd.grad((y - x.tanh()).square().mean(), params)
                with torch.no_grad():
                    for p, g in zip(params, grads, strict=True):
                        p -= (0.3 if t < 10 else 0.1) * g
    torch.testing.assert_close(mine.state_dict(), reference.state_dict(), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(mine.eval()(x), reference.eval()(x), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", MODULES)
def test_no_tensor_is_read_on_the_host(name, monkeypatch):
    build, shape = MODULES[name]
    module, x = build(ours), torch.randn(shape, requires_grad=True)

    def refuse(self, *args):
        raise AssertionError("a norm read a tensor on the host")

    for method in ("item", "tolist", "__float__", "__bool__", "__int__", "__index__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, method, refuse)
    y = module(x)
    y.sum().backward()
    module.eval()(x).sum().backward()


@pytest.mark.parametrize("name", MODULES)
def test_state_dict_round_trip_and_torch_s_names(name):
    build, shape = MODULES[name]
    a, b, theirs = build(ours), build(ours), build(torch.nn)
    for i in range(2):
        a(torch.randn(shape, generator=torch.Generator().manual_seed(i)))
    b.load_state_dict(copy.deepcopy(a.state_dict()))
    theirs.load_state_dict(copy.deepcopy(a.state_dict()))
    torch.testing.assert_close(b.state_dict(), a.state_dict(), rtol=0, atol=0)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(a.eval()(x), b.eval()(x), rtol=0, atol=0)
    torch.testing.assert_close(a.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("name", MODULES)
def test_evaluation_changes_nothing_and_input_is_untouched(name):
    build, shape = MODULES[name]
    module, x = build(ours).eval(), torch.randn(shape)
    before, kept = copy.deepcopy(module.state_dict()), x.clone()
    module(x)
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)
    module.train()(x)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", MODULES)
def test_dtype_and_memory_layout_of_the_input_do_not_matter(name, dtype):
    build, shape = MODULES[name]
    x = torch.randn(shape).to(dtype)
    y = build(ours).to(dtype)(x)
    assert y.dtype == dtype
    strided = x.transpose(0, -1).contiguous().transpose(0, -1)
    torch.testing.assert_close(build(ours).to(dtype)(strided), y)


@pytest.mark.parametrize("name", ["batch, features", "layer, features", "group", "instance", "rms"])
def test_float16_does_not_overflow_in_the_sum_of_squares(name):
    x, w, b = (t.detach() for t in arguments(name, torch.float16))
    y = NORMS[name][0](300 * x, torch.ones_like(w), torch.zeros_like(b))  # 300**2 > 65504
    expected = NORMS[name][0](300 * x.double(), torch.ones_like(w).double(), torch.zeros_like(b).double())
    torch.testing.assert_close(y.double(), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", ["batch, features", "layer, features", "group", "instance"])
def test_large_mean_does_not_cost_the_digits(name):
    """E[x^2] - E[x]^2 would give a negative variance here."""
    x, w, b = arguments(name, torch.float32)
    with torch.no_grad():
        y = NORMS[name][0](x + 4096.0, w, b)
        expected = NORMS[name][0]((x + 4096.0).double(), w.double(), b.double())
    torch.testing.assert_close(y.double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rows", [64, 128, 130])
def test_compiled_layer_norm_in_blocks_of_rows_has_the_same_derivatives(rows):
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.randn(s, generator=generator).double().requires_grad_() for s in ((rows, 5), 5, 5)]
    torch._dynamo.reset()
    compiled = torch.compile(lambda x, w, b: ours.layer_norm(x, (5,), w, b), fullgraph=True, backend="eager")
    results = [
        (y, *torch.autograd.grad(y, leaves, y.detach().sin()))
        for y in (compiled(*leaves), ours.layer_norm(leaves[0], (5,), *leaves[1:]))
    ]
    torch.testing.assert_close(*results)
