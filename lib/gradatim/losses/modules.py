"""The losses as torch.nn modules, under torch.nn's names where torch has them.

Each class keeps its settings and calls the function of the same formula; the documentation is at the function.
Weights are buffers, so `.to(device)` moves them and `state_dict` holds them, as in torch.
"""

from torch import Tensor, nn

from .._check import ArgumentTypeError, checked, refusal, require_type
from . import binary, classification, distribution, embedding, focal, margin, overlap, regression


class _Loss(nn.Module):
    """What all share: a reduction, and a repr that shows the settings."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.reduction = reduction

    def extra_repr(self) -> str:
        settings = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        settings.pop("training")
        return ", ".join(f"{name}={value!r}" for name, value in settings.items())


class MSELoss(_Loss):
    """`mse_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return regression.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """`l1_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return regression.l1_loss(input, target, reduction=self.reduction)


class RMSELoss(nn.Module):
    """`rmse_loss` as a module: shapes, unit and errors as there. It takes no reduction."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return regression.rmse_loss(input, target)


class HuberLoss(_Loss):
    """`huber_loss` as a module: settings, shapes, unit and errors as there."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        require_type(isinstance(reduction, str), "HuberLoss", "reduction", "a string", reduction)
        if not isinstance(delta, (int, float)) or isinstance(delta, bool):
            words = f"delta must be a float or int, got: {type(delta)}"
            raise refusal("HuberLoss", "delta", "a float", repr(delta), words, ArgumentTypeError)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return regression.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class SmoothL1Loss(_Loss):
    """`smooth_l1_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, *, beta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return regression.smooth_l1_loss(input, target, beta=self.beta, reduction=self.reduction)


class LogCoshLoss(_Loss):
    """`log_cosh_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return regression.log_cosh_loss(input, target, reduction=self.reduction)


class QuantileLoss(_Loss):
    """`quantile_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, tau: float = 0.5, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.tau = tau

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return regression.quantile_loss(input, target, tau=self.tau, reduction=self.reduction)


class NLLLoss(_Loss):
    """`nll_loss` as a module: settings, shapes, unit and errors as there."""

    weight: Tensor | None

    @checked
    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return classification.nll_loss(
            input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class CrossEntropyLoss(_Loss):
    """`cross_entropy` as a module: settings, shapes, unit and errors as there."""

    weight: Tensor | None

    @checked
    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return classification.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
        )


