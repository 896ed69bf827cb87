"""Three losses for regression; shapes that do not fit are refused, never broadcast."""

import math

import pytest
import torch

from autograder.testing import assert_close, claim

BOTH = (torch.float64, torch.float32)
ROBUST = "losses.html#losses-robust"


def huber_of(r, delta):
    inside = (r.abs() <= delta).double()
    return inside * 0.5 * r**2 + (1 - inside) * delta * (r.abs() - 0.5 * delta)


def pinball_of(u, tau):
    return torch.maximum(tau * u, (tau - 1) * u)


def log_cosh_of(r, scale):
    x = (r / scale).abs()
    return scale**2 * (x + torch.log1p(torch.exp(-2 * x)) - math.log(2))


def two_sided(inputs, *shape, dtype=torch.float64):
    """A prediction and a target whose errors lie on both sides of 0, most of them between 0.05 and 4.

    Of two or more axes the tensors are transposed, so not contiguous.
    """
    target, sign = inputs.normal(*shape[::-1]), torch.sign(inputs.uniform(-1, 1, *shape[::-1]))
    prediction = target + sign * inputs.uniform(0.05, 4, *shape[::-1])
    backwards = tuple(reversed(range(len(shape))))
    return prediction.to(dtype).permute(backwards), target.to(dtype).permute(backwards)


def unchanged(after, before):
    for new, old in zip(after, before, strict=True):
        assert_close(new, old, rtol=0, atol=0, what="an argument after the call")


def refuses(function, *arguments):
    with pytest.raises(ValueError):  # noqa: PT011  the exercise asks for no particular text
        function(*arguments)


@claim(
    points=1,
    hint="Within delta half the square; beyond it a line of slope delta that meets the square without a jump. "
    "An error here? A transposed tensor has no view(-1); reshape works.",
    section=ROBUST,
)
def test_huber_on_both_sides_of_delta(student, inputs):
    """huber is half the square up to delta and a line of slope delta beyond, for any delta and any
    shape, also of transposed tensors."""
    for shape, delta, dtype in [
        ((9,), 0.3, torch.float64),
        ((4, 3), 2.7, torch.float32),
        ((1,), 0.7, torch.float64),
        ((), 1.3, torch.float64),
        ((2, 3, 2), 0.7, torch.float32),
    ]:
        prediction, target = two_sided(inputs, *shape, dtype=dtype)
        before = prediction.clone(), target.clone()
        expected = huber_of(prediction.double() - target.double(), delta).mean()
        assert_close(student.huber(prediction, target, delta), expected.to(dtype), what="the Huber loss")
        unchanged((prediction, target), before)
    for r in (
        0.3 * 0.6,
        -0.3 * 0.6,
        0.3 * 1.9,
        -0.3 * 1.9,
    ):  # one error at a time: no cancelling of two mistakes
        got = student.huber(torch.tensor([r + 1], dtype=torch.float64), torch.ones(1).double(), 0.3)
        assert_close(got, huber_of(torch.tensor(r).double(), 0.3), what="the Huber loss of one error")


@claim(
    points=1,
    hint="A weighted mean divides by the sum of the weights.",
    section="losses.html#losses-reductions",
)
def test_huber_weights(student, inputs):
    """With weights, huber returns the sum of weight times loss over the sum of the weights."""
    for shape, dtype in [((7,), torch.float64), ((3, 4), torch.float32), ((1,), torch.float64)]:
        prediction, target = two_sided(inputs, *shape, dtype=dtype)
        weight = inputs.uniform(0.3, 5, *shape, dtype=dtype)
        before = weight.clone()
        h = huber_of(prediction.double() - target.double(), 0.7)
        expected = ((weight * h).sum() / weight.double().sum()).to(dtype)
        got = student.huber(prediction, target, 0.7, weight=weight)
        assert_close(got, expected, what="the weighted Huber loss")
        unchanged((weight,), (before,))


@claim(
    points=1,
    hint="u is target minus prediction. At tau = 0.9 predicting too low costs nine times as much as too high.",
    section=ROBUST,
)
def test_quantile_sides(student, inputs):
    """quantile_loss charges tau per unit where the prediction is too low and 1 - tau where it is too high."""
    for level in (0.1, 0.9, 0.3):
        for side in (-1, 1):
            for n, dtype in [(6, torch.float64), (1, torch.float32)]:
                target = inputs.normal(n, dtype=dtype)
                prediction = (target + side * inputs.uniform(0.2, 3, n, dtype=dtype)).unsqueeze(1)
                tau = torch.tensor([level], dtype=dtype)
                u = target.double().unsqueeze(1) - prediction.double()
                expected = pinball_of(u, tau.double()).mean().to(dtype)
                got = student.quantile_loss(prediction, target, tau)
                assert_close(got, expected, what="the quantile loss")


@claim(
    points=1,
    hint="Column q of the prediction belongs to tau[q]; every column is compared with the same targets.",
    section=ROBUST,
)
def test_quantile_of_several_levels(student, inputs):
    """quantile_loss judges each column at its own level and averages over samples and levels."""
    for n, levels in [(7, (0.9, 0.1, 0.5)), (1, (0.2, 0.7)), (3, (0.05, 0.6, 0.95)), (4, (0.3,))]:
        target, tau = inputs.normal(n), torch.tensor(levels, dtype=torch.float64)
        prediction = inputs.normal(n, len(levels), scale=2.0)
        before = prediction.clone(), target.clone(), tau.clone()
        expected = pinball_of(target.unsqueeze(1) - prediction, tau).mean()
        got = student.quantile_loss(prediction, target, tau)
        assert_close(got, expected, what="the loss at several levels")
        after = (prediction, target, tau)
        unchanged(after, before)


