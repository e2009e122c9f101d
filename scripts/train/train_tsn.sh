#!/usr/bin/env bash
# Train TSN by the documented command; further flags are passed on. With several GPUs a process trains on each.
#
#     bash scripts/train/train_tsn.sh
#     bash scripts/train/train_tsn.sh --resume=auto --batch_size=64 -o TRAIN.filelist=my/train.list
#     CUDA_VISIBLE_DEVICES=0,1 bash scripts/train/train_tsn.sh
#     TSN_CPU_PROCS=8 bash scripts/train/train_tsn.sh      # 8 processes of one thread each, on the CPU
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

launch=()
if [ -n "${TSN_CPU_PROCS:-}" ]; then
    if ! [[ "$TSN_CPU_PROCS" =~ ^[1-9][0-9]{0,3}$ ]]; then
        echo "error: TSN_CPU_PROCS is '$TSN_CPU_PROCS'; it must be a whole number from 1 to 9999" >&2
        exit 2
    fi
    # the launcher takes no processes without a device for each of them where it sees a GPU, which none of these uses
    export CUDA_VISIBLE_DEVICES=0
    devices=$(printf ',0%.0s' $(seq "$TSN_CPU_PROCS"))
    launch=(-m paddle.distributed.launch --devices="${devices:1}")
    set -- --use_gpu=False "$@"
else
    num_gpus=$(python -c 'import common.startup, paddle; print(paddle.device.cuda.device_count())')
    if [ "$num_gpus" -gt 1 ]; then
        launch=(-m paddle.distributed.launch --nproc_per_node="$num_gpus")
    fi
fi
exec python ${launch[@]+"${launch[@]}"} train.py --model_name=TSN --config=./configs/tsn.txt --save_dir=checkpoints \
    --log_interval=10 --valid_interval=1 "$@"
