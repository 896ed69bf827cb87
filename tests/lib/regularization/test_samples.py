"""Mixup, CutMix and augmentation: labels follow the pixels, draws follow their distributions, seeds repeat."""

import math

import pytest
import torch

import gradatim.regularization as ours
from gradatim.regularization.mixing import beta_sample


def digits(n=12, size=8):
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0)) + 0.1


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixing_proportion_follows_the_beta_distribution(alpha):
    stats = pytest.importorskip("scipy.stats")
    lam = beta_sample(alpha, (20_000,), torch.zeros(()), torch.Generator().manual_seed(0))
    lower = lam[lam < 0.5].double().numpy()  # close to 1 float32 is too coarse for the test
    assert stats.kstest(lower, lambda x: 2 * stats.beta(alpha, alpha).cdf(x)).pvalue > 1e-6
    assert abs(len(lower) / 20_000 - 0.5) < 5 * 0.5 / math.sqrt(20_000)
    assert ((lam >= 0) & (lam <= 1)).all()


@pytest.mark.parametrize("per_sample", [False, True])
def test_mixup_mixes_images_and_targets_in_the_same_proportion(per_sample):
    x = torch.eye(10).reshape(10, 1, 2, 5)  # image i is 1 at pixel i: the mixture can be read off
    target = torch.arange(10)
    mixed, y = ours.mixup(
        x, target, 1.0, num_classes=10, per_sample=per_sample, generator=torch.Generator().manual_seed(3)
    )
    torch.testing.assert_close(mixed.reshape(10, 10), y)
    torch.testing.assert_close(y.sum(1), torch.ones(10))
    lam = y.diagonal()[(y > 0).sum(1) == 2]
    assert len(set(lam.tolist())) > 1 if per_sample else lam.max() - lam.min() < 1e-6
    assert torch.equal(x, torch.eye(10).reshape(10, 1, 2, 5))
    assert (y.sum(0) - 1).abs().max() < 1e-5 or per_sample  # partners are a permutation


@pytest.mark.parametrize("per_sample", [False, True])
def test_cutmix_target_is_the_counted_share_of_pixels(per_sample):
    n, size = 12, 9
    x = torch.arange(n).float().reshape(n, 1, 1, 1).expand(n, 2, size, size).contiguous()
    for seed in range(20):
        mixed, y = ours.cutmix(
            x,
            torch.arange(n),
            num_classes=n,
            per_sample=per_sample,
            generator=torch.Generator().manual_seed(seed),
        )
        for i in range(n):
            share = torch.stack([(mixed[i, 0] == k).float().mean() for k in range(n)])
            torch.testing.assert_close(share, y[i])
        assert torch.equal(mixed[:, 0], mixed[:, 1])


def test_cutmix_box_is_one_rectangle_of_the_right_size():
    lam = torch.tensor([0.75] * 400)
    box = ours.random_box(20, 16, lam, torch.zeros(()), torch.Generator().manual_seed(0))
    for b in box:
        rows, cols = b.any(1), b.any(0)
        assert torch.equal(b, rows[:, None] & cols[None, :])
        assert b.sum() <= (10 + 1) * (8 + 1)  # sides sqrt(1 - 0.75) of the image's
    area = box.float().mean((1, 2))
    assert area.max() == pytest.approx(0.25)
    assert area.min() < 0.15  # cut off at an edge


def test_mixing_takes_probabilities_and_keeps_dtypes():
    x, p = digits().double(), torch.rand(12, 3, dtype=torch.float64).softmax(1)
    for mix in (ours.mixup, ours.cutmix):
        mixed, y = mix(x, p)
        assert mixed.dtype == y.dtype == torch.float64
        torch.testing.assert_close(y.sum(1), torch.ones(12, dtype=torch.float64))


def test_one_seed_repeats_and_leaves_the_global_one_alone():
    x, y = digits(), torch.arange(12) % 3
    state = torch.get_rng_state()
    for fn in (
        lambda g: ours.mixup(x, y, num_classes=3, generator=g)[0],
        lambda g: ours.cutmix(x, y, num_classes=3, generator=g)[0],
        lambda g: ours.random_shift(x, 2, generator=g),
        lambda g: ours.random_affine(x, generator=g),
        lambda g: ours.random_erase(x, 3, generator=g),
        lambda g: ours.gaussian_noise(x, 0.3, generator=g),
    ):
        a, b, c = (fn(torch.Generator().manual_seed(s)) for s in (1, 1, 2))
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
    assert torch.equal(state, torch.get_rng_state())


