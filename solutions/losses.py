# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Losses: the graded notebook
#
# A loss is the one number that training makes small. Here you write the common ones, derive what they aim at, repair
# training loops that use them wrongly, and find out by experiment what a loss can and cannot do for you.
#
# **How it works.** Put your code in place of each line `raise NotImplementedError(...)`, run the cell, then run the
# `check("...")` cell below it. The check tries a few public cases and tells you what was called, what was expected
# and what came back. Handing in runs more tests than the check does: other shapes, other numbers, extreme values.
# They test only what the text of the exercise states.
#
# **Rules for every exercise.** Unless the text says otherwise:
#
# - tensors are `float64` or `float32`; a result has the dtype of the inputs;
# - "a number" as a result means a tensor without dimensions, such as `torch.tensor(0.3)`, through which gradients
#   flow;
# - the tensors you are given must still hold the same values afterwards;
# - every function must work for a batch of one, too, and for tensors that are not contiguous, such as a transposed
#   one.
#
# The chapter [Losses](../losses.md) explains all that you need. Nothing here needs a GPU or a network.

# %% role="setup"
import math

import torch
import torch.nn.functional as F

from gradatim.checks import check

torch.set_num_threads(1)  # these tensors are small: one thread is the fastest

# %% [markdown]
# ## 1. Cross-entropy from logits (implement)
#
# Write `cross_entropy(logits, target, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean")`.
#
# It is **not** quite torch's function: the class axis is the last one, smoothing spares the true class, and a batch
# in which every sample is ignored costs nothing.
#
# | argument | shape | meaning |
# |---|---|---|
# | `logits` | `(..., K)`, K >= 2 | scores $z$; the leading shape is any, also none or several axes |
# | `target` | `(...)`, int64 | classes $y$, 0 to K-1, or `ignore_index` |
# | `weight` | `(K,)`, dtype of `logits` | positive class weights $w$; `None` means that all are 1 |
# | `ignore_index` | int | samples with this target do not count; it may also be one of 0 ... K-1 |
# | `label_smoothing` | float $\varepsilon$, 0 <= $\varepsilon$ < 1 | see below |
# | `reduction` | `"none"`, `"sum"`, `"mean"` | see below |
#
# With $p = \mathrm{softmax}(z)$ along the last axis, one sample costs
#
# $$\ell_i = -w_{y_i} \sum_{k=0}^{K-1} q_{ik} \log p_{ik}, \qquad
#   q_{ik} = \begin{cases} 1 - \varepsilon & k = y_i \\ \varepsilon / (K-1) & \text{otherwise.} \end{cases}$$
#
# The weight is the one of the sample's own class, also for the smoothed part. An ignored sample has $\ell_i = 0$ and
# receives no gradient.
#
# - `"none"` returns every $\ell_i$, in the shape of `target`;
# - `"sum"` returns $\sum_i \ell_i$;
# - `"mean"` returns $\sum_i \ell_i \big/ \sum_i w_{y_i}$, both sums over the samples that are **not** ignored; where
#   all are ignored it returns 0, with gradient 0 (torch returns NaN).
#
# Loss and gradient must be right, not only finite, for logits as large as $\pm 1000$: a sample whose class scores
# 1000 below the best one costs 1000.
#
# *By hand*: `logits = [[0, ln 3]]`, `target = [0]`. The softmax is $(1/4, 3/4)$, so the loss is $\ln 4 = 1.3863$.
# With `label_smoothing=0.2` it is $0.8 \ln 4 + 0.2 \ln (4/3) = 1.1666$.
#
# You may use `torch.logsumexp` and `log_softmax`, but neither torch's cross-entropy nor its NLL loss.


