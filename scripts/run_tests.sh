#!/usr/bin/env bash
# Install what the tests need and run them; arguments go to pytest.
#
#     bash scripts/run_tests.sh
#     TSN_PADDLE=2.6.2 bash scripts/run_tests.sh      # with the Paddle that GPU users get from PyPI
#     bash scripts/run_tests.sh tests/test_config.py -k yaml
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source scripts/environment.sh requirements.txt requirements-onnx.txt requirements-dev.txt
echo "== tests"
python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile "$@"
