"""Normalization: of activations (batch, layer, RMS, group, instance, local response) and of weights."""

from .batch import (
    BatchNorm,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    batch_norm,
    batch_norm_backward,
    batch_norm_backward_in_place,
    batch_norm_formula,
)
from .fold import fold_bn, folded_parameters
from .group import (
    GroupNorm,
    InstanceNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LocalResponseNorm,
    group_norm,
    instance_norm,
    local_response_norm,
)
from .layer import (
    LayerNorm,
    layer_norm,
    layer_norm_backward,
    layer_norm_backward_in_place,
)
from .residual import BasicBlock, PostNorm, PreNorm, SkipInit
from .rms import RMSNorm, rms_norm, rms_norm_backward
from .standardize import standardize, standardize_backward
from .weights import (
    SpectralNorm,
    WeightNorm,
    normalized_weight,
    power_iteration,
    spectral_norm,
    weight_norm,
)

__all__ = [
    "BasicBlock",
    "BatchNorm",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LocalResponseNorm",
    "PostNorm",
    "PreNorm",
    "RMSNorm",
    "SkipInit",
    "SpectralNorm",
    "WeightNorm",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_backward_in_place",
    "batch_norm_formula",
    "fold_bn",
    "folded_parameters",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_backward_in_place",
    "local_response_norm",
    "normalized_weight",
    "power_iteration",
    "rms_norm",
    "rms_norm_backward",
    "spectral_norm",
    "standardize",
    "standardize_backward",
    "weight_norm",
]