# %% exercise="cross_entropy" role="answer"
def cross_entropy(logits, target, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """Cross-entropy over the last axis."""
    ### BEGIN SOLUTION
    K = logits.shape[-1]
    keep = target != ignore_index
    y = torch.where(keep, target, 0)  # a class that exists, so that gather and indexing work
    log_p = logits - logits.logsumexp(dim=-1, keepdim=True)  # (..., K), never log of a rounded 0
    log_p_y = log_p.gather(-1, y.unsqueeze(-1)).squeeze(-1)  # (...)
    log_p_others = log_p.sum(dim=-1) - log_p_y
    share = label_smoothing / (K - 1)
    w = torch.ones_like(log_p_y) if weight is None else weight[y]
    w = torch.where(keep, w, 0)
    loss = -w * ((1 - label_smoothing) * log_p_y + share * log_p_others)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    total = w.sum()
    return loss.sum() / torch.where(total > 0, total, 1)  # nothing kept: 0 / 1
    ### END SOLUTION


# %% exercise="cross_entropy" role="grade"
check("cross_entropy")

# %% [markdown]
# ## 2. Losses for regression: Huber, quantile, log-cosh (implement)
#
# Write three functions. Each returns a number. Let $r = \text{prediction} - \text{target}$, element by element.
#
# **`huber(prediction, target, delta, weight=None)`**: `prediction`, `target` and `weight` (positive) all have the
# same shape, which is any. `delta > 0` is a float. The weighted mean $\sum_i w_i h(r_i) / \sum_i w_i$, where `None`
# means that all weights are 1, of
#
# $$h(r) = \begin{cases} \tfrac12 r^2 & |r| \le \delta \\ \delta\,(|r| - \tfrac12 \delta) & |r| > \delta. \end{cases}$$
#
# **`quantile_loss(prediction, target, tau)`**: several quantiles at once. `prediction` is `(N, Q)`, `target` is
# `(N,)`, `tau` is a `(Q,)` tensor of levels between 0 and 1. Column $q$ of the prediction is judged at level
# $\tau_q$. With $u_{iq} = \text{target}_i - \text{prediction}_{iq}$, the mean over all $N \cdot Q$ elements of
#
# $$\rho_\tau(u) = \begin{cases} \tau u & u \ge 0 \\ (\tau - 1)\, u & u < 0. \end{cases}$$
#
# **`log_cosh(prediction, target, scale)`**: `prediction` and `target` have the same shape, which is any. `scale > 0`
# is a float $s$. The mean of
#
# $$s^2 \log \cosh (r / s),$$
#
# a smooth Huber loss: about $\tfrac12 r^2$ near 0 and $s\,|r|$ far away. It must be right for errors of $\pm 1000$.
#
# All three raise `ValueError` if the shapes are not those named here. Nothing is broadcast: `(N, 1)` against `(N,)`
# is an error, also for N = 1.
#
# *By hand*: `huber` with `delta=0.5` of a single error $r = 2$ is $0.5 \cdot (2 - 0.25) = 0.875$. `quantile_loss` at
# $\tau = 0.9$ costs 0.9 per unit where the prediction is too low, 0.1 per unit where it is too high.


# %% exercise="huber_quantile_log_cosh" role="answer"
def huber(prediction, target, delta, weight=None):
    """Weighted mean of the Huber loss."""
    ### BEGIN SOLUTION
    if prediction.shape != target.shape or (weight is not None and weight.shape != target.shape):
        raise ValueError("huber: prediction, target and weight must have the same shape")
    size = (prediction - target).abs()
    h = torch.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))
    if weight is None:
        return h.mean()
    return (weight * h).sum() / weight.sum()
    ### END SOLUTION


def quantile_loss(prediction, target, tau):
    """Mean quantile loss of an (N, Q) prediction at Q levels."""
    ### BEGIN SOLUTION
    if target.dim() != 1 or tau.dim() != 1 or prediction.shape != (len(target), len(tau)):
        raise ValueError("quantile_loss: prediction must be (N, Q), target (N,), tau (Q,)")
    u = target.unsqueeze(1) - prediction  # (N, Q)
    return torch.where(u >= 0, tau * u, (tau - 1) * u).mean()
    ### END SOLUTION


def log_cosh(prediction, target, scale):
    """Mean of s^2 log cosh(r / s)."""
    ### BEGIN SOLUTION
    if prediction.shape != target.shape:
        raise ValueError("log_cosh: prediction and target must have the same shape")
    x = (prediction - target) / scale
    # log cosh x = log(e^x + e^-x) - log 2, and logaddexp does not overflow
    return scale**2 * (torch.logaddexp(x, -x) - math.log(2)).mean()
    ### END SOLUTION


# %% exercise="huber_quantile_log_cosh" role="grade"
check("huber_quantile_log_cosh")

# %% [markdown]
# ## 3. Binary focal loss and soft Dice loss (implement)
#
# **`binary_focal_loss(logits, target, alpha, gamma)`**: `logits` and `target` have the same shape, which is any;
# `target` holds 0 and 1 in the dtype of `logits`; `alpha` (between 0 and 1) and `gamma` (0, or at least 1) are
# floats. With $p = \sigma(z)$,
#
# $$p_t = \begin{cases} p & t = 1 \\ 1 - p & t = 0 \end{cases} \qquad
#   \alpha_t = \begin{cases} \alpha & t = 1 \\ 1 - \alpha & t = 0 \end{cases} \qquad
#   \ell = -\alpha_t\,(1 - p_t)^\gamma \log p_t .$$
#
# Return the **sum** of $\ell$ over all elements, divided by the number of positives ($t = 1$) in the whole tensor, or
# by 1 if there is none. That is the normalisation of the paper, not the mean. The gradient flows through both
# factors. Loss and gradient must be right for logits of $\pm 1000$.
#
# **`soft_dice_loss(logits, target, smooth)`**: `logits` and `target` have the same shape `(N, ...)` with at least one
# more axis; `target` holds 0 and 1 in the dtype of `logits`; `smooth > 0` is a float $s$. Return a tensor of shape
# `(N,)`, one loss per sample, where the sums run over all axes but the first:
#
# $$D_n = 1 - \frac{2 \sum p\,t + s}{\sum p^2 + \sum t^2 + s}, \qquad p = \sigma(z).$$
#
# *By hand*: logit 0, target 1, `alpha=0.25`, `gamma=2`: $p_t = 1/2$, so the focal loss is $0.25 \cdot 0.25 \cdot \ln
# 2 = 0.0433$. Dice for logits `[[0, 0]]`, target `[[1, 0]]`, `smooth=1`: $1 - (2 \cdot 0.5 + 1) / (0.5 + 1 + 1) =
# 0.2$.


