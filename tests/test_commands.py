"""The verbs end to end, as a user runs them; and every row of the README's table of mistakes."""

import importlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import paddle
import pytest

import infer
import test as test_verb
import train
from common import command_line
from config import load_config
from conftest import NUM_CLASSES, class_frames, small_flags, write_video
from formula_weights import formula, formula_arrays, write_original_folder
from models.weights import download, read_weights, write_weights
from models.weights.names import NAMINGS
from weights_server import serve

FROM_SCRATCH = ["--pretrain=none"]


@pytest.fixture(scope="module")
def trained(small_set, tmp_path_factory):
    """A run of two epochs."""
    save_dir = tmp_path_factory.mktemp("run")
    train.main([*FROM_SCRATCH, *small_flags(small_set, TRAIN__epoch=2), "--log_interval=1", f"--save_dir={save_dir}"])
    return save_dir


def rows(save_dir: Path, event: str) -> list[dict]:
    lines = (save_dir / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["event"] == event]


def test_training_leaves_checkpoints_and_metrics(trained, small_set):
    assert sorted(path.name for path in trained.glob("[!.]*")) == [
        "TSN_best",
        "TSN_epoch0",
        "TSN_epoch1",
        "metrics.jsonl",
    ]
    state = json.loads((trained / "TSN_epoch1" / "state.json").read_text())
    assert (state["epoch"], state["step"], state["seed"]) == (2, 6, 0)
    assert [row["epoch"] for row in state["history"]] == [0, 1]
    best = max(row["valid_top1"] for row in state["history"])
    assert state["best_top1"] == best
    first_best = next(row["epoch"] for row in state["history"] if row["valid_top1"] == best)
    assert json.loads((trained / "TSN_best" / "state.json").read_text())["epoch"] == first_best + 1
    config = load_config(trained / "TSN_epoch1" / "config.yaml")
    assert config.train.filelist == str(small_set / "train.list") and config.model.num_layers == 18
    steps = rows(trained, "train")
    assert [(row["epoch"], row["iter"]) for row in steps] == [(e, i) for e in range(2) for i in range(3)]
    # total_videos none: 12 videos, batch 4, so 4 steps by the original's count, and drops at steps 8/3 and 16/3
    assert [row["learning_rate"] for row in steps] == pytest.approx([0.01] * 2 + [0.001] * 2 + [0.0001] * 2)
    assert (
        [row["epoch"] for row in rows(trained, "valid")] == [row["epoch"] for row in rows(trained, "epoch")] == [0, 1]
    )
    assert [(row["epoch"], row["step"]) for row in rows(trained, "end")] == [(2, 6)]
    first = [row["loss"] for row in steps[:3]]  # three steps of four clips
    assert rows(trained, "epoch")[0]["loss"] == pytest.approx(sum(first) / 3)


def test_a_resumed_run_equals_an_undisturbed_one(trained, small_set, tmp_path):
    flags = small_flags(small_set, TRAIN__epoch=2)
    train.main([*flags, "--log_interval=1", f"--save_dir={tmp_path}", f"--resume={trained / 'TSN_epoch0'}"])
    resumed, undisturbed = (read_weights(folder / "TSN_epoch1").arrays for folder in (tmp_path, trained))
    assert all(np.array_equal(resumed[name], undisturbed[name]) for name in undisturbed)


def test_losses_are_the_same_to_the_bit_for_any_number_of_reader_threads(trained, small_set, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(4), raising=False)  # let 4 workers start on 2 cores
    flags = small_flags(small_set, TRAIN__epoch=2, TRAIN__num_reader_threads=4)
    train.main([*FROM_SCRATCH, *flags, "--log_interval=1", f"--save_dir={tmp_path}"])
    losses = [[row["loss"] for row in rows(run, "train")] for run in (trained, tmp_path)]
    assert len(losses[0]) == 6 and losses[0] == losses[1]


