#!/usr/bin/env bash
# Score trained TSN weights by the documented command; further flags are passed on.
#
#     PATH_TO_WEIGHTS=checkpoints/TSN_epoch44 bash scripts/test/test_tsn.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec python test.py --model_name=TSN --config=configs/tsn.txt --log_interval=1 --weights="${PATH_TO_WEIGHTS:-}" "$@"
