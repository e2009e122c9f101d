import json
import subprocess
import sys

from conftest import small_flags


def test_two_cpu_processes_share_training_and_count_every_validation_video_once(small_set, tmp_path):
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node=2", f"--log_dir={tmp_path / 'log'}"]
    flags = [
        "--pretrain=none",
        *small_flags(small_set),
        f"--save_dir={tmp_path / 'run'}",
        "--log_interval=1",
        "--use_gpu=False",
    ]
    done = subprocess.run([sys.executable, *launch, "train.py", *flags], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "TSN_epoch0" / "model.pdparams").is_file()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows] == ["start"] + ["train"] * 3 + ["epoch", "valid"]
    assert rows[-1]["num_videos"] == 7
    assert done.stdout.count("training finished  Loss") == 1