def test_pretrain_keeps_the_backbone_and_starts_a_new_head(trained, small_set, tmp_path, caplog):
    with caplog.at_level("INFO"):
        flags = small_flags(small_set, MODEL__num_classes=5, TRAIN__learning_rate=1e-9)
        train.main([*flags, f"--pretrain={trained / 'TSN_epoch1'}", f"--save_dir={tmp_path}", "--valid_interval=0"])
    ours, theirs = read_weights(tmp_path / "TSN_epoch0").arrays, read_weights(trained / "TSN_epoch1").arrays
    assert ours["fc.bias"].shape == (5,)
    assert np.allclose(ours["backbone.conv1.weight"], theirs["backbone.conv1.weight"], atol=1e-6)
    assert "100 tensors matched, 2 of another shape (fc.weight" in capture(caplog)


def test_resume_from_weights_without_training_state_starts_at_epoch_0(trained, small_set, tmp_path, caplog):
    """This is how the published model is fine-tuned, last layer included."""
    weights = read_weights(trained / "TSN_epoch1").arrays
    write_weights(tmp_path / "published", weights, 18, NAMINGS["original"], as_folder=True)
    flags = [*small_flags(small_set, TRAIN__learning_rate=1e-9), f"--save_dir={tmp_path / 'run'}", "--valid_interval=0"]
    with caplog.at_level("INFO"):
        train.main([*flags, f"--resume={tmp_path / 'published'}"])
    assert "ResNet-18 in the names of the 2019 original: 102 tensors matched" in capture(caplog)
    assert "carries no training state: starting with epoch 0" in capture(caplog)
    ours = read_weights(tmp_path / "run" / "TSN_epoch0").arrays
    assert np.allclose(ours["fc.weight"], weights["fc.weight"], atol=1e-6)
    with pytest.raises(ValueError, match="made for 3 classes, but MODEL.num_classes is 4; .*--pretrain"):
        train.main(
            [*flags, f"--resume={tmp_path / 'published'}", "-o", "MODEL.num_classes=4", f"--save_dir={tmp_path / '4'}"]
        )


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> dict[str, bytes]:
    """Archives as the original published them, with formula weights: 400 classes, or ResNet-50 with 1000."""
    archives, arrays = {}, formula_arrays()
    for name, num_classes in (("tsn_kinetics", 400), ("tsm_kinetics", 400), ("ResNet50_pretrained", 1000)):
        head = {"fc_0.w_0": formula("fc_0.w_0", [2048, num_classes]), "fc_0.b_0": formula("fc_0.b_0", [num_classes])}
        folder = write_original_folder(tmp_path_factory.mktemp("published") / name, {**arrays, **head})
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=0) as archive:
            archive.add(folder, name)
        archives[f"{name}.tar.gz"] = stream.getvalue()
    return archives


def test_without_weights_the_published_ones_are_downloaded(published, small_set, tmp_path, monkeypatch, caplog):
    flags = [*small_flags(small_set), "-o", "MODEL.num_layers=50"]
    train_flags = [*flags, "-o", "VALID.filelist=none", "--valid_interval=0", f"--save_dir={tmp_path / 'run'}"]
    with serve(published) as server, caplog.at_level("INFO"):
        monkeypatch.setenv("TSN_WEIGHTS_URL", server.url)
        train.main(train_flags)
        kinetics = [*flags, "-o", "MODEL.num_classes=400"]
        test_verb.main(kinetics)
        assert len(infer.main([*kinetics, f"--save_dir={tmp_path}"])) == 7
        assert len(server.ranges) == 2, "each archive once"
        test_verb.main([*kinetics, "--model_name=TSM"])
        assert len(server.ranges) == 3
    home, said = tmp_path / "weights home", capture(caplog)
    assert f"weights of {home / 'ResNet50_pretrained'}: ResNet-50 in the names of the 2019 original" in said
    assert "265 tensors matched, 2 of another shape (fc.weight [2048, 1000], the model has [2048, 3]" in said
    assert f"weights of {home / 'tsn_kinetics'}: ResNet-50 in the names of the 2019 original: 267" in said
    assert f"weights of {home / 'tsm_kinetics'}: ResNet-50 in the names of the 2019 original's TSM: 267" in said


def capture(caplog) -> str:
    return "\n".join(record.getMessage() for record in caplog.records)


