"""Models: shapes, parameters counted by hand, initial statistics, gradients that flow, torch's own twins."""

import math

import pytest
import torch
from scipy import stats
from sklearn.linear_model import LinearRegression as PeerLinear
from sklearn.linear_model import Ridge
from torch import nn

from gradatim.data import load
from gradatim.models import (
    MLP,
    RNN,
    LinearRegression,
    LogisticRegression,
    ResidualMLP,
    ResNet,
    SmallCNN,
    SoftmaxRegression,
    count_parameters,
    make_activation,
    make_linear,
)

F64 = torch.float64

MODELS = {
    "linear": (lambda: LinearRegression(7), (5, 7), (5,), 8),
    "linear-many": (lambda: LinearRegression(7, 3), (5, 7), (5, 3), 24),
    "logistic": (lambda: LogisticRegression(7), (5, 7), (5,), 8),
    "softmax": (lambda: SoftmaxRegression(7, 4), (5, 7), (5, 4), 32),
    "mlp": (lambda: MLP([784, 128, 10]), (3, 784), (3, 10), 784 * 128 + 128 + 128 * 10 + 10),
    "mlp-batch": (lambda: MLP([7, 6, 5, 4], norm="batch"), (3, 7), (3, 4), 48 + 12 + 35 + 10 + 24),
    "mlp-layer": (lambda: MLP([7, 6, 4], norm="layer", dropout=0.3), (3, 7), (3, 4), 48 + 12 + 28),
    "mlp-rms": (lambda: MLP([7, 6, 4], norm="rms", activation="gelu"), (3, 7), (3, 4), 48 + 6 + 28),
    "residual-mlp": (lambda: ResidualMLP(7, 6, 3, 4), (3, 7), (3, 4), 48 + 3 * (12 + 42 + 42) + 12 + 28),
    "cnn": (
        lambda: SmallCNN(3, 5, size=11, width=4),
        (2, 3, 11, 11),
        (2, 5),
        28 * 4 + 37 * 8 + (8 * 4 + 1) * 5,
    ),
    "cnn-mnist": (lambda: SmallCNN(), (2, 1, 28, 28), (2, 10), 10 * 16 + 145 * 32 + (32 * 49 + 1) * 10),
    "resnet": (
        lambda: ResNet(1, 10, widths=(4, 8)),
        (2, 1, 9, 9),
        (2, 10),
        9 * 4 + 8 + (2 * 9 * 16 + 16) + (9 * 32 + 9 * 64 + 32 + 3 * 16) + 90,
    ),
    "rnn": (lambda: RNN(2, 6, 4), (3, 9, 2), (3, 4), 12 + 36 + 6 + 6 + 28),
}


@pytest.fixture(params=MODELS, name="case")
def _case(request):
    return MODELS[request.param]


def test_output_has_the_documented_shape_and_dtype(case):
    make, shape, expected, _ = case
    for dtype in (torch.float32, F64):
        y = make().to(dtype)(torch.randn(shape, dtype=dtype))
        assert y.shape == expected
        assert y.dtype == dtype


def test_parameters_are_as_many_as_counted_by_hand(case):
    make, _, _, number = case
    assert count_parameters(make()) == number


def test_every_parameter_gets_a_gradient(case):
    make, shape, _, _ = case
    torch.manual_seed(0)
    model = make().double()
    model(torch.randn(shape, dtype=F64)).square().sum().backward()
    if isinstance(model, (LinearRegression, LogisticRegression, SoftmaxRegression)):
        return  # they start at 0, where the gradient of a square is 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_state_goes_round_trip_and_gives_the_same_outputs(case):
    make, shape, _, _ = case
    torch.manual_seed(1)
    model, other = make().eval(), make().eval()
    other.load_state_dict(model.state_dict())
    x = torch.randn(shape)
    assert torch.equal(model(x), other(x))


def test_a_wrong_input_is_refused_in_one_sentence(case):
    make, shape, _, _ = case
    model = make()
    with pytest.raises(ValueError, match=rf"{type(model).__name__}: x must be of shape .*, got "):
        model(
            torch.randn(*shape[:-1], shape[-1] + 1)
            if len(shape) < 4
            else torch.randn(shape[0], 17, *shape[2:])
        )


def test_count_parameters_counts_shared_ones_once_and_frozen_ones_on_request():
    shared = nn.Linear(3, 3)
    shared.bias.requires_grad_(False)
    assert count_parameters(nn.Sequential(shared, shared)) == 12
    assert count_parameters(shared, trainable=True) == 9


