"""Every public function that computes is linted for a GPU, in its family's cases or here."""

import inspect
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from gradatim import activations, gradients, initialization, losses, normalization, regularization

HERE = Path(__file__).parent
FAMILIES = (losses, normalization, activations, initialization, regularization, gradients)
# They read values by their nature or, as torch's twins, and say so; or they see no tensor's values at all.
READ_VALUES = {"central_difference", "check_gradient", "sparse_", "trunc_normal_"}
NO_VALUES = {"calculate_gain", "decay_groups", "depth_schedule", "fold_bn"}
OTHER_NAMES = {  # cases of the families that are named after a module, or in words
    *("batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm", "local_response_norm"),
    *(
        "l1_penalty",
        "l2_penalty",
        "elastic_net_penalty",
        "proximal_step_",
        "max_norm_",
        "add_gradient_noise_",
    ),
}


def cases():
    for path in (HERE / "gpu_lint_cases.py", *HERE.glob("*/gpu_lint_cases.py")):
        if path.parent.name not in ("optim", "training"):
            yield from runpy.run_path(str(path))["CASES"]


def test_every_function_has_a_case():
    public = {n for family in FAMILIES for n in family.__all__ if inspect.isfunction(getattr(family, n))}
    named = {word for case in cases() for word in case.split()}
    assert public - named - READ_VALUES - NO_VALUES == OTHER_NAMES


@pytest.mark.slow
def test_what_the_families_leave_out_is_clean_on_an_accelerator():
    lint = [sys.executable, "-W", "ignore", "-m", "gradatim.gpu_lint", HERE / "gpu_lint_cases.py"]
    run = subprocess.run(lint, capture_output=True, text=True, timeout=120)
    assert run.stdout, run.stderr
    findings = json.loads(run.stdout)
    assert {name: found for name, found in findings.items() if found} == {}
    assert len(findings) > 60
