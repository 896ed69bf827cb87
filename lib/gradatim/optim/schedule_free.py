"""Schedule-free SGD and AdamW: an average in the place of a learning-rate schedule."""

from typing import Any

import torch
from torch import Tensor

from .._check import checked, require, require_same_shape
from ._formula import FormulaOptimizer, Group, holds_a_tensor, plain_numbers
from ._ops import Ops
from ._options import check_betas, check_count, check_lr, check_not_negative, check_number
from .bias import bias_correction


@checked
def schedule_free_step(
    y: Tensor, z: Tensor, u: Tensor, *, lr: float, beta: float, c: float
) -> tuple[Tensor, Tensor]:
    r"""One schedule-free step: from y_t and z_t to y_{t+1} and z_{t+1}.

    Three sequences: z moves, x averages z, and y between them is where the gradient is taken.

        x_t     = (y_t - (1 - beta) * z_t) / beta              since y_t = (1 - beta) * z_t + beta * x_t
        z_{t+1} = z_t - lr * u                                 u is the direction at y_t
        x_{t+1} = (1 - c) * x_t + c * z_{t+1}
        y_{t+1} = (1 - beta) * z_{t+1} + beta * x_{t+1}

    Args:
        y: where the gradient was taken, any shape.
        z: the moving sequence, same shape; z_1 = x_1 = y_1.
        u: direction at y, same shape: the gradient, or Adam's.
        lr: learning rate of this step, >= 0.
        beta: share of the average in y, in (0, 1].
        c: weight of the newest z in the average, in [0, 1]; 1 / t for equal weights.

    Returns:
        (y, z) of the next step.

    Raises:
        ValueError: the shapes differ.

    Source: Defazio et al., "The Road Less Scheduled", arXiv:2405.15682v4.

    >>> y, z = schedule_free_step(torch.tensor(0.0), torch.tensor(0.0), torch.tensor(-4.0), lr=1.0, beta=0.75, c=0.5)
    >>> y.item(), z.item()                                     # z = 4, x = 2, y = (4 + 3 * 2) / 4
    (2.5, 4.0)
    """
    require_same_shape("schedule_free_step", y=y, z=z, u=u)
    x = (y - (1 - beta) * z) / beta
    z = z - lr * u
    x = (1 - c) * x + c * z
    y = (1 - beta) * z + beta * x
    return y, z


def schedule_free_in_place(ops: Ops, y: Any, z: Any, u: Any, *, lr: float, beta: float, c: float) -> None:
    """The same step in place and without x: y <- (1 - c) * y + c * z - lr * (1 - beta * (1 - c)) * u."""
    ops.lerp_(y, z, c)
    ops.add_(y, u, -lr * (1 - beta * (1 - c)))
    ops.add_(z, u, -lr)


class _ScheduleFree(FormulaOptimizer):
    """What the two share: the averaging weights, kept per group, and the change between y and x."""

    def _beta(self, group: Group) -> float:
        raise NotImplementedError

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        check_lr(where, options)
        check_not_negative(where, options, "weight_decay", "weight_lr_power")
        check_count(where, options, "warmup_steps")

    def new_state(self, theta: Tensor, group: Group) -> dict[str, Tensor]:
        """z starts at the parameter."""
        state = super().new_state(theta, group)
        return {**state, "z": torch.empty_like(state["z"]).copy_(theta)}

    def _step_group(self, group: Group) -> None:
        where = type(self).__name__
        require(
            group["train_mode"],
            where,
            "train()",
            "called before step() where eval() was",
            group["train_mode"],
        )
        if all(theta.grad is None for theta in group["params"]):
            return
        numbers = plain_numbers(group) if holds_a_tensor(group) else group
        k = group["k"] + 1
        lr = numbers["lr"] * min(1.0, k / group["warmup_steps"] if group["warmup_steps"] else 1.0)
        weight = max(lr, group["lr_max"]) ** group["weight_lr_power"]  # lr**2 while lr does not fall
        weight_sum = group["weight_sum"] + weight
        c = weight / weight_sum if weight_sum else 0.0
        super()._step_group({**numbers, "lr": lr, "c": c})
        group.update(k=k, lr_max=max(lr, group["lr_max"]), weight_sum=weight_sum)

    @torch.no_grad()
    def eval(self) -> None:
        """Put the average x into the parameters: before validation, and before saving the model."""
        self._exchange(to_average=True)

    @torch.no_grad()
    def train(self) -> None:
        """Put y back into the parameters: before training goes on."""
        self._exchange(to_average=False)

    def _exchange(self, *, to_average: bool) -> None:
        for group in self.param_groups:
            if group["train_mode"] is not to_average:
                continue
            beta = self._beta(group)
            for theta in group["params"]:
                if "z" in self.state.get(theta, {}):
                    z = self.state[theta]["z"].to(theta.dtype)
                    # x = y + (1 - 1 / beta) * (z - y), and back: y = x + (1 - beta) * (z - x)
                    theta.lerp_(z, 1 - 1 / beta if to_average else 1 - beta)
            group["train_mode"] = not to_average


