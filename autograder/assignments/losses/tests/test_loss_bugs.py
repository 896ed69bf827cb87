"""Five loops repaired, one left alone: final weights must be those of gradient descent on the intended loss."""

import torch

from autograder.testing import assert_close, claim

REDUCTIONS = "losses.html#losses-reductions"


def descend(slope, start, steps, lr):
    """Gradient descent with a gradient written out by hand."""
    W = start.double().clone()
    for _ in range(steps):
        W = W - lr * slope(W)
    return W


def softmax_slope(x, y):
    one_hot = torch.nn.functional.one_hot(y, int(y.max()) + 1).double()
    return lambda W: x.T @ (torch.softmax(x @ W, dim=1) - one_hot) / len(x)


def keeps_float32(inputs, loop, target, *shape, batch=()):
    """The weights have the dtype of the inputs; their values are compared elsewhere, in float64."""
    start = inputs.normal(*shape, dtype=torch.float32)
    got = loop(inputs.normal(len(target), shape[0], dtype=torch.float32), target, start, 2, 0.3, *batch)
    assert_close(got, start, atol=1e6, what="the tensor of final weights of float32 inputs")


def classes(inputs, n, k):
    """Class labels; every class occurs where there is room, so that K is the number of columns."""
    y = inputs.integers(0, k, n)
    y[: min(n, k)] = torch.arange(k)[:n]
    y[-1] = k - 1
    return y


def named(student, loop):
    """The letter chosen for a loop, written in whatever case."""
    diagnosis = student.diagnosis
    assert isinstance(diagnosis, dict)
    by_loop = {str(key).strip().lower(): value for key, value in diagnosis.items()}
    return str(by_loop.get(loop, "")).strip().upper()


@claim(
    points=2,
    hint="Ask of each loop: what does the loss expect (logits or probabilities, which shapes), and what is "
    "averaged?",
    section=REDUCTIONS,
)
def test_diagnosis(student, inputs):
    """All six loops carry the right diagnosis."""
    for loop, letter in zip("abcdef", "ACHBDE", strict=True):
        assert_close(named(student, loop), letter, what=f"the diagnosis of loop {loop}")


@claim(
    points=1,
    hint="F.cross_entropy takes logits: the softmax is in it.",
    section="losses.html#losses-cross-entropy",
)
def test_loop_a(student, inputs):
    """fixed_a minimises the softmax cross-entropy of the logits, step by step, for any data and learning rate."""
    for n, d, k, steps, lr in [(11, 4, 3, 30, 0.7), (1, 3, 2, 7, 0.3), (6, 2, 5, 12, 2.0)]:
        x, y, start = inputs.normal(n, d), classes(inputs, n, k), inputs.normal(d, k)
        got = student.fixed_a(x, y, start, steps, lr)
        assert_close(
            got, descend(softmax_slope(x, y), start, steps, lr), what="the tensor of final weights of loop a"
        )
    keeps_float32(inputs, student.fixed_a, classes(inputs, 5, 3), 4, 3)


@claim(
    points=1,
    hint="features @ W has shape (N, 1). What is (N, 1) minus (N,)?",
    section=REDUCTIONS,
)
def test_loop_b(student, inputs):
    """fixed_b compares each prediction with its own target and returns weights of the shape of start."""
    for n, d, steps, lr in [(9, 3, 30, 0.1), (1, 2, 5, 0.3), (4, 4, 12, 0.05)]:
        x, y, start = inputs.normal(n, d), inputs.normal(n), inputs.normal(d, 1)
        expected = descend(lambda W, x=x, y=y: 2 * x.T @ (x @ W - y.unsqueeze(1)) / len(x), start, steps, lr)
        assert_close(
            student.fixed_b(x, y, start, steps, lr), expected, what="the tensor of final weights of loop b"
        )
    keeps_float32(inputs, student.fixed_b, inputs.normal(5, dtype=torch.float32), 4, 1)


