#!/usr/bin/env bash
# Train TSM by the documented command; all else is as in train_tsn.sh.
#
#     bash scripts/train/train_tsm.sh
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/train_tsn.sh" --model_name=TSM --config=./configs/tsm.txt "$@"