def test_test_scores_every_video_and_counts_broken_ones_as_wrong(trained, small_set, tmp_path, caplog):
    weights = f"--weights={trained / 'TSN_epoch1'}"
    whole = test_verb.main([*small_flags(small_set), weights])
    assert (whole.num_videos, whole.num_unreadable, whole.scores["top5"]) == (7, 0, 1.0)
    (tmp_path / "cut.mp4").write_bytes(b"no video")
    lines = [f"{small_set}/{line}" for line in (small_set / "val.list").read_text().splitlines()]
    (tmp_path / "broken.list").write_text("\n".join([lines[0], f"{tmp_path / 'cut.mp4'} 1", *lines[1:]]))
    broken = test_verb.main([*small_flags(small_set, TEST__filelist=tmp_path / "broken.list"), weights])
    assert (broken.num_videos, broken.num_unreadable) == (8, 1)
    assert broken.scores["top1"] == pytest.approx(whole.scores["top1"] * 7 / 8)
    assert broken.scores["top5"] == pytest.approx(7 / 8)
    assert broken.scores["loss"] == pytest.approx(whole.scores["loss"], rel=1e-6)
    assert f"1 of 8 videos could not be read: {tmp_path / 'cut.mp4'}" in capture(caplog)


def test_infer_has_an_entry_for_every_line_in_order(trained, small_set, tmp_path, caplog):
    names = (small_set / "infer.list").read_text().splitlines()
    (small_set / "with broken.list").write_text("\n".join([*names[:3], "val/absent.mp4", *names[3:]]))
    infer.main([
        *small_flags(small_set), f"--weights={trained / 'TSN_epoch1'}", f"--save_dir={tmp_path}", "--infer_topk=2",
        f"--filelist={small_set / 'with broken.list'}", "--batch_size=4", "--log_interval=1",
    ])  # fmt: skip
    results = pickle.loads((tmp_path / "TSN_infer_result").read_bytes())
    assert [entry[0] for entry in results] == [*names[:3], "val/absent.mp4", *names[3:]]
    assert results[3] == ("val/absent.mp4", [], [])
    for _, probabilities, class_ids in results[:3] + results[4:]:
        assert len(class_ids) == 2 and probabilities == sorted(probabilities, reverse=True)
    assert "val/absent.mp4: no such file" in capture(caplog)
    assert "[INFER] val/class 0/0.mp4: class " in capture(caplog)
    lines = (tmp_path / "TSN_infer_result.jsonl").read_text().splitlines()
    assert [json.loads(line)["video_id"] for line in lines] == [entry[0] for entry in results]


def test_test_and_infer_agree(trained, small_set, tmp_path):
    flags = [*small_flags(small_set), f"--weights={trained / 'TSN_epoch1'}"]
    results = infer.main([*flags, f"--save_dir={tmp_path}"])
    labels = [int(line.rsplit(" ", 1)[1]) for line in (small_set / "val.list").read_text().splitlines()]
    top1 = np.mean([result.class_ids[0] == label for result, label in zip(results, labels, strict=True)])
    assert test_verb.main(flags).scores["top1"] == pytest.approx(top1)


def test_broken_training_videos_are_replaced_summed_up_and_limited(small_set, tmp_path, caplog):
    lines = [f"{small_set}/{line}" for line in (small_set / "train.list").read_text().splitlines()]
    (tmp_path / "one.list").write_text("\n".join([*lines, f"{tmp_path / 'gone.mp4'} 0"]))
    flags = small_flags(small_set, TRAIN__filelist=tmp_path / "one.list", TRAIN__epoch=2, TRAIN__max_bad_fraction=0.1)
    train.main([*FROM_SCRATCH, *flags, f"--save_dir={tmp_path}", "--valid_interval=0"])
    assert capture(caplog).count("gone.mp4: no such file") == 1
    assert capture(caplog).count(f"1 of 13 videos could not be read: {tmp_path / 'gone.mp4'}; their neighbours") == 2
    flags += ["-o", "TRAIN.max_bad_fraction=0.05", f"--save_dir={tmp_path / 'other'}", "--valid_interval=0"]
    with pytest.raises(ValueError, match="1 of 13 videos cannot be read, more than TRAIN.max_bad_fraction 0.05 allows"):
        train.main([*FROM_SCRATCH, *flags])


