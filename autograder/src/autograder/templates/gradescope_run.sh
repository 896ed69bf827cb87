#!/usr/bin/env bash
# Run by Gradescope for every submission: grades submission/, writes results/results.json.
# Without a result Gradescope tells the instructor that the autograder failed, which is right: that is no student's fault.
set -euo pipefail

root="${GRADESCOPE_ROOT:-/autograder}"
here="$root/source"
chmod -R go-rwx "$here/course" "$here/course_secret"
export PYTHONPATH="$here/python" GRADATIM_COURSE="$here/course" PYTHONDONTWRITEBYTECODE=1
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
rm -f "$root/results/results.json"
exec "${GRADESCOPE_PYTHON:-$root/venv/bin/python}" -m autograder.gradescope "$root" @ASSIGNMENT@ @MINIMUM@
