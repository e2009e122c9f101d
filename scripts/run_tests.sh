#!/usr/bin/env bash
# Install what the tests need and run them; arguments go to pytest.
#
#     bash scripts/run_tests.sh
#     TSN_PADDLE=2.6.2 bash scripts/run_tests.sh      # with the Paddle that GPU users get from PyPI
#     bash scripts/run_tests.sh tests/test_config.py -k yaml
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source scripts/environment.sh requirements.txt requirements-onnx.txt requirements-openvino.txt requirements-serve.txt \
    requirements-dev.txt
echo "== tests"
# A worker that dies is not replaced: with --dist=loadfile pytest-xdist would wait for ever for the tests it had. A test
# that takes ten minutes, with TSN_LONG two hours, ends its worker with the stack of every thread.
longest_sec=$([ -n "${TSN_LONG:-}" ] && echo 7200 || echo 600)
python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --max-worker-restart=0 \
    -o faulthandler_timeout=$longest_sec -o faulthandler_exit_on_timeout=true "$@"
