"""Binary cross-entropy, its forms and the focal losses: by hand, limits, formulas, extremes."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from gradatim.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    focal_loss,
    multiclass_focal_loss,
    multilabel_soft_margin_loss,
)
from gradatim.losses.binary import _binary_cross_entropy_formula
from gradatim.losses.focal import _focal_formula, _FocalLossWithSlope

Z = torch.linspace(-6, 6, 25, dtype=torch.float64)
P = Z.sigmoid()
T = torch.linspace(0, 1, 25, dtype=torch.float64).roll(7)


def test_bce_by_hand():
    loss = binary_cross_entropy(torch.tensor([0.25, 0.25]), torch.tensor([1.0, 0.0]), reduction="none")
    assert_close(loss, torch.tensor([math.log(4.0), math.log(4 / 3)]))


def test_bce_of_certain_wrong_answers_is_100_with_torchs_gradient():
    p = torch.tensor([0.0, 1.0, 0.0, 1.0, 1e-13], requires_grad=True)
    twin = p.detach().clone().requires_grad_()
    t = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0])
    loss, expected = (
        binary_cross_entropy(p, t, reduction="none"),
        F.binary_cross_entropy(twin, t, reduction="none"),
    )
    assert loss[:4].tolist() == [100.0, 100.0, 0.0, 0.0]
    assert_close(loss, expected)
    loss.sum().backward()
    expected.sum().backward()
    assert_close(p.grad, twin.grad)
    assert p.grad.isfinite().all()


def test_closed_form_derivative_is_that_of_the_formula():
    p, t = P.clone().requires_grad_(), T.clone().requires_grad_()
    expected = torch.autograd.grad(_binary_cross_entropy_formula(p, t).sum(), (p, t))
    got = torch.autograd.grad(binary_cross_entropy(p, t, reduction="sum"), (p, t))
    assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_probabilities_outside_the_unit_interval_are_refused(bad):
    message = r"binary_cross_entropy: input must be probabilities in \[0, 1\], not logits, got values from"
    with pytest.raises(ValueError, match=message):
        binary_cross_entropy(torch.tensor([0.5, bad]), torch.tensor([0.0, 1.0]))


def test_logits_and_probabilities_agree():
    got = binary_cross_entropy_with_logits(Z, T, reduction="none")
    assert_close(got, binary_cross_entropy(P, T, reduction="none"), rtol=1e-10, atol=0)


def test_with_logits_is_the_definition():
    w, c = torch.tensor(0.7, dtype=torch.float64), torch.tensor(2.3, dtype=torch.float64)
    definition = -w * (c * T * P.log() + (1 - T) * (1 - P).log())
    got = binary_cross_entropy_with_logits(Z, T, w, pos_weight=c, reduction="none")
    assert_close(got, definition, rtol=1e-10, atol=1e-14)


def test_with_logits_gradient_is_sigmoid_minus_target():
    z = Z.clone().requires_grad_()
    binary_cross_entropy_with_logits(z, T, reduction="sum").backward()
    assert_close(z.grad, P - T, rtol=1e-12, atol=1e-14)


def test_with_logits_is_two_class_cross_entropy():
    y = (T > 0.5).long()
    two = torch.stack([torch.zeros_like(Z), Z], dim=1)
    got = binary_cross_entropy_with_logits(Z, y.double(), reduction="none")
    assert_close(got, cross_entropy(two, y, reduction="none"), rtol=1e-12, atol=1e-15)


def test_with_logits_is_not_clamped():
    z, t = torch.tensor([-1e4, 1e4, 1e4, -1e4]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert binary_cross_entropy_with_logits(z, t, reduction="none").tolist() == [1e4, 1e4, 0.0, 0.0]


def test_perfect_loss_prints_without_a_minus_sign():
    loss = binary_cross_entropy_with_logits(torch.tensor([1e4]), torch.tensor([1.0]))
    assert math.copysign(1, loss.item()) == 1


def test_multilabel_is_the_mean_of_binary_losses():
    z, t = Z.view(5, 5), (T > 0.5).double().view(5, 5)
    expected = binary_cross_entropy_with_logits(z, t, reduction="none").mean(dim=1)
    assert_close(multilabel_soft_margin_loss(z, t, reduction="none"), expected, rtol=1e-12, atol=1e-14)


def test_focal_by_hand():
    # p = 1/2: (1/2)**3 * log 2, and alpha = 0.3 for the positive, 0.7 for the negative
    z, t = torch.zeros(2, dtype=torch.float64), torch.tensor([1, 0])
    expected = torch.tensor([0.3, 0.7], dtype=torch.float64) * 0.125 * math.log(2)
    assert_close(focal_loss(z, t, gamma=3.0, alpha=0.3, reduction="none"), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("y", [0.0, 1.0, 0.3])
def test_focal_with_gamma_zero_is_cross_entropy(y):
    t = torch.full_like(Z, y)
    got = focal_loss(Z, t, gamma=0.0, reduction="none")
    assert_close(got, F.binary_cross_entropy_with_logits(Z, t, reduction="none"), rtol=1e-12, atol=0)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.0, 0.3, 1.0])
def test_focal_is_the_papers_formula(gamma, alpha):
    for y in (0, 1):
        p_t = P if y else 1 - P
        alpha_t = 1 if alpha is None else alpha if y else 1 - alpha
        t = torch.full(Z.shape, bool(y))
        got = focal_loss(Z, t, gamma=gamma, alpha=alpha, reduction="none")
        assert_close(got, -alpha_t * (1 - p_t) ** gamma * p_t.log(), rtol=1e-10, atol=1e-15)


def test_focal_of_a_soft_label_is_the_expected_loss():
    one, zero = torch.ones_like(Z), torch.zeros_like(Z)
    options = {"gamma": 1.7, "alpha": 0.3, "reduction": "none"}
    expected = T * focal_loss(Z, one, **options) + (1 - T) * focal_loss(Z, zero, **options)
    assert_close(focal_loss(Z, T, **options), expected, rtol=1e-12, atol=1e-16)


def test_focal_flips_with_the_label():
    one, zero = torch.ones_like(Z), torch.zeros_like(Z)
    assert_close(focal_loss(Z, one, reduction="none"), focal_loss(-Z, zero, reduction="none"))


def test_focal_weights_are_not_rounded_to_float32():
    z, t = torch.zeros(1, dtype=torch.float64), torch.ones(1)
    assert focal_loss(z, t, gamma=0.0, alpha=0.3).item() == pytest.approx(0.3 * math.log(2), rel=1e-15)


def test_multiclass_focal_by_hand():
    # p_t = 1/4, gamma = 2: (3/4)**2 * log 4
    got = multiclass_focal_loss(torch.zeros(1, 4, dtype=torch.float64), torch.tensor([1]))
    assert got.item() == pytest.approx(9 / 16 * math.log(4), rel=1e-12)


def test_multiclass_focal_with_gamma_zero_is_cross_entropy():
    x, y = Z.view(5, 5), torch.tensor([0, 4, 2, 2, 1])
    got = multiclass_focal_loss(x, y, gamma=0.0, reduction="none")
    assert_close(got, cross_entropy(x, y, reduction="none"), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_multiclass_focal_is_the_papers_formula(gamma):
    x, y = Z.view(5, 5), torch.tensor([0, 4, 2, 2, 1])
    alpha = torch.tensor([0.3, 1.7, 0.9, 2.3, 0.6], dtype=torch.float64)
    p_t = x.softmax(1).gather(1, y[:, None]).squeeze(1)
    got = multiclass_focal_loss(x, y, gamma=gamma, alpha=alpha, reduction="none")
    assert_close(got, -alpha[y] * (1 - p_t) ** gamma * p_t.log(), rtol=1e-10, atol=1e-15)


def test_multiclass_focal_of_two_classes_is_binary_focal():
    y = (T > 0.5).long()
    two = torch.stack([torch.zeros_like(Z), Z], dim=1)
    got = multiclass_focal_loss(two, y, gamma=1.3, reduction="none")
    assert_close(got, focal_loss(Z, y, gamma=1.3, reduction="none"), rtol=1e-11, atol=1e-16)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
def test_multiclass_focal_gradient_is_finite_where_p_t_is_one(gamma):
    x = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    loss = multiclass_focal_loss(x, torch.tensor([0, 0]), gamma=gamma, reduction="none")
    loss.sum().backward()
    assert loss.tolist() == [0.0, 2e4]
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: focal_loss(z, z, gamma=-1), "focal_loss: gamma must be >= 0, got -1"),
        (lambda z: focal_loss(z, z, alpha=2.0), r"focal_loss: alpha must be None or in \[0, 1\], got 2.0"),
        (lambda z: focal_loss(z, z - 1), r"focal_loss: target must be in \[0, 1\], got values from -1 to -1"),
        (
            lambda z: focal_loss(z, z[:, None]),
            r"logits and target must have the same shape, got logits \(3,\)",
        ),
        (
            lambda z: multiclass_focal_loss(z[:, None], z.long()),
            "logits must be of at least 2 classes, got 1",
        ),
        (
            lambda z: multiclass_focal_loss(z[None], z[:1].long(), alpha=z[:2]),
            r"alpha must be of shape \(3,\)",
        ),
        (lambda z: binary_cross_entropy_with_logits(z, z[:2]), "target must be of the input's shape"),
    ],
)
def test_refused_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(3))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
def test_slope_that_a_compiler_uses_is_the_derivative(gamma):
    z = torch.tensor([-800.0, -3.0, 0.0, 0.7, 40.0, 800.0], dtype=torch.float64).repeat(3).requires_grad_()
    t = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64).repeat_interleave(6)
    upstream = torch.linspace(-1, 2, 18, dtype=torch.float64)
    with_slope = _FocalLossWithSlope.apply(z, t, gamma, 0.3, 0.7)
    formula = _focal_formula(z, t, gamma, 0.3, 0.7)
    assert torch.equal(with_slope, formula)
    (expected,) = torch.autograd.grad(formula, z, upstream)
    (got,) = torch.autograd.grad(with_slope, z, upstream)
    assert_close(got, expected, rtol=1e-12, atol=1e-300)
