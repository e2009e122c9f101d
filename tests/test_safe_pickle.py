import collections
import os
import pickle

import numpy as np
import pytest

from common.safe_pickle import load_pickle


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_plain_data_and_arrays_come_back(tmp_path, protocol):
    data = {
        "array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "scalar": np.float64(1.5),
        "plain": [1, "text", b"bytes", None, (2.5, True)],
        "ordered": collections.OrderedDict(a=1),
    }
    (tmp_path / "data").write_bytes(pickle.dumps(data, protocol=protocol))
    loaded = load_pickle(tmp_path / "data")
    assert np.array_equal(loaded.pop("array"), data.pop("array"))
    assert loaded == data


class Attack:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    (tmp_path / "attack").write_bytes(pickle.dumps([1, Attack(tmp_path / "made")]))
    with pytest.raises(ValueError, match=r"attack: .*mkdir"):
        load_pickle(tmp_path / "attack")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x04\x95", pickle.dumps({"a": np.ones(100)})[:-30]])
def test_damaged_pickles_are_refused_by_name(tmp_path, content):
    (tmp_path / "damaged").write_bytes(content)
    with pytest.raises(ValueError, match="damaged: cannot be read"):
        load_pickle(tmp_path / "damaged")
