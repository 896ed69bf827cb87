"""What the server that grading processes are forked from imports, once for all of them."""

from .imports import uncollected

with uncollected():
    from . import grading

grading.warm_torch()