# %% exercise="focal_dice" role="answer"
def binary_focal_loss(logits, target, alpha, gamma):
    """Focal loss from logits, per positive."""
    ### BEGIN SOLUTION
    z_t = torch.where(target == 1, logits, -logits)  # p_t = sigmoid(z_t), 1 - p_t = sigmoid(-z_t)
    alpha_t = alpha * target + (1 - alpha) * (1 - target)
    loss = -alpha_t * torch.sigmoid(-z_t) ** gamma * F.logsigmoid(z_t)
    return loss.sum() / target.sum().clamp(min=1)
    ### END SOLUTION


def soft_dice_loss(logits, target, smooth):
    """1 - Dice, one number per sample."""
    ### BEGIN SOLUTION
    p = torch.sigmoid(logits).flatten(1)  # (N, everything else)
    t = target.flatten(1)
    overlap = (p * t).sum(dim=1)
    sizes = (p**2).sum(dim=1) + (t**2).sum(dim=1)
    return 1 - (2 * overlap + smooth) / (sizes + smooth)
    ### END SOLUTION


# %% exercise="focal_dice" role="grade"
check("focal_dice")

# %% [markdown]
# ## 4. What a loss aims at, and how it pushes (derive)
#
# Derive four results on paper, then return each as a function. Use closed forms: no autograd, no finite differences,
# no search over a grid.
#
# **`best_constant(y, tau, weight)`**: `y` and `weight` (positive) are `(N,)` tensors, `tau` a float between 0 and 1.
# Return a constant $c$, as a number or a Python float, that minimises $\sum_i w_i\, \rho_\tau(y_i - c)$, with
# $\rho_\tau$ from exercise 2. Where several constants are equally good, any of them is right. (With $\tau = 0.5$ and
# equal weights this is the median: what the absolute error aims at.)
#
# **`pinball_gradient(c, y, tau)`**: `c` is an `(M,)` tensor of constants, `y` an `(N,)` tensor. Return the `(M,)`
# tensor of derivatives with respect to $c$ of the mean loss $\tfrac1N \sum_i \rho_\tau(y_i - c)$. No entry of `c`
# equals one of `y`.
#
# **`exponential_best_constant(tau, rate)`**: tensors of the same shape. $Y$ is exponentially distributed, $P(Y > t) =
# e^{-\text{rate} \cdot t}$. Return the constant $c$ that minimises the expected loss $\mathbb E\, \rho_\tau(Y - c)$,
# element by element.
#
# **`focal_gradient(z, gamma)`**: `z` is a tensor of logits of any shape, `gamma` a float, 0 or at least 1. Return the
# derivative with respect to $z$ of the focal loss of a positive sample, $-(1 - p)^\gamma \log p$ with $p =
# \sigma(z)$, element by element. It must be right for logits of $\pm 1000$.
#
# *By hand*: for `y = [1, 2, 4]` with equal weights and $\tau = 0.5$ the best constant is 2; at $c = 3$ the gradient
# is $2/3 - 1/2 = 1/6$.


# %% exercise="quantile_minimiser" role="answer"
def best_constant(y, tau, weight):
    """A constant that minimises the weighted quantile loss."""
    ### BEGIN SOLUTION
    # the weighted tau-quantile: the first sample at which the weight so far reaches tau of all
    order = torch.argsort(y)
    below = torch.cumsum(weight[order], dim=0) < tau * weight.sum()
    return y[order][below.sum().clamp(max=len(y) - 1)]
    ### END SOLUTION


def pinball_gradient(c, y, tau):
    """The derivative of the mean quantile loss at each c."""
    ### BEGIN SOLUTION
    # a sample below c pushes by 1 - tau, a sample above by -tau: together, P(y < c) - tau
    return (y < c.unsqueeze(1)).to(y.dtype).mean(dim=1) - tau
    ### END SOLUTION


def exponential_best_constant(tau, rate):
    """The constant that minimises the expected quantile loss."""
    ### BEGIN SOLUTION
    # the tau-quantile: P(Y <= c) = 1 - exp(-rate c) = tau
    return -torch.log1p(-tau) / rate
    ### END SOLUTION


