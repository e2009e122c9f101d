"""What a training run can do besides the plain step: each against a plain run, or against the formula."""

import json
import shutil
import sys

import numpy as np
import paddle
import pytest

import train
from config import load_config
from conftest import SIDE, small_flags
from datareader.loader import Batch
from datareader.workers import ReadingFailed
from distributed.ranks import Ranks
from models.registry import create_model
from models.weights import read_weights
from training import checkpoint
from training.average import WeightAverage, decay_at
from training.build import build_learner
from training.checkpoint import load_training_arrays, load_training_state
from training.log import Metrics, table
from training.meter import ScoreMeter
from training.precision import Precision
from training.steps import evaluate


@pytest.fixture(scope="module")
def trained(small_set, tmp_path_factory):
    """A checkpoint whose batch norm has seen data."""
    save_dir = tmp_path_factory.mktemp("trained")
    flags = small_flags(small_set, TRAIN__epoch=3, TRAIN__learning_rate=0.003)
    train.main(["--pretrain=none", *flags, "--valid_interval=0", f"--save_dir={save_dir}"])
    return save_dir / "TSN_epoch2"


def train_in(save_dir, small_set, *flags: str, **settings):
    settings = {"TRAIN__learning_rate": 0.003, **settings}
    flags = ["--valid_interval=0", *flags, f"--save_dir={save_dir}", "--log_interval=1"]
    train.main([*small_flags(small_set, **settings), *flags])
    return save_dir


@pytest.fixture
def run(small_set, tmp_path):
    """Train with flags and settings, without validation if the flags do not ask for it; returns the folder."""
    return lambda name, *flags, **settings: train_in(tmp_path / name, small_set, *flags, **settings)


@pytest.fixture(scope="module")
def plain(small_set, tmp_path_factory):
    """The run of two epochs, from scratch and with validation, that others are compared with."""
    flags = ["--pretrain=none", "--valid_interval=1"]
    return train_in(tmp_path_factory.mktemp("plain"), small_set, *flags, TRAIN__epoch=2)


def losses(save_dir) -> np.ndarray:
    rows = [json.loads(line) for line in (save_dir / "metrics.jsonl").read_text().splitlines()]
    return np.array([row["loss"] for row in rows if row["event"] == "train"])


def difference(ours, theirs) -> float:
    """The largest difference of two checkpoints' trained weights."""
    ours, theirs = read_weights(ours).arrays, read_weights(theirs).arrays
    trained = [name for name in theirs if not name.endswith(("_mean", "_variance"))]
    return max(np.abs(ours[name] - theirs[name]).max() for name in trained)


def test_accumulation_equals_the_larger_batch(run, trained):
    settings = {"TRAIN__freeze_bn": True, "TRAIN__epoch": 2, "TRAIN__learning_rate": 0.0001}
    whole = run("whole", f"--pretrain={trained}", **settings)
    parts = run("parts", f"--pretrain={trained}", TRAIN__accumulate_steps=4, **settings)
    assert len(losses(whole)) == 6 and np.abs(losses(parts) - losses(whole)).max() < 1e-5
    assert difference(parts / "TSN_epoch1", whole / "TSN_epoch1") < 1e-5
    assert difference(whole / "TSN_epoch1", trained) > 1e-4


def test_frozen_batch_norm_keeps_its_statistics_and_trains_its_scale(run, trained):
    before = read_weights(trained).arrays
    after = read_weights(run("frozen", f"--pretrain={trained}", TRAIN__freeze_bn=True) / "TSN_epoch0").arrays
    for name in ("backbone.bn1._mean", "backbone.bn1._variance"):
        assert np.array_equal(before[name], after[name])
    assert not np.array_equal(before["backbone.bn1.weight"], after["backbone.bn1.weight"])


def test_bfloat16_follows_float32(run, plain):
    rounded = run("bf16", "--pretrain=none", TRAIN__amp="bf16", TRAIN__epoch=2)
    assert 0 < np.abs(losses(rounded) - losses(plain)).max() < 0.1 * losses(plain).max()
    weights = read_weights(rounded / "TSN_epoch1").arrays["fc.weight"]
    assert weights.dtype == np.float32
    assert not np.array_equal(weights, paddle.to_tensor(weights).astype("bfloat16").astype("float32").numpy())


