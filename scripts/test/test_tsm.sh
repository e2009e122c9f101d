#!/usr/bin/env bash
# Score trained TSM weights by the documented command; all else is as in test_tsn.sh.
#
#     PATH_TO_WEIGHTS=checkpoints/TSM_epoch64 bash scripts/test/test_tsm.sh
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/test_tsn.sh" --model_name=TSM --config=configs/tsm.txt "$@"
