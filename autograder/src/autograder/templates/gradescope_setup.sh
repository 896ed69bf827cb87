#!/usr/bin/env bash
# Run once by Gradescope while it builds the image: installs what grading needs, in the versions of requirements.lock.
set -euo pipefail

root="${GRADESCOPE_ROOT:-/autograder}"
here="$root/source"

fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] < (3, 11))' 2>/dev/null; }
find_python() {
    for python in python3.13 python3.12 python3.11 python3; do
        if command -v "$python" >/dev/null && fits "$python"; then echo "$python"; return; fi
    done
}

if [ -z "$(find_python)" ]; then
    apt-get update -qq
    apt-get install -y -qq python3 python3-venv || true
    apt-get install -y -qq python3.11 python3.11-venv || true
fi
python="$(find_python)"
if [ -z "$python" ]; then
    echo "gradatim: no Python 3.11 or newer with venv here; choose a newer base image (Ubuntu 24.04)" >&2
    exit 1
fi

"$python" -m venv "$root/venv"
"$root/venv/bin/python" -m pip install --quiet --disable-pip-version-check @INDEX@ \
    --constraint "$here/requirements.lock" --requirement "$here/requirements.txt"
# What no student may read, should a weaker sandbox be all that this container allows.
chmod -R go-rwx "$here/course" "$here/course_secret"