def test_bfloat16_is_refused_on_a_gpu_that_has_none(monkeypatch):
    for is_supported in (True, False):
        monkeypatch.setattr(paddle.amp, "is_bfloat16_supported", lambda answer=is_supported: answer)
        if is_supported:
            Precision("bf16", paddle.nn.Linear(1, 1), on_gpu=True)
            continue
        with pytest.raises(ValueError, match="TRAIN.amp is bf16, which this GPU does not compute; use .*fp16 or off"):
            Precision("bf16", paddle.nn.Linear(1, 1), on_gpu=True)


def test_a_rank_cannot_compute_its_share_in_more_parts_than_it_has_videos():
    config = load_config("configs/tsn.txt", ["TRAIN.batch_size=8", "TRAIN.accumulate_steps=5", "TRAIN.use_gpu=False"])
    with pytest.raises(ValueError, match="accumulate_steps is 5, but each of 2 ranks has 4 of a step's 8 videos"):
        build_learner(config, paddle.nn.Linear(1, 1), Ranks(0, 2), lambda step: 0.1)


def test_a_batch_that_no_memory_holds_is_refused(run):
    with pytest.raises(ValueError, match="TRAIN. a batch of 4 videos takes .* GB, and this machine has .* of memory"):
        run("run", "--pretrain=none", TRAIN__seg_num=1000, TRAIN__short_size=4096, TRAIN__target_size=4096)


def test_bfloat16_rounds_operands_and_results_of_a_layer():
    layer = paddle.nn.Linear(3, 2)
    Precision("bf16", paddle.nn.Sequential(layer), on_gpu=False)
    x = paddle.rand([4, 3])
    x.stop_gradient = False

    def rounded(array) -> np.ndarray:
        return paddle.to_tensor(array).astype("bfloat16").astype("float32").numpy()

    exact = rounded(x.numpy()) @ rounded(layer.weight.numpy()) + layer.bias.numpy()
    y = layer(x)
    assert np.allclose(y.numpy(), rounded(exact), atol=1e-2) and np.array_equal(y.numpy(), rounded(y.numpy()))
    y.sum().backward()
    assert layer.weight.grad.dtype == paddle.float32 and x.grad is not None
    layer.eval()
    assert np.array_equal(layer(x).numpy(), paddle.nn.functional.linear(x, layer.weight, layer.bias).numpy())


def test_the_state_of_loss_scaling_survives_json():
    precision = Precision("off", paddle.nn.Linear(1, 1), on_gpu=False)

    class Scaler:
        def state_dict(self):
            return {"scale": np.array([1024.0], np.float32), "incr_count": 7, "use_dynamic_loss_scaling": True}

        def load_state_dict(self, state):
            self.loaded = state

    precision._scaler = Scaler()
    precision.restore(json.loads(json.dumps(precision.state())))
    loaded = precision._scaler.loaded
    assert loaded["scale"].dtype == np.float32 and loaded["scale"].tolist() == [1024.0]
    assert (loaded["incr_count"], loaded["use_dynamic_loss_scaling"]) == (7, True)


def test_the_moving_average_is_the_formula():
    assert [decay_at(step, 0.5) for step in (0, 1, 8, 100)] == [0.1, 2 / 11, 0.5, 0.5]
    model = paddle.nn.Linear(1, 1, bias_attr=False)
    values, average = [2.0, 4.0, -1.0], None
    for step, value in enumerate(values):
        model.weight.set_value(np.full((1, 1), value, np.float32))
        average = average or WeightAverage(model, 0.5)
        average.update(step)
    expected = 2.0
    for step, value in enumerate(values):
        expected = expected * decay_at(step, 0.5) + value * (1 - decay_at(step, 0.5))
    with average.applied():
        assert model.weight.item() == pytest.approx(expected, abs=1e-6)
    assert model.weight.item() == -1.0


def test_the_moving_average_is_what_is_validated_and_saved(run, plain):
    averaged = run("averaged", "--pretrain=none", "--valid_interval=1", TRAIN__epoch=2, TRAIN__ema_decay=0.9)
    assert np.array_equal(losses(plain), losses(averaged)), "training itself does not change"
    state, arrays = load_training_state(averaged / "TSN_epoch1"), load_training_arrays(averaged / "TSN_epoch1")
    own, average = read_weights(plain / "TSN_epoch1").arrays, read_weights(averaged / "TSN_epoch1").arrays
    assert np.array_equal(arrays["fc.weight.trained"], own["fc.weight"])
    assert not np.array_equal(average["fc.weight"], own["fc.weight"])
    assert state.history[1]["valid_loss"] != load_training_state(plain / "TSN_epoch1").history[1]["valid_loss"]
    without = run("without", f"--resume={averaged / 'TSN_epoch0'}", TRAIN__epoch=2)
    assert difference(without / "TSN_epoch1", plain / "TSN_epoch1") == 0, "without it the weights themselves go on"


