"""The parts of the experiment against formulas, and its findings against seeds that the student has not seen."""

import math
from functools import lru_cache

import numpy as np
import torch

from autograder.testing import Inputs, assert_close, claim

IMBALANCE = "losses.html#losses-imbalance"


def fit(features, target, method, steps=60, lr=0.5):
    """Gradient descent with the gradient written out; (..., N, D) float64 features, all tasks at once.

    In NumPy, which is four times as fast as torch on arrays so small. d loss / d logit of a sample is its factor times
    (p - t); weighted and focal change the factor.
    """
    x, t = features.numpy(), target.numpy()
    n, positive = t.shape[-1], t.sum(-1, keepdims=True)
    weights, bias = np.zeros((*x.shape[:-2], 1, x.shape[-1])), np.zeros((*x.shape[:-2], 1))
    factor = np.where(t == 1, n / (2 * positive), n / (2 * (n - positive))) if method == "weighted" else 1.0
    for _ in range(steps):
        z = (weights @ np.swapaxes(x, -1, -2))[..., 0, :] + bias
        p = 1 / (1 + np.exp(-z))
        if method == "focal":
            p_t = 1 / (1 + np.exp(-(2 * t - 1) * z))
            factor = (1 - p_t) ** 2 - 2 * (1 - p_t) * p_t * np.log(p_t)
        g = factor * (p - t) / n
        weights = weights - lr * (g[..., None, :] @ x)
        bias = bias - lr * g.sum(-1, keepdims=True)
    return torch.from_numpy(weights[..., 0, :]), torch.from_numpy(bias[..., 0])


def score(logits, target):
    said = logits > 0
    return float(said[target == 1].double().mean() + (~said[target == 0]).double().mean()) / 2


def difference(method, features, target, test_features, test_target):
    scores = []
    for name in (method, "plain"):
        weights, bias = fit(features, target, name)
        scores.append(score(test_features @ weights + bias, test_target))
    return scores[0] - scores[1]