def test_shift_moves_pixels_and_fills_with_zeros():
    x = digits(3, 5)
    down, right = torch.tensor([1, -2, 0]), torch.tensor([0, 3, -1])
    y = ours.shift(x, down, right)
    for i in range(3):
        for r in range(5):
            for c in range(5):
                R, C = r - down[i].item(), c - right[i].item()
                expected = x[i, 0, R, C] if 0 <= R < 5 and 0 <= C < 5 else 0.0
                assert y[i, 0, r, c] == expected


def test_random_shift_draws_every_offset_equally_often():
    x = torch.zeros(9000, 1, 5, 5)
    x[:, 0, 2, 2] = 1
    where = ours.random_shift(x, 1, generator=torch.Generator().manual_seed(0)).mean(0)[0]
    assert (where[1:4, 1:4] - 1 / 9).abs().max() < 5 * math.sqrt(8 / 81 / 9000)
    assert where.sum() == pytest.approx(1)


def test_affine_identity_quarter_turn_and_scale():
    x = digits(2, 6).double()
    one, zero = torch.ones(2), torch.zeros(2)
    torch.testing.assert_close(ours.affine(x, zero, one, zero), x)
    quarter = ours.affine(x, torch.full((2,), math.pi / 2), one, zero)
    torch.testing.assert_close(quarter, torch.rot90(x, 1, (2, 3)), rtol=1e-5, atol=1e-6)
    flat = torch.zeros(1, 1, 9, 9)
    flat[..., 3:6, 3:6] = 1
    assert ours.affine(flat, zero[:1], 2 * one[:1], zero[:1]).sum() == pytest.approx(4 * 9, rel=0.05)


def test_random_affine_stays_within_its_bounds_and_zero_is_the_identity():
    x = digits()
    torch.testing.assert_close(ours.random_affine(x, 0.0, 0.0, 0.0), x)
    assert (ours.random_affine(x, 10.0) - x).abs().mean() < (ours.random_affine(x, 90.0) - x).abs().mean()


def test_erased_square_has_the_asked_size_and_nothing_else_changes():
    x = digits(200, 8)
    y = ours.random_erase(x, 3, generator=torch.Generator().manual_seed(0))
    erased = (y == 0).flatten(1).sum(1)
    assert erased.max() == 9
    assert erased.min() >= 4 - 2
    assert torch.equal(y[y != 0], x[y != 0])


def test_input_noise_is_ridge_for_a_linear_model():
    """E (w (x + e) - y)**2 = (w x - y)**2 + std**2 |w|**2."""
    generator = torch.Generator().manual_seed(0)
    x = torch.ones(200_000, 3, dtype=torch.float64)
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    noisy = (ours.gaussian_noise(x, 0.3, generator=generator) @ w).square().mean()
    expected = (x[0] @ w).square() + 0.09 * w.square().sum()
    assert noisy.item() == pytest.approx(expected.item(), rel=0.02)


def test_prediction_with_shifts_is_the_mean_over_nine():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval()
    x = digits(4)
    p = ours.predict_with_shifts(model, x, 1)
    torch.testing.assert_close(p.sum(1), torch.ones(4))
    one = torch.ones(4, dtype=torch.long)
    by_hand = [model(ours.shift(x, i * one, j * one)).softmax(1) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    torch.testing.assert_close(p, torch.stack(by_hand).mean(0))
    torch.testing.assert_close(ours.predict_with_shifts(model, x, 0), model(x).softmax(1))


x = digits(4)
BAD = {
    "mixup: num_classes must be given, >= 1, for a target of class numbers": lambda: ours.mixup(
        x, torch.arange(4)
    ),
    "mixup: target must be of 4 samples, as x, got 3": lambda: ours.mixup(x, torch.arange(3), num_classes=3),
    "mixup: alpha must be finite and > 0, got 0": lambda: ours.mixup(x, torch.arange(4), 0, 4),
    "mixup: x must be of shape (N, *), N >= 1, got (0, 1, 8, 8)": lambda: ours.mixup(x[:0], torch.arange(0)),
    "cutmix: x must be of shape (N, C, H, W), got (4, 8)": lambda: ours.cutmix(
        x[:, 0, 0], torch.arange(4), 1.0, 4
    ),
    "shift: x must be of shape (N, C, H, W), got (4, 8, 8)": lambda: ours.shift(x[:, 0], x[0], x[0]),
    "random_shift: max_shift must be >= 0, got -1": lambda: ours.random_shift(x, -1),
    "random_affine: scale must be in [0, 1), got 1.0": lambda: ours.random_affine(x, scale=1.0),
    "gaussian_noise: std must be >= 0, got -1": lambda: ours.gaussian_noise(x, -1),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_argument_is_named_with_its_rule_and_value(message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        BAD[message]()
    assert str(caught.value).startswith(message)
