#!/usr/bin/env bash
# Install what the tests need and hurt every command in every way; docs/reliability.md has the table.
#
#     bash scripts/run_faults.sh                       # at least 500 faults
#     bash scripts/run_faults.sh --count=50 --only=train,infer --seed=3
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source scripts/environment.sh requirements.txt requirements-onnx.txt requirements-serve.txt requirements-dev.txt
echo "== faults"
exec python tests/faults/run.py "$@"
