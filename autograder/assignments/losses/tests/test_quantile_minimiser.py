"""Closed forms, at 50 random points and at their limits, and against finite differences."""

import torch

from autograder.testing import assert_close, claim

ROBUST, FOCAL = "losses.html#losses-robust", "losses.html#losses-focal"
POINTS = 50


def pinball_sum(c, y, tau, weight):
    """The weighted quantile loss of each constant in `c`."""
    u = y - c.unsqueeze(-1)
    return (weight * torch.maximum(tau * u, (tau - 1) * u)).sum(-1)


def unchanged(after, before):
    for new, old in zip(after, before, strict=True):
        assert_close(new, old, rtol=0, atol=0, what="an argument after the call")


def is_best(student, y, tau, weight):
    """Compare losses, not constants: where several constants are equally good, all are right."""
    c = student.best_constant(y, tau, weight)
    assert_close(c, float(c), what="the constant")  # a number, and a finite one
    best = float(pinball_sum(y, y, tau, weight).min())
    reached = float(pinball_sum(torch.tensor(float(c), dtype=y.dtype), y, tau, weight))
    assert_close(reached, best, what="the loss at the returned constant")


@claim(
    points=1,
    hint="Below c a sample pushes with weight 1 - tau, above with tau. Where do the two sides balance?",
    section=ROBUST,
)
def test_best_constant(student, inputs):
    """best_constant attains the smallest weighted quantile loss, for many samples, weights and levels."""
    for _ in range(POINTS):
        n = int(inputs.integers(2, 12, 1))
        y, weight = inputs.normal(n, 2, scale=3.0)[:, 0], inputs.uniform(0.2, 5, n, 2)[:, 1]  # not contiguous
        before = y.clone(), weight.clone()
        is_best(student, y, float(inputs.uniform(0.05, 0.95, 1)), weight)
        unchanged((y, weight), before)


@claim(
    points=1,
    hint="Think of the ends: one sample alone, tau near 0 and near 1, one sample with nearly all the "
    "weight, equal samples.",
    section=ROBUST,
)
def test_best_constant_at_the_limits(student, inputs):
    """best_constant is right for one sample, for levels near 0 and 1, for the median and for tied samples."""
    for n in (1, 2, 5, 8):
        y, ones = inputs.normal(n, scale=3.0), torch.ones(n, dtype=torch.float64)
        for tau in (0.001, 0.5, 0.999):
            is_best(student, y, tau, ones)
            heavy = ones.clone()
            heavy[int(inputs.integers(0, n, 1))] = 1000.0
            is_best(student, y, tau, heavy)
    tied = torch.tensor([2.0, 2, -1, 5, 2, 5, -1], dtype=torch.float64)
    for tau in (0.1, 0.3, 0.5, 0.8):
        is_best(student, tied, tau, inputs.uniform(0.2, 5, 7))


@claim(
    points=1,
    hint="Differentiate one term: what is its slope in c where y > c, and where y < c? Then average over "
    "the samples.",
    section=ROBUST,
)
def test_pinball_gradient(student, inputs):
    """pinball_gradient is the derivative of the mean loss, at many constants and levels, against finite differences."""
    for m, n in [(POINTS, 9), (1, 4), (3, 1), (6, 6)]:
        y, c = inputs.normal(n), inputs.normal(m, scale=1.5)
        tau = float(inputs.uniform(0.05, 0.95, 1))
        got = student.pinball_gradient(c, y, tau)
        h, ones = 1e-7, torch.ones(n, dtype=torch.float64)
        slopes = (pinball_sum(c + h, y, tau, ones) - pinball_sum(c - h, y, tau, ones)) / (2 * h * n)
        near = (c.unsqueeze(1) - y).abs().amin(
            dim=1
        ) < 1e-6  # a kink within the step: leave it to the formula
        exact = (c.unsqueeze(1) > y).double().mean(dim=1) - tau
        # a count of samples times a float is float32 in torch: cancelled to near 0, its 7 digits are fewer
        assert_close(got, exact, what="the gradient", rtol=1e-5, atol=1e-6)
        measured = torch.where(near, exact, slopes)
        assert_close(got, measured, what="the gradient against finite differences", rtol=1e-5, atol=1e-6)
        single = student.pinball_gradient(c.float(), y.float(), tau)
        assert_close(single, exact.float(), what="the gradient", rtol=1e-5, atol=1e-6)
    for outside, slope in [(100.0, 0.7), (-100.0, -0.3)]:
        got = student.pinball_gradient(torch.tensor([outside]).double(), inputs.normal(7), 0.3)
        assert_close(got, torch.tensor([slope]).double(), what="the gradient outside all samples")