def small_task(inputs, n, d, positives, n_test):
    """Two overlapping clouds, the positive one rare."""
    target = torch.zeros(n, dtype=torch.float64)
    target[inputs.permutation(n)[:positives]] = 1
    test = torch.zeros(n_test, dtype=torch.float64)
    test[: n_test // 3] = 1
    shift = inputs.uniform(0.5, 1.2, d)
    return (
        inputs.normal(n, d) + target.unsqueeze(1) * shift,
        target,
        inputs.normal(n_test, d) + test.unsqueeze(1) * shift,
        test,
    )


def unchanged(after, before):
    for new, old in zip(after, before, strict=True):
        assert_close(new, old, rtol=0, atol=0, what="an argument after the call")


def trains_as(student, inputs, method):
    for n, d, positives, steps, lr in [(14, 3, 4, 30, 0.3), (9, 5, 8, 7, 1.1), (2, 1, 1, 3, 0.7)]:
        for dtype in (torch.float64, torch.float32):
            features, target, _, _ = (t.to(dtype) for t in small_task(inputs, n, d, positives, 3))
            before = features.clone(), target.clone()
            expected = fit(features.double(), target.double(), method, steps, lr)
            got = student.train(features, target, method, steps=steps, lr=lr)
            assert_close(
                tuple(got), tuple(t.to(dtype) for t in expected), what=f"(weights, bias) of {method}"
            )
            unchanged((features, target), before)


@claim(
    points=1,
    hint="Start from zeros, average the binary cross-entropy, and step both the weights and the bias.",
    section="losses.html#losses-binary",
)
def test_training_with_the_plain_loss(student, inputs):
    """train(..., "plain") is gradient descent from 0 on the mean binary cross-entropy."""
    trains_as(student, inputs, "plain")
    features, target, _, _ = small_task(inputs, 11, 3, 3, 3)
    defaults = student.train(features, target, "plain")
    assert_close(tuple(defaults), fit(features, target, "plain"), what="(weights, bias) with the defaults")


@claim(
    points=1,
    hint="A sample of class c weighs N / (2 N_c), so that each class has half of the total weight.",
    section="losses.html#losses-class-weights",
)
def test_training_with_class_weights(student, inputs):
    """train(..., "weighted") gives both classes the same total weight, whatever their sizes."""
    trains_as(student, inputs, "weighted")


@claim(
    points=1,
    hint="The factor (1 - p_t)^2 is part of the loss: its gradient counts, and the mean is over all N samples.",
    section="losses.html#losses-focal",
)
def test_training_with_the_focal_loss(student, inputs):
    """train(..., "focal") minimises the mean focal loss with gamma 2."""
    trains_as(student, inputs, "focal")


@claim(
    points=1,
    hint="The share of right predictions within each class first; then the mean of the two shares.",
    section="losses.html#losses-metrics",
)
def test_balanced_accuracy(student, inputs):
    """balanced_accuracy averages the two classes' shares of right predictions, each class counting the same."""
    for n, positives in [(12, 2), (7, 6), (2, 1), (30, 3)]:
        target = torch.zeros(n, dtype=torch.float64)
        target[inputs.permutation(n)[:positives]] = 1
        logits = inputs.normal(n, scale=3.0) + target
        for dtype in (torch.float64, torch.float32):
            got = student.balanced_accuracy(logits.to(dtype), target.to(dtype))
            assert_close(got, score(logits, target), what="the balanced accuracy", rtol=1e-5)
    logits = torch.tensor([0.3, 0.2, -0.1, 0.4, 0.6]).double()  # logits below 0.5 that mean 1
    target = torch.tensor([1.0, 0, 0, 1, 0]).double()
    assert_close(student.balanced_accuracy(logits, target), (1 + 1 / 3) / 2, what="at threshold 0", rtol=1e-5)


@claim(
    points=1,
    hint="For each task train both losses on its training half and score both on its test half; method "
    "minus plain.",
    section=IMBALANCE,
)
def test_comparison_is_paired(student, inputs):
    """compare returns, task by task and in their order, the method's test score minus that of the plain loss."""
    tasks = [
        small_task(inputs, 20, 2, 3, 31),
        small_task(inputs, 13, 4, 2, 12),
        small_task(inputs, 30, 1, 5, 40),
    ]
    tasks.sort(key=lambda task: difference("weighted", *task))
    tasks = [tasks[1], tasks[2], tasks[0]]  # neither rising nor falling: sorted differences are wrong
    for method, some in [("weighted", tasks), ("focal", tasks[1:2])]:
        expected = [difference(method, *task) for task in some]
        got = [float(d) for d in student.compare(method, some)]
        assert_close(got, expected, what="the differences", rtol=1e-5, atol=1e-6)


@claim(
    points=1,
    hint="Divide by the square root of n, use the divisor n - 1, and let small or single samples be what "
    "they are.",
    section=IMBALANCE,
)
def test_verdict(student, inputs):
    """verdict calls a difference real only if its mean is more than two standard errors away from 0."""
    n = 9
    shape = inputs.normal(n)
    shape = (shape - shape.mean()) / shape.std()  # mean 0, standard deviation 1
    for m, expected in [
        (2.2, "better"),
        (1.8, "cannot tell"),
        (0.0, "cannot tell"),
        (-1.8, "cannot tell"),
        (-2.2, "worse"),
    ]:
        for scale in (0.01, 3.0):
            differences = (scale * (shape + m / math.sqrt(n))).tolist()
            got = student.verdict(differences)
            assert_close(got, expected, what="the verdict on clear and on unclear differences")
    # with the divisor n the standard error of three numbers would be 18 % too small
    three = [0.02 * (z + 1.8 / math.sqrt(3)) for z in (-1.0, 0.0, 1.0)]
    for differences, expected in [
        (three, "cannot tell"),
        ([-d for d in three], "cannot tell"),
        ([0.3], "cannot tell"),
        ([0.0] * 5, "cannot tell"),
        ([0.1] * 8 + [-0.3], "cannot tell"),  # its median, 0.1, is more than two standard errors from 0
        ([0.3, 0.31], "better"),
        ([-0.3, -0.31, -0.29], "worse"),
    ]:
        assert_close(student.verdict(differences), expected, what="the verdict on few differences")


@lru_cache(maxsize=1)
def breast_cancer():
    """Features and labels, 1 for malignant; read once, since tests run for every submission."""
    from sklearn.datasets import load_breast_cancer

    values, labels = load_breast_cancer(return_X_y=True)
    return torch.tensor(values, dtype=torch.float64), torch.tensor(labels == 0).double()


@lru_cache(maxsize=16)
def unseen_ratio(seed, method, splits=24):
    """Mean difference over its standard error, on splits of the breast cancer data that no student has seen."""
    inputs = Inputs(seed)
    values, truth = breast_cancer()
    trains, tests = [], []
    for _ in range(splits):
        order = inputs.permutation(len(truth))
        rare, common = order[truth[order] == 1], order[truth[order] == 0]
        trains.append(torch.cat([rare[:20], common[:180]]))
        tests.append(torch.cat([rare[20:], common[180:]]))
    train, test = torch.stack(trains), torch.stack(tests)
    mean, std = values[train].mean(1, keepdim=True), values[train].std(1, keepdim=True)
    features, test_features = (values[train] - mean) / std, (values[test] - mean) / std
    scores = []
    for name in (method, "plain"):
        weights, bias = fit(features, truth[train], name)
        logits = (test_features @ weights.unsqueeze(-1)).squeeze(-1) + bias.unsqueeze(-1)
        scores.append([score(z, truth[k]) for z, k in zip(logits, test, strict=True)])
    d = torch.tensor(scores[0]).double() - torch.tensor(scores[1]).double()
    return float(d.mean() / d.std() * math.sqrt(splits))


def supported(ratio):
    """The verdicts that the unseen splits support; near the border both are accepted."""
    direction = "better" if ratio > 0 else "worse"
    return (
        {direction} if abs(ratio) > 4 else {"cannot tell"} if abs(ratio) < 2.5 else {direction, "cannot tell"}
    )


def holds(student, inputs, method):
    finding = student.findings[method]
    assert isinstance(finding, str)
    assert finding.strip().lower() in supported(unseen_ratio(inputs.common, method))


@claim(
    points=1,
    hint="Run compare on the tasks of the seeds 0 to 19 and let verdict decide; one split alone says little.",
    section=IMBALANCE,
)
def test_finding_about_class_weights(student, inputs):
    """The finding about class weights holds on splits that were not used to find it."""
    holds(student, inputs, "weighted")


@claim(
    points=1,
    hint="A mean above 0 is no finding yet. How large is it against its standard error?",
    section=IMBALANCE,
)
def test_finding_about_focal_loss(student, inputs):
    """The finding about focal loss holds on splits that were not used to find it."""
    holds(student, inputs, "focal")
