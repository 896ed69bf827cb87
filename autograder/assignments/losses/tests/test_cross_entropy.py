"""Cross-entropy over the last axis: the smoothed share spares the true class, nothing kept costs nothing."""

import torch

from autograder.testing import assert_close, claim

BOTH = (torch.float64, torch.float32)


def by_definition(logits, target, weight=None, ignore_index=-100, eps=0.0):
    """Every sample's loss and weight, in float64, from the target distribution q written out."""
    K = logits.shape[-1]
    log_p = torch.log_softmax(logits.double(), dim=-1)
    keep = (target != ignore_index).double()
    y = torch.where(target == ignore_index, 0, target)
    one_hot = torch.eye(K, dtype=torch.float64)[y]
    q = one_hot * (1 - eps) + (1 - one_hot) * eps / (K - 1)
    w = keep if weight is None else keep * weight.double()[y]
    return -w * (q * log_p).sum(-1), w, q


def with_ignored(inputs, target, ignore_index):
    """About a third of the targets ignored, the first one always, the last one never."""
    flat = target.clone().reshape(-1)
    flat[inputs.uniform(0, 1, len(flat)) < 0.3] = ignore_index
    flat[0] = ignore_index
    flat[-1] = (ignore_index + 1) % 3 if 0 <= ignore_index < 3 else 0
    return flat.reshape(target.shape)


@claim(
    points=1,
    hint="The loss of a sample is minus the log-probability of its class; average over the samples, in the "
    "dtype of the logits.",
    section="losses.html#losses-cross-entropy",
)
def test_mean_of_minus_log_probability(student, inputs):
    """Without options it is the mean of minus the log-probability of the target class, for any number of classes
    and samples, and leaves its inputs as they were."""
    for (n, k), dtype in zip([(7, 5), (1, 3), (11, 2), (4, 9), (1, 2)], BOTH * 3, strict=False):
        logits, target = inputs.normal(n, k, scale=3.0, dtype=dtype), inputs.integers(0, k, n)
        kept, kept_target = logits.clone(), target.clone()
        loss, _, _ = by_definition(logits, target)
        assert_close(student.cross_entropy(logits, target), loss.mean().to(dtype), what="the mean loss")
        assert_close(logits, kept, rtol=0, atol=0, what="the tensor of logits after the call")
        assert_close(target, kept_target, what="the tensor of targets after the call")


@claim(
    points=1,
    hint="exp(1000) overflows, and the log of a probability that was rounded to 0 is lost. Stay in log space.",
    section="losses.html#losses-stable",
)
def test_large_logits_are_exact(student, inputs):
    """Loss and gradient are right for logits as large as 1000, in float64 and in float32."""
    for dtype in BOTH:
        # at 1000 float32 resolves 6e-5; float64 must show that nothing was rounded to float32 on the way
        loose = {"rtol": 1e-5, "atol": 2e-4} if dtype == torch.float32 else {}
        logits = torch.tensor([[1000.0, -1000, 0], [0, 1000, 1000], [-1000, -1000, -700]], dtype=dtype)
        logits = logits + inputs.uniform(-1, 1, 3, 3, dtype=dtype)
        target = torch.tensor([1, 2, 0])
        for eps in (0.0, 0.3):
            loss, _, q = by_definition(logits, target, eps=eps)
            z = logits.clone().requires_grad_()
            got = student.cross_entropy(z, target, reduction="none", label_smoothing=eps)
            assert_close(got, loss.to(dtype), what="the loss of each sample", **loose)
            got.sum().backward()
            slope = torch.softmax(logits.double(), -1) - q
            assert_close(z.grad, slope.to(dtype), what="the gradient", rtol=1e-4, atol=2e-4)
            mean = student.cross_entropy(logits, target, label_smoothing=eps)
            assert_close(mean, loss.mean().to(dtype), what="the mean loss", **loose)


@claim(
    points=1,
    hint="The class axis is the last one, whatever comes before it. `none` keeps the shape of the target.",
    section="losses.html#losses-reductions",
)
def test_reductions_and_leading_shapes(student, inputs):
    """none, sum and mean agree with their definitions for every leading shape, also for a single sample without
    a batch axis."""
    for shape in [(2, 3, 4), (5, 3), (), (1, 1, 1, 2), (4, 4)]:
        k = (
            4 if shape == (4, 4) else 6
        )  # as many classes as positions: the axes are easily taken for each other
        logits, target = inputs.normal(*shape, k, scale=2.0), inputs.integers(0, k, *shape)
        loss, _, _ = by_definition(logits, target)
        for reduction, expected in [("none", loss), ("sum", loss.sum()), ("mean", loss.mean())]:
            got = student.cross_entropy(logits, target, reduction=reduction)
            assert_close(got, expected, what=f"the result of reduction={reduction!r}")