def focal_gradient(z, gamma):
    """The derivative of a positive sample's focal loss."""
    ### BEGIN SOLUTION
    # (1 - p)^gamma (gamma p log p - (1 - p)), by the product rule and dp/dz = p (1 - p)
    p, q = torch.sigmoid(z), torch.sigmoid(-z)
    return q**gamma * (gamma * p * F.logsigmoid(z) - q)
    ### END SOLUTION


# %% exercise="quantile_minimiser" role="grade"
check("quantile_minimiser")

# %% [markdown]
# ## 5. Six training loops, five bugs (debug)
#
# The next cell holds six training loops, `train_a` to `train_f`. All run without an error and all make their loss
# smaller. Five of them have a bug in how they use their loss. One is healthy, though it may look odd.
#
# 1. Fill in `diagnosis`, a dictionary from `"a"` ... `"f"` to one letter of this table. Not every letter is needed.
# 2. Write `fixed_a` ... `fixed_f`, with the arguments of the originals: the same loop with the bug repaired and
#    nothing else changed. They return the final weights, as the originals do. The healthy loop needs no repair, so
#    its fixed form must return what the original returns.
#
# | letter | diagnosis |
# |---|---|
# | A | the loss applies softmax to what are probabilities already |
# | B | the loss applies the sigmoid to what are probabilities already |
# | C | prediction and target are broadcast against each other |
# | D | batches of different size count the same |
# | E | labels that do not exclude each other are treated as if they did |
# | F | the learning rate is too high |
# | G | the gradient of one step is added to that of the next |
# | H | healthy |
#
# What each loop is meant to do, by full-batch gradient descent from the weights `start`:
#
# | loop | meant to minimise | `target` |
# |---|---|---|
# | a | softmax cross-entropy of K classes, mean over the samples | `(N,)` int64 |
# | b | the mean squared error | `(N,)` |
# | c | softmax cross-entropy of K classes, mean over the samples | `(N,)` int64 |
# | d | binary cross-entropy, mean over the samples, right also for logits of $\pm 1000$ | `(N,)`, 0 or 1 |
# | e | softmax cross-entropy, mean over **all** samples, read in batches that need not divide N | `(N,)` int64 |
# | f | K labels per sample, any number of which may be on: binary cross-entropy, mean over all elements | `(N, K)`, 0 or 1 |


# %% role="setup"
def step(W, loss, lr):
    """One step of gradient descent: W <- W - lr * dloss/dW."""
    (gradient,) = torch.autograd.grad(loss, W)
    return (W - lr * gradient).detach().requires_grad_()


def train_a(features, target, start, steps, lr):
    W = start.clone().requires_grad_()  # (D, K)
    for _ in range(steps):
        probabilities = (features @ W).softmax(dim=1)
        W = step(W, F.cross_entropy(probabilities, target), lr)
    return W.detach()


def train_b(features, target, start, steps, lr):
    W = start.clone().requires_grad_()  # (D, 1)
    for _ in range(steps):
        prediction = features @ W
        W = step(W, ((prediction - target) ** 2).mean(), lr)
    return W.detach()


def train_c(features, target, start, steps, lr):
    W = start.clone().requires_grad_()  # (D, K)
    for _ in range(steps):
        scores = (features @ W).log_softmax(dim=1)
        W = step(W, F.cross_entropy(scores, target), lr)
    return W.detach()


def train_d(features, target, start, steps, lr):
    W = start.clone().requires_grad_()  # (D,)
    for _ in range(steps):
        output = torch.sigmoid(features @ W)
        W = step(W, F.binary_cross_entropy_with_logits(output, target), lr)
    return W.detach()


def train_e(features, target, start, steps, lr, batch_size):
    W = start.clone().requires_grad_()  # (D, K)
    for _ in range(steps):
        losses = []
        for x, y in zip(features.split(batch_size), target.split(batch_size), strict=True):
            losses.append(F.cross_entropy(x @ W, y))
        W = step(W, torch.stack(losses).mean(), lr)
    return W.detach()


def train_f(features, target, start, steps, lr):
    W = start.clone().requires_grad_()  # (D, K)
    for _ in range(steps):
        logits = features @ W
        W = step(W, F.cross_entropy(logits, target), lr)
    return W.detach()


# %% exercise="loss_bugs" role="answer"
def fixed_a(features, target, start, steps, lr):
    ### BEGIN SOLUTION
    W = start.clone().requires_grad_()
    for _ in range(steps):
        W = step(W, F.cross_entropy(features @ W, target), lr)  # logits: the loss has the softmax
    return W.detach()
    ### END SOLUTION


def fixed_b(features, target, start, steps, lr):
    ### BEGIN SOLUTION
    W = start.clone().requires_grad_()
    for _ in range(steps):
        prediction = (features @ W).squeeze(1)  # (N,), as the target
        W = step(W, ((prediction - target) ** 2).mean(), lr)
    return W.detach()
    ### END SOLUTION


def fixed_c(features, target, start, steps, lr):
    ### BEGIN SOLUTION
    # log_softmax of a log_softmax is the same log_softmax
    return train_c(features, target, start, steps, lr)
    ### END SOLUTION


