#!/usr/bin/env bash
# Resolve requirements.lock anew: all groups of pyproject.toml in one environment. Versions already locked are kept
# where they still fit, so that a new direct dependency does not move the others. CUDA libraries are left out.
set -euo pipefail
python=${1:-python3.11}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
uv=.venv/bin/uv
[ -x "$uv" ] || { "$python" -m venv "$work/venv"; "$work/venv/bin/pip" install -q uv; uv="$work/venv/bin/uv"; }
cp requirements.lock "$work/lock" 2>/dev/null || touch "$work/lock"
"$uv" pip compile pyproject.toml --all-extras --group dev --python-version 3.11 \
  --no-header --no-annotate --no-emit-package tidegate -o "$work/lock" -q
{
  echo "# Made by scripts/lock.sh from pyproject.toml: the exact set that is tested together. Do not edit."
  { grep -vE '^(nvidia-(cu|nc|nv[a-z]*j|nvs|nvt)[a-z0-9-]*|cuda-[a-z]+|triton)==' "$work/lock"; "$uv" --version | sed -E 's/^uv ([^ ]+).*/uv==\1/'; } | grep -v '^#' | LC_ALL=C sort -u
} > "$work/out"
mv "$work/out" requirements.lock
echo "requirements.lock: $(grep -c '==' requirements.lock) packages"
