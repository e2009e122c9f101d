#!/usr/bin/env bash
# Train TSN by the documented command; further flags are passed on.
#
#     bash scripts/train/train_tsn.sh
#     bash scripts/train/train_tsn.sh --batch_size=64 -o TRAIN.filelist=my/train.list
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python train.py --model_name=TSN --config=./configs/tsn.txt --save_dir=checkpoints --log_interval=10 --valid_interval=1 "$@"
