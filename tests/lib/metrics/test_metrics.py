"""Every metric equals scikit-learn's, on random data, on ties, and where a class is missing."""

import doctest
import inspect

import numpy as np
import pytest
import torch

import gradatim.metrics as ours

theirs = pytest.importorskip("sklearn.metrics")
calibration = pytest.importorskip("sklearn.calibration")


def labels(classes, n=57, seed=0, accuracy=0.6):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (n,), generator=generator)
    guess = torch.randint(classes, (n,), generator=generator)
    keep = torch.rand(n, generator=generator) < accuracy
    return torch.where(keep, target, guess), target


def scores(n=57, seed=0, digits=None, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(n, generator=generator) < 0.3).long()
    s = (torch.randn(n, dtype=torch.float64, generator=generator) + target).sigmoid()
    return (s if digits is None else (s * 10**digits).round() / 10**digits).to(dtype), target


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_label_metrics_equal_scikit_learn(classes, seed):
    p, y = labels(classes, seed=seed)
    assert ours.accuracy(p, y).item() == pytest.approx(theirs.accuracy_score(y, p), rel=1e-12)
    assert ours.balanced_accuracy(p, y).item() == pytest.approx(
        theirs.balanced_accuracy_score(y, p), rel=1e-12
    )
    assert (
        ours.confusion_matrix(p, y, classes).numpy() == theirs.confusion_matrix(y, p, labels=range(classes))
    ).all()


@pytest.mark.parametrize("average", ["binary", "micro", "macro", "weighted", None])
@pytest.mark.parametrize("classes", [2, 4])
def test_precision_recall_and_f_equal_scikit_learn(classes, average):
    if average == "binary" and classes > 2:
        p, y = labels(classes)
        with pytest.raises(
            ValueError, match="precision: prediction and target must be a problem with classes 0 and 1"
        ):
            ours.precision(p, y)
        return
    for seed in range(3):
        p, y = labels(classes, seed=seed)
        kwargs = {"average": average, "zero_division": 0.0}
        for mine, reference in (
            (ours.precision(p, y, average), theirs.precision_score(y, p, **kwargs)),
            (ours.recall(p, y, average), theirs.recall_score(y, p, **kwargs)),
            (ours.f1(p, y, average), theirs.f1_score(y, p, **kwargs)),
            (ours.f_beta(p, y, 0.7, average), theirs.fbeta_score(y, p, beta=0.7, **kwargs)),
        ):
            np.testing.assert_allclose(mine.numpy(), reference, rtol=1e-12)


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
@pytest.mark.parametrize("average", ["macro", "weighted", None])
def test_missing_classes_count_as_in_scikit_learn(average, zero_division):
    y = torch.tensor([0, 0, 3, 3, 1])  # class 2 never, class 1 never predicted, class 4 never there
    p = torch.tensor([0, 4, 3, 0, 0])
    kwargs = {"average": average, "zero_division": zero_division}
    if average is None:
        kwargs["labels"] = range(5)
    for mine, reference in (
        (ours.precision, theirs.precision_score),
        (ours.recall, theirs.recall_score),
        (ours.f1, theirs.f1_score),
    ):
        got = mine(p, y, average, zero_division=zero_division)
        np.testing.assert_allclose(got.numpy(), reference(y, p, **kwargs), rtol=1e-12)
    only_zero = torch.zeros(4, dtype=torch.long)
    assert ours.f1(only_zero, only_zero).item() == 0.0


@pytest.mark.parametrize("digits", [None, 1])
@pytest.mark.parametrize("seed", range(3))
def test_ranking_metrics_equal_scikit_learn_with_and_without_ties(seed, digits):
    s, y = scores(seed=seed, digits=digits)
    assert ours.roc_auc(s, y).item() == pytest.approx(theirs.roc_auc_score(y, s), rel=1e-12)
    assert ours.average_precision(s, y).item() == pytest.approx(
        theirs.average_precision_score(y, s), rel=1e-12
    )
    for mine, reference in zip(
        ours.roc_curve(s, y), theirs.roc_curve(y, s, drop_intermediate=False), strict=True
    ):
        np.testing.assert_allclose(mine.numpy(), reference, rtol=1e-12)
    curve = ours.roc_curve(s, y)
    area = torch.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    torch.testing.assert_close(area, ours.roc_auc(s, y))