def test_videos_that_had_to_be_decoded_in_order_are_summed_up(trained, small_set, tmp_path, caplog, monkeypatch):
    rng = np.random.default_rng(0)
    paths = [write_video(tmp_path / f"{number}.avi", class_frames(number, rng), crf=20) for number in range(2)]
    (tmp_path / "avi.list").write_text("".join(f"{path} {number}\n" for number, path in enumerate(paths)))
    flags = small_flags(small_set, TEST__filelist=tmp_path / "avi.list", TEST__num_reader_threads=0)
    reason = "its packets tell when frames are decoded, not when they are shown"
    monkeypatch.setenv("TSN_LOG_LEVEL", "debug")
    test_verb.main([*flags, f"--weights={trained / 'TSN_epoch1'}"])
    assert f"2 of 2 videos were decoded in order, more slowly (2: {reason})" in capture(caplog)
    assert f"{paths[1]} is decoded in order: {reason}" in capture(caplog)
    flags = small_flags(small_set, TRAIN__filelist=tmp_path / "avi.list")
    train.main([*FROM_SCRATCH, *flags, f"--save_dir={tmp_path}", "--valid_interval=0"])
    assert rows(tmp_path, "epoch")[0]["num_in_order"] == 2
    monkeypatch.setenv("TSN_LOG_LEVEL", "loud")
    with pytest.raises(ValueError, match="TSN_LOG_LEVEL is 'loud'; it takes debug, info, warning, error"):
        test_verb.main(flags)


def test_a_list_without_one_readable_video_stops_even_if_all_may_be_bad(small_set, tmp_path):
    (tmp_path / "cut.mp4").write_bytes(b"no video")
    (tmp_path / "all.list").write_text(f"{tmp_path / 'cut.mp4'} 0\n" * 3)
    flags = small_flags(small_set, TRAIN__filelist=tmp_path / "all.list", TRAIN__max_bad_fraction=1)
    with pytest.raises(ValueError, match="not one batch of an epoch has a video that can be read"):
        train.main([*FROM_SCRATCH, *flags, f"--save_dir={tmp_path}", "--valid_interval=0"])


