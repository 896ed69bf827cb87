"""What the families' own cases leave out, as cases for `python -m gradatim.gpu_lint`; named after the functions."""

import torch
from torch import nn

from gradatim import activations, gradients, initialization, losses, normalization, regularization


def backward(fn):
    return lambda *inputs: fn(*inputs).sum().backward()


def features(device):
    x = torch.rand(6, 4, requires_grad=True)
    x.grad = torch.rand(6, 4)
    return (x,)


def images(device):
    return (torch.rand(4, 1, 8, 8),)


def rows(device):
    return torch.rand(6, 4), torch.rand(6, 4), torch.rand(6, 1), torch.rand(6, 1), torch.rand(4)


def channels(device):
    return torch.rand(6, 4), torch.rand(6, 4), torch.rand(1, 4), torch.rand(1, 4)


def model(device):
    parts = nn.Linear(4, 3), normalization.BatchNorm1d(3), regularization.Dropout(0.3)
    return nn.Sequential(*parts), torch.rand(6, 4)


def averaged(kind, **options):
    """An average and a model. A tensor without values cannot be copied, so the average gets a model of its own."""

    def build(device):
        average, source = kind(nn.Identity(), **options), model(device)[0]
        average.module, average.n_averaged = model(device)[0], torch.zeros((), dtype=torch.long)
        return average, source

    return lambda average, source: [average.update_parameters(source) for _ in range(2)], build


def record(network, x):
    with gradients.Recorder(network):
        network(x).sum().backward()


ONE_ARGUMENT = {
    activations: ("hardtanh_derivative", "leaky_relu_derivative", "relu_derivative"),
    gradients: ("dead_fraction", "get_total_norm", "statistics"),
    initialization: (
        *("eye_", "kaiming_normal_", "kaiming_uniform_", "lecun_normal_", "normal_", "ones_", "orthogonal_"),
        *("uniform_", "xavier_normal_", "xavier_uniform_", "zeros_", "fans"),
    ),
}
DERIVATIVES = [
    n for n in activations.__all__ if n.endswith("_derivative") and n not in ONE_ARGUMENT[activations]
]
CASES = {
    **{n: (getattr(module, n), features) for module, names in ONE_ARGUMENT.items() for n in names},
    **{n: (backward(getattr(activations, n)), features) for n in DERIVATIVES},
    "softmin": (backward(lambda x: activations.softmin(x, 1)), features),
    "threshold": (backward(lambda x: activations.threshold(x, 0.1, 0.2)), features),
    "prelu": (
        backward(activations.prelu),
        lambda device: (torch.rand(6, 4, requires_grad=True), torch.rand(4)),
    ),
    "softmax_backward": (lambda x: activations.softmax_backward(x, x, 1), features),
    "log_softmax_backward": (lambda x: activations.log_softmax_backward(x, x, 1), features),
    "constant_": (lambda x: initialization.constant_(x, 0.1), features),
    "dirac_": (initialization.dirac_, lambda device: (torch.rand(4, 2, 3),)),
    "smooth_labels": (lambda y: losses.smooth_labels(y, 3, 0.1), lambda device: (torch.randint(3, (5,)),)),
    "standardize": (lambda x: normalization.standardize(x, [1]), features),
    "standardize_backward": (lambda g, x, m, s, w: normalization.standardize_backward(g, x, s, [1]), rows),
    "layer_norm_backward": (normalization.layer_norm_backward, rows),
    "layer_norm_backward_in_place": (normalization.layer_norm_backward_in_place, rows),
    "rms_norm_backward": (lambda g, x, m, s, w: normalization.rms_norm_backward(g, x, s, w), rows),
    "batch_norm_backward": (normalization.batch_norm_backward, channels),
    "batch_norm_backward_in_place": (normalization.batch_norm_backward_in_place, channels),
    "batch_norm_formula": (lambda g, x, w, b: normalization.batch_norm_formula(x, w, b, 0.1), channels),
    "normalized_weight": (lambda g, x, m, s, w: normalization.normalized_weight(x, s), rows),
    "power_iteration": (lambda g, x, m, s, w: normalization.power_iteration(x, m[:, 0], w, 2), rows),
    "spectral_norm": (
        lambda layer, x: normalization.spectral_norm(layer)(x).sum().backward(),
        lambda device: (nn.Linear(4, 3), torch.rand(6, 4)),
    ),
    "dropout1d": (lambda x: regularization.dropout1d(x, 0.3), lambda device: (torch.rand(4, 3, 5),)),
    "dropout3d": (lambda x: regularization.dropout3d(x, 0.3), lambda device: (torch.rand(4, 3, 5, 2, 2),)),
    "affine": (lambda x: regularization.affine(x, *x[:, 0, :3, 0].T), images),
    "shift": (
        lambda x: regularization.shift(x, *torch.ones(2, 4, dtype=torch.long, device=x.device)),
        images,
    ),
    "random_box": (lambda x: regularization.random_box(5, 6, x[:, 0, 0, 0], x), images),
    "predict_with_shifts": (lambda x: regularization.predict_with_shifts(nn.Flatten(), x), images),
    "mc_dropout": (regularization.mc_dropout, model),
    "update_bn": (lambda network, x: regularization.update_bn([x, x], network), model),
    "soft_threshold": (lambda x: regularization.soft_threshold(x, 0.1), features),
    "early_stopping_as_l2": (lambda x: regularization.early_stopping_as_l2(x, 0.1, 3), features),
    "EMA": averaged(regularization.EMA),
    "EMA warm-up": averaged(regularization.EMA, warmup=True, use_buffers=True),
    "SWA": averaged(regularization.SWA),
    "clip_grad_norm_": (lambda x: gradients.clip_grad_norm_(x, 1.0), features),
    "clip_grad_value_": (lambda x: gradients.clip_grad_value_(x, 0.1), features),
    "clip_grads_with_norm_": (lambda x: gradients.clip_grads_with_norm_(x, 1.0, x.grad.norm()), features),
    "update_ratio": (lambda x: gradients.update_ratio(x, 2 * x), features),
    "split_batch": (lambda x: gradients.split_batch((x, x), 2), features),
    "accumulate_gradients": (
        lambda network, x: gradients.accumulate_gradients(lambda part: network(part).mean(), [x, x]),
        model,
    ),
    "Recorder": (record, model),
}