@claim(
    points=1,
    hint="Divide the error by s first, multiply the result by s squared; the logarithm is the natural one.",
    section=ROBUST,
)
def test_log_cosh_values(student, inputs):
    """log_cosh is the mean of scale squared times log cosh of error over scale, for any shape and scale."""
    for shape, scale, dtype in [
        ((8,), 1.0, torch.float64),
        ((3, 2), 0.3, torch.float32),
        ((1,), 2.7, torch.float64),
        ((), 0.7, torch.float64),
    ]:
        prediction, target = two_sided(inputs, *shape, dtype=dtype)
        before = prediction.clone(), target.clone()
        expected = log_cosh_of(prediction.double() - target.double(), scale).mean().to(dtype)
        got = student.log_cosh(prediction, target, scale)
        assert_close(got, expected, what="the log-cosh loss")
        unchanged((prediction, target), before)


@claim(
    points=1,
    hint="cosh(1000) overflows. Write log cosh x with |x| and a term that vanishes, or as the log of a sum "
    "of exponentials.",
    section="losses.html#losses-stable",
)
def test_log_cosh_of_large_errors(student, inputs):
    """log_cosh is right, value and gradient, for errors of 1000 in either direction."""
    for dtype in BOTH:
        for scale in (1.0, 0.7):
            target = inputs.normal(3, dtype=dtype)
            prediction = (target + torch.tensor([1000.0, -1000, 0.3], dtype=dtype)).requires_grad_()
            r = (prediction - target).detach().double()
            loss = student.log_cosh(prediction, target, scale)
            assert_close(loss, log_cosh_of(r, scale).mean().to(dtype), what="the loss of large errors")
            loss.backward()
            expected = scale * torch.tanh(r / scale) / 3
            assert_close(prediction.grad, expected.to(dtype), what="the gradient at large errors")


@claim(
    points=1,
    hint="Compare the shapes first. (N, 1) minus (N,) is an N x N table, and its mean is no loss of these "
    "samples.",
    section="losses.html#losses-reductions",
)
def test_shapes_that_do_not_fit_are_refused(student, inputs):
    """Shapes that do not fit raise ValueError, even where they could be broadcast."""
    row, column = inputs.normal(4), inputs.normal(4, 1)
    tau = torch.tensor([0.3, 0.6], dtype=torch.float64)
    wide = inputs.normal(4, 2)
    assert_close(student.huber(row, row + 3, 1.0), torch.tensor(2.5).double(), what="huber of equal shapes")
    assert_close(
        student.quantile_loss(wide, row, tau),
        pinball_of(row.unsqueeze(1) - wide, tau).mean(),
        what="quantile_loss of fitting shapes",
    )
    for function in (student.huber, student.log_cosh):
        for a, b in [(column, row), (row, column), (row[:1], column[:1]), (row, row[:3]), (row, row[0])]:
            refuses(function, a, b, 0.7)
    refuses(student.huber, row, row + 1, 0.7, column.abs())
    refuses(student.huber, row, row + 1, 0.7, row[:1].abs())
    for p, t, levels in [
        (wide, column, tau),  # target (N, 1)
        (wide, wide, tau),  # target (N, Q)
        (row, row, tau[:1]),  # prediction (N,)
        (column, row, tau),  # one column, two levels
        (wide, row[:1], tau),  # one target for all
        (wide, row, tau[:1]),  # one level for all
        (wide.T, row, tau),  # the axes exchanged
        (wide.unsqueeze(2), row, tau),  # an axis too many
        (wide[:2], row[:2], tau.unsqueeze(1)),  # levels (Q, 1), which N = Q would let pass
    ]:
        refuses(student.quantile_loss, p, t, levels)


@claim(
    points=1,
    hint="Keep everything differentiable with respect to the prediction: no detach, no item, no NumPy, no "
    "fresh tensor.",
    section=ROBUST,
)
def test_gradients(student, inputs):
    """The gradients of all three losses are those of the formulas, also when the loss is scaled afterwards."""
    for n in (7, 1):
        prediction, target = two_sided(inputs, n)
        if n > 1:
            prediction[0] = target[0]  # no error, no slope
        r, upstream = prediction - target, float(inputs.uniform(1.5, 3, 1))
        weight = inputs.uniform(0.3, 5, n)

        p = prediction.clone().requires_grad_()
        (student.huber(p, target, 0.7, weight=weight) * upstream).backward()
        expected = upstream * weight * r.clamp(-0.7, 0.7) / weight.sum()
        assert_close(p.grad, expected, atol=1e-6, what="the gradient of huber")

        p = prediction.clone().requires_grad_()
        (student.log_cosh(p, target, 0.7) * upstream).backward()
        assert_close(
            p.grad, upstream * 0.7 * torch.tanh(r / 0.7) / n, atol=1e-6, what="the gradient of log_cosh"
        )

        tau = torch.tensor([0.1, 0.6, 0.9], dtype=torch.float64)
        columns = inputs.normal(3, n, scale=2.0).T  # not contiguous
        p = columns.clone().requires_grad_()
        (student.quantile_loss(p, target, tau) * upstream).backward()
        below = (columns < target.unsqueeze(1)).double()
        expected = upstream * ((1 - below) * (1 - tau) - below * tau) / (3 * n)
        assert_close(p.grad, expected, atol=1e-6, what="the gradient of quantile_loss")
