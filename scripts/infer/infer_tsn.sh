#!/usr/bin/env bash
# Classify a list of videos by the documented command; further flags are passed on.
#
#     PATH_TO_WEIGHTS=checkpoints/TSN_epoch44 FILELIST=my/infer.list bash scripts/infer/infer_tsn.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec python infer.py --model_name=TSN --config=configs/tsn.txt --log_interval=1 --weights="${PATH_TO_WEIGHTS:-}" \
    ${FILELIST:+--filelist="$FILELIST"} "$@"
