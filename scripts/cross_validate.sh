#!/usr/bin/env bash
# Cross-validate a config: train it on each fold with each seed, one run after another, then print and draw the scores.
#
#     bash scripts/cross_validate.sh CONFIG DATA_DIR [--seeds "0 1"] [--folds "1 2 3"] [--save_dir=DIR] [-- TRAIN_FLAGS]
#     bash scripts/cross_validate.sh configs/tsn_finetune.txt my/data --seeds "0 1 2" --save_dir=checkpoints/own
#     bash scripts/cross_validate.sh my.txt my/data --save_dir=checkpoints/mixup -- -o TRAIN.mixup=0.2 --pretrain=my.pth
#
# Fold I is DATA_DIR/foldI/train.list and test.list, as dataset/own/make_dataset.py --folds writes them; without --folds
# all of them are taken, without --seeds the seed 0. A run's folder is DIR/NAME_foldI_seedJ, where NAME is the config's
# and DIR "checkpoints" if it is not given; runs with other TRAIN_FLAGS need another DIR. Relative paths count from the
# project's folder. Each run goes on from what is there (--resume=auto): the same command continues an interrupted
# campaign, and passes over the runs that are finished.
#
# A run's score is the validation of its last epoch on the fold's test.list. The best epoch's would be too good: it is
# chosen by the very videos that score it. test.py is for further views of them, and finds their list in a checkpoint.
set -euo pipefail
again=$(printf ' %q' "$@")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "error: $1; see bash scripts/cross_validate.sh --help" >&2
    exit 2
}

seeds=0 folds="" save_dir=checkpoints places=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' scripts/cross_validate.sh && exit ;;
        --seeds=* | --folds=* | --save_dir=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
        --seeds | --folds | --save_dir)
            [ "${2:-}" ] || fail "$1 needs a value"
            printf -v "${1#--}" %s "$2"
            shift 2
            ;;
        --) shift && break ;;
        -*) fail "$1 is no flag of this script; those of train.py come after --" ;;
        *) places+=("$1") && shift ;;
    esac
done
[ "${#places[@]}" -eq 2 ] || fail "give a config, and the folder that holds fold1, fold2, ..."
config=${places[0]} data_dir=${places[1]%/} save_dir=${save_dir%/}
[ -f "$config" ] || fail "$config: no such config file"
for flag in "$@"; do
    case $flag in
        --seed* | --save_dir* | --resume* | --config*) fail "$flag: train.py gets one from this script" ;;
    esac
done

if [ -z "$folds" ]; then
    for list in "$data_dir"/fold*/test.list; do
        fold=${list%/test.list}
        [ ! -f "$list" ] || folds+="${fold##*/fold}"$'\n'
    done
    folds=$(sort -n <<< "$folds")
fi
set -f  # what is split below is no pattern
runs=()
for seed in $seeds; do
    [[ "$seed" =~ ^[0-9]+$ ]] || fail "--seeds: '$seed' is no whole number"
    for fold in $folds; do
        for list in "$data_dir/fold$fold/train.list" "$data_dir/fold$fold/test.list"; do
            [ -f "$list" ] || fail "$list: no such list; dataset/own/make_dataset.py --folds writes it"
        done
        name=$(basename "${config%.*}")
        runs+=("$save_dir/${name}_fold${fold}_seed$seed")
    done
done
[ "${#runs[@]}" -gt 0 ] || fail "$data_dir: holds no fold1/test.list, fold2/test.list, ..."

stop() {
    echo "== $run: ended with exit code $1; this goes on: bash scripts/cross_validate.sh$again" >&2
    exit "$1"
}
run=$save_dir
trap 'stop 130' INT

number=0
for seed in $seeds; do
    for fold in $folds; do
        run=${runs[number]}
        number=$((number + 1))
        echo "== $run: run $number of ${#runs[@]}"
        python train.py --config="$config" "$@" -o "TRAIN.filelist=$data_dir/fold$fold/train.list" \
            -o "VALID.filelist=$data_dir/fold$fold/test.list" -o "TEST.filelist=$data_dir/fold$fold/test.list" \
            --seed="$seed" --save_dir="$run" --resume=auto || stop $?
    done
done
echo "== scores"
python scripts/compare_runs.py "${runs[@]}" --picture="$save_dir/$name.png"