def fixed_d(features, target, start, steps, lr):
    ### BEGIN SOLUTION
    W = start.clone().requires_grad_()
    for _ in range(steps):
        W = step(W, F.binary_cross_entropy_with_logits(features @ W, target), lr)
    return W.detach()
    ### END SOLUTION


def fixed_e(features, target, start, steps, lr, batch_size):
    ### BEGIN SOLUTION
    W = start.clone().requires_grad_()
    for _ in range(steps):
        total = 0.0
        for x, y in zip(features.split(batch_size), target.split(batch_size), strict=True):
            total = total + F.cross_entropy(x @ W, y, reduction="sum")
        W = step(W, total / len(target), lr)  # each sample counts once, whatever its batch
    return W.detach()
    ### END SOLUTION


def fixed_f(features, target, start, steps, lr):
    ### BEGIN SOLUTION
    W = start.clone().requires_grad_()
    for _ in range(steps):
        W = step(W, F.binary_cross_entropy_with_logits(features @ W, target), lr)
    return W.detach()
    ### END SOLUTION


### BEGIN SOLUTION
diagnosis = {"a": "A", "b": "C", "c": "H", "d": "B", "e": "D", "f": "E"}
### END SOLUTION


# %% exercise="loss_bugs" role="grade"
check("loss_bugs")

# %% [markdown]
# ## 6. Do class weights help a rare class? Does focal loss? (experiment)
#
# `make_task(seed)` in the next cell draws a training set of 20 malignant and 180 benign tumours from scikit-learn's
# breast cancer data, and keeps all others for the test. You compare three losses for logistic regression, fairly: on
# the same splits, with the same steps, and with a rule for when to call a difference real that is fixed in advance.
#
# **`train(features, target, method, steps=60, lr=0.5)`**: gradient descent on the weights $(D,)$ and the bias (a
# number), both from 0, with `steps` steps on all `(N, D)` features. `target` is `(N,)`, 0 or 1, in the dtype of
# `features`. Return the pair `(weights, bias)`, in the same dtype. With the binary cross-entropy $\ell_i$ of sample
# $i$ and $N_c$ the number of samples of class $c$, the loss is
#
# | `method` | loss |
# |---|---|
# | `"plain"` | $\frac1N \sum_i \ell_i$ |
# | `"weighted"` | $\frac1N \sum_i \frac{N}{2 N_{t_i}}\, \ell_i$, so that both classes count the same |
# | `"focal"` | $\frac1N \sum_i (1 - p_{t,i})^2\, \ell_i$, with $p_t$ from exercise 3 |
#
# **`balanced_accuracy(logits, target)`**: the mean of the two classes' shares of right predictions, as a number or a
# Python float. The prediction is 1 where the logit is greater than 0. Both classes occur.
#
# **`compare(method, tasks)`**: `tasks` is a list of `(train features, train target, test features, test target)`, as
# `make_task` returns them. For every task train with `method` and with `"plain"`, with the default steps and learning
# rate. Return the list of differences in test balanced accuracy, `method` minus `"plain"`, one per task.
#
# **`verdict(differences)`**: a list of $n$ numbers. With their mean $m$ and standard error $s/\sqrt n$ (where $s^2$
# has the divisor $n - 1$) return `"better"` if $m > 2 s / \sqrt n$, `"worse"` if $m < -2 s/\sqrt n$, else `"cannot
# tell"`. One difference alone is always `"cannot tell"`.
#
# **`findings`**: the dictionary `{"weighted": ..., "focal": ...}` with your verdicts, found with the tasks of the
# seeds 0 to 19. It is tested against other seeds. "cannot tell" is an honest result where the data cannot tell.


# %% role="setup"
def make_task(seed):
    """A split of the breast cancer data with a rare positive class, standardized by its training half."""
    from sklearn.datasets import load_breast_cancer

    values, labels = load_breast_cancer(return_X_y=True)
    values = torch.tensor(values, dtype=torch.float64)
    target = torch.tensor(labels == 0).to(torch.float64)  # 1: malignant
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(target), generator=generator)
    rare, common = order[target[order] == 1], order[target[order] == 0]
    train = torch.cat([rare[:20], common[:180]])
    test = torch.cat([rare[20:], common[180:]])
    mean, std = values[train].mean(dim=0), values[train].std(dim=0)
    values = (values - mean) / std
    return values[train], target[train], values[test], target[test]


