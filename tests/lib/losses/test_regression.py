"""mse, l1, rmse, huber, smooth_l1, log_cosh, quantile: by hand, limits, formulas, extremes."""

import math

import pytest
import torch
from torch.testing import assert_close

from gradatim.losses import (
    huber_loss,
    l1_loss,
    log_cosh_loss,
    mse_loss,
    quantile_loss,
    rmse_loss,
    smooth_l1_loss,
)

E = torch.linspace(-6, 6, 49, dtype=torch.float64)  # errors, zero and the kinks at 1 and 1.5 among them
ZERO = torch.zeros_like(E)


def gradient(loss, x):
    x = x.clone().requires_grad_()
    loss(x).sum().backward()
    return x.grad


def test_mse_by_hand():
    x, y = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 4.0, 1.0])
    assert mse_loss(x, y).item() == pytest.approx((0 + 4 + 9) / 3)


def test_weighted_mean_of_mse_and_l1_divides_by_the_weights():
    x, y, w = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0]), torch.tensor([0.3, 1.7])
    assert mse_loss(x, y, weight=w).item() == pytest.approx((0.3 * 1 + 1.7 * 9) / 2.0)
    assert l1_loss(x, y, weight=w).item() == pytest.approx((0.3 * 1 + 1.7 * 3) / 2.0)


def test_weighted_mean_of_huber_divides_by_the_count():
    x, y, w = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0]), torch.tensor([0.3, 1.7])
    assert huber_loss(x, y, weight=w, delta=1.0).item() == pytest.approx((0.3 * 0.5 + 1.7 * 2.5) / 2)


def test_broadcasting_warns_as_torch_does():
    x, y = torch.zeros(3), torch.ones(3, 1)
    with pytest.warns(UserWarning, match="likely lead to incorrect results due to broadcasting") as caught:
        loss = mse_loss(x, y, reduction="none")
    assert loss.shape == (3, 3)
    assert caught[0].filename == __file__


def test_rmse_is_the_root_of_mse():
    assert_close(rmse_loss(E, ZERO), mse_loss(E, ZERO).sqrt())


def test_rmse_of_no_error_has_gradient_zero():
    assert torch.equal(gradient(lambda x: rmse_loss(x, torch.ones(3)), torch.ones(3)), torch.zeros(3))


def test_rmse_refuses_to_broadcast():
    message = r"rmse_loss: input and target must have the same shape, got input \(3,\), target \(3, 1\)"
    with pytest.raises(ValueError, match=message):
        rmse_loss(torch.zeros(3), torch.zeros(3, 1))


def test_huber_by_hand():
    # delta = 0.3: e = 0.2 costs 0.2**2 / 2, e = -2 costs 0.3 * (2 - 0.15)
    loss = huber_loss(torch.tensor([0.2, -2.0]), torch.zeros(2), "none", delta=0.3)
    assert_close(loss, torch.tensor([0.02, 0.555]))


def test_huber_with_infinite_delta_is_half_the_squared_error():
    assert_close(huber_loss(E, ZERO, "none", delta=math.inf), 0.5 * E**2)


def test_huber_over_delta_is_the_absolute_error_as_delta_vanishes():
    assert_close(huber_loss(E, ZERO, "none", delta=1e-9) / 1e-9, E.abs(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("delta", [0.3, 1.0, 1.5, 7.0])
def test_huber_is_the_papers_two_cases(delta):
    cases = torch.where(E.abs() <= delta, 0.5 * E**2, delta * (E.abs() - 0.5 * delta))
    assert_close(huber_loss(E, ZERO, "none", delta=delta), cases, rtol=1e-13, atol=1e-14)


def test_huber_gradient_is_the_clamped_error():
    assert_close(
        gradient(lambda x: huber_loss(x, ZERO, "sum", delta=1.5), E), E.clamp(-1.5, 1.5), rtol=1e-13, atol=0
    )


def test_huber_curves_by_one_at_zero_error():
    hessian = torch.func.grad(torch.func.grad(lambda x: huber_loss(x, torch.tensor(0.0), "sum")))
    assert hessian(torch.tensor(0.0)).item() == 1.0


@pytest.mark.parametrize("beta", [0.3, 1.0, 1.5])
def test_smooth_l1_is_huber_over_beta(beta):
    expected = huber_loss(E, ZERO, "none", delta=beta) / beta
    assert_close(smooth_l1_loss(E, ZERO, reduction="none", beta=beta), expected)


def test_smooth_l1_with_beta_zero_is_l1():
    assert torch.equal(smooth_l1_loss(E, ZERO, reduction="none", beta=0), l1_loss(E, ZERO, reduction="none"))


def test_log_cosh_is_its_name():
    assert_close(log_cosh_loss(E, ZERO, reduction="none"), E.cosh().log(), rtol=1e-12, atol=1e-15)


def test_log_cosh_of_tiny_errors_keeps_its_digits():
    e = torch.tensor([1e-4, 1e-8], dtype=torch.float32)
    assert_close(log_cosh_loss(e, torch.zeros(2), reduction="none"), e**2 / 2, rtol=1e-6, atol=0)


def test_log_cosh_of_huge_errors_is_the_absolute_error_less_log_2():
    e = torch.tensor([1e4, -1e4, 1e30])
    assert_close(log_cosh_loss(e, torch.zeros(3), reduction="none"), e.abs() - math.log(2))


def test_log_cosh_gradient_is_tanh_everywhere():
    e = torch.tensor([-1e4, -30.0, -1.0, -0.3, 0.0, 1e-9, 0.999, 1.0, 1.001, 700.0], dtype=torch.float64)
    assert_close(gradient(lambda x: log_cosh_loss(x, torch.zeros_like(x), reduction="sum"), e), e.tanh())


def test_log_cosh_curves_by_one_at_zero_error():
    hessian = torch.func.grad(torch.func.grad(lambda x: log_cosh_loss(x, torch.tensor(0.0))))
    assert hessian(torch.tensor(0.0)).item() == 1.0


def test_quantile_by_hand():
    # tau = 0.9: predicting 1 too low costs 0.9, 1 too high costs 0.1
    loss = quantile_loss(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 1.0]), 0.9, reduction="none")
    assert_close(loss, torch.tensor([0.9, 0.1]))


