"""Optimizers, each a formula in plain sight and a torch optimizer around it."""

from ._trust import trust_ratio
from .adadelta import Adadelta, adadelta_direction
from .adafactor import Adafactor, adafactor_direction
from .adagrad import Adagrad, adagrad_direction
from .adam import Adam, AdamW, adam_direction
from .adamax import Adamax, adamax_direction
from .bias import bias_correction
from .conjugate_gradients import ConjugateGradient, conjugate_gradient, conjugate_gradient_direction
from .lamb import LAMB, lamb_direction
from .lars import LARS, lars_local_lr, lars_velocity
from .lbfgs import LBFGS, lbfgs_direction
from .lion import Lion, lion_direction
from .lookahead import Lookahead, lookahead_point
from .muon import Muon, muon_direction, muon_lr_factor, newton_schulz
from .nadam import NAdam, nadam_direction, nadam_momentum
from .newton import Newton, newton_direction
from .radam import RAdam, radam_direction, radam_rectification
from .rmsprop import RMSprop, rmsprop_direction
from .sam import SAM, sam_perturbations
from .schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD, schedule_free_step
from .sgd import GD, SGD, gd_direction, sgd_direction

__all__ = [
    "GD",
    "LAMB",
    "LARS",
    "LBFGS",
    "SAM",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ConjugateGradient",
    "Lion",
    "Lookahead",
    "Muon",
    "NAdam",
    "Newton",
    "RAdam",
    "RMSprop",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "adadelta_direction",
    "adafactor_direction",
    "adagrad_direction",
    "adam_direction",
    "adamax_direction",
    "bias_correction",
    "conjugate_gradient",
    "conjugate_gradient_direction",
    "gd_direction",
    "lamb_direction",
    "lars_local_lr",
    "lars_velocity",
    "lbfgs_direction",
    "lion_direction",
    "lookahead_point",
    "muon_direction",
    "muon_lr_factor",
    "nadam_direction",
    "nadam_momentum",
    "newton_direction",
    "newton_schulz",
    "radam_direction",
    "radam_rectification",
    "rmsprop_direction",
    "sam_perturbations",
    "schedule_free_step",
    "sgd_direction",
    "trust_ratio",
]
