#!/usr/bin/env bash
# From nothing to named predictions in a few minutes on a CPU: install, make the demo data, train, test, infer.
#
#     bash scripts/quickstart.sh
#
# Everything stays inside this folder: .venv, dataset/demo/data, checkpoints/demo, results/demo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
config=configs/tsn_demo.txt
last=checkpoints/demo/TSN_epoch14  # the config trains 15 epochs, counted from 0

source scripts/environment.sh requirements.txt
echo "== data: six drawn actions, 40 training and 10 validation clips each, into dataset/demo/data"
python dataset/demo/make_demo.py
echo "== train: $config from scratch, checkpoints into checkpoints/demo"
rm -rf checkpoints/demo
python train.py --model_name=TSN --config=$config --pretrain=none --save_dir=checkpoints/demo --log_interval=10
echo "== test: the last checkpoint, $last, on the validation clips"
python test.py --model_name=TSN --config=$config --weights="$last" --save_dir=results/demo
echo "== infer: a few of them, without labels"
python infer.py --model_name=TSN --config=$config --weights="$last" --save_dir=results/demo --log_interval=1
echo "== done: results/demo/report.html for a browser; results/demo/TSN_infer_result (pickle), .jsonl and .csv"