# %% exercise="imbalance" role="answer"
def train(features, target, method, steps=60, lr=0.5):
    """Logistic regression by gradient descent from 0, with one of three losses."""
    ### BEGIN SOLUTION
    N = len(target)
    positives = target.sum()
    w = torch.ones_like(target)
    if method == "weighted":
        w = torch.where(target == 1, N / (2 * positives), N / (2 * (N - positives)))
    weights = torch.zeros_like(features[0], requires_grad=True)
    bias = torch.zeros_like(target[0], requires_grad=True)
    for _ in range(steps):
        loss = F.binary_cross_entropy_with_logits(features @ weights + bias, target, reduction="none")
        if method == "focal":
            w = (1 - torch.exp(-loss)) ** 2  # exp(-loss) is p_t; the gradient flows through it
        gradients = torch.autograd.grad((w * loss).mean(), (weights, bias))
        with torch.no_grad():
            weights -= lr * gradients[0]
            bias -= lr * gradients[1]
    return weights.detach(), bias.detach()
    ### END SOLUTION


def balanced_accuracy(logits, target):
    """The mean of the two classes' shares of right predictions."""
    ### BEGIN SOLUTION
    right = (logits > 0) == (target == 1)
    return sum(right[target == c].double().mean() for c in (0, 1)).item() / 2
    ### END SOLUTION


def compare(method, tasks):
    """Differences in test balanced accuracy, method minus plain, one per task."""
    ### BEGIN SOLUTION
    differences = []
    for features, target, test_features, test_target in tasks:
        scores = {}
        for name in (method, "plain"):
            weights, bias = train(features, target, name)
            scores[name] = balanced_accuracy(test_features @ weights + bias, test_target)
        differences.append(scores[method] - scores["plain"])
    return differences
    ### END SOLUTION


def verdict(differences):
    """Say "better", "worse" or "cannot tell"."""
    ### BEGIN SOLUTION
    n = len(differences)
    if n < 2:
        return "cannot tell"
    d = torch.tensor(differences, dtype=torch.float64)
    margin = 2 * d.std() / math.sqrt(n)
    if d.mean() > margin:
        return "better"
    return "worse" if d.mean() < -margin else "cannot tell"
    ### END SOLUTION


### BEGIN SOLUTION
findings = {"weighted": "better", "focal": "cannot tell"}  # from the cell below, seeds 0 to 19
### END SOLUTION


# %% exercise="imbalance" role="grade"
check("imbalance")

# %% [markdown]
# Once your functions work, look at the differences themselves before you write down the findings. Every dot is a
# split, the same for all losses.

# %%
import matplotlib.pyplot as plt

tasks = [make_task(seed) for seed in range(20)]
figure, axes = plt.subplots(figsize=(6, 2.4), layout="constrained")
for row, name in enumerate(["weighted", "focal"]):
    differences = compare(name, tasks)
    axes.plot(differences, [row] * len(differences), "o", alpha=0.5)
    axes.plot(sum(differences) / len(differences), row, "k|", markersize=24)
    print(f"{name} against plain cross-entropy, balanced accuracy: {verdict(differences)}")
axes.axvline(0, color="gray", linewidth=1)
axes.set(yticks=[0, 1], yticklabels=["weighted", "focal"], ylim=(-0.6, 1.6))
axes.set_xlabel("balanced accuracy minus that of plain cross-entropy, per split")
plt.show()

