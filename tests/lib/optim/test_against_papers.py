"""Every rule against its paper's formula, written again in NumPy in float64; what torch lacks has no other judge."""

import math

import numpy as np
import pytest
import torch

import gradatim.optim as optim

STEPS = 40
START = np.array([[0.7, -1.3, 0.2], [2.1, -0.4, 1.7]])


def gradients():
    random = np.random.default_rng(11)
    return [random.normal(size=START.shape) * (0.1 + t % 7) for t in range(STEPS)]


def learning_rates(lr):
    return [lr if t < 10 else 0.3 * lr for t in range(STEPS)]


# Each rule maps (theta_0, gradients, learning rates) to theta_40. t counts from 1, as in the papers.


def gd(theta, gs, lrs):
    for g, lr in zip(gs, lrs, strict=True):
        theta = theta - lr * g
    return theta


def heavy_ball(theta, gs, lrs, mu):
    """Polyak's own form, theta_{t+1} = theta_t - lr g + mu (theta_t - theta_{t-1}), at a constant learning rate."""
    before = theta
    for g, lr in zip(gs, lrs, strict=True):
        theta, before = theta - lr * g + mu * (theta - before), theta
    return theta


def averaged_momentum(theta, gs, lrs, mu, nesterov):
    m = np.zeros_like(theta)
    for g, lr in zip(gs, lrs, strict=True):
        m = mu * m + (1 - mu) * g
        theta = theta - lr * ((1 - mu) * g + mu * m if nesterov else m)
    return theta


def adagrad(theta, gs, lrs, eps):
    s = 0
    for g, lr in zip(gs, lrs, strict=True):
        s = s + g**2
        theta = theta - lr * g / (np.sqrt(s) + eps)
    return theta


def adadelta(theta, gs, lrs, rho, eps):
    v = d = 0
    for g, lr in zip(gs, lrs, strict=True):
        v = rho * v + (1 - rho) * g**2
        u = np.sqrt(d + eps) / np.sqrt(v + eps) * g
        d = rho * d + (1 - rho) * u**2
        theta = theta - lr * u
    return theta


def rmsprop(theta, gs, lrs, alpha, eps, centered):
    v = mean = 0
    for g, lr in zip(gs, lrs, strict=True):
        v = alpha * v + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        theta = theta - lr * g / (np.sqrt(v - mean**2 if centered else v) + eps)
    return theta