def test_median_loss_is_half_the_absolute_error():
    assert_close(quantile_loss(E, ZERO, 0.5, reduction="none"), 0.5 * E.abs())


@pytest.mark.parametrize("tau", [0.1, 0.3, 0.9])
def test_quantile_loss_is_least_at_the_quantile(tau):
    y = torch.randn(101, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    losses = torch.stack([quantile_loss(candidate.expand(101), y, tau) for candidate in y])
    assert y[losses.argmin()] == torch.quantile(y, tau, interpolation="nearest")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: huber_loss(x, x, delta=-0.3), "huber_loss: delta must be > 0, got -0.3"),
        (lambda x: huber_loss(x, x, delta=math.nan), "huber_loss: delta must be > 0, got nan"),
        (lambda x: smooth_l1_loss(x, x, beta=-1), "smooth_l1_loss: beta must be >= 0, got -1"),
        (lambda x: quantile_loss(x, x, 1.0), r"quantile_loss: tau must be in \(0, 1\), got 1.0"),
        (
            lambda x: mse_loss(x, x, weight=x[:2]),
            r"mse_loss: weight must be of the input's shape, got weight \(2,\)",
        ),
    ],
)
def test_arguments_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(3))


def test_complex_l1_is_the_modulus():
    assert l1_loss(torch.tensor([3 + 4j]), torch.tensor([0j])).item() == 5.0


def test_mixed_precision_promotes_as_torch_does():
    half, single, brain = torch.zeros(2).half(), torch.zeros(2), torch.zeros(2).bfloat16()
    assert mse_loss(half, single).dtype == torch.float32
    assert mse_loss(half, brain).dtype == torch.float32
    assert mse_loss(half, half).dtype == torch.float16
    assert mse_loss(single, single.double()).dtype == torch.float64


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated:DeprecationWarning"
)  # torch's, at first use
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(
    ("loss", "options"),
    [(mse_loss, {}), (huber_loss, {"delta": 0.7}), (smooth_l1_loss, {"beta": 0.3})],
)
def test_known_slope_gives_all_that_autograd_gives(monkeypatch, loss, options, reduction):
    """Values, first and second derivatives, forward mode and vmap, with the slope and without it."""
    x, y, v = (
        torch.linspace(-2, 3, 35, dtype=torch.float64).mul(k).sin().mul(2).reshape(7, 5) for k in (1, 5, 9)
    )

    def scalar(x, y):
        return loss(x, y, reduction=reduction, **options).mul(1.3).sin().sum()

    def everything():
        a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
        first = torch.autograd.grad(scalar(a, b), (a, b), create_graph=True)
        second = torch.autograd.grad((first[0] * v).sum(), (a, b))
        forward = torch.func.jvp(scalar, (x, y), (v, x))
        per_row = torch.func.vmap(torch.func.grad(scalar))(x, y)
        a = x.clone().requires_grad_()
        plain = torch.autograd.grad(scalar(a, y), a)
        return first, second, forward, per_row, plain

    by_autograd = everything()
    monkeypatch.setattr("gradatim.losses._error.FEW", 0)
    assert_close(everything(), by_autograd, rtol=1e-12, atol=1e-12)