@claim(
    points=1,
    hint="Set the derivative of the expected loss to 0: P(Y < c) = tau. Then solve for c.",
    section=ROBUST,
)
def test_exponential_best_constant(student, inputs):
    """exponential_best_constant is the tau-quantile of the exponential distribution, for any rate."""
    tau, rate = inputs.uniform(0.02, 0.98, POINTS), inputs.uniform(0.2, 8, POINTS)
    got = student.exponential_best_constant(tau, rate)
    assert_close(1 - torch.exp(-rate * got), tau, what="the probability of lying below the constant")
    median = torch.full((1,), 0.5, dtype=torch.float64)
    half_life = student.exponential_best_constant(median, torch.full((1,), 0.7).double())
    assert_close(2 * torch.exp(-0.7 * half_life), torch.ones(1).double(), rtol=1e-6, what="the median")
    single = student.exponential_best_constant(tau.float(), rate.float())
    assert_close(single, got.float(), rtol=1e-4, what="the constants in float32")
    small = student.exponential_best_constant(torch.full((2, 3), 1e-4).double(), torch.ones(2, 3).double())
    assert_close(small, torch.full((2, 3), 1.00005e-4).double(), rtol=1e-5, what="the limit of small tau")


@claim(
    points=1,
    hint="Product rule: the factor (1 - p)^gamma has a derivative, too. dp/dz = p (1 - p).",
    section=FOCAL,
)
def test_focal_gradient(student, inputs):
    """focal_gradient is the derivative of the focal loss at many logits and gammas, against finite differences."""

    def loss(z, gamma):
        return torch.sigmoid(-z) ** gamma * torch.nn.functional.softplus(-z)

    h = 1e-5
    for shape, gamma in [((POINTS,), 2.0), ((5, 10), 1.3), ((POINTS,), 0.0), ((1,), 3.7), ((), 1.0)]:
        z = inputs.normal(*shape[::-1], scale=2.0)
        z = z.T if len(shape) == 2 else z  # not contiguous
        got = student.focal_gradient(z, gamma)
        p, q = torch.sigmoid(z), torch.sigmoid(-z)
        exact = -(q ** (gamma + 1)) - gamma * p * q**gamma * torch.nn.functional.softplus(-z)
        assert_close(got, exact, what="the gradient", rtol=1e-7, atol=1e-10)
        slope = (loss(z + h, gamma) - loss(z - h, gamma)) / (2 * h)
        assert_close(got, slope, what="the gradient against finite differences", rtol=1e-5, atol=1e-8)


@claim(
    points=1,
    hint="p log p tends to 0 as p does, but 0 times minus infinity is NaN in the computer: take log p from "
    "the logit.",
    section="losses.html#losses-stable",
)
def test_focal_gradient_at_the_limits(student, inputs):
    """focal_gradient is p - 1 for gamma 0, tends to -1 for very wrong logits and to 0 for very right ones."""
    z = inputs.normal(POINTS, scale=3.0)
    assert_close(student.focal_gradient(z, 0.0), torch.sigmoid(z) - 1, what="the gradient for gamma = 0")
    far = float(inputs.uniform(800, 1000, 1))
    for dtype in (torch.float64, torch.float32):
        for gamma in (0.0, 1.0, 2.0, 3.7):
            extreme = torch.tensor([-far, far, -200.0, 200.0], dtype=dtype)
            expected = torch.tensor([-1.0, 0, -1, 0], dtype=dtype)
            before = extreme.clone()
            got = student.focal_gradient(extreme, gamma)
            assert_close(got, expected, what="the gradient at extreme logits", atol=1e-6)
            unchanged((extreme,), (before,))