# %% [markdown]
# ## 7. Which loss for which aim? (explain)
#
# Eight situations. For each, choose one answer (A to D) **and** the reason that carries it (a to d). Both must be
# right. Fill in the dictionary `answers` with one string per question, the capital letter and then the small one:
# `"Ab"`.
#
# **1.** A courier wants to promise a delivery time that 90 % of the parcels keep. The model predicts one number from
# the order.
#
# | choice | reason |
# |---|---|
# | A squared error | a it punishes large errors most, so it yields an upper bound |
# | B absolute error | b its best constant is the 0.9-quantile |
# | C quantile loss, $\tau = 0.9$ | c it ignores the slowest 10 % as outliers |
# | D Huber loss, $\delta = 0.9$ | d its best constant is the middle one, and most parcels are near it |
#
# **2.** House prices, of which 2 % were typed with two zeros too many. You want to predict the price of an ordinary
# sale.
#
# | choice | reason |
# |---|---|
# | A Huber loss | a it is the smoothest, so outliers move it least |
# | B squared error | b the root takes the weight off large errors |
# | C root mean squared error | c smaller steps weaken the outliers against the others |
# | D squared error, lower learning rate | d its gradient is bounded, so one sample can pull only so hard |
#
# **3.** Photos with tags; a photo may have no tag, one, or many.
#
# | choice | reason |
# |---|---|
# | A softmax cross-entropy over the tags | a each tag is a yes-no question of its own |
# | B softmax cross-entropy, target divided by the number of tags | b a target that sums to 1 is all that cross-entropy needs |
# | C squared error on 0 and 1 | c every form of cross-entropy needs exactly one right class |
# | D binary cross-entropy per tag, from logits | d the probabilities of the tags must sum to 1 |
#
# **4.** Segmentation of small tumours, 1 % of the pixels; judged by the mean of the Dice scores of the scans.
#
# | choice | reason |
# |---|---|
# | A minus the pixel accuracy | a the metric itself is always the best loss |
# | B soft Dice over all pixels of the batch together | b Dice of the batch is the mean of the Dice of its scans |
# | C soft Dice per scan, averaged | c it is differentiable, and averages over the same units as the metric |
# | D focal loss alone | d it removes the effect of imbalance, whatever the metric |
#
# **5.** Probabilities of rain, on which an insurer bases prices. They must be right as probabilities.
#
# | choice | reason |
# |---|---|
# | A plain cross-entropy | a rare events must weigh more to be predicted at all |
# | B cross-entropy with a larger weight for rain | b it makes the model confident where it is right |
# | C focal loss, $\gamma = 2$ | c a large margin makes probabilities reliable |
# | D hinge loss | d its expected value is smallest at the true probability |
#
# **6.** Model P has the lower validation cross-entropy, model Q the higher validation accuracy, on the same samples.
#
# | choice | reason |
# |---|---|
# | A one of the two numbers is computed wrongly | a accuracy is a monotone function of the cross-entropy |
# | B it can be: P may be less confident where it is wrong | b cross-entropy depends on all probabilities, accuracy only on which class is first |
# | C P is better for every purpose | c a lower loss means a better model |
# | D it can be only if the validation set is too small | d with enough samples the two always agree |
#
# **7.** A network predicts mean and variance and is trained by the negative log-likelihood of a normal distribution.
# The loss falls to -0.7.
#
# | choice | reason |
# |---|---|
# | A a bug: clamp the loss at 0 | a a density may exceed 1, so its negative logarithm may fall below 0 |
# | B a bug: the logarithm's argument is wrong | b a loss is a distance, so it cannot be negative |
# | C add a constant, then train again | c probabilities are at most 1, so $-\log$ is at least 0 |
# | D not a bug | d a negative loss turns the sign of the gradient |
#
# **8.** The last batch of an epoch holds 3 samples, all others 64. You report the loss of the epoch, per sample.
#
# | choice | reason |
# |---|---|
# | A the mean of the batches' means | a a mean of means is the mean |
# | B the sum of the batches' sums, divided by the number of samples | b each sample counts once |
# | C the sum of the batches' means | c reduction does not matter, only the scale changes |
# | D the mean of the batches' means, without the last batch | d samples in small batches are less reliable |

# %% exercise="loss_metric_matching" role="answer"
### BEGIN SOLUTION
answers = {
    "1": "Cb",
    "2": "Ad",
    "3": "Da",
    "4": "Cc",
    "5": "Ad",
    "6": "Bb",
    "7": "Da",
    "8": "Bb",
}
### END SOLUTION


# %% exercise="loss_metric_matching" role="grade"
check("loss_metric_matching")

# %% [markdown]
# ## 8. Regression with corrupted targets (challenge)
#
# `make_corrupted_task(seed)` draws a training half and a test half of scikit-learn's diabetes data, ten features, and
# then damages 15 % of the training targets: they are far too large, as if read off another scale. Test targets are
# clean. The features are turned by a random rotation, so that no single column has a meaning; feature values and
# targets have about mean 0 and variance 1.
#
# Write **`fit_predict(features, target, test_features)`**: `features` is `(N, D)`, `target` is `(N,)`,
# `test_features` is `(M, D)`, all of one dtype. Return the predictions for the test features, `(M,)`, in that dtype.
# Any method will do, and torch, NumPy and scikit-learn may be used, but not the data set itself. One call must stay
# under 1 s.
#
# The score is the test MSE of your predictions on hidden splits, divided by that of least squares **trained on the
# undamaged targets**, averaged over the splits:
#
# | ratio | reached by |
# |---|---|
# | about 4 | least squares on the damaged targets |
# | at most 1.6 | first band |
# | at most 1.25 | second band: about what the mean absolute error gives |
# | at most 1.06 | third band: nearly as if nothing had been damaged |
#
# Two more things are tested. On undamaged training targets the ratio must stay at 1.15 or below, and with 7 % damaged
# and only some of the features at 1.25 or below. And where the targets are a linear function of the features plus a
# little noise (standard deviation 0.01, at least 25 samples, at most 8 features), every prediction must lie within
# 0.3 of that function.


# %% role="setup"
def make_corrupted_task(seed, share=0.15):
    """Half of the diabetes data with damaged targets to train on; the other half, clean, to test on."""
    from sklearn.datasets import load_diabetes

    generator = torch.Generator().manual_seed(seed)
    values, target = (torch.tensor(a, dtype=torch.float64) for a in load_diabetes(return_X_y=True))
    values = (values - values.mean(dim=0)) / values.std(dim=0)
    target = (target - target.mean()) / target.std()
    noise = torch.randn(values.shape[1], values.shape[1], generator=generator, dtype=torch.float64)
    values = values @ torch.linalg.qr(noise).Q
    order = torch.randperm(len(target), generator=generator)
    train, test = order[:221], order[221:]
    damaged = target[train].clone()
    bad = torch.randperm(221, generator=generator)[: round(share * 221)]
    damaged[bad] += 5 + 5 * torch.rand(len(bad), generator=generator, dtype=torch.float64)
    return values[train], damaged, values[test], target[test]


