import json

import numpy as np
import paddle
import pytest

from engine.checkpoint import TrainingState, load_training_state, prepare_save_dir, save_checkpoint

STATE = TrainingState(epoch=3, step=21, seed=5, scores={"top1": 0.5})


def save(folder, value=1.0, state=STATE):
    model = paddle.nn.Linear(2, 2)
    model.weight.set_value(np.full((2, 2), value, np.float32))
    save_checkpoint(folder, model, {"weight.velocity": np.arange(4.0)}, state, "MODEL: {}\n")


def test_a_checkpoint_is_a_folder_of_four_files_and_their_sums_and_reads_back(tmp_path):
    save(tmp_path / "TSN_epoch2")
    files = ["SHA256SUMS", "config.yaml", "model.pdparams", "optimizer.pdopt", "state.json"]
    assert sorted(path.name for path in (tmp_path / "TSN_epoch2").iterdir()) == files
    assert [path.name for path in tmp_path.iterdir()] == ["TSN_epoch2"]
    state, velocities = load_training_state(tmp_path / "TSN_epoch2")
    assert state == STATE and np.array_equal(velocities["weight.velocity"], np.arange(4.0))
    assert json.loads((tmp_path / "TSN_epoch2" / "state.json").read_text())["paddle"] == paddle.__version__


def test_any_paddle_program_can_read_the_weights(tmp_path):
    save(tmp_path / "TSN_epoch0", value=2.0)
    assert paddle.load(str(tmp_path / "TSN_epoch0" / "model.pdparams"))["weight"].numpy().tolist() == [[2, 2], [2, 2]]


def test_saving_again_replaces_the_folder(tmp_path):
    save(tmp_path / "TSN_epoch0", value=1.0)
    save(tmp_path / "TSN_epoch0", value=2.0)
    assert [path.name for path in tmp_path.iterdir()] == ["TSN_epoch0"]
    assert paddle.load(str(tmp_path / "TSN_epoch0" / "model.pdparams"))["weight"].numpy().max() == 2


def test_a_failed_save_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    save(tmp_path / "TSN_epoch0", value=1.0)

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(paddle, "save", full_disk)
    with pytest.raises(OSError):
        save(tmp_path / "TSN_epoch0", value=2.0)
    assert paddle.load(str(tmp_path / "TSN_epoch0" / "model.pdparams"))["weight"].numpy().max() == 1


@pytest.mark.parametrize("name", ["model.pdparams", "optimizer.pdopt", "state.json"])
def test_incomplete_and_damaged_checkpoints_are_refused_by_name(tmp_path, name):
    save(tmp_path / "TSN_epoch0")
    if name != "model.pdparams":
        (tmp_path / "TSN_epoch0" / name).write_text("{")
        with pytest.raises(ValueError, match=name):
            load_training_state(tmp_path / "TSN_epoch0")
    (tmp_path / "TSN_epoch0" / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_training_state(tmp_path / "TSN_epoch0")


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file/inside: cannot write here"):
        prepare_save_dir(tmp_path / "file" / "inside")
    assert prepare_save_dir(tmp_path / "new" / "folder").is_dir()
