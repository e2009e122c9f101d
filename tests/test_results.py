import json
import pickle

import numpy as np
import pytest

from evaluation.results import Prediction, describe, read_class_names, top_predictions, write_results


def test_best_classes_first_and_no_more_than_there_are():
    probabilities = np.float32([[0.125, 0.625, 0.25], [0.5, 0.25, 0.25]])
    assert top_predictions(["a", "b"], probabilities, 2) == [
        ("a", [0.625, 0.25], [1, 2]), ("b", [0.5, 0.25], [0, 1]),
    ]  # fmt: skip
    assert len(top_predictions(["a", "b"], probabilities, 20)[0].class_ids) == 3


def test_pickle_is_plain_and_json_has_names(tmp_path):
    predictions = [Prediction("a b.mp4", [0.75, 0.25], [1, 0]), Prediction("broken.mp4", [], [])]
    path = write_results(tmp_path, "TSN_infer_result", predictions, ["swimming", "skiing"])
    loaded = pickle.loads(path.read_bytes())
    assert loaded == [("a b.mp4", [0.75, 0.25], [1, 0]), ("broken.mp4", [], [])]
    assert all(type(entry) is tuple for entry in loaded)
    entries = json.loads((tmp_path / "TSN_infer_result.json").read_text())
    assert entries[0]["class_names"] == ["skiing", "swimming"] and entries[1]["class_names"] == []
    assert describe(predictions[0], ["swimming", "skiing"]) == "a b.mp4: skiing 0.750, swimming 0.250"
    assert describe(predictions[0], None) == "a b.mp4: class 1 0.750, class 0 0.250"


def test_label_files():
    names = read_class_names("dataset/kinetics/kinetics400_labels.txt", 400)
    assert len(names) == 400 and names[0] == "abseiling" and names[-1] == "zumba"
    assert read_class_names(None, 5) is None
    with pytest.raises(ValueError, match="names 400 classes, but MODEL.num_classes is 6"):
        read_class_names("dataset/kinetics/kinetics400_labels.txt", 6)
    with pytest.raises(FileNotFoundError, match="nowhere.txt: no such label file"):
        read_class_names("nowhere.txt", 6)
