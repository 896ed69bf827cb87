"""Binary focal loss per positive, and Dice per sample with squares in the denominator."""

import torch

from autograder.testing import assert_close, claim

BOTH = (torch.float64, torch.float32)
FOCAL, DICE = "losses.html#losses-focal", "losses.html#losses-dice"


def focal_terms(logits, target, alpha, gamma):
    """Each element's loss in float64, from p_t written out."""
    z_t = (2 * target.double() - 1) * logits.double()
    alpha_t = torch.where(target == 1, target.double() * alpha, 1.0 - alpha)
    return alpha_t * torch.sigmoid(-z_t) ** gamma * torch.nn.functional.softplus(-z_t)


def focal_slopes(logits, target, alpha, gamma):
    """d loss / d logit of each element: (1 - p_t)^gamma (gamma p_t log p_t - (1 - p_t)), signed."""
    sign = 2 * target.double() - 1
    z_t = sign * logits.double()
    alpha_t = torch.where(target == 1, target.double() * alpha, 1.0 - alpha)
    p, q = torch.sigmoid(z_t), torch.sigmoid(-z_t)
    return sign * alpha_t * q**gamma * (-gamma * p * torch.nn.functional.softplus(-z_t) - q)


def dice_of(logits, target, smooth):
    """Per sample, in float64, one sample after the other."""
    losses = []
    for z, t in zip(logits.double(), target.double(), strict=True):
        p = torch.sigmoid(z)
        losses.append(1 - (2 * (p * t).sum() + smooth) / ((p * p).sum() + (t * t).sum() + smooth))
    return torch.stack(losses)


def unchanged(after, before):
    for new, old in zip(after, before, strict=True):
        assert_close(new, old, rtol=0, atol=0, what="an argument after the call")


def some_labels(inputs, *shape, share=0.4, dtype=torch.float64):
    """Zeros and ones, at least one of each where there is room."""
    target = (inputs.uniform(0, 1, *shape) < share).to(dtype)
    flat = target.view(-1)
    flat[-1] = 1
    if len(flat) > 1:
        flat[0] = 0
    return target


def transposed(inputs, *shape):
    """Logits and target of this shape that are not contiguous."""
    backwards = tuple(reversed(range(len(shape))))
    logits = inputs.normal(*shape[::-1], scale=2.0).permute(backwards)
    return logits, some_labels(inputs, *shape[::-1]).permute(backwards)


@claim(
    points=1,
    hint="alpha belongs to t = 1, 1 - alpha to t = 0; (1 - p_t) is the probability of being wrong. Mind the "
    "dtype.",
    section=FOCAL,
)
def test_focal_values(student, inputs):
    """binary_focal_loss weights each class by its alpha and each element by (1 - p_t) to the gamma."""
    for shape, alpha, gamma, dtype in [
        ((9,), 0.3, 1.3, torch.float64),
        ((4, 3), 0.9, 2.0, torch.float32),
        ((2, 3, 2), 0.1, 3.0, torch.float64),
        ((5,), 0.7, 0.0, torch.float64),
        ((1,), 0.3, 2.0, torch.float32),
        ((), 0.7, 1.0, torch.float64),
    ]:
        logits, target = (
            inputs.normal(*shape, scale=2.0, dtype=dtype),
            some_labels(inputs, *shape, dtype=dtype),
        )
        before = logits.clone(), target.clone()
        expected = focal_terms(logits, target, alpha, gamma).sum() / target.double().sum()
        got = student.binary_focal_loss(logits, target, alpha, gamma)
        assert_close(got, expected.to(dtype), what="the focal loss")
        unchanged((logits, target), before)
    target = some_labels(
        inputs, 6
    )  # nothing but samples on the right side: a small loss, and no other hides it
    logits = (2 * target - 1) * inputs.uniform(5, 8, 6)
    expected = focal_terms(logits, target, 0.3, 2.0).sum() / target.sum()
    got = student.binary_focal_loss(logits, target, 0.3, 2.0)
    assert_close(got, expected, atol=0, what="the focal loss of samples that are well classified")


@claim(
    points=1,
    hint="Divide the sum by the number of positives of the whole tensor, and by 1 if there is none.",
    section=FOCAL,
)
def test_focal_is_per_positive(student, inputs):
    """binary_focal_loss divides the sum by the number of positives, or by 1 where there is none."""
    for shape, positives in [((8,), 0), ((3, 5), 0), ((8,), 8), ((3, 4), 5), ((1,), 0), ((10,), 1)]:
        logits, target = inputs.normal(*shape, scale=2.0), torch.zeros(shape, dtype=torch.float64)
        target.view(-1)[inputs.permutation(target.numel())[:positives]] = 1
        expected = focal_terms(logits, target, 0.3, 1.3).sum() / max(positives, 1)
        got = student.binary_focal_loss(logits, target, 0.3, 1.3)
        assert_close(got, expected, what="the focal loss")