def test_auc_ignores_the_scale_of_the_scores_and_is_nan_for_one_class():
    s, y = scores()
    torch.testing.assert_close(ours.roc_auc(s.logit() * 7, y), ours.roc_auc(s, y))
    torch.testing.assert_close(ours.roc_auc(-s, y), 1 - ours.roc_auc(s, y))
    assert ours.roc_auc(s, torch.ones_like(y)).isnan()


@pytest.mark.parametrize("bins", [1, 5, 10])
def test_reliability_and_calibration_error_equal_scikit_learn_s_curve(bins):
    s, y = scores(n=300)
    s[:3] = torch.tensor([0.0, 1.0, 0.2])  # edges of bins
    count, confidence, accuracy = ours.reliability(s, y, bins)
    share, mean = calibration.calibration_curve(y, s, n_bins=bins)
    full = count > 0
    np.testing.assert_allclose(accuracy[full].numpy(), share, rtol=1e-12)
    np.testing.assert_allclose(confidence[full].numpy(), mean, rtol=1e-12)
    assert count.sum() == 300
    expected = (count[full].numpy() / 300 * np.abs(share - mean)).sum()
    assert ours.expected_calibration_error(s, y, bins).item() == pytest.approx(expected, rel=1e-12)


def test_perfectly_calibrated_predictions_have_little_calibration_error():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(50_000, dtype=torch.float64, generator=generator)
    y = torch.rand(50_000, dtype=torch.float64, generator=generator) < p
    assert ours.expected_calibration_error(p, y) < 0.01
    assert ours.expected_calibration_error(p**3, y) > 0.2


