"""Bayesian optimisation: a Gaussian process models the loss, expected improvement chooses where to look."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._check import check_fields, checked, require, require_floating, require_same_shape, require_type
from .simple import sobol_points
from .space import Choice, Params, Space
from .study import History, Proposal

# Relative to the signal variance: repairs what rounding takes from positive definiteness.
JITTER = 1e-8


@checked
def matern52(x1: Tensor, x2: Tensor, lengthscale: Tensor) -> Tensor:
    """Matern kernel with smoothness 5/2 and one length scale per dimension.

        r = sqrt(sum_d ((x1_d - x2_d) / lengthscale_d)**2)
        k = (1 + sqrt(5) r + 5/3 r**2) exp(-sqrt(5) r)

    Returns:
        Shape (N, M), in (0, 1], 1 where the points are equal.

    Args:
        x1: shape (N, D), floating.
        x2: shape (M, D), floating.
        lengthscale: shape (D), > 0.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: shapes that do not fit.

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), eq. 4.17.

    >>> matern52(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(2))
    tensor([[1.]])
    """
    where = "matern52"
    require_floating(where, x1=x1, x2=x2, lengthscale=lengthscale)
    D = x1.shape[-1] if x1.ndim == 2 else -1
    require(D >= 0, where, "x1", "of shape (N, D)", tuple(x1.shape))
    require(x2.ndim == 2 and x2.shape[1] == D, where, "x2", f"of shape (M, {D})", tuple(x2.shape))
    require(lengthscale.shape == (D,), where, "lengthscale", f"of shape ({D},)", tuple(lengthscale.shape))
    difference = (x1[:, None, :] - x2[None, :, :]) / lengthscale  # (N, M, D)
    # A tiny constant keeps the root's derivative finite at r = 0; k changes there by less than rounding.
    r = (difference.square().sum(-1) + 1e-30).sqrt()
    root5_r = math.sqrt(5) * r
    return (1 + root5_r + root5_r.square() / 3) * torch.exp(-root5_r)


class GaussianProcess:
    """The posterior of a function, given noisy values of it at some points.

    With K = signal * matern52(x, x) + noise * I, k* = signal * matern52(x, x*), all values centred by `y.mean()`:

        mean(x*) = k*' K**-1 y
        var(x*)  = signal - k*' K**-1 k*

    Args:
        x: points, shape (N, D), floating, N >= 1.
        y: values, shape (N).
        lengthscale: shape (D), in units of x. signal: the variance of the function. noise: the variance of one
            observation around it.

    Raises:
        TypeError: x or y is not floating-point. ValueError: shapes that do not fit.

    Source: Rasmussen and Williams (2006), Algorithm 2.1.
    """

    @checked
    def __init__(
        self, x: Tensor, y: Tensor, lengthscale: Tensor, signal: Tensor | float, noise: Tensor | float
    ):
        require_floating("GaussianProcess", x=x, y=y)
        require(x.ndim == 2 and len(x) > 0, "GaussianProcess", "x", "of shape (N, D), N >= 1", tuple(x.shape))
        require(y.shape == x.shape[:1], "GaussianProcess", "y", f"of shape ({len(x)},)", tuple(y.shape))
        for name, variance in (("signal", signal), ("noise", noise)):
            value = torch.as_tensor(variance).detach()
            ok = value.numel() == 1 and 0 <= float(value) < math.inf
            require(ok, "GaussianProcess", name, "one number, >= 0 and finite", variance)
        self.x, self.lengthscale, self.signal = x, lengthscale, signal
        self.noise = noise
        self.offset = y.mean()
        K = signal * matern52(x, x, lengthscale)
        K = K + (noise + JITTER * signal) * torch.eye(len(x), dtype=x.dtype, device=x.device)
        self.L, failed = torch.linalg.cholesky_ex(K)  # K = L L'
        rule = "such that the kernel matrix is positive definite"
        require(
            not bool(failed), "GaussianProcess", "x, lengthscale, signal and noise", rule, "a singular one"
        )
        self.residual = y - self.offset
        self.alpha = torch.cholesky_solve(self.residual[:, None], self.L)[:, 0]  # K**-1 y

    @checked
    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is known of the function at new points.

        Args:
            x: points, shape (M, D), floating.

        Returns:
            Mean and standard deviation of the function, without noise: shapes (M) and (M).
        """
        k = self.signal * matern52(self.x, x, self.lengthscale)  # (N, M)
        v = torch.linalg.solve_triangular(self.L, k, upper=False)  # L**-1 k
        variance = self.signal - v.square().sum(0)
        return self.offset + k.T @ self.alpha, variance.clamp_min(0).sqrt()

    def log_likelihood(self) -> Tensor:
        """log p(y | x): -y' K**-1 y / 2 - sum(log L_ii) - N/2 log(2 pi); shape (), in nats."""
        fit = -0.5 * self.residual @ self.alpha
        return fit - self.L.diagonal().log().sum() - 0.5 * len(self.x) * math.log(2 * math.pi)

    def given(self, x: Tensor) -> "GaussianProcess":
        """The process that also has seen its own mean at the points x, shape (M, D): for trials still running.

        The mean stays what it was; the uncertainty near x is gone, so other workers look elsewhere. (The offset
        moves a little with the average of y.)
        """
        mean, _ = self.posterior(x)
        x = torch.cat([self.x, x])
        y = torch.cat([self.residual + self.offset, mean])
        return GaussianProcess(x, y, self.lengthscale, self.signal, self.noise)

    @classmethod
    def fit(cls, x: Tensor, y: Tensor) -> "GaussianProcess":
        """Choose length scales, signal and noise by the largest posterior density (type-II MAP), in float64.

        x should lie in the unit cube and y have unit variance: the priors are made for that. They are log-normal:
        length scale with location sqrt(2) + log(D)/2 and scale sqrt(3) (Hvarfner et al., arXiv:2402.02229v3:
        longer in more dimensions), noise variance with location -4 and scale 1, signal variance with location
        0 and scale 1.

        Args:
            x: points, shape (N, D), N and D >= 1, floating.
            y: values, shape (N), floating.

        Raises:
            TypeError: x or y is not floating-point.
            ValueError: shapes that do not fit; a value that is not finite.
        """
        where = "GaussianProcess.fit"
        require_floating(where, x=x, y=y)
        require(x.ndim == 2 and x.numel() > 0, where, "x", "of shape (N, D), N and D >= 1", tuple(x.shape))
        finite = bool(x.isfinite().all()) and bool(y.isfinite().all())
        require(finite, where, "x and y", "finite", "nan or infinity")
        x, y = x.double(), y.double()
        dimensions = x.shape[1]
        location = torch.tensor([math.sqrt(2) + math.log(dimensions) / 2] * dimensions + [0.0, -4.0]).to(x)
        scale = torch.tensor([math.sqrt(3)] * dimensions + [1.0, 1.0]).to(x)

        def build(log_theta: Tensor) -> GaussianProcess:
            theta = log_theta.clamp(-9.0, 9.0).exp()
            return cls(x, y, theta[:-2], theta[-2], theta[-1] + 1e-6)

        def objective(log_theta: Tensor) -> Tensor:
            prior = 0.5 * ((log_theta - location) / scale).square().sum()
            return prior - build(log_theta).log_likelihood()

        short = location.clone()
        short[:-2] = math.log(0.3)  # a second start: a function that varies within the cube
        found = [_minimise(objective, start) for start in (location, short)]
        return build(min(found, key=lambda theta: float(objective(theta))))


