"""Muon: momentum, made orthogonal."""

import math
from typing import Any

import torch
from torch import Tensor

from .._check import checked, require, require_floating, require_sizes
from ._formula import FormulaOptimizer, Group
from ._ops import Ops
from ._options import check_count, check_lr, check_not_negative, check_numbers

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
LR_FNS = (None, "original", "match_rms_adamw")


def _multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions for it; without them torch multiplies entry by entry, up to 40 times slower."""
    if not torch.backends.mkldnn.is_available():
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # what torch itself asks


CPU_MULTIPLIES_BFLOAT16 = _multiplies_bfloat16()
SMALL = 512  # entries: below this the casts cost more than the products


@checked
def newton_schulz(
    g: Tensor,
    *,
    steps: int = 5,
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    eps: float = 1e-7,
    dtype: torch.dtype = torch.bfloat16,
) -> Tensor:
    r"""About the orthogonal matrix closest to `g`: U @ V.T where g = U @ S @ V.T.

        X <- g / max(|g|, eps)                              Frobenius norm: no singular value above 1
        X <- a * X + (b * A + c * A @ A) @ X,  A = X @ X.T  `steps` times; a wide X, so that A is small

    Each turn maps every singular value s to a*s + b*s**3 + c*s**5 and leaves U and V as they are. With the default
    coefficients small values grow fast and all end up between about 0.7 and 1.2; the iteration does not converge
    to 1, which training does not need.

    Args:
        g: matrix (n, m), real; any scale.
        steps: turns, 0 <= steps < 100.
        coefficients: (a, b, c).
        eps: > 0, lower bound of the norm.
        dtype: of the arithmetic.

    Returns:
        Matrix (n, m) of `dtype`.

    Raises:
        TypeError: g is not floating-point.
        ValueError: g is no matrix; `steps` or `coefficients` out of range.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
    https://kellerjordan.github.io/posts/muon/.
    Each product is summed in float32 and rounded to `dtype`. Where a CPU is slow at that for bfloat16, the same factors
    are multiplied as float32 and the result is rounded: the same numbers, but for the order of the sums.

    >>> x = newton_schulz(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), steps=1, coefficients=(1.5, -0.5, 0.0),
    ...                   dtype=torch.float64)              # singular values .6 and .8
    >>> [round(s, 6) for s in x.diag().tolist()]            # 1.5 * .6 - .5 * .6**3, 1.5 * .8 - .5 * .8**3
    [0.792, 0.944]
    """
    where = "newton_schulz"
    require_floating(where, g=g)
    require(g.dim() == 2, where, "g", "a matrix", tuple(g.shape))
    check_count(where, {"steps": steps}, "steps")
    require(steps < 100, where, "steps", "in [0, 100)", steps)
    check_numbers(where, {"coefficients": coefficients}, "coefficients", 3, "three numbers")
    a, b, c = coefficients
    tall = g.size(0) > g.size(1)
    x = g.to(dtype)
    x = x.T if tall else x
    x = x / torch.linalg.vector_norm(x).clamp(min=eps)
    slow = dtype == torch.bfloat16 and x.device.type == "cpu" and not CPU_MULTIPLIES_BFLOAT16
    held = torch.float32 if slow and x.numel() > SMALL else dtype

    def rounded(product: Tensor) -> Tensor:
        return product.to(dtype).to(held)

    x = x.to(held)
    for _ in range(steps):
        gram = rounded(x @ x.T)
        poly = rounded(torch.addmm(gram, gram, gram, beta=b, alpha=c))
        x = rounded(torch.addmm(x, poly, x, beta=a))
    x = x.to(dtype)
    return x.T if tall else x


def muon_direction(
    g: Tensor,
    b: Tensor,
    *,
    momentum: float,
    nesterov: bool = True,
    steps: int = 5,
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    eps: float = 1e-7,
) -> tuple[Tensor, Tensor]:
    r"""The direction u of one Muon step, so that theta <- theta - lr * u; and the new buffer.

        b <- momentum * b + (1 - momentum) * g
        w  = b,  or (1 - momentum) * g + momentum * b      (Nesterov)
        u  = newton_schulz(w)

    Args:
        g: gradient, a matrix (n, m).
        b: momentum buffer (n, m), zero before the first step.
        momentum: >= 0, below 1 to be an average.
        nesterov: look ahead along the buffer.
        steps, coefficients, eps: see `newton_schulz`.

    Returns:
        (u, b). u is bfloat16, about orthogonal, and does not change when g and b are scaled.

    Source: Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/.

    >>> u, b = muon_direction(torch.tensor([[4.0]]), torch.tensor([[0.0]]), momentum=0.5, steps=0)
    >>> u.item(), b.item()                                  # a 1 x 1 matrix is orthogonal when it is 1 or -1
    (1.0, 2.0)
    """
    b = momentum * b + (1 - momentum) * g
    w = (1 - momentum) * g + momentum * b if nesterov else b
    return newton_schulz(w, steps=steps, coefficients=coefficients, eps=eps), b


def muon_lr_factor(shape: torch.Size | tuple[int, ...], adjust_lr_fn: str | None) -> float:
    """How lr is scaled for an (n, m) matrix: an orthogonal step's entries are small where the matrix is large.

    Args:
        shape: (n, m).
        adjust_lr_fn: None or "original": sqrt(max(1, n / m)); "match_rms_adamw": 0.2 * sqrt(max(n, m)), which gives
            the step the root mean square of a typical AdamW step, so that AdamW's lr can be kept.

    Returns:
        The factor, > 0.

    Raises:
        TypeError: `shape` holds something else than integers.
        ValueError: not two sizes >= 1; another word for `adjust_lr_fn`.

    Source: "match_rms_adamw": Liu et al., "Muon is Scalable for LLM Training", arXiv:2502.16982v1.

    >>> muon_lr_factor((36, 4), "original"), muon_lr_factor((4, 25), "match_rms_adamw")
    (3.0, 1.0)
    """
    matrix = len(require_sizes("muon_lr_factor", "shape", shape, 1)) == 2
    require(matrix, "muon_lr_factor", "shape", "(n, m)", tuple(shape))
    require(adjust_lr_fn in LR_FNS, "muon_lr_factor", "adjust_lr_fn", f"one of {LR_FNS}", adjust_lr_fn)
    n, m = shape
    if adjust_lr_fn == "match_rms_adamw":
        return 0.2 * math.sqrt(max(n, m))
    return math.sqrt(max(1, n / m))


class Muon(FormulaOptimizer):
    r"""Muon: for the weight matrices of hidden layers; train all other parameters with AdamW.

        theta <- theta - lr * weight_decay * theta
        theta <- theta - lr * muon_lr_factor(...) * muon_direction(g, ...)

    Args:
        params: matrices, or groups of them; real.
        lr: learning rate >= 0; the spectral norm of a step, up to the factor.
        weight_decay: lambda >= 0, decoupled.
        momentum: >= 0.
        nesterov: look ahead along the buffer.
        ns_coefficients, eps, ns_steps: see `newton_schulz`; the arithmetic is bfloat16.
        adjust_lr_fn: None, "original" or "match_rms_adamw": see `muon_lr_factor`.

    State: `momentum_buffer` (b): 1x the parameters' memory.
    Same numbers as torch.optim.Muon (tests/lib/optim/test_against_torch.py).

    Raises:
        ValueError: a hyperparameter out of range, or a parameter that is not a matrix.
        RuntimeError: a complex parameter or a sparse gradient.

    >>> theta = torch.nn.Parameter(torch.tensor([[1.0]]))
    >>> theta.grad = torch.tensor([[-7.0]])
    >>> Muon([theta], lr=0.5, weight_decay=0.0, ns_steps=0).step()
    >>> theta.item()
    1.5
    """

    elementwise = False
    in_lists = False  # a product of matrices has no list form
    supports_complex = False
    clock_names = ()

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        check_lr(where, options)
        check_not_negative(where, options, "weight_decay", "momentum", "eps")
        check_count(where, options, "ns_steps")
        require(0 <= options["ns_steps"] < 100, where, "ns_steps", "in [0, 100)", options["ns_steps"])
        check_numbers(where, options, "ns_coefficients", 3, "three numbers")
        name = options["adjust_lr_fn"]
        says = f"Adjust learning rate function {name} is not supported"
        known = name in LR_FNS
        require(known, where, "adjust_lr_fn", "None, 'original' or 'match_rms_adamw'", name, says)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group of matrices."""
        super().add_param_group(param_group)
        for theta in self.param_groups[-1]["params"]:
            if theta.dim() != 2:
                self.param_groups.pop()
                says = (
                    f"Muon only supports 2D parameters whereas we found a parameter with size: {theta.size()}"
                )
                require(False, "Muon", "every parameter", "a matrix", tuple(theta.shape), says)

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The buffer."""
        return ("momentum_buffer",)

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula."""
        u, b = muon_direction(
            g,
            *state,
            momentum=group["momentum"],
            nesterov=group["nesterov"],
            steps=group["ns_steps"],
            coefficients=group["ns_coefficients"],
            eps=group["eps"],
        )
        lr = group["lr"] * muon_lr_factor(theta.shape, group["adjust_lr_fn"])
        return theta - group["lr"] * group["weight_decay"] * theta - lr * u, (b,)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place."""
        (b,) = state
        ops.lerp_(b, g, 1 - group["momentum"])
        w = ops.lerp(g, b, group["momentum"]) if group["nesterov"] else b
        u = newton_schulz(w, steps=group["ns_steps"], coefficients=group["ns_coefficients"], eps=group["eps"])
        ops.mul_(theta, 1 - group["lr"] * group["weight_decay"])
        ops.add_(theta, u, -group["lr"] * muon_lr_factor(theta.shape, group["adjust_lr_fn"]))