class GeneralizedCrossEntropyLoss(_Loss):
    """`generalized_cross_entropy` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, *, q: float = 0.7, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.q = q

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return classification.generalized_cross_entropy(logits, target, q=self.q, reduction=self.reduction)


class BCELoss(_Loss):
    """`binary_cross_entropy` as a module: settings, shapes, unit and errors as there."""

    weight: Tensor | None

    @checked
    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return binary.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """`binary_cross_entropy_with_logits` as a module: settings, shapes, unit and errors as there."""

    weight: Tensor | None
    pos_weight: Tensor | None

    @checked
    def __init__(
        self, weight: Tensor | None = None, *, pos_weight: Tensor | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return binary.binary_cross_entropy_with_logits(
            input, target, weight=self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class MultiLabelSoftMarginLoss(_Loss):
    """`multilabel_soft_margin_loss` as a module: settings, shapes, unit and errors as there."""

    weight: Tensor | None

    @checked
    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return binary.multilabel_soft_margin_loss(input, target, weight=self.weight, reduction=self.reduction)


class FocalLoss(_Loss):
    """`focal_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, *, gamma: float = 2.0, alpha: float | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.gamma = gamma
        self.alpha = alpha

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return focal.focal_loss(logits, target, gamma=self.gamma, alpha=self.alpha, reduction=self.reduction)


class MulticlassFocalLoss(_Loss):
    """`multiclass_focal_loss` as a module: settings, shapes, unit and errors as there."""

    alpha: Tensor | None

    @checked
    def __init__(self, *, gamma: float = 2.0, alpha: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.gamma = gamma
        self.register_buffer("alpha", alpha)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return focal.multiclass_focal_loss(
            logits, target, gamma=self.gamma, alpha=self.alpha, reduction=self.reduction
        )


class DiceLoss(_Loss):
    """`dice_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(
        self, *, eps: float = 1.0, squared: bool = False, dim: overlap.Dims = None, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.eps = eps
        self.squared = squared
        self.dim = dim

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return overlap.dice_loss(
            input, target, eps=self.eps, squared=self.squared, dim=self.dim, reduction=self.reduction
        )


class TverskyLoss(_Loss):
    """`tversky_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(
        self,
        *,
        alpha: float = 0.5,
        beta: float = 0.5,
        eps: float = 1.0,
        dim: overlap.Dims = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.alpha = alpha
        self.beta = beta
        self.eps = eps
        self.dim = dim

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return overlap.tversky_loss(
            input,
            target,
            alpha=self.alpha,
            beta=self.beta,
            eps=self.eps,
            dim=self.dim,
            reduction=self.reduction,
        )


class KLDivLoss(_Loss):
    """`kl_div` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, *, log_target: bool = False, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return distribution.kl_div(input, target, log_target=self.log_target, reduction=self.reduction)


class PoissonNLLLoss(_Loss):
    """`poisson_nll_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(
        self, log_input: bool = True, full: bool = False, *, eps: float = 1e-8, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return distribution.poisson_nll_loss(
            input, target, log_input=self.log_input, full=self.full, eps=self.eps, reduction=self.reduction
        )


class GaussianNLLLoss(_Loss):
    """`gaussian_nll_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        return distribution.gaussian_nll_loss(
            input, target, var, full=self.full, eps=self.eps, reduction=self.reduction
        )


class HingeLoss(_Loss):
    """`hinge_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, *, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return margin.hinge_loss(input, target, margin=self.margin, reduction=self.reduction)


class SquaredHingeLoss(_Loss):
    """`squared_hinge_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, *, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return margin.squared_hinge_loss(input, target, margin=self.margin, reduction=self.reduction)


class SoftMarginLoss(_Loss):
    """`soft_margin_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return margin.soft_margin_loss(input, target, reduction=self.reduction)


class HingeEmbeddingLoss(_Loss):
    """`hinge_embedding_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, margin: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return margin.hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class MarginRankingLoss(_Loss):
    """`margin_ranking_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return margin.margin_ranking_loss(
            input1, input2, target, margin=self.margin, reduction=self.reduction
        )


class MultiMarginLoss(_Loss):
    """`multi_margin_loss` as a module: settings, shapes, unit and errors as there."""

    weight: Tensor | None

    @checked
    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, *, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.p = p
        self.margin = margin
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return margin.multi_margin_loss(
            input, target, p=self.p, margin=self.margin, weight=self.weight, reduction=self.reduction
        )


class MultiLabelMarginLoss(_Loss):
    """`multilabel_margin_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return margin.multilabel_margin_loss(input, target, reduction=self.reduction)


class CosineEmbeddingLoss(_Loss):
    """`cosine_embedding_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return embedding.cosine_embedding_loss(
            input1, input2, target, margin=self.margin, reduction=self.reduction
        )


class TripletMarginLoss(_Loss):
    """`triplet_margin_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return embedding.triplet_margin_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )


class TripletMarginWithDistanceLoss(_Loss):
    """`triplet_margin_with_distance_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(
        self,
        *,
        distance_function: embedding.Distance | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.distance_function = distance_function
        self.margin = margin
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return embedding.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )


class InfoNCELoss(_Loss):
    """`info_nce_loss` as a module: settings, shapes, unit and errors as there."""

    @checked
    def __init__(self, *, temperature: float = 0.1, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.temperature = temperature

    def forward(self, query: Tensor, key: Tensor, negatives: Tensor | None = None) -> Tensor:
        return embedding.info_nce_loss(
            query, key, negatives, temperature=self.temperature, reduction=self.reduction
        )
