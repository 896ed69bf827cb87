"""cross_entropy, nll, smooth_labels, generalized cross-entropy: by hand, limits, formulas, extremes."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from gradatim.losses import cross_entropy, generalized_cross_entropy, mse_loss, nll_loss, smooth_labels


def logits(*shape, seed=0, scale=3.0):
    return scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X = logits(7, 5)
Y = torch.tensor([0, 4, 2, 2, 1, 3, 2])
W = torch.tensor([0.3, 1.7, 0.9, 2.3, 0.6], dtype=torch.float64)


def loop_cross_entropy(x, y, w, ignore, eps):
    """One sample at a time, in Python's floats: nothing shared with the implementation."""
    total, weights = 0.0, 0.0
    for row, target in zip(x.tolist(), y.tolist(), strict=True):
        if target == ignore:
            continue
        log_p = [v - math.log(sum(math.exp(u - max(row)) for u in row)) - max(row) for v in row]
        total += -(1 - eps) * w[target] * log_p[target]
        total += -eps / len(row) * sum(a * b for a, b in zip(w, log_p, strict=True))
        weights += w[target]
    return total / weights


def test_cross_entropy_by_hand():
    # softmax of (0, log 3) is (1/4, 3/4)
    x = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)]])
    assert cross_entropy(x, torch.tensor([0, 1]), reduction="sum").item() == pytest.approx(
        math.log(4 * 4 / 3)
    )


