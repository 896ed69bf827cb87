"""Normalizing weights instead of activations: weight norm and spectral norm, as torch parametrizations."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .._check import checked, require, require_broadcast, require_dim, require_floating


def norm_except(v: Tensor, dim: int | None) -> Tensor:
    """Euclidean norm over every axis but `dim`, with size 1 there; dim None: over all, a number.

    >>> norm_except(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), dim=0)
    tensor([[5.],
            [2.]])
    """
    if dim is None:
        return torch.linalg.vector_norm(v)
    dims = [d for d in range(v.dim()) if d != dim % v.dim()]
    return torch.linalg.vector_norm(v, dim=dims, keepdim=True) if dims else v.abs()


@checked
def normalized_weight(v: Tensor, g: Tensor, dim: int | None = 0) -> Tensor:
    """The weight of weight norm: direction v, length g.

        w = g * v / ||v||        one length per index of `dim` (per output of a layer when dim = 0)

    Args:
        v: the direction, any shape, floating-point.
        g: the lengths, with v's size on `dim` and 1 elsewhere; one number for dim=None.
        dim: the axis that keeps a length for each index; None: one length for all.

    Returns:
        w, of the shape of v.

    Raises:
        TypeError: v or g is not floating-point.
        ValueError: no such axis; g does not broadcast to v.

    Source: Salimans and Kingma, "Weight Normalization", arXiv:1602.07868, eq. 2.

    >>> normalized_weight(torch.tensor([[3.0, 4.0]]), torch.tensor([[10.0]]))
    tensor([[6., 8.]])
    """
    require_floating("normalized_weight", v=v, g=g)
    if dim is not None:
        require_dim("normalized_weight", dim, v.dim())
    require_broadcast("normalized_weight", v.shape, g=g)
    return v * (g / norm_except(v, dim))


class WeightNorm(nn.Module):
    """The parametrization behind `weight_norm`: (g, v) -> weight.

    Args:
        dim: the axis that keeps a length for each index; None: one length for all.
    """

    @checked
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        """See `normalized_weight`."""
        return normalized_weight(v, g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """g and v of a given weight: its norms, and the weight itself."""
        return norm_except(weight, self.dim), weight


@checked
def weight_norm(module: nn.Module, name: str = "weight", dim: int | None = 0) -> nn.Module:
    """Make `module.<name>` a function of a length g and a direction v, which are trained in its place.

    The two parameters are called parametrizations.<name>.original0 (g) and .original1 (v), as by
    torch.nn.utils.parametrizations.weight_norm.

    Args:
        module: changed in place.
        name: of its parameter.
        dim: the axis that keeps a length of its own for each index; None: one length for all.

    Returns:
        The module.

    Raises:
        ValueError: the module has no tensor of that name.

    >>> layer = weight_norm(nn.Linear(3, 2))
    >>> [tuple(p.shape) for p in layer.parametrizations.weight.parameters()]
    [(2, 1), (2, 3)]
    """
    require_weight("weight_norm", module, name)
    parametrize.register_parametrization(module, name, WeightNorm(dim), unsafe=True)
    return module


def require_weight(where: str, module: nn.Module, name: str) -> Tensor:
    """The tensor of that name; ValueError where there is none."""
    weight = getattr(module, name, None)
    kind = type(module).__name__
    require(isinstance(weight, Tensor), where, "name", f"the name of a parameter of {kind}", name)
    assert isinstance(weight, Tensor)
    return weight


@torch.no_grad()
@checked
def power_iteration(
    matrix: Tensor, u: Tensor, v: Tensor, steps: int, eps: float = 1e-12
) -> tuple[Tensor, Tensor]:
    """Approach the first singular vectors of a matrix by multiplying with it and its transpose.

        u <- W v / ||W v||,   v <- W^T u / ||W^T u||        `steps` times; then u^T W v is nearly ||W||_2

    The error shrinks by (sigma_2 / sigma_1)**2 each time.

    Args:
        matrix: W, shape (m, n), floating-point.
        u: shape (m,).
        v: shape (n,).
        steps: >= 0.
        eps: lengths below it are taken as eps.

    Returns:
        The new (u, v).

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: shapes that do not fit; steps < 0.

    Source: as `spectral_norm`, Algorithm 1.
    """
    where = "power_iteration"
    require_floating(where, matrix=matrix, u=u, v=v)
    require(matrix.dim() == 2, where, "matrix", "of 2 dimensions", tuple(matrix.shape))
    for name, vector, size in (("u", u, matrix.shape[0]), ("v", v, matrix.shape[1])):
        require(tuple(vector.shape) == (size,), where, name, f"of shape ({size},)", tuple(vector.shape))
    require(steps >= 0, where, "steps", ">= 0", steps)
    for _ in range(steps):
        u = F.normalize(matrix @ v, dim=0, eps=eps)
        v = F.normalize(matrix.mT @ u, dim=0, eps=eps)
    return u, v


class SpectralNorm(nn.Module):
    """The parametrization behind `spectral_norm`. Buffers `_u` and `_v`: the singular vectors so far, as torch's.

    Args:
        weight: what is divided, at least 1 dimension, floating-point; a vector is divided by its length.
        n_power_iterations: steps of a forward pass in training, >= 1.
        dim: the axis of the outputs.
        eps: for vectors that are nearly 0.

    Raises:
        TypeError: `weight` is not floating-point.
        ValueError: no dimension, no such axis, or no iteration.
    """

    _u: Tensor
    _v: Tensor

    @checked
    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        require_floating("SpectralNorm", weight=weight)
        require(weight.dim() >= 1, "SpectralNorm", "weight", "of at least 1 dimension", tuple(weight.shape))
        require(n_power_iterations >= 1, "SpectralNorm", "n_power_iterations", ">= 1", n_power_iterations)
        require_dim("SpectralNorm", dim, weight.dim())
        self.n_power_iterations, self.dim, self.eps = n_power_iterations, dim % weight.dim(), eps
        if weight.dim() > 1:
            matrix = self.matrix(weight.detach())
            u = matrix.new_empty(matrix.shape[0]).normal_()
            v = matrix.new_empty(matrix.shape[1]).normal_()
            u, v = F.normalize(u, dim=0, eps=eps), F.normalize(v, dim=0, eps=eps)
            u, v = power_iteration(matrix, u, v, 15, eps)
            self.register_buffer("_u", u)
            self.register_buffer("_v", v)

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight as a matrix: `dim` first, the rest flattened."""
        return weight.movedim(self.dim, 0).flatten(1)

    def forward(self, weight: Tensor) -> Tensor:
        """weight / sigma; in training with `n_power_iterations` further steps of the power iteration."""
        if weight.dim() == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self.matrix(weight)
        u, v = self._u.clone(), self._v.clone()  # a second forward pass must not change what this one saved
        if self.training:
            u, v = power_iteration(matrix, u, v, self.n_power_iterations, self.eps)
            self._u.copy_(u)
            self._v.copy_(v)
        sigma = torch.dot(u, matrix @ v)
        return weight / sigma

    def right_inverse(self, value: Tensor) -> Tensor:
        """An assigned weight is taken as it is, and normalized when read."""
        return value