def test_mlp_is_torchs_sequential_under_the_same_seed():
    torch.manual_seed(7)
    ours = MLP([9, 8, 7], activation="tanh")
    torch.manual_seed(7)
    theirs = nn.Sequential(nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 7))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_mlp_orders_linear_norm_activation_dropout():
    kinds = [type(m) for m in MLP([4, 3, 2], norm="batch", activation="silu", dropout=0.5)]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.SiLU, nn.Dropout, nn.Linear]


def test_a_generator_decides_the_weights_and_the_global_one_is_untouched():
    before = torch.get_rng_state()
    make = lambda s: MLP([5, 4, 3], init="kaiming", generator=torch.Generator().manual_seed(s))  # noqa: E731
    a, b, c = make(0), make(0), make(1)
    assert torch.equal(a[0].weight, b[0].weight)
    assert not torch.equal(a[0].weight, c[0].weight)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("init", "gain", "std"),
    [("kaiming", 1.7, 1.7 / math.sqrt(200)), ("xavier", 1.7, 1.7 * math.sqrt(2 / 500)), (0.03, 1.7, 0.03)],
)
def test_normal_inits_have_their_standard_deviation(init, gain, std):
    layer = make_linear(200, 300, init=init, gain=gain, generator=torch.Generator().manual_seed(0))
    assert stats.kstest(layer.weight.detach().flatten().numpy(), stats.norm(0, std).cdf).pvalue > 1e-6
    assert not layer.bias.any()


def test_the_default_init_is_uniform_within_one_over_root_fan_in():
    layer = make_linear(200, 300, generator=torch.Generator().manual_seed(0))
    bound = 1 / math.sqrt(200)
    uniform = stats.uniform(-bound, 2 * bound).cdf
    assert stats.kstest(layer.weight.detach().flatten().numpy(), uniform).pvalue > 1e-6
    assert stats.kstest(layer.bias.detach().numpy(), uniform).pvalue > 1e-6


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6)])
def test_orthogonal_init_keeps_lengths(shape):
    weight = make_linear(*shape, init="orthogonal", gain=1.3).weight.detach().double()
    small = weight @ weight.T if shape[0] >= shape[1] else weight.T @ weight
    torch.testing.assert_close(small, 1.69 * torch.eye(min(shape), dtype=F64), rtol=0, atol=1e-5)


def test_kaiming_keeps_the_signal_through_20_relu_layers_and_a_small_normal_loses_it():
    x = torch.randn(256, 200, generator=torch.Generator().manual_seed(0))

    def last(init):
        model = MLP([200] * 21 + [1], init=init, generator=torch.Generator().manual_seed(1))
        return model[:-1](x).std().item()

    assert 0.2 < last("kaiming") < 5
    assert last(0.01) < 1e-10
    assert last("zeros") == 0.0


def test_a_callable_fills_the_weight():
    assert make_linear(2, 3, init=lambda w: w.fill_(0.3)).weight.unique().item() == pytest.approx(0.3)


@pytest.mark.parametrize("l2", [0.0, 0.37])
def test_linear_regression_solves_as_scikit_learn_does(l2):
    data = load("diabetes", dtype=F64)
    ours = LinearRegression(10).double().solve(data.x, data.y, l2=l2)
    peer = (Ridge(alpha=l2 * len(data)) if l2 else PeerLinear()).fit(data.x.numpy(), data.y.numpy())
    torch.testing.assert_close(ours.linear.weight[0], torch.tensor(peer.coef_), rtol=1e-7, atol=1e-9)
    assert ours.linear.bias.item() == pytest.approx(peer.intercept_)


def test_the_solution_is_where_the_gradient_is_zero():
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(31, 4, dtype=F64, generator=generator),
        torch.randn(31, 2, dtype=F64, generator=generator),
    )
    model = LinearRegression(4, 2).double().solve(x, y, l2=0.3)
    loss = (model(x) - y).square().sum(1).mean() + 0.3 * model.linear.weight.square().sum()
    loss.backward()
    assert model.linear.weight.grad.abs().max() < 1e-12
    assert model.linear.bias.grad.abs().max() < 1e-12


def test_dependent_columns_give_the_smallest_solution():
    x = torch.tensor([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]], dtype=F64)
    model = LinearRegression(2).double().solve(x, 3 * x[:, 0] + 1)
    torch.testing.assert_close(model.linear.weight[0], torch.tensor([1.5, 1.5], dtype=F64))
    assert model.linear.bias.item() == pytest.approx(1.0)


