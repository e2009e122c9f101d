import dataclasses
import json
import shutil

import numpy as np
import paddle
import pytest

from common.whole_file import prepare_save_dir
from training.checkpoint import (
    BEST,
    Checkpoints,
    Snapshot,
    TrainingState,
    load_training_arrays,
    load_training_state,
    save_checkpoint,
)

STATE = TrainingState(
    seed=5, epoch=3, step_in_epoch=1, step=22, sums=[1, 1 / 3, 0, 0, 0], broken=[[2, "gone"]], best_top1=0.1
)


def snapshot(value=1.0, **state) -> Snapshot:
    weights = {"weight": paddle.full([2, 2], value)}
    return Snapshot(weights, {"weight.velocity": np.arange(4.0)}, dataclasses.replace(STATE, **state), "MODEL: {}\n")


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def value_of(folder) -> float:
    return float(paddle.load(str(folder / "model.pdparams"))["weight"].max())


def test_a_checkpoint_is_a_folder_of_four_files_and_their_sums_and_reads_back(tmp_path):
    save_checkpoint(tmp_path / "TSN_epoch2", snapshot())
    files = ["SHA256SUMS", "config.yaml", "model.pdparams", "optimizer.pdopt", "state.json"]
    assert names(tmp_path / "TSN_epoch2") == files and names(tmp_path) == ["TSN_epoch2"]
    state, arrays = load_training_state(tmp_path / "TSN_epoch2"), load_training_arrays(tmp_path / "TSN_epoch2")
    assert state == STATE and np.array_equal(arrays["weight.velocity"], np.arange(4.0))
    content = json.loads((tmp_path / "TSN_epoch2" / "state.json").read_text())
    assert content["versions"]["paddle"] == paddle.__version__
    size = (tmp_path / "TSN_epoch2" / "model.pdparams").stat().st_size
    assert content["files"]["model.pdparams"]["bytes"] == size and len(content["files"]) == 3


def test_any_paddle_program_can_read_the_weights(tmp_path):
    save_checkpoint(tmp_path / "TSN_epoch0", snapshot(2.0))
    assert paddle.load(str(tmp_path / "TSN_epoch0" / "model.pdparams"))["weight"].numpy().tolist() == [[2, 2], [2, 2]]


def test_saving_again_replaces_the_folder(tmp_path):
    save_checkpoint(tmp_path / "TSN_epoch0", snapshot(1.0))
    save_checkpoint(tmp_path / "TSN_epoch0", snapshot(2.0))
    assert names(tmp_path) == ["TSN_epoch0"] and value_of(tmp_path / "TSN_epoch0") == 2


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_failed_save_leaves_the_earlier_checkpoints_and_says_so(tmp_path, monkeypatch, caplog, goes_on):
    checkpoints = Checkpoints(tmp_path, "TSN", keep_last=1, goes_on=goes_on)
    checkpoints.save("epoch0", snapshot(1.0))

    def full_disk(content, path):
        with open(path, "wb") as file:
            file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(paddle, "save", full_disk)
    message = (
        r"TSN_epoch1: cannot be saved \(No space left on device\); .*TSN_epoch0 is the newest checkpoint; free some"
    )
    if goes_on:
        assert checkpoints.save("epoch1", snapshot(2.0)) is False
        assert "TSN_epoch0 is the newest checkpoint; free some space: training goes on" in caplog.text
    else:
        with pytest.raises(OSError, match=message):
            checkpoints.save("epoch1", snapshot(2.0))
    assert names(tmp_path) == ["TSN_epoch0"] and value_of(tmp_path / "TSN_epoch0") == 1
    assert checkpoints.newest() == tmp_path / "TSN_epoch0"


@pytest.mark.parametrize("name", ["model.pdparams", "optimizer.pdopt", "state.json", "config.yaml", "SHA256SUMS"])
def test_incomplete_and_damaged_checkpoints_are_refused_by_name(tmp_path, name):
    folder = tmp_path / "TSN_epoch0"
    save_checkpoint(folder, snapshot())
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-5])
    with pytest.raises(ValueError, match=name):
        load_training_state(folder)
    (folder / name).write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    with pytest.raises(ValueError, match=name):
        load_training_state(folder)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_training_state(folder)


@pytest.mark.parametrize("change", [
    {"epoch": "3"}, {"epoch": True}, {"step": None}, {"sums": ["1"]}, {"broken": [1]}, {"history": {}}, {"serial": 1.5},
    {"files": []}, {"files": {"model.pdparams": 3}}, {"files": {"model.pdparams": {}}},
    {"files": {"../x": {"bytes": 1, "sha256": ""}}}, {"files": {"state.json/x": {"bytes": 1, "sha256": ""}}},
])  # fmt: skip
def test_a_state_of_other_types_is_refused_by_name_and_passed_over(tmp_path, change):
    save_checkpoint(tmp_path / "TSN_epoch0", snapshot())
    state = tmp_path / "TSN_epoch0" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | change))
    with pytest.raises(ValueError, match="state.json: damaged training state: it"):
        load_training_state(tmp_path / "TSN_epoch0")
    assert Checkpoints(tmp_path, "TSN").newest() is None


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, "\xff", "3"])
def test_a_state_that_is_no_json_of_a_state_is_refused_by_name(tmp_path, text):
    save_checkpoint(tmp_path / "TSN_epoch0", snapshot())
    (tmp_path / "TSN_epoch0" / "state.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="state.json: damaged training state: "):
        load_training_state(tmp_path / "TSN_epoch0")


def test_an_optimizers_file_of_other_things_than_arrays_is_refused(tmp_path):
    made = snapshot()
    save_checkpoint(tmp_path / "TSN_epoch0", made._replace(training={"weight.velocity": "fast"}))
    with pytest.raises(ValueError, match="optimizer.pdopt: damaged training state: holds other things than arrays"):
        load_training_arrays(tmp_path / "TSN_epoch0")


def test_the_newest_whole_checkpoint_is_found_and_others_are_named(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, "TSN")
    assert checkpoints.newest() is None and checkpoints.last_good() == "there is no checkpoint yet"
    for label, step in (("epoch1", 20), ("epoch0", 10), ("epoch0_step5", 5)):  # the order of saving counts
        checkpoints.save(label, snapshot(step=step))
    assert checkpoints.newest() == tmp_path / "TSN_epoch0_step5"
    path = tmp_path / "TSN_epoch0_step5" / "optimizer.pdopt"
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "TSN_epoch0" / "state.json").write_text("{")
    (tmp_path / "TSN_notes").write_text("no checkpoint")
    assert checkpoints.newest() == tmp_path / "TSN_epoch1"
    assert "passed over: " in caplog.text and f"{path}: has" in caplog.text
    assert "TSN_epoch0/state.json: damaged training state" in caplog.text


