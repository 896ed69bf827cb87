"""What the server that grading processes are forked from imports, once for all of them."""

from .imports import lean_imports, uncollected

with lean_imports(), uncollected():
    from . import grading

grading.warm_torch()