# %% exercise="robust_regression" role="answer"
def fit_predict(features, target, test_features):
    """Predictions for the test features that the damaged targets hardly move."""
    ### BEGIN SOLUTION
    rounds = 30
    # linear regression by Tukey's biweight: a sample far from the line loses all its weight
    X = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)

    def solve(weight):
        return torch.linalg.solve(X.T @ (weight.unsqueeze(1) * X), X.T @ (weight * target))

    theta = solve(torch.ones_like(target))
    for _ in range(rounds):  # a first fit by absolute error: weights 1 / |r|
        theta = solve(1 / (target - X @ theta).abs().clamp(min=1e-3))
    for _ in range(rounds):
        residual = (target - X @ theta).abs()
        scale = 1.4826 * residual.median()  # the standard deviation, if the good samples are normal
        theta = solve((1 - (residual / (4.685 * scale)).clamp(max=1) ** 2) ** 2)
    return torch.cat([test_features, torch.ones_like(test_features[:, :1])], dim=1) @ theta
    ### END SOLUTION


# %% exercise="robust_regression" role="grade"
check("robust_regression")

# %% [markdown]
# The score on a few public splits; the hidden ones are drawn in the same way.

# %%
ratios = []
for seed in range(5):
    features, damaged, test_features, test_target = make_corrupted_task(seed)
    _, clean, _, _ = make_corrupted_task(seed, share=0.0)
    X, X_test = (F.pad(a, (0, 1), value=1.0) for a in (features, test_features))
    reference = X_test @ torch.linalg.lstsq(X, clean).solution
    mse = (fit_predict(features, damaged, test_features) - test_target).square().mean()
    ratios.append((mse / (reference - test_target).square().mean()).item())
print("ratio:", round(sum(ratios) / len(ratios), 3))

# %% [markdown]
# ## 9. Label noise, explained (explain, graded by hand)
#
# A classifier is trained by cross-entropy; 20 % of the training labels are wrong, at random. Explain in 150 to 300
# words:
#
# 1. what the wrong labels do to the *gradient* of the cross-entropy late in training, when the network is confident
#    (1 point);
# 2. why label smoothing weakens that, and what it costs (1 point);
# 3. why a bounded loss, such as the generalized cross-entropy $(1 - p_y^q) / q$ with $0 < q \le 1$, is more robust,
#    and why training with it, especially with $q = 1$, is slow at the start (1 point);
# 4. which experiment would tell you which of the three is best on *your* data: what you would hold fixed, what you
#    would repeat, which labels the validation set must have, and when your answer would be "cannot tell" (1 point).

# %% [markdown] exercise="explain_label_noise" role="manual"
# ### BEGIN SOLUTION
# **Model answer.**
#
# 1. With respect to the logits the gradient is $p - q$. On a sample with a wrong label the network is confident of
#    another class, so $p_y \approx 0$ and the gradient has nearly its largest size, while samples with right labels
#    have $p_y \approx 1$ and a gradient near 0. Late in training the wrong labels, a fifth of the data, provide most
#    of the gradient, and a network with enough capacity memorises them.
# 2. Smoothing moves the target away from the corners: no sample, right or wrong, is pulled towards a probability of
#    1, so the logits stay bounded and memorising a wrong label earns less. The gradient on a wrong label is still
#    nearly as large, so it weakens the effect and does not remove it. The cost: predicted probabilities are less
#    extreme than the data warrant (underconfidence on clean data), and the ratios between the wrong classes are
#    flattened.
# 3. The gradient of $(1 - p_y^q)/q$ is that of the cross-entropy times $p_y^q$: samples that the network strongly
#    disagrees with are muted, wrong labels above all. The same factor mutes every sample at the start, when $p_y$ is
#    about $1/K$; with $q = 1$ (the mean absolute error of the probabilities) the factor is $p_y$ itself, so learning
#    starts slowly, and hard but right samples stay muted. $q \to 0$ gives back the cross-entropy.
# 4. Same split, network, steps and tuning budget for each loss; only the loss differs. Repeat over at least five
#    seeds, which set the initial weights, the order and the noise, and compare in pairs by seed. Choose settings on a
#    validation set and report on a test set once; both need clean labels, or at least labels whose noise is
#    independent of the model, since noise in them shrinks every gap. If the interval of the paired differences
#    includes 0, the answer is "cannot tell".
#
# **Rubric.** One point per part; half a point where the conclusion is right and the reason is missing. Part 1 needs
# the gradient ($p - q$, or "large where the network is confident of another class"). Part 2 needs an effect and a
# cost. Part 3 needs the factor $p_y^q$ (or "bounded, so muted") and the slow start from the same factor. Part 4 needs
# equal conditions, repetition and a rule for "cannot tell".
# ### END SOLUTION