def test_old_ones_go_and_the_best_stays(tmp_path):
    checkpoints = Checkpoints(tmp_path, "TSN", keep_last=2)
    checkpoints.save("epoch0_step5", snapshot(epoch=0, step_in_epoch=5, step=5))
    checkpoints.save("epoch0_step10", snapshot(epoch=0, step_in_epoch=10, step=10))
    checkpoints.save(BEST, snapshot(epoch=1, step_in_epoch=0, step=10))
    assert names(tmp_path) == ["TSN_best", "TSN_epoch0_step10", "TSN_epoch0_step5"]
    checkpoints.save("epoch0", snapshot(epoch=1, step_in_epoch=0, step=10))  # takes the place of those within the epoch
    assert names(tmp_path) == ["TSN_best", "TSN_epoch0"]
    for epoch in range(1, 5):
        checkpoints.save(f"epoch{epoch}", snapshot(epoch=epoch + 1, step_in_epoch=0))
    assert names(tmp_path) == ["TSN_best", "TSN_epoch3", "TSN_epoch4"]
    everything = Checkpoints(tmp_path, "TSN")
    for label, step in (("epoch5_step7", 57), ("epoch5_step10", 60)):
        everything.save(label, snapshot(epoch=5, step_in_epoch=step - 50, step=step))
    everything.save("epoch5", snapshot(epoch=6, step_in_epoch=0, step=60))
    expected = ["TSN_best", "TSN_epoch3", "TSN_epoch4", "TSN_epoch5", "TSN_epoch5_step7"]
    assert names(tmp_path) == expected, "without keep_last only the one at the same step goes"


def test_the_step_alone_does_not_tell_what_an_epoch_supersedes(tmp_path):
    everything = Checkpoints(tmp_path, "TSN")
    # 10 steps an epoch; then, after a resume from epoch0 with another batch size, 6 of them
    everything.save("epoch0", snapshot(epoch=1, step_in_epoch=0, step=10))
    everything.save("epoch1_step2", snapshot(epoch=1, step_in_epoch=2, step=12))
    everything.save("epoch1_step6", snapshot(epoch=1, step_in_epoch=6, step=12))
    everything.save("epoch1", snapshot(epoch=2, step_in_epoch=0, step=12))
    assert names(tmp_path) == ["TSN_epoch0", "TSN_epoch1", "TSN_epoch1_step2"]
    everything.save("epoch2_step8", snapshot(epoch=2, step_in_epoch=8, step=20))
    everything.save("epoch4", snapshot(epoch=5, step_in_epoch=0, step=20))
    assert "TSN_epoch2_step8" in names(tmp_path)


def test_the_score_of_the_best_is_the_one_on_the_disk(tmp_path):
    checkpoints = Checkpoints(tmp_path, "TSN")
    assert checkpoints.best_top1() is None
    checkpoints.save(BEST, snapshot(best_top1=0.5))
    checkpoints.save("epoch3", snapshot(best_top1=0.1))
    assert checkpoints.best_top1() == 0.5


def test_what_a_killed_run_leaves_is_tidied_up(tmp_path):
    checkpoints = Checkpoints(tmp_path, "TSN")
    checkpoints.save("epoch0", snapshot(1.0))
    checkpoints.save(BEST, snapshot(2.0))
    (tmp_path / "TSN_best").rename(tmp_path / ".TSN_best.replaced")  # killed between the two renames
    shutil.copytree(tmp_path / "TSN_epoch0", tmp_path / ".TSN_best.unfinished")
    shutil.copytree(tmp_path / "TSN_epoch0", tmp_path / ".TSN_epoch0.replaced")
    (tmp_path / ".TSN_epoch7.removed").mkdir()
    (tmp_path / ".another").mkdir()
    checkpoints.tidy()
    assert names(tmp_path) == [".another", "TSN_best", "TSN_epoch0"] and value_of(tmp_path / "TSN_best") == 2


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file/inside: cannot write here"):
        prepare_save_dir(tmp_path / "file" / "inside")
    assert prepare_save_dir(tmp_path / "new" / "folder").is_dir()


def test_a_run_that_is_killed_between_saving_the_best_and_its_epoch_does_not_miss_the_epoch(tmp_path):
    checkpoints = Checkpoints(tmp_path, "TSN", keep_last=1)
    checkpoints.save("epoch3_step3", snapshot(1.0, step_in_epoch=3))
    checkpoints.save(BEST, snapshot(1.0, epoch=4, step_in_epoch=0))
    assert checkpoints.newest() == tmp_path / "TSN_epoch3_step3", "the best one says that epoch 3 is finished"
    shutil.rmtree(tmp_path / "TSN_epoch3_step3")
    assert checkpoints.newest() == tmp_path / "TSN_best"