@pytest.mark.parametrize("eps", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("ignore", [-100, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_its_formula(eps, ignore, weighted):
    w = W if weighted else torch.ones_like(W)
    got = cross_entropy(X, Y, W if weighted else None, ignore_index=ignore, label_smoothing=eps)
    assert got.item() == pytest.approx(loop_cross_entropy(X, Y, w.tolist(), ignore, eps), rel=1e-12)


def test_one_hot_probabilities_are_class_indices():
    one_hot = F.one_hot(Y, 5).double()
    for reduction in ("none", "sum", "mean"):
        got = cross_entropy(X, one_hot, reduction=reduction)
        assert_close(got, cross_entropy(X, Y, reduction=reduction), rtol=1e-12, atol=0)


@pytest.mark.parametrize("eps", [0.1, 0.7, 1.0])
def test_smoothed_labels_are_label_smoothing(eps):
    got = cross_entropy(X, smooth_labels(Y, 5, eps, dtype=torch.float64), reduction="none")
    assert_close(got, cross_entropy(X, Y, label_smoothing=eps, reduction="none"), rtol=1e-12, atol=0)


def test_smoothed_labels_are_a_distribution_over_all_classes():
    t = smooth_labels(torch.tensor([[0, 2], [1, 1]]), 3, 0.3)
    assert t.shape == (2, 3, 2)
    assert_close(t.sum(dim=1), torch.ones(2, 2))
    assert_close(t[0, :, 1], torch.tensor([0.1, 0.1, 0.8]))


def test_log_softmax_then_nll_is_cross_entropy():
    got = nll_loss(X.log_softmax(1), Y, W, ignore_index=4)
    assert_close(got, cross_entropy(X, Y, W, ignore_index=4), rtol=1e-13, atol=0)


def test_adding_a_constant_to_the_logits_changes_nothing():
    assert_close(cross_entropy(X + 1234.5, Y), cross_entropy(X, Y), rtol=1e-10, atol=0)


def test_gradient_is_softmax_minus_target_over_n():
    x = X.clone().requires_grad_()
    cross_entropy(x, Y).backward()
    assert_close(x.grad, (X.softmax(1) - F.one_hot(Y, 5)) / 7, rtol=1e-12, atol=1e-15)


def test_confident_wrong_answer_costs_its_margin():
    for size in (1e3, 1e4):
        assert cross_entropy(torch.tensor([[size, 0.0, -size]]), torch.tensor([2])).item() == 2 * size


def test_ignored_positions_do_not_count_even_where_log_probability_is_infinite():
    x = torch.tensor([[0.0, 0.0], [-math.inf, 0.0]], requires_grad=True)
    loss = cross_entropy(x, torch.tensor([1, -100]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert torch.equal(x.grad[1], torch.zeros(2))


def test_all_positions_ignored_gives_nan_as_torch():
    y = torch.full((7,), -100)
    assert cross_entropy(X, y).isnan()
    assert F.cross_entropy(X, y).isnan()
    assert cross_entropy(X, y, reduction="sum").item() == 0.0


def test_unbatched_sample_has_a_scalar_loss():
    for reduction in ("none", "mean", "sum"):
        assert cross_entropy(X[0], Y[0], reduction=reduction).shape == ()
    assert_close(cross_entropy(X[0], Y[0]), cross_entropy(X[:1], Y[:1]))


def test_extra_dimensions_are_more_samples():
    x, y = logits(2, 5, 3, 4), torch.randint(0, 5, (2, 3, 4), generator=torch.Generator().manual_seed(1))
    flat = cross_entropy(x.movedim(1, -1).reshape(-1, 5), y.reshape(-1), W, reduction="none")
    assert_close(cross_entropy(x, y, W, reduction="none"), flat.view(2, 3, 4))


def test_byte_targets_are_class_indices():
    assert torch.equal(cross_entropy(X, Y.to(torch.uint8)), cross_entropy(X, Y))


@pytest.mark.parametrize("bad", [-1, 5, -101])
def test_class_index_out_of_range_is_named(bad):
    y = Y.clone()
    y[3] = bad
    for loss in (cross_entropy, nll_loss, generalized_cross_entropy):
        with pytest.raises(
            IndexError, match=rf"{loss.__name__}: target must be in \[0, 5\), got an index outside"
        ):
            loss(X, y)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: cross_entropy(X, Y.int()),
            TypeError,
            "target must be int64 class indices, .* got torch.int32",
        ),
        (
            lambda: cross_entropy(X, Y[:3]),
            ValueError,
            r"target must be of shape \(7,\) for input of shape \(7, 5\)",
        ),
        (lambda: cross_entropy(X, Y, W[:3]), ValueError, r"weight must be of shape \(5,\), got \(3,\)"),
        (
            lambda: cross_entropy(X, Y, W.float()),
            TypeError,
            "weight must be of the input's dtype torch.float64",
        ),
        (
            lambda: cross_entropy(X, Y, label_smoothing=1.1),
            ValueError,
            r"label_smoothing must be in \[0, 1\], got 1.1",
        ),
        (lambda: cross_entropy(X, X, ignore_index=1), ValueError, "ignore_index must be left out .* got 1"),
        (lambda: cross_entropy(X[0, 0], Y[0]), ValueError, r"input must be of shape \(C\), \(N, C\)"),
        (lambda: generalized_cross_entropy(X, Y, q=0.0), ValueError, r"q must be in \(0, 1\], got 0.0"),
        (lambda: smooth_labels(Y, 0, 0.1), ValueError, "num_classes must be >= 1, got 0"),
        (lambda: smooth_labels(Y.double(), 5, 0.1), TypeError, "target must be int64 class indices"),
    ],
)
def test_refused_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_generalized_cross_entropy_by_hand():
    # p_t = 1/4, q = 1/2: (1 - 1/2) / (1/2)
    assert generalized_cross_entropy(torch.zeros(1, 4), torch.tensor([3]), q=0.5).item() == pytest.approx(1.0)


def test_generalized_cross_entropy_goes_to_cross_entropy_as_q_vanishes():
    got = generalized_cross_entropy(X, Y, q=1e-9, reduction="none")
    assert_close(got, cross_entropy(X, Y, reduction="none"), rtol=1e-7, atol=1e-9)


def test_generalized_cross_entropy_at_one_is_half_the_absolute_error():
    absolute = (F.one_hot(Y, 5) - X.softmax(1)).abs().sum(1)
    assert_close(
        generalized_cross_entropy(X, Y, q=1.0, reduction="none"), absolute / 2, rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("q", [0.1, 0.7])
def test_generalized_cross_entropy_is_the_papers_formula(q):
    p_t = X.softmax(1).gather(1, Y[:, None]).squeeze(1)
    assert_close(generalized_cross_entropy(X, Y, q=q, reduction="none"), (1 - p_t**q) / q, rtol=1e-11, atol=0)


def test_generalized_cross_entropy_is_bounded_where_cross_entropy_is_not():
    x = torch.tensor([[1e4, -1e4]])
    assert generalized_cross_entropy(x, torch.tensor([1]), q=0.7).item() == pytest.approx(1 / 0.7)


def test_squared_error_of_probabilities_saturates_where_cross_entropy_does_not():
    x = torch.tensor([[-30.0, 30.0]], requires_grad=True)
    (flat,) = torch.autograd.grad(mse_loss(x.softmax(1), torch.tensor([[1.0, 0.0]])), x)
    (steep,) = torch.autograd.grad(cross_entropy(x, torch.tensor([0])), x)
    assert flat.abs().max() < 1e-20
    assert steep.abs().max() == 1.0


@pytest.mark.parametrize("loss", [cross_entropy, nll_loss])
def test_half_precision_takes_float32_weights(loss):
    """Under autocast the logits are half precision, and the weights are not."""
    x, y, w = (
        torch.linspace(-2, 1, 12).reshape(3, 4),
        torch.tensor([0, 3, 1]),
        torch.tensor([0.3, 1.7, 0.9, 2.3]),
    )
    half = x.bfloat16()
    assert_close(loss(half, y, w), loss(half.float(), y, w).bfloat16(), rtol=0, atol=0)
    with pytest.raises(
        TypeError, match=r"weight must be of the input's dtype torch.float32, got torch.float64"
    ):
        loss(x, y, w.double())