@claim(
    points=1,
    hint="What is a weighted mean divided by: the number of samples, or the sum of their weights?",
    section="losses.html#losses-class-weights",
)
def test_class_weights(student, inputs):
    """A weighted mean divides by the sum of the weights of the targets; sum and none are weighted, too."""
    for dtype, n in [(torch.float64, 9), (torch.float32, 6), (torch.float64, 1)]:
        logits, target = inputs.normal(n, 4, scale=2.0, dtype=dtype), inputs.integers(0, 4, n)
        weight = (inputs.permutation(4) * 0.9 + 0.3).to(dtype)
        kept = weight.clone()
        loss, w, _ = by_definition(logits, target, weight)
        for reduction, expected in [("none", loss), ("sum", loss.sum()), ("mean", loss.sum() / w.sum())]:
            got = student.cross_entropy(logits, target, weight=weight, reduction=reduction)
            assert_close(got, expected.to(dtype), what=f"the weighted loss with reduction={reduction!r}")
        assert_close(weight, kept, rtol=0, atol=0, what="the tensor of weights after the call")


@claim(
    points=1,
    hint="An ignored sample adds nothing to the sum and nothing to what the sum is divided by.",
    section="losses.html#losses-ignore-index",
)
def test_ignored_samples_do_not_count(student, inputs):
    """Ignored samples cost nothing and do not count in the mean, for any ignore_index, with and without weights."""
    weight = inputs.permutation(3) * 0.7 + 0.3
    for ignore_index, shape in [(-100, (12,)), (255, (3, 5)), (1, (12,)), (0, (3, 5)), (-1, (12,))]:
        logits = inputs.normal(*shape, 3, scale=2.0)
        target = with_ignored(inputs, inputs.integers(0, 3, *shape), ignore_index)
        for w in (None, weight.double()):
            loss, used, _ = by_definition(logits, target, w, ignore_index)
            options = {"weight": w, "ignore_index": ignore_index}
            got = student.cross_entropy(logits, target, reduction="none", **options)
            assert_close(got, loss, what="the loss of each sample")
            mean = student.cross_entropy(logits, target, **options)
            assert_close(mean, loss.sum() / used.sum(), what="the mean loss")


@claim(
    points=1,
    hint="If all samples are ignored, 0 / 0 is NaN, and one such batch would ruin a training run.",
    section="losses.html#losses-ignore-index",
)
def test_nothing_kept_costs_nothing(student, inputs):
    """A batch in which every sample is ignored has loss 0 and gradient 0, whatever the reduction."""
    for n, dtype in [(5, torch.float64), (1, torch.float32)]:
        for weight in (None, inputs.uniform(0.3, 2, 3, dtype=dtype)):
            target = torch.full((n,), -100)
            for reduction in ("mean", "sum", "none"):
                z = inputs.normal(n, 3, dtype=dtype).requires_grad_()
                got = student.cross_entropy(
                    z, target, weight=weight, reduction=reduction, label_smoothing=0.3
                )
                expected = torch.zeros(n if reduction == "none" else (), dtype=dtype)
                assert_close(got, expected, what=f"the loss with reduction={reduction!r}")
                got.sum().backward()
                assert_close(z.grad, torch.zeros(n, 3, dtype=dtype), what="the gradient")


@claim(
    points=1,
    hint="The true class keeps 1 - eps; the other K - 1 classes share eps. The weight stays that of the "
    "sample's class.",
    section="losses.html#losses-label-smoothing",
)
def test_label_smoothing(student, inputs):
    """Smoothing gives 1 - eps to the true class and eps / (K - 1) to each other one, also with class weights."""
    for k, eps in [(5, 0.3), (2, 0.1), (7, 0.9), (3, 0.0)]:
        logits, target = inputs.normal(8, k, scale=2.0), inputs.integers(0, k, 8)
        target[2] = -100
        for weight in (None, inputs.permutation(k) * 0.9 + 0.3):
            w = None if weight is None else weight.double()
            loss, used, _ = by_definition(logits, target, w, eps=eps)
            options = {"weight": w, "label_smoothing": eps}
            got = student.cross_entropy(logits, target, reduction="none", **options)
            assert_close(got, loss, what="the smoothed loss of each sample")
            mean = student.cross_entropy(logits, target, **options)
            assert_close(mean, loss.sum() / used.sum(), what="the mean of the smoothed loss")


@claim(
    points=1,
    hint="Keep everything differentiable with respect to the logits: no detach, no item, no NumPy, no fresh "
    "tensor. An error here? A transposed tensor has no view(-1); reshape works.",
    section="losses.html#losses-cross-entropy",
)
def test_gradient(student, inputs):
    """The gradient is that of the formula, also when the loss is scaled afterwards and logits and
    target are transposed tensors."""
    for shape, k in [((9,), 4), ((1,), 2), ((2, 5), 4)]:
        weight = inputs.permutation(k) * 0.9 + 0.3
        target = inputs.integers(0, k, *shape[::-1]).T  # not contiguous, nor are the logits
        if target.numel() > 1:
            target[..., 1] = -100
        logits = inputs.normal(k, *shape, scale=2.0).movedim(0, -1)
        _, w, q = by_definition(logits, target, weight.double(), eps=0.3)
        slope = w.unsqueeze(-1) * (torch.softmax(logits, -1) - q)
        options = {"weight": weight.double(), "label_smoothing": 0.3}
        for reduction in ("mean", "none"):
            z = logits.clone().requires_grad_()
            upstream = inputs.uniform(0.5, 3, *(shape if reduction == "none" else ()))
            (student.cross_entropy(z, target, reduction=reduction, **options) * upstream).sum().backward()
            each = upstream.unsqueeze(-1) if reduction == "none" else upstream / w.sum()
            assert_close(z.grad, each * slope, atol=1e-6, what=f"the gradient with reduction={reduction!r}")