def adam(theta, gs, lrs, beta1, beta2, eps, decay=0.0):
    m = v = 0
    for t, (g, lr) in enumerate(zip(gs, lrs, strict=True), 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        theta = theta - lr * ((m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps) + decay * theta)
    return theta


def adamax(theta, gs, lrs, beta1, beta2):
    m = n = 0
    for t, (g, lr) in enumerate(zip(gs, lrs, strict=True), 1):
        m = beta1 * m + (1 - beta1) * g
        n = np.maximum(beta2 * n, np.abs(g))
        theta = theta - lr / (1 - beta1**t) * m / n
    return theta


def nadam(theta, gs, lrs, beta1, beta2, eps, psi):
    def mu(t):
        return beta1 * (1 - 0.5 * 0.96 ** (t * psi))

    m = v = 0
    for t, (g, lr) in enumerate(zip(gs, lrs, strict=True), 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        so_far = math.prod(mu(i) for i in range(1, t + 1))
        g_hat = g / (1 - so_far)
        m_hat = m / (1 - so_far * mu(t + 1))
        theta = theta - lr * ((1 - mu(t)) * g_hat + mu(t + 1) * m_hat) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return theta


def radam(theta, gs, lrs, beta1, beta2):
    m = v = 0
    rho_inf = 2 / (1 - beta2) - 1
    for t, (g, lr) in enumerate(zip(gs, lrs, strict=True), 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        if rho > 5:
            r = np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            theta = theta - lr * r * m_hat * np.sqrt((1 - beta2**t) / v)
        else:
            theta = theta - lr * m_hat
    return theta


def lion(theta, gs, lrs, beta1, beta2, decay):
    m = np.zeros_like(theta)
    for g, lr in zip(gs, lrs, strict=True):
        c = beta1 * m + (1 - beta1) * g
        theta = theta - lr * (np.sign(c) + decay * theta)
        m = beta2 * m + (1 - beta2) * g
    return theta


def lamb(theta, gs, lrs, beta1, beta2, eps, decay):
    m = v = 0
    for t, (g, lr) in enumerate(zip(gs, lrs, strict=True), 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        w = (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps) + decay * theta
        theta = theta - lr * np.linalg.norm(theta) / np.linalg.norm(w) * w
    return theta


def lars(theta, gs, lrs, mu, eta, decay):
    b = 0
    for g, lr in zip(gs, lrs, strict=True):
        local = eta * np.linalg.norm(theta) / (np.linalg.norm(g) + decay * np.linalg.norm(theta))
        b = mu * b + lr * local * (g + decay * theta)
        theta = theta - b
    return theta


def adafactor(theta, gs, lrs, eps1, eps2, d, decay):
    r, c = np.zeros(theta.shape[0]), np.zeros(theta.shape[1])
    for t, (g, lr) in enumerate(zip(gs, lrs, strict=True), 1):
        w = t**-0.8
        r = (1 - w) * r + w * (g**2).mean(1)
        c = (1 - w) * c + w * (g**2).mean(0)
        u = g / np.sqrt(np.maximum(np.outer(r, c) / max(r.mean(), eps1), eps1**2))
        u = u / max(1, np.sqrt((u**2).mean()) / d)
        alpha = max(eps2, np.sqrt((theta**2).mean())) * min(lr, 1 / np.sqrt(t))
        theta = theta - lr * decay * theta - alpha * u
    return theta


def schedule_free(theta, gs, lrs, beta, direction, power):
    """x, y and z apart, as in the paper; returns y and x."""
    x = z = theta
    weights = 0.0
    for t, (g, lr) in enumerate(zip(gs, lrs, strict=True), 1):
        y = (1 - beta) * z + beta * x
        z = z - lr * direction(g, y, t)
        weight = max(lrs[:t]) ** power
        weights += weight
        c = weight / weights
        x = (1 - c) * x + c * z
    return (1 - beta) * z + beta * x, x


def adam_without_momentum(beta2, eps, decay):
    v = [0]

    def direction(g, y, t):
        v[0] = beta2 * v[0] + (1 - beta2) * g**2
        return g / (np.sqrt(v[0] / (1 - beta2**t)) + eps) + decay * y

    return direction


CASES = {
    "GD": (optim.GD, {}, gd, {}),
    "SGD": (optim.SGD, {}, gd, {}),
    "SGD-ema": (optim.SGD, {"momentum": 0.7, "ema": True}, averaged_momentum, {"mu": 0.7, "nesterov": False}),
    "SGD-ema-nesterov": (
        optim.SGD,
        {"momentum": 0.7, "ema": True, "nesterov": True},
        averaged_momentum,
        {"mu": 0.7, "nesterov": True},
    ),
    "Adagrad": (optim.Adagrad, {"eps": 0.1}, adagrad, {"eps": 0.1}),
    "Adadelta": (optim.Adadelta, {"rho": 0.7, "eps": 0.1}, adadelta, {"rho": 0.7, "eps": 0.1}),
    "RMSprop": (
        optim.RMSprop,
        {"alpha": 0.7, "eps": 0.1},
        rmsprop,
        {"alpha": 0.7, "eps": 0.1, "centered": False},
    ),
    "RMSprop-centered": (
        optim.RMSprop,
        {"alpha": 0.7, "eps": 0.1, "centered": True},
        rmsprop,
        {"alpha": 0.7, "eps": 0.1, "centered": True},
    ),
    "Adam": (optim.Adam, {"betas": (0.6, 0.7), "eps": 0.1}, adam, {"beta1": 0.6, "beta2": 0.7, "eps": 0.1}),
    "AdamW": (
        optim.AdamW,
        {"betas": (0.6, 0.7), "eps": 0.1, "weight_decay": 0.3},
        adam,
        {"beta1": 0.6, "beta2": 0.7, "eps": 0.1, "decay": 0.3},
    ),
    "Adamax": (optim.Adamax, {"betas": (0.6, 0.7), "eps": 0.0}, adamax, {"beta1": 0.6, "beta2": 0.7}),
    "NAdam": (
        optim.NAdam,
        {"betas": (0.6, 0.7), "eps": 0.1, "momentum_decay": 0.3},
        nadam,
        {"beta1": 0.6, "beta2": 0.7, "eps": 0.1, "psi": 0.3},
    ),
    "RAdam": (optim.RAdam, {"betas": (0.6, 0.97), "eps": 0.0}, radam, {"beta1": 0.6, "beta2": 0.97}),
    "Lion": (
        optim.Lion,
        {"betas": (0.6, 0.7), "weight_decay": 0.3},
        lion,
        {"beta1": 0.6, "beta2": 0.7, "decay": 0.3},
    ),
    "LAMB": (
        optim.LAMB,
        {"betas": (0.6, 0.7), "eps": 0.1, "weight_decay": 0.3},
        lamb,
        {"beta1": 0.6, "beta2": 0.7, "eps": 0.1, "decay": 0.3},
    ),
    "LARS": (
        optim.LARS,
        {"momentum": 0.7, "trust_coefficient": 0.3, "weight_decay": 0.1},
        lars,
        {"mu": 0.7, "eta": 0.3, "decay": 0.1},
    ),
    "Adafactor": (
        optim.Adafactor,
        {"eps": (0.1, 0.3), "d": 1.3, "weight_decay": 0.3},
        adafactor,
        {"eps1": 0.1, "eps2": 0.3, "d": 1.3, "decay": 0.3},
    ),
    "ScheduleFreeSGD": (
        optim.ScheduleFreeSGD,
        {"momentum": 0.7, "weight_decay": 0.3},
        lambda *args, **kw: schedule_free(*args, **kw)[0],
        {"beta": 0.7, "direction": lambda g, y, t: g + 0.3 * y, "power": 2},
    ),
    "ScheduleFreeSGD-equal-weights": (
        optim.ScheduleFreeSGD,
        {"momentum": 0.7, "weight_lr_power": 0},
        lambda *args, **kw: schedule_free(*args, **kw)[0],
        {"beta": 0.7, "direction": lambda g, y, t: g, "power": 0},
    ),
}


def walk(cls, options, lr, *, as_written=False, foreach=None):
    theta = torch.tensor(START, requires_grad=True)
    optimizer = cls([theta], lr=lr, **options)
    optimizer.as_written = as_written
    for group in optimizer.param_groups:
        group["foreach"] = foreach
    for g, rate in zip(gradients(), learning_rates(lr), strict=True):
        optimizer.param_groups[0]["lr"] = rate
        theta.grad = torch.tensor(g)
        optimizer.step()
    return theta.detach().numpy(), optimizer


@pytest.mark.parametrize("as_written", [False, True], ids=["in-place", "as-written"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_40_steps_are_the_papers(case, as_written):
    cls, options, rule, constants = case
    got, _ = walk(cls, options, 0.03, as_written=as_written)
    expected = rule(START, gradients(), learning_rates(0.03), **constants)
    # NAdam's product of momenta is kept in float32, as torch keeps it.
    np.testing.assert_allclose(got, expected, rtol=1e-6 if cls is optim.NAdam else 1e-12)


def test_schedule_free_adamw_is_the_papers_in_both_of_its_sequences():
    options = {"betas": (0.7, 0.6), "eps": 0.1, "weight_decay": 0.3}
    got, optimizer = walk(optim.ScheduleFreeAdamW, options, 0.03)
    y, x = schedule_free(
        START, gradients(), learning_rates(0.03), 0.7, adam_without_momentum(0.6, 0.1, 0.3), power=2
    )
    np.testing.assert_allclose(got, y, rtol=1e-12)
    theta = optimizer.param_groups[0]["params"][0]
    optimizer.eval()
    np.testing.assert_allclose(theta.detach().numpy(), x, rtol=1e-12)
    optimizer.train()
    np.testing.assert_allclose(theta.detach().numpy(), y, rtol=1e-12)


def test_schedule_free_warm_up_weighs_the_first_steps_less():
    lrs = [0.03 * min(1, t / 7) for t in range(1, STEPS + 1)]
    theta = torch.tensor(START, requires_grad=True)
    optimizer = optim.ScheduleFreeSGD([theta], lr=0.03, momentum=0.7, warmup_steps=7)
    for g in gradients():
        theta.grad = torch.tensor(g)
        optimizer.step()
    y, _ = schedule_free(START, gradients(), lrs, 0.7, lambda g, y, t: g, power=2)
    np.testing.assert_allclose(theta.detach().numpy(), y, rtol=1e-12)


def test_schedule_free_averages_all_of_z_alike_at_a_constant_learning_rate():
    theta = torch.tensor(START, requires_grad=True)
    optimizer = optim.ScheduleFreeSGD([theta], lr=0.03, momentum=0.7)
    z, path = START, []
    for g in gradients():
        theta.grad = torch.tensor(g)
        optimizer.step()
        z = z - 0.03 * g
        path.append(z)
    optimizer.eval()
    np.testing.assert_allclose(theta.detach().numpy(), np.mean(path, axis=0), rtol=1e-12)


def test_polyaks_form_is_the_heavy_ball():
    theta = torch.tensor(START, requires_grad=True)
    optimizer = optim.SGD([theta], lr=0.03, momentum=0.7)
    for g in gradients():
        theta.grad = torch.tensor(g)
        optimizer.step()
    expected = heavy_ball(START, gradients(), [0.03] * STEPS, 0.7)
    np.testing.assert_allclose(theta.detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_averaging_form_is_polyaks_at_a_scaled_learning_rate(nesterov):
    polyak, _ = walk(optim.SGD, {"momentum": 0.7, "nesterov": nesterov}, 0.03)
    average, _ = walk(optim.SGD, {"momentum": 0.7, "nesterov": nesterov, "ema": True}, 0.03 / (1 - 0.7))
    np.testing.assert_allclose(average, polyak, rtol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.9, 0.999, 0.9999])
def test_bias_correction_is_accurate_in_float32_where_the_plain_form_cancels(beta):
    for t in (1, 2, 7, 1000):
        exact = float(1 - np.float64(beta) ** t)
        got = optim.bias_correction(beta, torch.tensor(float(t)))
        assert got.dtype == torch.float32
        np.testing.assert_allclose(got.item(), exact, rtol=3e-7)
        assert math.isclose(optim.bias_correction(beta, t), exact, rel_tol=1e-12)
        np.testing.assert_allclose(optim.bias_correction(torch.tensor(beta), t).item(), exact, rtol=1e-3)


def test_muon_orthogonalizes_by_the_odd_polynomial_of_the_singular_values():
    random = np.random.default_rng(5)
    for shape in ((4, 7), (7, 4), (5, 5)):
        g = random.normal(size=shape)
        u, s, vt = np.linalg.svd(g, full_matrices=False)
        s = s / np.linalg.norm(g)
        a, b, c = 3.4445, -4.7750, 2.0315
        for _ in range(5):
            s = a * s + b * s**3 + c * s**5
        got = optim.newton_schulz(torch.tensor(g), dtype=torch.float64).numpy()
        np.testing.assert_allclose(got, (u * s) @ vt, rtol=1e-9, atol=1e-12)


def test_muon_brings_every_singular_value_near_one_whatever_the_scale():
    torch.manual_seed(0)
    for scale in (1e-3, 1.0, 1e4):
        s = torch.linalg.svdvals(optim.newton_schulz(scale * torch.randn(16, 9), dtype=torch.float32))
        assert 0.6 < s.min() < s.max() < 1.25
    half = optim.newton_schulz(torch.randn(16, 9))
    assert half.dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(24, 40), (40, 24)])
def test_muon_rounds_every_product_whichever_way_it_multiplies(shape, monkeypatch):
    """bfloat16 products, and float32 products of the same factors: only a sum's last bit can tip a rounding."""
    g = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ways = {}
    for native in (True, False):
        monkeypatch.setattr("gradatim.optim.muon.CPU_MULTIPLIES_BFLOAT16", native)
        ways[native] = [optim.newton_schulz(g, steps=steps) for steps in (1, 5)]
    for one, other in zip(ways[True], ways[False], strict=True):
        assert one.dtype == other.dtype == torch.bfloat16
        torch.testing.assert_close(one, other, rtol=2**-6, atol=2**-6)
    assert (ways[True][0] != ways[False][0]).float().mean() < 0.02  # without rounding the Gram matrix: 6 %


def test_muon_steps_as_torch_where_float32_multiplies():
    start = torch.randn(24, 40, generator=torch.Generator().manual_seed(1))
    ends = []
    for make in (optim.Muon, torch.optim.Muon):
        theta = torch.nn.Parameter(start.clone())
        theta.grad = start.cos()
        make([theta], lr=0.3, momentum=0.7, weight_decay=0.1).step()
        ends.append(theta.detach())
    torch.testing.assert_close(*ends, rtol=0, atol=0.3 * 2**-6)


def quadratic():
    scales = np.array([0.3, 1.0, 3.0, 0.5, 2.0, 0.7]).reshape(START.shape)
    return scales, lambda theta: (torch.tensor(scales) * theta.square()).sum() / 2


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_steps_with_the_gradient_of_the_worst_point_nearby(adaptive):
    scales, loss_of = quadratic()
    theta = torch.tensor(START, requires_grad=True)
    bias = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    optimizer = optim.SAM(optim.SGD([theta, bias], lr=0.1, momentum=0.7), rho=0.3, adaptive=adaptive)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(theta) + 1.7 * bias.square().sum() / 2
        loss.backward()
        return loss

    x, curvature = np.append(START.ravel(), 0.4), np.append(scales.ravel(), 1.7)
    b = 0
    for turn in range(STEPS):
        if turn == 10:
            optimizer.param_groups[0]["lr"] = 0.03
        g = curvature * x
        e = 0.3 * x**2 * g / np.linalg.norm(np.abs(x) * g) if adaptive else 0.3 * g / np.linalg.norm(g)
        b = 0.7 * b + curvature * (x + e)
        x = x - optimizer.param_groups[0]["lr"] * b
        optimizer.step(closure)
        got = np.append(theta.detach().numpy().ravel(), bias.detach().numpy())
        np.testing.assert_allclose(got, x, rtol=1e-9, atol=1e-9)  # the norm's 1e-12 is not in the paper


def test_sam_in_two_calls_is_sam_with_a_closure_and_rho_zero_is_the_base():
    _, loss_of = quadratic()
    paths = []
    for rho, by_hand in ((0.3, False), (0.3, True), (0.0, False), (None, False)):
        theta = torch.tensor(START, requires_grad=True)
        base = optim.Adam([theta], lr=0.1)
        optimizer = base if rho is None else optim.SAM(base, rho=rho)

        def closure(theta=theta, optimizer=optimizer):
            optimizer.zero_grad()
            loss = loss_of(theta)
            loss.backward()
            return loss

        for _ in range(STEPS):
            if by_hand:
                closure()
                optimizer.ascend()
                closure()
                optimizer.descend()
            else:
                optimizer.step(closure)
        paths.append(theta.detach().clone())
    assert torch.equal(paths[0], paths[1])
    assert torch.equal(paths[2], paths[3])
    assert not torch.equal(paths[0], paths[2])


def test_lookahead_goes_back_every_k_steps():
    theta = torch.tensor(START, requires_grad=True)
    optimizer = optim.Lookahead(optim.SGD([theta], lr=0.03, momentum=0.7), k=3, alpha=0.6)
    slow = fast = START
    b = 0
    for turn, g in enumerate(gradients()):
        theta.grad = torch.tensor(g)
        optimizer.step()
        b = 0.7 * b + g
        fast = fast - 0.03 * b
        if turn % 3 == 2:
            slow = fast = slow + 0.6 * (fast - slow)
        np.testing.assert_allclose(theta.detach().numpy(), fast, rtol=1e-12)