def test_clipped_gradients_make_smaller_steps(run, trained):
    rows = {}
    for clip in ("none", 0.01):
        save_dir = run(str(clip), f"--pretrain={trained}", TRAIN__clip_grad_norm=clip, TRAIN__l2_weight_decay=0)
        rows[clip] = difference(save_dir / "TSN_epoch0", trained)
    assert rows[0.01] < 0.1 * rows["none"]


@pytest.mark.parametrize("layout", ["TRAIN__channels_last", "TRAIN__to_static"])
def test_layout_and_compilation_change_no_numbers(run, trained, layout):
    plain = run("plain", f"--pretrain={trained}")
    other = run("other", f"--pretrain={trained}", **{layout: True})
    assert losses(other) == pytest.approx(losses(plain), rel=1e-3)
    assert losses(other)[0] == pytest.approx(losses(plain)[0], abs=1e-5)


def test_channels_last_takes_and_gives_the_same():
    paddle.seed(0)
    models = [create_model("TSN", num_classes=5, num_layers=18, channels_last=last) for last in (False, True)]
    models[1].set_state_dict(models[0].state_dict())
    frames = (paddle.rand([2, 3, 3, 64, 64]) * 255).astype("uint8")
    logits = [model(frames).numpy() for model in models]
    assert np.allclose(logits[0], logits[1], atol=1e-4)


