#!/usr/bin/env bash
# Classify a list of videos by the documented command, with TSM; all else is as in infer_tsn.sh.
#
#     PATH_TO_WEIGHTS=checkpoints/TSM_epoch64 FILELIST=my/infer.list bash scripts/infer/infer_tsm.sh
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/infer_tsn.sh" --model_name=TSM --config=configs/tsm.txt "$@"