def _minimise(objective, start: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    theta = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([theta], max_iter=40, line_search_fn="strong_wolfe", tolerance_change=1e-6)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective(theta)
        loss.backward()
        return loss

    optimizer.step(closure)
    return theta.detach() if bool(theta.detach().isfinite().all()) else start


@checked
def expected_improvement(mean: Tensor, std: Tensor, best: Tensor | float) -> Tensor:
    """By how much a normal value is expected to fall below `best`; for minimisation.

    With z = (best - mean) / std, Phi and phi the standard normal distribution and density:

        EI = E[max(best - Y, 0)] = std * (z * Phi(z) + phi(z))     if std > 0
             max(best - mean, 0)                                   if std = 0

    Returns:
        Shape (*), in the unit of `mean`, >= 0.

    Args:
        mean: shape (*), floating.
        std: shape (*), floating, >= 0.
        best: the lowest value so far.

    Raises:
        TypeError: mean or std is not floating-point.
        ValueError: their shapes differ.

    Source: Jones, Schonlau and Welch (1998), "Efficient Global Optimization of Expensive Black-Box Functions",
    doi:10.1023/A:1008306431147, eq. 15.

    >>> expected_improvement(torch.tensor([0.0]), torch.tensor([1.0]), best=0.0)      # phi(0)
    tensor([0.3989])
    >>> expected_improvement(torch.tensor([0.5, 2.0]), torch.tensor([0.0, 0.0]), best=1.0)
    tensor([0.5000, 0.0000])
    """
    require_floating("expected_improvement", mean=mean, std=std)
    require_same_shape("expected_improvement", mean=mean, std=std)
    gap = best - mean
    log_ei = log_expected_improvement(mean, std.clamp_min(torch.finfo(std.dtype).tiny), best)
    return torch.where(std > 0, log_ei.exp(), gap.clamp_min(0))


@checked
def log_expected_improvement(mean: Tensor, std: Tensor, best: Tensor | float) -> Tensor:
    """The logarithm of `expected_improvement`, exact where EI itself underflows to 0.

    log EI = log(std) + log h(z), h(z) = z * Phi(z) + phi(z). Below z = -1 the two terms of h nearly cancel; there

        log h(z) = log phi(z) + log(1 - |z| * sqrt(pi/2) * erfcx(|z| / sqrt(2)))

    and below z = -1e3 the bracket is 1/z**2 to rounding.

    Returns:
        Shape (*), finite for finite input.

    Args:
        mean: shape (*), floating.
        std: shape (*), floating, > 0.
        best: the lowest value so far.

    Raises:
        TypeError: mean or std is not floating-point.
        ValueError: their shapes differ.

    Source: Ament et al., arXiv:2310.20708v3, section 4.1: with EI in place of its logarithm, all candidates
    look the same (0) far from the best.
    """
    require_floating("log_expected_improvement", mean=mean, std=std)
    require_same_shape("log_expected_improvement", mean=mean, std=std)
    z = (best - mean) / std
    log_phi = -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
    upper = z.clamp_min(-1)
    direct = (
        upper * torch.special.ndtr(upper) + torch.exp(-0.5 * upper.square()) / math.sqrt(2 * math.pi)
    ).log()
    a = -z.clamp(-1e3, -1)
    bracket = torch.log1p(-a * math.sqrt(math.pi / 2) * torch.special.erfcx(a / math.sqrt(2)))
    far = -2 * torch.log(-z.clamp_max(-1))
    return std.log() + torch.where(z > -1, direct, log_phi + torch.where(z > -1e3, bracket, far))


@checked
def encode(space: Space, configurations: Sequence[Params]) -> Tensor:
    """Configurations as points for a distance.

    A number is its coordinate in the unit cube (so a log-uniform one by its logarithm); a choice is a one-hot
    vector times 1/sqrt(2), so that two options are 1 apart, like the ends of a number; what is absent is 0.5,
    or no option.

    Args:
        space: what the names mean.
        configurations: N configurations of the space.

    Returns:
        Shape (N, D'), float64: D' is 1 for a number and K for a choice among K, summed.

    Raises:
        TypeError: `configurations` is no sequence.
        ValueError: a configuration that the space does not have.

    >>> from gradatim.search import LogUniform
    >>> space = Space({"o": Choice(["a", "b"]), "lr": LogUniform(1e-4, 1.0)})
    >>> encode(space, [{"o": "b", "lr": 1e-3}])
    tensor([[0.0000, 0.7071, 0.2500]], dtype=torch.float64)
    """
    several = isinstance(configurations, Sequence) and not isinstance(configurations, str)
    require_type(several, "encode", "configurations", "a sequence of configurations", configurations)
    for params in configurations:
        space.check(params)
    return torch.tensor([_encode(space, params) for params in configurations], dtype=torch.float64)


def _encode(space: Space, params: Params) -> list[float]:
    point: list[float] = []
    for name in space:
        dimension = space[name]
        if isinstance(dimension, Choice):
            hot = [0.0] * len(dimension.options)
            if name in params:
                hot[dimension.index(params[name])] = math.sqrt(0.5)
            point += hot
        else:
            point.append(dimension.to_unit(params[name]) if name in params else 0.5)
    return point


@dataclass(frozen=True)
class GPSearch:
    """Bayesian optimisation with a Gaussian process and expected improvement.

    The first `startup` configurations are Sobol points. Then a process is fitted to the losses of the largest
    budget that has enough trials, and the next configuration is the candidate with the largest expected
    improvement over the lowest posterior mean at a tried point. Candidates are random configurations, then
    ever closer neighbours of the best candidates and of the best trial. A failed trial counts as the worst
    loss seen; a running trial as its own prediction.

    Args:
        startup: trials before the model is used, >= 2.
        candidates: random candidates per proposal, >= 1.
        budget: how far each trial is trained.

    Source: Jones et al. (1998); Snoek et al., "Practical Bayesian Optimization", arXiv:1206.2944v2.
    """

    startup: int = 8
    candidates: int = 512
    budget: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.budget >= 1, "GPSearch", "budget", ">= 1", self.budget)
        require(self.startup >= 2, "GPSearch", "startup", ">= 2", self.startup)
        require(self.candidates >= 1, "GPSearch", "candidates", ">= 1", self.candidates)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Proposal:
        """The candidate of largest expected improvement."""
        trials = history.comparable(least=min(self.startup, 3))
        if len(history) < self.startup or len(trials) < 2:
            unit = sobol_points(len(space), 1, history.seed, history.fresh)[0]
            return Proposal(space.from_unit(unit), self.budget)
        losses = torch.tensor([history.loss(t) for t in trials], dtype=torch.float64)
        losses = torch.where(losses.isfinite(), losses, losses[losses.isfinite()].max())
        y = (losses - losses.mean()) / losses.std().clamp_min(1e-12)
        process = GaussianProcess.fit(encode(space, [t.params for t in trials]), y)
        if history.running:
            process = process.given(encode(space, [t.params for t in history.running]))
        incumbent = min(trials, key=history.rank)
        return Proposal(self._maximise(space, process, incumbent.params, rng), self.budget)

    def _maximise(
        self, space: Space, process: GaussianProcess, incumbent: Params, rng: np.random.Generator
    ) -> Params:
        """Random candidates, then three rounds of smaller and smaller steps from the five best of them."""
        best = process.posterior(process.x)[0].min()
        units = np.vstack([rng.random((self.candidates, len(space))), space.to_unit(incumbent)])
        for step in (0.1, 0.03, 0.01, 0.0):
            configurations = [space.from_unit(u) for u in units]
            points = encode(space, configurations)
            mean, std = process.posterior(points)
            score = log_expected_improvement(mean, std.clamp_min(1e-12), best)
            # Nothing is learnt from a point that was tried; in a small discrete space the best candidate often was.
            score = torch.where(torch.cdist(points, process.x).amin(1) < 1e-9, score - 1e6, score)
            order = score.argsort(descending=True, stable=True).numpy()
            if step == 0.0:
                break
            around = np.repeat(units[np.append(order[:5], len(units) - 1)], 24, axis=0)
            moved = np.where(
                rng.random(around.shape) < 0.5, around + step * rng.normal(size=around.shape), around
            )
            units = np.vstack([np.abs(moved) % 1.0, units[order[:5]], space.to_unit(incumbent)])
        return configurations[order[0]]