def test_probability_scores_equal_scikit_learn():
    s, y = scores()
    assert ours.brier_score(s, y).item() == pytest.approx(theirs.brier_score_loss(y, s), rel=1e-12)
    logits = torch.randn(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = torch.arange(40) % 5
    p = logits.softmax(1)
    assert ours.log_loss(p, target).item() == pytest.approx(theirs.log_loss(target, p), rel=1e-12)
    p = torch.eye(5, dtype=torch.float64)[(target + (torch.arange(40) < 3)) % 5]  # confident and wrong
    assert ours.log_loss(p, target).item() == pytest.approx(theirs.log_loss(target, p), rel=1e-9)
    for k in (1, 3):
        expected = theirs.top_k_accuracy_score(target, logits.numpy(), k=k)
        assert ours.top_k_accuracy(logits, target, k).item() == pytest.approx(expected, rel=1e-12)


def test_regression_metrics_equal_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    p, y = torch.randn(2, 31, dtype=torch.float64, generator=generator)
    for mine, reference in (
        (ours.mean_squared_error, theirs.mean_squared_error),
        (ours.root_mean_squared_error, theirs.root_mean_squared_error),
        (ours.mean_absolute_error, theirs.mean_absolute_error),
        (ours.r2_score, theirs.r2_score),
    ):
        assert mine(p, y).item() == pytest.approx(reference(y, p), rel=1e-12)


def test_float32_inputs_do_not_lose_digits():
    p = torch.full((10_000,), 1000.1)
    y = torch.full((10_000,), 1000.0)
    exact = (1000.1 - 1000.0) ** 2
    assert ours.mean_squared_error(p, y).item() == pytest.approx(exact, rel=1e-3)
    assert ours.accuracy(torch.ones(3, dtype=torch.int32), torch.ones(3, dtype=torch.int64)) == 1


def test_metrics_read_nothing_on_the_host(monkeypatch):
    (p, y), (s, t) = labels(3), scores()

    def refuse(self, *args):
        raise AssertionError("a metric read a tensor on the host")

    for method in ("item", "tolist", "__float__", "__bool__", "__int__", "__index__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, method, refuse)
    ours.accuracy(p, y), ours.f1(p, y, "macro", num_classes=3), ours.balanced_accuracy(p, y, 3)
    ours.roc_auc(s, t), ours.average_precision(s, t), ours.expected_calibration_error(s, t)
    ours.brier_score(s, t), ours.mean_squared_error(s, s), ours.r2_score(s, s)


two = torch.tensor([0, 1])
BAD = {
    "accuracy: prediction and target must have the same shape": lambda: ours.accuracy(two, two[:, None]),
    "accuracy: prediction must be of class numbers (an integer or bool dtype), got torch.float32": lambda: (
        ours.accuracy(two.float(), two)
    ),
    "accuracy: prediction must be at least one value, got (0,)": lambda: ours.accuracy(two[:0], two[:0]),
    "f1: ": lambda: ours.f1(two, two, "mean"),
    "f_beta: beta must be > 0, got 0": lambda: ours.f_beta(two, two, 0),
    "top_k_accuracy: k must be in 1 .. C = 2, got 3": lambda: ours.top_k_accuracy(torch.ones(2, 2), two, 3),
    "roc_auc: scores must be of shape (N,), N >= 1, got (2, 1)": lambda: ours.roc_auc(
        torch.ones(2, 1), two[:, None]
    ),
    "reliability: bins must be >= 1, got 0": lambda: ours.reliability(torch.ones(2), two, 0),
    "log_loss: target must be of shape (N,), got (2, 1)": lambda: ours.log_loss(
        torch.ones(2, 2), two[:, None]
    ),
    "r2_score: prediction and target must have the same shape": lambda: ours.r2_score(
        torch.ones(2), torch.ones(2, 1)
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_argument_is_named_with_its_rule_and_value(message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        BAD[message]()
    assert str(caught.value).startswith(message.replace("f1: ", "f_beta: average must be one of"))


def test_docstring_examples_are_true_and_every_function_is_documented():
    result = doctest.testmod(ours)
    assert result.failed == 0
    assert result.attempted >= 12
    for name, fn in inspect.getmembers(ours, inspect.isfunction):
        if fn.__module__ == ours.__name__:
            assert fn.__doc__, name


@pytest.mark.parametrize(
    ("target", "error", "sentence"),
    [
        ([0, 1], TypeError, "log_loss: target must be a tensor, got list"),
        (
            torch.tensor([0.5, 1.0]),
            TypeError,
            "log_loss: target must be of an integer dtype, got torch.float32",
        ),
        (torch.tensor([0, 3]), ValueError, "log_loss: target must be in 0 .. 2, got '0 to 3'"),
        (torch.tensor([-1, 1]), ValueError, "log_loss: target must be in 0 .. 2, got '-1 to 1'"),
    ],
)
def test_log_loss_refuses_what_is_no_class_number(target, error, sentence):
    with pytest.raises(error) as caught:
        ours.log_loss(torch.full((2, 3), 1 / 3), target)
    assert str(caught.value) == sentence


def test_a_list_is_refused_by_its_type():
    with pytest.raises(TypeError, match=r"^accuracy: prediction must be a tensor, got list$"):
        ours.accuracy([0, 1], torch.tensor([0, 1]))


def test_a_class_number_out_of_range_is_refused_and_not_counted_elsewhere():
    """With 2 classes the pair (target 1, prediction -1) has the place of (0, 1) in the flattened matrix."""
    for prediction, target in ((torch.tensor([0, -1]), two), (torch.tensor([0, 2]), two)):
        with pytest.raises(
            ValueError, match=r"confusion_matrix: prediction must be class numbers in 0 \.\. 1"
        ):
            ours.confusion_matrix(prediction, target, 2)