@claim(
    points=1,
    hint="Before repairing a loop, find out whether its gradient is wrong. What is log_softmax of log_softmax?",
    section="losses.html#losses-stable",
)
def test_healthy_loop_is_left_alone(student, inputs):
    """fixed_c trains exactly as the healthy loop does, and the diagnosis says that it is healthy."""
    assert_close(named(student, "c"), "H", what="the diagnosis of loop c")
    for n, d, k, steps, lr in [(11, 4, 3, 30, 0.7), (1, 3, 2, 7, 0.3)]:
        x, y, start = inputs.normal(n, d), classes(inputs, n, k), inputs.normal(d, k)
        got = student.fixed_c(x, y, start, steps, lr)
        assert_close(
            got, descend(softmax_slope(x, y), start, steps, lr), what="the tensor of final weights of loop c"
        )
    keeps_float32(inputs, student.fixed_c, classes(inputs, 5, 3), 4, 3)


@claim(
    points=1,
    hint="A loss `with_logits` applies the sigmoid itself. A sigmoid that was rounded to 0 or 1 has no gradient left.",
    section="losses.html#losses-binary",
)
def test_loop_d(student, inputs):
    """fixed_d minimises the binary cross-entropy of the logits, also for logits of 1000."""
    for n, d, steps, lr, scale in [(11, 4, 30, 0.7, 1), (1, 3, 7, 0.3, 1), (5, 2, 3, 0.5, 300)]:
        x, y, start = inputs.normal(n, d, scale=scale), inputs.integers(0, 2, n).double(), inputs.normal(d)
        if scale > 1:
            y = (x @ start < 0).double()  # on the wrong side, where a rounded sigmoid has no gradient left
        expected = descend(lambda W, x=x, y=y: x.T @ (torch.sigmoid(x @ W) - y) / len(x), start, steps, lr)
        got = student.fixed_d(x, y, start, steps, lr)
        assert_close(got, expected, what="the tensor of final weights of loop d")
    keeps_float32(inputs, student.fixed_d, inputs.integers(0, 2, 5).float(), 4)


@claim(
    points=1,
    hint="In a mean of means, a sample of a small last batch weighs more than the others.",
    section=REDUCTIONS,
)
def test_loop_e(student, inputs):
    """fixed_e gives the same weights for every batch size, whether or not it divides the number of samples."""
    for n, size in [(11, 4), (11, 11), (12, 4), (7, 50), (5, 1), (1, 3)]:
        x, y, start = inputs.normal(n, 3), classes(inputs, n, 3), inputs.normal(3, 3)
        got = student.fixed_e(x, y, start, 9, 0.7, size)
        one_hot = torch.eye(3, dtype=torch.float64)[y]
        expected = descend(
            lambda W, x=x, t=one_hot: x.T @ (torch.softmax(x @ W, dim=1) - t) / len(x), start, 9, 0.7
        )
        assert_close(got, expected, what="the tensor of final weights of loop e")
    keeps_float32(inputs, student.fixed_e, classes(inputs, 5, 3), 4, 3, batch=(2,))


@claim(
    points=1,
    hint="Softmax makes the labels compete. Each label is a yes-no question, and the mean is over all N x K "
    "of them.",
    section="losses.html#losses-binary",
)
def test_loop_f(student, inputs):
    """fixed_f treats every label as a question of its own, also for samples with no label or with all of them."""
    for n, d, k, steps, lr in [(9, 4, 3, 30, 0.7), (1, 3, 5, 7, 0.3), (6, 2, 1, 12, 0.5)]:
        x, start = inputs.normal(n, d), inputs.normal(d, k)
        y = inputs.integers(0, 2, n, k).double()
        y[0] = 0
        y[-1] = 1
        expected = descend(lambda W, x=x, y=y: x.T @ (torch.sigmoid(x @ W) - y) / y.numel(), start, steps, lr)
        got = student.fixed_f(x, y, start, steps, lr)
        assert_close(got, expected, what="the tensor of final weights of loop f")
    keeps_float32(inputs, student.fixed_f, inputs.integers(0, 2, 5, 3).float(), 4, 3)
