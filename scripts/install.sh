#!/usr/bin/env bash
# Create the virtual environment from requirements.lock: exact versions, no resolver, no system packages.
# torch goes first and through pip: pip honours the machine's own configuration (a CPU build, a mirror),
# and the lock leaves the CUDA libraries out, so that a plain index does not bring gigabytes nobody uses.
set -euo pipefail
python=${1:-python3.11}
venv=${2:-.venv}
command -v "$python" >/dev/null || { echo "tidegate: $python not found; install Python 3.11 or set PYTHON=" >&2; exit 4; }
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
  { echo "tidegate: $python is not Python 3.11; set PYTHON= to one that is" >&2; exit 4; }
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
uv_version=$(sed -n 's/^uv==//p' requirements.lock)
say() { printf 'tidegate: %s\n' "$1" >&2; }
say "installing uv $uv_version"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
torch_version=$(sed -n 's/^torch==//p' requirements.lock)
if ! "$venv/bin/python" -c "import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != '$torch_version')" 2>/dev/null; then
  say "installing torch $torch_version (CPU)"
  # The CPU index is asked for first where the machine has one configured; --no-deps keeps the CUDA wheels away
  # when the plain index is all there is, and the lock brings the dependencies torch really imports.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "torch==$torch_version"
fi
say "installing $(grep -c '==' requirements.lock) locked packages"
grep -vE '^(torch|uv)==' requirements.lock > "$venv/requirements.rest"
UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy VIRTUAL_ENV="$venv" \
  "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps -r "$venv/requirements.rest"
VIRTUAL_ENV="$venv" "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation -e .
if ! "$venv/bin/python" -c "import torch" 2>/dev/null; then
  say "this torch needs its CUDA libraries; installing them"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==$torch_version" -c "$venv/requirements.rest"
fi
"$venv/bin/python" -m compileall -q -j 2 "$venv/lib/python3.11/site-packages/torch" >/dev/null 2>&1 || true
say "ready: $venv"
