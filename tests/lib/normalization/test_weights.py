"""Weight and spectral norm against torch's, folding against the layers in sequence, and the residual blocks."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations as theirs

import gradatim.normalization as ours

LAYERS = {
    "linear": (lambda: nn.Linear(5, 4), (3, 5)),
    "conv": (lambda: nn.Conv2d(2, 4, 3), (3, 2, 6, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 4, 3), (3, 2, 6, 5)),
    "grouped": (lambda: nn.Conv1d(4, 6, 3, groups=2, bias=False), (3, 4, 7)),
}


def twins(layer):
    torch.manual_seed(0)
    a = LAYERS[layer][0]().double()
    return a, copy.deepcopy(a)


def draw(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    "norm", ["weight_norm", "weight_norm dim 1", "weight_norm dim None", "spectral_norm", "spectral_norm 3"]
)
def test_thirty_training_steps_equal_torch_s_under_one_seed(norm, layer):
    a, b = twins(layer)
    name, *extra = norm.split()
    options = {}
    if extra and name == "weight_norm":
        options = {"dim": None if extra[-1] == "None" else 1}
    elif extra:
        options = {"n_power_iterations": 3}
    torch.manual_seed(7)
    getattr(ours, name)(a, **options)
    torch.manual_seed(7)
    getattr(theirs, name)(b, **options)
    x = draw(*LAYERS[layer][1])
    for t in range(30):
        outputs = []
        for module in (a, b):
            y = module(x)
            outputs.append(y.detach())
            params = list(module.parameters())
            grads = torch.autograd.grad(y.sin().mean(), params)
            with torch.no_grad():
                for p, g in zip(params, grads, strict=True):
                    p -= (0.1 if t < 10 else 0.03) * g
        torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-8, atol=1e-10)
    assert list(a.state_dict()) == list(b.state_dict())
    torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=1e-8, atol=1e-10, check_stride=False)
    a.eval(), b.eval()
    torch.testing.assert_close(a(x), b(x))
    torch.testing.assert_close(a(x), a(x), rtol=0, atol=0)  # no power iteration in evaluation
    c = getattr(ours, name)(copy.deepcopy(LAYERS[layer][0]()).double(), **options)
    c.load_state_dict(copy.deepcopy(b.state_dict()))
    torch.testing.assert_close(c.eval()(x), b(x))


def test_weight_norm_separates_length_and_direction():
    layer = ours.weight_norm(nn.Linear(5, 3).double())
    g, v = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
    torch.testing.assert_close(layer.weight.norm(dim=1, keepdim=True), g)
    with torch.no_grad():
        before = layer.weight.clone()
        v *= 3.7
    torch.testing.assert_close(layer.weight, before)
    x = draw(4, 5).requires_grad_()

    def y(g, v):
        return torch.func.functional_call(
            layer, {"parametrizations.weight.original0": g, "parametrizations.weight.original1": v}, (x,)
        )

    assert torch.autograd.gradgradcheck(y, (g, v), fast_mode=True)


def test_spectral_norm_converges_to_the_largest_singular_value():
    layer = nn.Linear(7, 5, bias=False).double()
    sigma = torch.linalg.matrix_norm(layer.weight, 2)
    ours.spectral_norm(layer, n_power_iterations=200)
    torch.testing.assert_close(
        torch.linalg.matrix_norm(layer.weight, 2), torch.ones_like(sigma), rtol=1e-9, atol=0
    )


def test_two_forward_passes_before_one_backward_pass_are_allowed():
    """The common pattern of GAN training: loss = D(real) - D(fake)."""
    layer = ours.spectral_norm(nn.Linear(5, 1))
    (layer(torch.randn(3, 5)) - layer(torch.randn(3, 5))).sum().backward()


def test_spectral_norm_of_a_vector_is_its_direction():
    module = nn.BatchNorm1d(3)
    ours.spectral_norm(module)
    torch.testing.assert_close(module.weight.norm(), torch.tensor(1.0))


def test_compiles_without_a_graph_break():
    torch._dynamo.reset()
    for norm in (ours.weight_norm, ours.spectral_norm):
        layer = norm(nn.Linear(5, 3))
        x = torch.randn(2, 5)
        y = torch.compile(layer.eval(), fullgraph=True, backend="eager")(x)
        torch.testing.assert_close(y, layer(x))


def test_bad_weight_norm_arguments_are_named():
    with pytest.raises(
        ValueError, match="weight_norm: name must be the name of a parameter of Linear, got 'w'"
    ):
        ours.weight_norm(nn.Linear(2, 2), "w")
    with pytest.raises(ValueError, match="spectral_norm: n_power_iterations must be >= 1, got 0"):
        ours.spectral_norm(nn.Linear(2, 2), n_power_iterations=0)
    with pytest.raises(IndexError, match=r"spectral_norm: dim must be in \[-2, 1\], got 2"):
        ours.spectral_norm(nn.Linear(2, 2), dim=2)


FOLDS = {
    "Linear": (lambda: nn.Linear(5, 6), lambda m: m.BatchNorm1d, (4, 5)),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, groups=2, padding=1), lambda m: m.BatchNorm1d, (3, 4, 7)),
    "Conv2d no bias": (
        lambda: nn.Conv2d(2, 6, 3, bias=False, stride=2),
        lambda m: m.BatchNorm2d,
        (3, 2, 7, 6),
    ),
    "Conv3d": (lambda: nn.Conv3d(2, 6, 2), lambda m: m.BatchNorm3d, (3, 2, 3, 4, 5)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), lambda m: m.BatchNorm1d, (3, 4, 7)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 6, 3, stride=2), lambda m: m.BatchNorm2d, (3, 2, 4, 3)),
}


@pytest.mark.parametrize("library", [ours, nn], ids=["gradatim", "torch"])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"eps": 0.1}], ids=str)
@pytest.mark.parametrize("case", FOLDS)
def test_folded_layer_computes_layer_and_norm(case, options, library):
    build, norm, shape = FOLDS[case]
    torch.manual_seed(3)
    layer, bn = build().double(), norm(library)(6, **options).double()
    with torch.no_grad():
        for tensor in (*bn.parameters(), bn.running_mean, bn.running_var):
            tensor.uniform_(0.3, 2.0)
    weight = layer.weight.detach().clone()
    folded = ours.fold_bn(layer, bn.eval())
    x = draw(*shape)
    torch.testing.assert_close(folded(x), bn(layer(x)), rtol=1e-10, atol=1e-10)
    assert type(folded) is type(layer)
    assert torch.equal(layer.weight, weight)


def test_fold_refuses_what_it_cannot_fold():
    layer = nn.Linear(3, 4)
    with pytest.raises(ValueError, match="fold_bn: bn must be in evaluation mode"):
        ours.fold_bn(layer, ours.BatchNorm1d(4))
    with pytest.raises(ValueError, match="fold_bn: bn must be one with running statistics"):
        ours.fold_bn(layer, ours.BatchNorm1d(4, track_running_stats=False).eval())
    with pytest.raises(ValueError, match="fold_bn: bn must be one of 4 channels, the layer's outputs, got 3"):
        ours.fold_bn(layer, ours.BatchNorm1d(3).eval())
    with pytest.raises(TypeError, match="fold_bn: layer must be a linear layer or a convolution"):
        ours.fold_bn(nn.ReLU(), ours.BatchNorm1d(3).eval())


def gradient_norm_at_input(block, depth=30, width=16):
    torch.manual_seed(0)
    net = nn.Sequential(*[block(width) for _ in range(depth)]).double()
    x = draw(8, width).requires_grad_()
    (g,) = torch.autograd.grad(net(x).square().mean(), x)
    return g.norm().item()


def test_pre_norm_keeps_the_path_open_where_post_norm_damps_it():
    def body(width):
        return nn.Sequential(nn.Linear(width, width), nn.ReLU())

    pre = gradient_norm_at_input(lambda w: ours.PreNorm(body(w), ours.LayerNorm(w)))
    post = gradient_norm_at_input(lambda w: ours.PostNorm(body(w), ours.LayerNorm(w)))
    assert post < 0.01 * pre


def test_residual_blocks_compute_their_formulas():
    torch.manual_seed(0)
    body, norm, x = nn.Linear(4, 4), ours.LayerNorm(4), torch.randn(3, 4)
    torch.testing.assert_close(ours.PreNorm(body, norm)(x), x + body(norm(x)))
    torch.testing.assert_close(ours.PostNorm(body, norm)(x), norm(x + body(x)))
    torch.testing.assert_close(ours.SkipInit(body, 0.3)(x), x + 0.3 * body(x))
    for block in (ours.PreNorm, ours.PostNorm):
        with pytest.raises(
            ValueError, match=rf"{block.__name__}: body must be a module that keeps the shape"
        ):
            block(nn.Linear(4, 1), nn.Identity())(x)


def test_basic_block_computes_its_formula_and_changes_the_shape():
    torch.manual_seed(0)
    block, x = ours.BasicBlock(3, 5, stride=2), torch.randn(2, 3, 7, 7)
    assert block(x).shape == (2, 5, 4, 4)
    block = ours.BasicBlock(3, 3)
    h = torch.relu(block.norm1(block.conv1(x)))
    torch.testing.assert_close(block(x), torch.relu(x + block.norm2(block.conv2(h))))
    assert isinstance(block.shortcut, nn.Identity)
    block = ours.BasicBlock(3, 3, zero_init=True)
    torch.testing.assert_close(block(x), torch.relu(x))
    with pytest.raises(ValueError, match="BasicBlock: norm must be one with a weight when zero_init is True"):
        ours.BasicBlock(3, 3, norm=lambda c: nn.Identity(), zero_init=True)