def fails(verb, arguments: list[str], capsys, monkeypatch) -> str:
    """Run a verb as its script does; it has to exit with 2 and print one line on stderr. Returns that line."""
    monkeypatch.setattr(sys, "argv", [f"{verb.__name__}.py", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        command_line.run(verb.main)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


MISTAKES = {
    "missing config": (train, ["--config=no.txt"], "no.txt: no such config file"),
    "missing list": (train, ["-o", "TRAIN.filelist=no.list"], "no.list: no such list file"),
    "no published weights and no network": (
        test_verb, ["-o", "MODEL.num_layers=50", "-o", "MODEL.num_classes=400"], "put it at",
    ),
    "missing weights": (test_verb, ["--weights=no/where"], "no/where: no such weights"),
    "published weights that cannot fit": (infer, [], "are for num_layers 50, but MODEL.num_layers is 18; give --wei"),
    "bad line": (train, ["-o", "TRAIN.filelist={tmp}/bad.list"], "bad.list line 2: expected 'path label'"),
    "unknown key": (train, ["-o", "TRAIN.batchsize=2"], "unknown key; did you mean 'batch_size'?"),
    "unknown flag": (train, ["--batchsize=2"], "unrecognized arguments: --batchsize=2"),
    "wrong type": (train, ["-o", "TRAIN.epoch=many"], "[TRAIN] epoch: expected a whole number, got 'many'"),
    "wrong type of flag": (train, ["--batch_size=many"], "argument --batch_size: invalid"),
    "unknown model": (train, ["--model_name=C3D"], "unknown model 'C3D'; known models: TSM, TSN"),
    "wrong class count": (test_verb, ["--weights={run}", "-o", "MODEL.num_classes=4"], "made for 3 classes, but"),
    "label file of another class count": (
        infer, ["-o", "MODEL.label_file=dataset/kinetics/kinetics400_labels.txt"], "names 400 classes, but",
    ),
    "GPU asked for and absent": (train, ["--use_gpu=True"], "use_gpu is True, but"),
    "unreadable video": (
        train, ["-o", "TRAIN.filelist={tmp}/unreadable.list"], "1 of 2 videos cannot be read, more than",
    ),
    "all videos absent": (train, ["-o", "TRAIN.filelist={tmp}/absent.list"], "none of its videos exists (it lists 1)"),
    "empty list": (train, ["-o", "TRAIN.filelist={tmp}/empty.list"], "empty.list: no videos in this list"),
    "label out of range": (train, ["-o", "TRAIN.filelist={tmp}/range.list"], "label 9 of"),
    "unwritable save folder": (train, ["--save_dir={tmp}/bad.list/run"], "bad.list/run: cannot write here"),
    "two origins of weights": (train, ["--resume={run}", "--pretrain={run}"], "give one of them"),
    "nothing left to train": (train, ["--resume={run}", "--epoch_num=2"], "nothing is left to train"),
    "weights of no known format": (test_verb, ["--weights={tmp}/bad.list"], "bad.list: is of no known format"),
    "damaged weights": (test_verb, ["--weights={tmp}/cut.pdparams"], "cut.pdparams: cannot be read as a pickle"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_line_with_the_fix_and_exit_code_2(
    mistake, trained, small_set, tmp_path, capsys, monkeypatch
):
    if mistake == "GPU asked for and absent" and paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count():
        pytest.skip("there is a GPU")
    video = next((small_set / "train").rglob("*.mp4"))
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:300])
    (tmp_path / "cut.pdparams").write_bytes((trained / "TSN_epoch1" / "model.pdparams").read_bytes()[:-999])
    for name, text in {
        "bad": f"{video} 0\n{video}\n", "empty": "# none\n", "range": f"{video} 9\n", "absent": "gone.mp4 0\n",
        "unreadable": f"{video} 0\n{tmp_path / 'cut.mp4'} 0\n",
    }.items():  # fmt: skip
        (tmp_path / f"{name}.list").write_text(text)
    monkeypatch.setattr(download, "RETRY_PAUSES_SEC", (0,))
    verb, extra, part = MISTAKES[mistake]
    save_dir = [] if verb is test_verb else [f"--save_dir={tmp_path}"]
    if verb is train and not any(argument.startswith(("--pretrain", "--resume")) for argument in extra):
        save_dir += FROM_SCRATCH
    extra = [argument.format(tmp=tmp_path, run=trained / "TSN_epoch1") for argument in extra]
    line = fails(verb, [*small_flags(small_set), *save_dir, *extra], capsys, monkeypatch)
    assert part in line


def test_several_mistakes_are_all_told(capsys, monkeypatch, small_set):
    monkeypatch.setattr(sys, "argv", ["train.py", *small_flags(small_set), "-o", "TRAIN.x=1", "-o", "TEST.y=1"])
    with pytest.raises(SystemExit):
        command_line.run(train.main)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_defect_keeps_its_traceback():
    def main():
        np.zeros(3).reshape(2, 2)  # a ValueError raised inside a library

    with pytest.raises(ValueError, match="reshape"):
        command_line.run(main)


@pytest.mark.parametrize("verb", ["train", "test", "infer", "export"])
def test_help_is_printed_and_a_real_process_exits_with_2(verb, capsys):
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(verb).main(["--help"])
    help_text = capsys.readouterr()
    assert caught.value.code == 0 and f"python {verb}.py --" in help_text.out and not help_text.err
    command = [sys.executable, f"{verb}.py", "--config=no.txt"]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert failed.returncode == 2
    assert failed.stderr == "error: no.txt: no such config file; try --config=configs/tsn.txt\n"


def test_train_through_the_documented_script(small_set, tmp_path):
    arguments = [*FROM_SCRATCH, *small_flags(small_set), f"--save_dir={tmp_path}", f"--batch_size={NUM_CLASSES * 4}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "scripts/train/train_tsn.sh", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PATH": path})
    assert (tmp_path / "TSN_epoch0" / "model.pdparams").is_file()