def test_classifiers_that_start_at_zero_have_log_k_as_their_first_loss():
    x, y = torch.randn(6, 7), torch.tensor([0, 1, 2, 3, 0, 1])
    assert nn.functional.cross_entropy(SoftmaxRegression(7, 4)(x), y).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_rnn_is_torchs_rnn(nonlinearity):
    torch.manual_seed(0)
    ours = RNN(3, 5, 2, nonlinearity=nonlinearity).double()
    theirs = nn.RNN(3, 5, nonlinearity=nonlinearity, batch_first=True).double()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    x = torch.randn(4, 11, 3, dtype=F64)
    torch.testing.assert_close(ours.states(x), theirs(x)[0])


def test_rnn_gradients_vanish_or_explode_with_the_gain():
    """Through 64 steps, with a linear path (small inputs): about gain**64."""

    def reach(gain):
        torch.manual_seed(0)
        model = RNN(1, 32, 1, recurrent_init="orthogonal", gain=gain).double()
        for name in ("bias_ih_l0", "bias_hh_l0"):
            nn.init.zeros_(getattr(model, name))
        x = (1e-20 * torch.randn(1, 64, 1, dtype=F64)).requires_grad_()
        model(x).sum().backward()
        return (x.grad[0, 0].norm() / x.grad[0, -1].norm()).item()

    assert reach(0.8) < 1e-4
    assert reach(1.25) > 1e4
    assert 1e-2 < reach(1.0) < 1e2


def test_residual_stack_keeps_gradients_that_a_plain_stack_loses():
    """40 blocks (80 layers) of sigmoid: the first layer's gradient, relative to the last one's."""
    x = torch.randn(64, 16, dtype=F64, generator=torch.Generator().manual_seed(0))

    def ratio(model, first, last):
        model.double()(x).square().mean().backward()
        return (first.weight.grad.norm() / last.weight.grad.norm()).item()

    seed = torch.Generator().manual_seed(1)
    plain = MLP([16] * 81 + [1], activation="sigmoid", generator=seed)
    residual = ResidualMLP(16, 16, 40, 1, activation="sigmoid", generator=seed)
    assert ratio(plain, plain[0], plain[-1]) < 1e-20
    assert ratio(residual, residual.inward, residual.outward) > 1e-3


def test_resnet_20_of_the_paper_has_its_number_of_layers_and_about_its_parameters():
    model = ResNet(3, 10, blocks=3)
    on_the_way = [
        m for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and "shortcut" not in n
    ]
    assert len(on_the_way) == 20
    # The paper's table 6 says 0.27 M (without the two 1x1 shortcuts: 2,560 weights and 192 norm parameters here).
    assert count_parameters(model) == 269_722 + 16 * 32 + 32 * 64 + 2 * 32 + 2 * 64


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP([3]), r"MLP: sizes must be at least an input and an output width, got \[3\]"),
        (lambda: MLP([3, 2], dropout=1.0), r"MLP: dropout must be in \[0, 1\), got 1.0"),
        (lambda: MLP([3, 0, 1]), r"MLP: sizes must be a sequence of integers >= 1, got \[3, 0, 1\]"),
        (
            lambda: MLP([3, 2, 1], activation="relu6"),
            r"make_activation: activation must be one of relu, .*'relu6'",
        ),
        (
            lambda: MLP([3, 2, 1], norm="group"),
            r"make_norm: norm must be None, one of batch, layer, rms, .*'group'",
        ),
        (lambda: MLP([3, 2, 1], init="he"), r"make_linear: init must be one of torch, kaiming, .*, got 'he'"),
        (lambda: MLP([3, 2, 1], init=-0.1), r"make_linear: init must be a standard deviation >= 0, got -0.1"),
        (
            lambda: RNN(1, 2, 3, nonlinearity="gelu"),
            r'RNN: nonlinearity must be "tanh" or "relu", got \'gelu\'',
        ),
        (lambda: SmallCNN(size=3), r"SmallCNN: size must be >= 4, got 3"),
        (lambda: SoftmaxRegression(3, 1), r"SoftmaxRegression: num_classes must be >= 2, got 1"),
        (lambda: LinearRegression(2).solve(torch.ones(3, 2), torch.ones(3, 1)), r"y must be of shape \(3,\)"),
        (
            lambda: SmallCNN()(torch.zeros(1, 1, 27, 27)),
            r"SmallCNN: x must be of height and width \(28, 28\)",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_make_activation_takes_a_class():
    assert isinstance(make_activation(nn.Mish), nn.Mish)