@claim(
    points=1,
    hint="The factor (1 - p_t)^gamma depends on the logits, too; do not detach it. An error here? A transposed "
    "tensor has no view(-1); reshape works.",
    section=FOCAL,
)
def test_focal_gradient(student, inputs):
    """The gradient flows through the modulating factor as well as through the logarithm, also for
    transposed tensors."""
    for shape, gamma in [((7,), 1.3), ((3, 4), 2.0), ((1,), 3.0), ((6,), 0.0)]:
        logits, target = transposed(inputs, *shape)
        z, upstream = logits.clone().requires_grad_(), float(inputs.uniform(1.5, 3, 1))
        (student.binary_focal_loss(z, target, 0.3, gamma) * upstream).backward()
        expected = upstream * focal_slopes(logits, target, 0.3, gamma) / target.sum()
        assert_close(z.grad, expected, atol=1e-6, what="the gradient of the focal loss")


@claim(
    points=1,
    hint="Take log p_t from the logits (logsigmoid or softplus), not as the log of a rounded probability.",
    section="losses.html#losses-stable",
)
def test_focal_of_large_logits(student, inputs):
    """Focal loss and gradient are right for logits of 1000 in either direction, in float64 and in float32."""
    for dtype in BOTH:
        for gamma in (2.0, 1.0, 0.0):
            logits = torch.tensor([1000.0, 1000, -1000, -1000, 0.3, 90, -90], dtype=dtype)
            logits = logits * float(inputs.uniform(0.9, 1, 1))
            target = torch.tensor([1.0, 0, 1, 0, 1, 0, 1], dtype=dtype)
            z = logits.clone().requires_grad_()
            loss = student.binary_focal_loss(z, target, 0.3, gamma)
            expected = focal_terms(logits, target, 0.3, gamma).sum() / 4
            assert_close(loss, expected.to(dtype), what="the focal loss of large logits")
            loss.backward()
            slopes = focal_slopes(logits, target, 0.3, gamma) / 4
            assert_close(z.grad, slopes.to(dtype), atol=1e-6, what="the gradient at large logits")


@claim(
    points=1,
    hint="Sum over all axes but the first, with squares in the denominator: one loss per sample, none mixed "
    "with another.",
    section=DICE,
)
def test_dice_per_sample(student, inputs):
    """soft_dice_loss returns one loss per sample, whatever the sample's shape, and mixes no two samples."""
    for shape, dtype in [
        ((4, 6), torch.float64),
        ((3, 5, 4), torch.float32),
        ((1, 2, 3, 2), torch.float64),
        ((2, 1), torch.float64),
        ((5, 5), torch.float64),
    ]:
        logits = inputs.normal(*shape, scale=2.0, dtype=dtype)
        target = some_labels(inputs, *shape, dtype=dtype)
        before = logits.clone(), target.clone()
        got = student.soft_dice_loss(logits, target, 1.0)
        assert_close(got, dice_of(logits, target, 1.0).to(dtype), what="the Dice loss of each sample")
        unchanged((logits, target), before)


@claim(
    points=1,
    hint="smooth is added once above and once below the line; a sample without any mask must not divide by 0.",
    section=DICE,
)
def test_dice_smoothing_and_empty_masks(student, inputs):
    """smooth enters as the formula says; an empty mask that is predicted empty costs 0, also at logits of 1000."""
    for smooth in (0.3, 2.7, 10.0):
        logits, target = inputs.normal(3, 4, 2, scale=2.0), some_labels(inputs, 3, 4, 2)
        target[1] = 0
        got = student.soft_dice_loss(logits, target, smooth)
        assert_close(got, dice_of(logits, target, smooth), what="the Dice loss of each sample")
    logits = torch.full((3, 5), -1000.0, dtype=torch.float64)
    logits[1, 2:], logits[2] = 1000.0, 1000.0
    target = (logits > 0).double()
    target[2] = 0
    before = logits.clone(), target.clone()
    got = student.soft_dice_loss(logits, target, 0.3)
    assert_close(got, dice_of(logits, target, 0.3), what="the Dice loss of certain predictions")
    unchanged((logits, target), before)


@claim(
    points=1,
    hint="Dice is built from probabilities, not from thresholded predictions; keep it differentiable. An error "
    "here? A transposed tensor has no view(-1); reshape works.",
    section=DICE,
)
def test_dice_gradient(student, inputs):
    """The gradient of soft_dice_loss is that of the formula, sample by sample, also for transposed tensors."""
    for shape in [(4, 6), (1, 3), (3, 2, 4)]:
        logits, target = transposed(inputs, *shape)
        upstream = inputs.uniform(0.5, 3, shape[0])
        z, reference = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        (student.soft_dice_loss(z, target, 0.7) * upstream).sum().backward()
        (dice_of(reference, target, 0.7) * upstream).sum().backward()
        assert_close(z.grad, reference.grad, atol=1e-6, what="the gradient of the Dice loss")