def test_a_loss_that_is_no_number_stops_the_run_with_step_videos_and_checkpoint(run, small_set, tmp_path):
    first = run("run", "--pretrain=none")
    message = (
        r"the loss of step \d is (nan|inf), on the videos .*\.mp4.*; lower TRAIN.learning_rate, .*TSN_epoch0 is the n"
    )
    with pytest.raises(ValueError, match=message):
        run("run", "--resume=auto", TRAIN__epoch=3, TRAIN__learning_rate=1e30)
    assert sorted(path.name for path in first.glob("[!.]*")) == ["TSN_epoch0", "metrics.jsonl"]
    row = json.loads((first / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["event"] == "non_finite_loss" and len(row["videos"]) == 4 and 3 < row["step"] <= 6


def test_weights_that_are_no_numbers_are_never_saved(run, small_set, tmp_path):
    # the loss is looked at after the first step, where it is a number, and at the end
    flags = ["--pretrain=none", "--valid_interval=0", "-o", "TRAIN.learning_rate=1e30"]
    flags += ["-o", "TRAIN.save_interval_steps=2"]
    with pytest.raises(ValueError, match="weights are not finite any more .*there is no checkpoint yet"):
        train.main([*small_flags(small_set), *flags, f"--save_dir={tmp_path / 'run'}", "--log_interval=100"])
    assert [path.name for path in (tmp_path / "run").glob("[!.]*")] == ["metrics.jsonl"]


def test_a_loss_that_is_no_number_is_noticed_at_the_end_of_an_epoch(small_set, tmp_path):
    flags = [*small_flags(small_set, TRAIN__learning_rate=1e30), "--pretrain=none", f"--save_dir={tmp_path / 'run'}"]
    with pytest.raises(ValueError, match=r"the loss of step [23] is nan, on the videos .*there is no checkpoint yet"):
        train.main([*flags, "--log_interval=100"])


def test_changes_since_a_checkpoint_are_told_and_meaningless_ones_refused(run, small_set, tmp_path, caplog):
    run("run", "--pretrain=none", TRAIN__save_interval_steps=2, TRAIN__keep_last="none")
    end, middle = tmp_path / "run" / "TSN_epoch0", tmp_path / "run" / "TSN_epoch0_step2"
    with pytest.raises(ValueError, match="nothing is left to train; raise --epoch_num .*--pretrain"):
        run("x", f"--resume={end}")
    for settings, flags, refused in (
        ({"MODEL__num_layers": 34}, [], "is of another network .MODEL.num_layers was 18, is 34"),
        ({"TRAIN__batch_size": 2}, [], "saved within epoch 0, .*TRAIN.batch_size was 4, is 2"),
        ({}, ["--seed=3"], "saved within epoch 0, .*--seed was 0, is 3"),
        ({"TRAIN__filelist": small_set / "val.list"}, [], "saved within epoch 0, .*the training list was"),
    ):
        with pytest.raises(ValueError, match=refused):
            run("x", f"--resume={middle}", *flags, **settings)
    caplog.clear()
    run("y", f"--resume={end}", TRAIN__epoch=2, TRAIN__batch_size=6, TRAIN__momentum=0.8)
    told = [record.getMessage() for record in caplog.records if "changed since" in record.getMessage()]
    keys = ["save_interval_steps", "keep_last", "batch_size", "epoch", "momentum"]
    assert len(told) == 1 and all(f"TRAIN.{key} was" in told[0] for key in keys)
    assert load_training_state(tmp_path / "y" / "TSN_epoch1").step == 4, "two steps of 6 videos per epoch"


def test_too_many_unreadable_videos_save_the_progress_first(run, small_set, tmp_path):
    order = np.random.default_rng([0, 0]).permutation(12)  # of the first epoch, with seed 0
    lines = [f"{small_set}/{line}" for line in (small_set / "train.list").read_text().splitlines()]
    for step in (3, 8):
        lines[order[step]] = f"absent{step}.mp4 0"
    (tmp_path / "bad.list").write_text("\n".join(lines))
    settings = {"TRAIN__filelist": tmp_path / "bad.list", "TRAIN__batch_size": 1, "TRAIN__max_bad_fraction": 0.1}
    message = "2 of 12 videos cannot be read, .* repair the list, .*; .*TSN_epoch0_step8 is the newest checkpoint, and"
    with pytest.raises(ValueError, match=message):
        run("run", "--pretrain=none", **settings)
    run("run", "--resume=auto", **settings | {"TRAIN__max_bad_fraction": 0.2})
    state = load_training_state(tmp_path / "run" / "TSN_epoch0")
    assert (state.epoch, state.step) == (1, 12)


def test_all_ranks_end_together_where_one_cannot_read_on():
    def unreadable():
        raise ReadingFailed("gone here")
        yield

    class TwoRanks(Ranks):
        def exchange(self, value):
            return [value, [0, "gone there", 0]]

    empty = Batch(None, None, [], [], [], [], [])
    for batches, ranks, message in (([empty], TwoRanks(0, 2), "gone there"), (unreadable(), Ranks(), "gone here")):
        with pytest.raises(ReadingFailed, match=message):
            evaluate(paddle.nn.Linear(1, 1), batches, ScoreMeter(), ranks)


def test_resume_says_what_to_do_instead(run, plain, caplog):
    with pytest.raises(ValueError, match=f"plain0: is the folder of a run; .*--save_dir={plain}, or .*=.*/TSN_epoch1"):
        run("x", f"--resume={plain}")
    caplog.clear()
    flags = [f"--resume={plain / 'TSN_epoch1'}", "-o", "MODEL.num_classes=2"]
    with pytest.raises(ValueError, match="of another network .MODEL.num_classes was 3, is 2.; .*give --pretrain="):
        run("x", *flags, TRAIN__momentum=0.5)
    assert "changed since" not in caplog.text, "the refusal alone"
    with caplog.at_level("INFO"):
        run(plain, "--resume=auto", "--valid_interval=1", TRAIN__epoch=2)
    assert "TSN_epoch1 has finished its 2 epochs: nothing is left to train; a larger --epoch_num" in caplog.text
    assert "going on with" not in caplog.text


def test_a_run_says_what_its_lists_hold_and_what_comes_next(run, small_set, tmp_path, caplog):
    with caplog.at_level("INFO"):
        flags = ["--pretrain=none", "--valid_interval=1", "-o", f"VALID.filelist={small_set / 'train.list'}"]
        folder = run("my run", *flags)
    said = [record.getMessage() for record in caplog.records]
    assert f"[TRAIN] {small_set / 'train.list'}: 12 videos: class 0 4, class 1 4, class 2 4" in said
    assert any(line.startswith("[VALID] 12 videos of the validation list (it has 12) also in") for line in said)
    assert sum(line.startswith("[TRAIN] saved ") for line in said) == 1
    (valid,) = [line for line in said if line.startswith("[VALID] Epoch 0")]
    assert "top5_acc" not in valid and valid.endswith(f"12 videos, 3 segments x the center crop of {SIDE} px")
    assert said[-1] == f"[TRAIN] next: python test.py '--weights={folder / 'TSN_best'}'"
    steps = [line for line in said if line.startswith("[TRAIN] Epoch 0, iter")]
    assert ["left:" in line for line in steps] == [False, True, True], "the first step says nothing of the others"


def test_two_runs_do_not_write_to_one_folder(run, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(checkpoint, "LOCK_WAIT_SEC", 0.1)
    with checkpoint.Checkpoints(tmp_path / "run", "TSN").alone():
        with pytest.raises(ValueError, match="run: another run is writing here; wait for its end"):
            run("run", "--pretrain=none")


def test_a_new_run_does_not_mix_with_an_earlier_one(run, small_set, tmp_path):
    run("run", "--pretrain=none")
    with pytest.raises(ValueError, match="run: holds TSN_epoch0 of an earlier run; go on with it by --resume=auto"):
        run("run", "--pretrain=none")
    run("run", f"--resume={tmp_path / 'run' / 'TSN_epoch0'}", "--valid_interval=0", TRAIN__epoch=2)
    with pytest.raises(ValueError, match="holds TSN_epoch1"):
        run("run", f"--resume={tmp_path / 'elsewhere'}")


def test_a_new_run_does_not_mix_with_another_models(run, plain, tmp_path):
    shutil.copytree(plain / "TSN_epoch1", tmp_path / "run" / "TSM_epoch1")
    for flags in ([], ["--resume=auto"]):
        with pytest.raises(ValueError, match="run: holds TSM_epoch1, the checkpoint of another model than TSN; choose"):
            run("run", "--pretrain=none", *flags)


def test_the_best_is_only_replaced_by_a_better_one(run, plain, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(plain, folder)
    path = folder / "TSN_best" / "state.json"
    best = json.loads(path.read_text()) | {"best_top1": 1.1}
    path.write_text(json.dumps(best))
    run("run", f"--resume={folder / 'TSN_epoch0'}", "--valid_interval=1", TRAIN__epoch=2)
    assert json.loads(path.read_text()) == best, "the one that was resumed knew of nothing that good"
    assert load_training_state(folder / "TSN_epoch1").best_top1 == 1.1


@pytest.mark.parametrize(
    "setting, message",
    [("TRAIN.amp=fp16", "fp16 is for GPUs"), ("TRAIN.sync_bn=True", "sync_bn is for GPUs; on a CPU use -o")],
)
def test_what_needs_a_gpu_says_so(run, setting, message):
    with pytest.raises(ValueError, match=message):
        run("run", "--pretrain=none", "--use_gpu=False", "-o", setting)


def test_visualdl_curves(run, monkeypatch):
    folder = run("run", "--pretrain=none", TRAIN__visualdl=True)
    from visualdl import LogReader

    (path,) = (folder / "visualdl").iterdir()
    reader = LogReader(file_path=str(path))
    tags = reader.get_tags()["scalar"]
    for tag in ("loss", "top1", "learning_rate", "clips_per_sec", "wait_fraction", "grad_norm"):
        assert f"train/{tag}" in tags
    assert [point.id for point in reader.get_data("scalar", "train/loss")] == [1, 2, 3]
    assert [point.value for point in reader.get_data("scalar", "train/loss")] == pytest.approx(losses(folder), rel=1e-6)
    monkeypatch.setitem(sys.modules, "visualdl", None)
    with pytest.raises(ValueError, match="TRAIN.visualdl needs VisualDL .*pip install visualdl"):
        run("without", "--pretrain=none", TRAIN__visualdl=True)


def test_metrics_of_a_killed_run_lose_only_the_torn_line(tmp_path, monkeypatch, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "train"}\n{"event": "tr')
    metrics = Metrics(path, goes_on=True)
    metrics.write("train", 3, loss=float("nan"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 2 and rows[1]["loss"] is None and rows[1]["step"] == 3

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", full_disk)
    metrics.write("train", 4)
    assert "cannot be written (No space left on device): training goes on" in caplog.text
    with pytest.raises(OSError, match="free some space, then go on with --resume=auto"):
        Metrics(path).write("train", 4)


def test_table():
    assert table(
        [{"epoch": 0, "loss": 1.23456, "top1": None}, {"epoch": 10, "loss": 0.5, "top1": 0.25}]
    ).splitlines() == [
        "  epoch    loss    top1",
        "      0   1.235       -",
        "     10     0.5    0.25",
    ]
