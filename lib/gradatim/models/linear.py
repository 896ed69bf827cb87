"""Linear models: regression, logistic regression, softmax regression. Their losses are convex, so they start at 0."""

import torch
from torch import Tensor, nn

from .._check import checked, require, require_floating
from .initial import make_linear, require_features, require_widths


class LinearRegression(nn.Module):
    """One number per row, y = x w + b, or several, y = x W' + b.

    Shapes: x (N, D) -> (N) for out_features=None, else (N, K). Fit it with mean squared error.

    Args:
        in_features: D >= 1.
        out_features: K >= 1, or None for one number per row without a last dimension.

    Raises:
        ValueError: a width below 1; on the call, x of another width.

    >>> LinearRegression(3)(torch.ones(2, 3))
    tensor([0., 0.], grad_fn=<SqueezeBackward1>)
    """

    @checked
    def __init__(self, in_features: int, out_features: int | None = None) -> None:
        super().__init__()
        require_widths("LinearRegression", out_features=1 if out_features is None else out_features)
        self.out_features = out_features
        self.linear = make_linear(in_features, out_features or 1, init="zeros")

    def forward(self, x: Tensor) -> Tensor:
        """Predictions, in the targets' unit."""
        require_features(type(self).__name__, x, self.linear.in_features)
        y = self.linear(x)
        return y.squeeze(-1) if self.out_features is None else y

    @torch.no_grad()
    @checked
    def solve(self, x: Tensor, y: Tensor, *, l2: float = 0.0) -> "LinearRegression":
        """Set the weights that minimise mean((x w + b - y)**2) + l2 * |w|**2, the bias unpenalised.

        What gradient descent should come to: with x and y centred, w is the solution of a least-squares problem
        that has the rows sqrt(N * l2) * I appended. Computed in float64 by QR, or by SVD where l2 = 0 and columns
        depend on each other (the smallest w then).

        Args:
            x: shape (N, D), floating, N >= 1.
            y: shape (N), or (N, K), floating.
            l2: >= 0.

        Returns:
            The model itself.

        Raises:
            TypeError: x or y is not floating-point.
            ValueError: another shape; l2 < 0.
        """
        where = "LinearRegression.solve"
        require_floating(where, x=x, y=y)
        require_features(where, x, self.linear.in_features)
        require(x.ndim == 2, where, "x", "of shape (N, D)", tuple(x.shape))
        shape = (len(x),) if self.out_features is None else (len(x), self.out_features)
        require(y.shape == shape and len(x) > 0, where, "y", f"of shape {shape}, N >= 1", tuple(y.shape))
        require(0 <= l2 < float("inf"), where, "l2", ">= 0", l2)
        X, Y = x.double(), y.double().reshape(len(x), -1)
        x_mean, y_mean = X.mean(0), Y.mean(0)
        ridge = (len(x) * l2) ** 0.5 * torch.eye(X.shape[1], dtype=X.dtype, device=X.device)
        rows = torch.cat([X - x_mean, ridge])
        values = torch.cat([Y - y_mean, Y.new_zeros(X.shape[1], Y.shape[1])])
        w = torch.linalg.pinv(rows) @ values if l2 == 0 else torch.linalg.lstsq(rows, values).solution
        self.linear.weight.copy_(w.T)
        self.linear.bias.copy_(y_mean - x_mean @ w)
        return self


class LogisticRegression(nn.Module):
    """One logit per row, z = x w + b; the probability of class 1 is sigmoid(z).

    Shapes: x (N, D) -> logits (N). Fit it with binary cross-entropy *with logits*.

    Args:
        in_features: D >= 1.

    Raises:
        ValueError: a width below 1; on the call, x of another width.
    """

    @checked
    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.linear = make_linear(in_features, 1, init="zeros")

    def forward(self, x: Tensor) -> Tensor:
        """Logits, in nats."""
        require_features(type(self).__name__, x, self.linear.in_features)
        return self.linear(x).squeeze(-1)  # type: ignore[no-any-return]


class SoftmaxRegression(nn.Module):
    """K logits per row, z = x W' + b; the probabilities are softmax(z).

    Shapes: x (N, D) -> logits (N, K). Fit it with cross-entropy, which takes logits.

    Args:
        in_features: D >= 1.
        num_classes: K >= 2.

    Raises:
        ValueError: a number below that; on the call, x of another width.
    """

    @checked
    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        require(num_classes >= 2, "SoftmaxRegression", "num_classes", ">= 2", num_classes)
        self.linear = make_linear(in_features, num_classes, init="zeros")

    def forward(self, x: Tensor) -> Tensor:
        """Logits, in nats."""
        require_features(type(self).__name__, x, self.linear.in_features)
        return self.linear(x)  # type: ignore[no-any-return]