@checked
def spectral_norm(
    module: nn.Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> nn.Module:
    """Divide `module.<name>` by its largest singular value, so that the layer stretches no vector.

        W_SN = W / sigma(W),   sigma(W) = u^T W v        u, v from the power iteration, held constant in backward

    One step of the iteration per forward pass in training; none in evaluation.

    Args:
        module: changed in place.
        name: of its parameter.
        n_power_iterations: steps of a forward pass in training, >= 1.
        eps: for vectors that are nearly 0.
        dim: the axis of the outputs; None: 1 for transposed convolutions, 0 for all others.

    Returns:
        The module.

    Raises:
        ValueError: the module has no tensor of that name; no such axis; no iteration.

    Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", arXiv:1802.05957,
    Algorithm 1. Same numbers and state names as torch.nn.utils.parametrizations.spectral_norm (test_weights.py).

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    >>> spectral_norm(layer).weight.detach().round(decimals=4)     # singular values 3 and 1 become 1 and 1/3
    tensor([[1.0000, 0.0000],
            [0.0000, 0.3333]])
    """
    weight = require_weight("spectral_norm", module, name)
    require(n_power_iterations >= 1, "spectral_norm", "n_power_iterations", ">= 1", n_power_iterations)
    if dim is not None:
        require_dim("spectral_norm", dim, weight.dim())
    else:
        transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
        dim = 1 if isinstance(module, transposed) else 0
    parametrize.register_parametrization(module, name, SpectralNorm(weight, n_power_iterations, dim, eps))
    return module