class ScheduleFreeSGD(_ScheduleFree):
    r"""Schedule-free SGD: a constant learning rate, and an average that does what a decay would do.

        u = g + weight_decay * y
        y, z <- schedule_free_step(y, z, u, c = lr_t**2 / (lr_1**2 + ... + lr_t**2))

    The parameters hold y while training. Call `eval()` before the model is judged or saved, `train()` before it is
    trained further; batch-norm statistics belong to y and need a pass over data at x.

    Args:
        params: parameters or parameter groups, on any device.
        lr: learning rate >= 0.
        momentum: beta, the share of the average in y, in (0, 1).
        weight_decay: lambda >= 0, at y.
        warmup_steps: lr rises linearly over so many steps.
        weight_lr_power: p of the averaging weights max(lr_1, ..., lr_t)**p; 0 weighs all steps alike.
        maximize: climb instead of descend.
        foreach: None picks the fastest form, True takes all tensors in one list, False one tensor at a time.

    State: `z`: 1x the parameters' memory; in the group `k`, `lr_max`, `weight_sum`, `train_mode`.
    torch has none; checked against the three sequences in float64 (tests/lib/optim/test_against_papers.py).

    Source: Defazio et al., "The Road Less Scheduled", arXiv:2405.15682v4.
    Differs from the paper: the weights use the largest lr so far, so that a schedule that lowers lr does not
    lower the weight of late steps.

    >>> theta = torch.nn.Parameter(torch.tensor([0.0]))
    >>> optimizer = ScheduleFreeSGD([theta], lr=1.0, momentum=0.75)
    >>> for _ in range(2):                              # z: 0, 1, 2 with g = -1; x: 0, 1, 1.5
    ...     theta.grad = torch.tensor([-1.0])
    ...     optimizer.step()
    >>> optimizer.eval()
    >>> theta.item()
    1.5
    """

    clock_names = ()

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0,
        warmup_steps: int = 0,
        weight_lr_power: float = 2.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "warmup_steps": warmup_steps,
                "weight_lr_power": weight_lr_power,
                "maximize": maximize,
                "foreach": foreach,
                "train_mode": True,
                "k": 0,
                "lr_max": 0.0,
                "weight_sum": 0.0,
            },
        )

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        _ScheduleFree.check(where, options)
        check_number(where, "momentum", options["momentum"])
        require(0 < options["momentum"] < 1, where, "momentum", "in (0, 1)", options["momentum"])

    def _beta(self, group: Group) -> float:
        return float(group["momentum"])

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The moving sequence."""
        return ("z",)

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula."""
        g = -g if group["maximize"] else g
        u = g + group["weight_decay"] * theta
        y, z = schedule_free_step(theta, state[0], u, lr=group["lr"], beta=group["momentum"], c=group["c"])
        return y, (z,)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place."""
        g = ops.neg(g) if group["maximize"] else g
        u = ops.add(g, theta, group["weight_decay"]) if group["weight_decay"] != 0 else g
        schedule_free_in_place(ops, theta, state[0], u, lr=group["lr"], beta=group["momentum"], c=group["c"])


class ScheduleFreeAdamW(_ScheduleFree):
    r"""Schedule-free AdamW: Adam's second moment, and averaging in the place of its first moment and of a schedule.

        v   <- beta2 * v + (1 - beta2) * g * g
        u    = g / (sqrt(v / (1 - beta2**t)) + eps) + weight_decay * y
        y, z <- schedule_free_step(y, z, u, c = lr_t**2 / (lr_1**2 + ... + lr_t**2))

    The parameters hold y while training; see `ScheduleFreeSGD` for `eval()` and `train()`.

    Args:
        params: parameters or parameter groups, on any device.
        lr: learning rate >= 0, parameter units per step of z.
        betas: (beta of the average in y, in (0, 1); decay rate of v, in [0, 1)).
        eps: >= 0, added after the square root.
        weight_decay: lambda >= 0, decoupled, at y.
        warmup_steps: lr rises linearly over so many steps.
        weight_lr_power: p of the averaging weights max(lr_1, ..., lr_t)**p; 0 weighs all steps alike.
        maximize: climb instead of descend.
        foreach: None picks the fastest form, True takes all tensors in one list, False one tensor at a time.

    State: `step`, `z`, `exp_avg_sq` (v): 2x the parameters' memory, as AdamW; in the group as `ScheduleFreeSGD`.
    torch has none; checked against Algorithm 1 in float64 (tests/lib/optim/test_against_papers.py).

    Source: Defazio et al., "The Road Less Scheduled", arXiv:2405.15682v4, Algorithm 1.
    Differs from the paper: the weights use the largest lr so far (see `ScheduleFreeSGD`).

    >>> theta = torch.nn.Parameter(torch.tensor([0.0]))
    >>> theta.grad = torch.tensor([-4.0])
    >>> optimizer = ScheduleFreeAdamW([theta], lr=0.5, eps=0.0)
    >>> optimizer.step()                               # u = sign(g), c = 1: z = x = y
    >>> round(theta.item(), 6)
    0.5
    """

    def __init__(
        self,
        params: Any,
        lr: float = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        warmup_steps: int = 0,
        weight_lr_power: float = 2.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "warmup_steps": warmup_steps,
                "weight_lr_power": weight_lr_power,
                "maximize": maximize,
                "foreach": foreach,
                "train_mode": True,
                "k": 0,
                "lr_max": 0.0,
                "weight_sum": 0.0,
            },
        )

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        _ScheduleFree.check(where, options)
        check_betas(where, options)
        check_not_negative(where, options, "eps")
        require(options["betas"][0] > 0, where, "betas[0]", "in (0, 1)", options["betas"][0])

    def _beta(self, group: Group) -> float:
        return float(group["betas"][0])

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The moving sequence and the second moment."""
        return ("z", "exp_avg_sq")

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula."""
        (t,), (z, v), (beta, beta2) = clock, state, group["betas"]
        g = -g if group["maximize"] else g
        v = beta2 * v + (1 - beta2) * g * g
        v_hat = v / bias_correction(beta2, t)
        u = g / (v_hat.sqrt() + group["eps"]) + group["weight_decay"] * theta
        y, z = schedule_free_step(theta, z, u, lr=group["lr"], beta=beta, c=group["c"])
        return y, (z, v)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place."""
        (t,), (z, v), (beta, beta2) = clock, state, group["betas"]
        r = (1 - beta2**t) ** 0.5
        g = ops.neg(g) if group["maximize"] else g
        ops.mul_(v, beta2)
        ops.addcmul_(v, g, g, 1 - beta2)
        denominator = ops.sqrt(v)
        ops.shift_(denominator, r * group["eps"])
        u = ops.div(g, denominator)
        ops.mul_(u, r)
        if group["weight_decay"] != 0:
            ops.add_(u, theta, group["weight_decay"])
        schedule_free_in_place(ops, theta, z, u, lr=group["lr"], beta=beta, c=group["c"])
