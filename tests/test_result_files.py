import csv
import json
import pickle

import numpy as np
import pytest

from evaluation.files import ResultFiles, write_json
from evaluation.predictions import Prediction, describe, probability_table, read_class_names, sort_classes


def prediction_of(path: str, probabilities: list[float], class_ids: list[int], **fields) -> Prediction:
    return Prediction(path, path, np.float32(probabilities), np.array(class_ids), **fields)


def test_best_classes_first_and_of_equal_ones_the_lower_number():
    probabilities = np.float32([[0.125, 0.625, 0.25], [0.5, 0.25, 0.25]])
    best, class_ids = sort_classes(probabilities)
    assert best.tolist() == [[0.625, 0.25, 0.125], [0.5, 0.25, 0.25]] and class_ids.tolist() == [[1, 2, 0], [0, 1, 2]]
    predictions = [prediction_of(name, *row) for name, *row in zip("ab", best, class_ids, strict=True)]
    assert predictions[0].top(2).plain() == ("a", [0.625, 0.25], [1, 2])
    assert len(predictions[0].top(20).class_ids) == 3, "no more than there are"
    assert np.array_equal(probability_table(predictions, 3), probabilities)


def test_a_prediction_travels_between_ranks_to_the_bit():
    rng = np.random.default_rng(0)
    features = np.float32(rng.normal(size=8))
    one = prediction_of("a.mp4", rng.random(3), [2, 0, 1], features=features, label=1, read_sec=0.1)
    other = Prediction.from_json(json.loads(json.dumps(one.as_json())))
    for field, ours, theirs in zip(one._fields, one, other, strict=True):
        assert np.array_equal(ours, theirs) and np.asarray(ours).dtype == np.asarray(theirs).dtype, field


def test_every_output_of_infer(tmp_path):
    read = prediction_of("a b.mp4", [0.75, 0.25], [1, 0])
    broken = Prediction("broken.mp4", "broken.mp4", problem="no such file")
    files = ResultFiles(tmp_path, "TSN_infer_result", ["swimming", "游泳, fast"])
    files.begin({"seg_num": 3})
    files.add([broken])
    files.add([read])
    rows = [json.loads(line) for line in files.lines.read_text(encoding="utf-8").splitlines()]
    assert [row["path"] for row in rows] == ["broken.mp4", "a b.mp4"], "as they are done"
    paths = files.finish([read, broken])
    endings = ("", ".jsonl", ".csv", ".settings.json")
    assert [path.name for path in paths] == [f"TSN_infer_result{ending}" for ending in endings]
    loaded = pickle.loads(paths[0].read_bytes())
    assert loaded == [("a b.mp4", [0.75, 0.25], [1, 0]), ("broken.mp4", [], [])]
    assert all(type(entry) is tuple for entry in loaded)
    first, second = (json.loads(line) for line in files.lines.read_text(encoding="utf-8").splitlines())
    assert first["class_names"] == ["游泳, fast", "swimming"] and first["problem"] is None
    assert second["class_names"] == [] and second["problem"] == "no such file"
    with paths[2].open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert (cells[0]["class_name_1"], cells[0]["probability_2"]) == ("游泳, fast", "0.25")
    assert cells[1]["problem"] == "no such file" and not cells[1]["class_id_1"]
    (known,) = files.go_on({"seg_num": 3}).values()
    assert known.path == "a b.mp4" and known.plain() == read.plain(), "what could not be read is tried again"
    with pytest.raises(ValueError, match="other settings .seg_num was 3, is 7.; run without --skip_done"):
        files.go_on({"seg_num": 7})
    assert files.go_on({"seg_num": 3, "resize": "stretch"}), "what was not said yet was done so"
    with pytest.raises(ValueError, match="other settings .resize was stretch, is keep."):
        files.go_on({"seg_num": 3, "resize": "keep"})
    files.lines.write_text("no json\n")
    with pytest.raises(ValueError, match="damaged .*; delete it"):
        files.go_on({"seg_num": 3})


def test_descriptions_for_people():
    prediction = prediction_of("a b.mp4", [0.75, 0.25], [1, 0])
    assert describe(prediction, ["swimming", "skiing"]) == "a b.mp4: skiing 0.750, swimming 0.250"
    assert describe(prediction, None) == "a b.mp4: class 1 0.750, class 0 0.250"


def test_json_has_lists_of_numbers_on_one_line(tmp_path):
    content = {"matrix": [[1, 0], [2, 3]], "floats": [0.5, 1e-07, -2.0], "names": ["[ 1 ]", "b\n1"], "one": 1, "no": []}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == content
    assert "[ 1, 0 ]" in text and "[ 0.5, 1e-07, -2.0 ]" in text


def test_label_files():
    names = read_class_names("dataset/kinetics/kinetics400_labels.txt", 400)
    assert len(names) == 400 and names[0] == "abseiling" and names[-1] == "zumba"
    assert read_class_names(None, 5) is None
    with pytest.raises(ValueError, match="names 400 classes, but MODEL.num_classes is 6"):
        read_class_names("dataset/kinetics/kinetics400_labels.txt", 6)
    with pytest.raises(FileNotFoundError, match="nowhere.txt: no such label file"):
        read_class_names("nowhere.txt", 6)


def test_a_label_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "labels.txt").write_bytes("abc\nü".encode("latin-1"))
    with pytest.raises(ValueError, match="labels.txt: not a text file in UTF-8: .* at byte 4"):
        read_class_names(tmp_path / "labels.txt", 2)
