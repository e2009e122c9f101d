import hashlib

import pytest

from config import load_config
from datareader.build import build_records
from datareader.records import Record, RecordList, read_list
from distributed.ranks import Ranks


@pytest.fixture
def folder(tmp_path):
    for name in ("a.mp4", "with space.mp4", "ends 3"):
        (tmp_path / name).touch()
    return tmp_path


def write(folder, text):
    (folder / "x.list").write_text(text, encoding="utf-8")
    return folder / "x.list"


def test_paths_with_spaces_comments_blank_lines_and_tabs(folder):
    path = write(folder, "\ufeff# videos\n\na.mp4 0\n  with space.mp4 2  \nwith space.mp4\t1\n")
    assert read_list(path, num_classes=3) == [
        Record(str(folder / "a.mp4"), 0, "a.mp4"),
        Record(str(folder / "with space.mp4"), 2, "with space.mp4"),
        Record(str(folder / "with space.mp4"), 1, "with space.mp4"),
    ]


def test_working_folder_comes_before_the_lists_folder(folder, monkeypatch, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "a.mp4").touch()
    path = write(folder, "a.mp4 0\n")
    monkeypatch.chdir(elsewhere)
    assert read_list(path, num_classes=1)[0].path == "a.mp4"


def test_without_labels(folder):
    records = read_list(write(folder, "a.mp4\nwith space.mp4\nends 3\na.mp4 1\n"))
    assert [(record.name, record.label) for record in records] == [
        ("a.mp4", None), ("with space.mp4", None), ("ends 3", None), ("a.mp4", 1),
    ]  # fmt: skip


def test_pkl_lines_are_paths(folder):
    assert read_list(write(folder, "with space.mp4\n"), "pkl", num_classes=2)[0].name == "with space.mp4"


def test_bad_lines_are_all_named(folder):
    path = write(folder, "a.mp4 0\na.mp4\na.mp4 one\na.mp4 3\na.mp4 -1\n7 a.mp4\n")
    with pytest.raises(ValueError) as caught:
        read_list(path, num_classes=3)
    assert str(caught.value).splitlines() == [
        f"{path} line 2: expected 'path label', got 'a.mp4'",
        f"{path} line 3: expected 'path label', got 'a.mp4 one': 'one' is no number; labels are class numbers, counted "
        "from 0 (MODEL.label_file has the names)",
        f"{path} line 6: expected 'path label', got '7 a.mp4': the path comes first, the label last",
        f"{path} line 4: label 3 of 'a.mp4' is outside 0..2; correct it or set MODEL.num_classes",
        f"{path} line 5: label -1 of 'a.mp4' is outside 0..2; correct it or set MODEL.num_classes",
    ]


@pytest.mark.parametrize(
    "text, part",
    [
        ("a.mp4 1\na.mp4 3\na.mp4 2\n", "x.list: its labels run from 1 to 3, but labels count from 0: subtract 1"),
        ("a.mp4,1\n", "got 'a.mp4,1': a space or a tab separates the two, not a comma"),
        ("2 a.mp4\n", "the path comes first, the label last"),
    ],
)
def test_the_likely_cause_is_named(folder, text, part):
    with pytest.raises(ValueError) as caught:
        read_list(write(folder, text), num_classes=3)
    assert part in str(caught.value)


def test_several_labels_of_a_video(folder):
    text = "a.mp4 3,7\nwith space.mp4\t0\na.mp4 7,2,1\na.mp4 none\n"
    records = read_list(write(folder, text), num_classes=8, multi_label=True)
    assert [(record.label, record.labels) for record in records] == [
        (None, (3, 7)), (None, (0,)), (None, (7, 2, 1)), (None, ()),
    ]  # fmt: skip
    assert [record.classes for record in records.without({"with space.mp4"})] == [(3, 7), (7, 2, 1), ()]
    assert records.label_counts() == {0: 1, 1: 1, 2: 1, 3: 1, 7: 2}
    assert records[1] == Record(str(folder / "with space.mp4"), None, "with space.mp4", (0,))
    assert list(records.listed()) == [(name, None) for name in ("a.mp4", "with space.mp4", "a.mp4", "a.mp4")]
    other = read_list(write(folder, text.replace("3,7", "37")), num_classes=38, multi_label=True)
    assert records.digest != other.digest
    unlabelled = read_list(write(folder, "a.mp4\nwith space.mp4 2,3\nends 3\n"), multi_label=True)
    assert [record.classes for record in unlabelled] == [None, (2, 3), None]


def test_single_labels_have_the_digest_that_earlier_checkpoints_hold(folder):
    records = read_list(write(folder, "a.mp4 0\nwith space.mp4 2\n"), num_classes=3)
    assert records.digest == hashlib.sha256(b"a.mp4 0\nwith space.mp4 2\n").hexdigest()
    assert [record.classes for record in records] == [(0,), (2,)]


def test_bad_lines_of_a_multi_label_list_are_all_named(folder):
    path = write(folder, "a.mp4 0,3\na.mp4 1,1\na.mp4 0, 1\na.mp4 0,\na.mp4 2,0\na.mp4 5,-1\n")
    with pytest.raises(ValueError) as caught:
        read_list(path, num_classes=3, multi_label=True)
    assert str(caught.value).splitlines() == [
        f"{path} line 2: 'a.mp4' has the label 1 twice; name each class once",
        f"{path} line 3: 'a.mp4 0,' ends with a comma; no space stands between labels: 'path 3,7'",
        f"{path} line 4: expected 'path label', got 'a.mp4 0,': '0,' is no number; labels are class numbers, counted "
        "from 0 (MODEL.label_file has the names)",
        f"{path} line 1: label 3 of 'a.mp4' is outside 0..2; correct it or set MODEL.num_classes",
        f"{path} line 6: label 5 of 'a.mp4' is outside 0..2; correct it or set MODEL.num_classes",
    ]


@pytest.mark.parametrize("num_classes", [8, None])
def test_several_labels_need_the_key_that_allows_them(folder, num_classes):
    with pytest.raises(ValueError, match="line 1: 'a.mp4' has several labels, 3,7; set MODEL.multi_label if a video"):
        read_list(write(folder, "a.mp4 3,7\n"), num_classes=num_classes)


def test_a_pkl_holds_one_label(folder):
    with pytest.raises(ValueError, match="x.list: a pkl holds one label, but MODEL.multi_label is set; use MODEL.form"):
        read_list(write(folder, "a.mp4\n"), "pkl", 2, multi_label=True)


def test_a_million_single_labels_take_a_few_bytes_each(folder):
    single, several = RecordList(), RecordList(multi_label=True)
    for number in range(10_000):
        single.append("a.mp4", number % 400)
        several.append("a.mp4", None, (1, 2))
    assert single[9999].label == 399 and several[9999].labels == (1, 2)

    def num_bytes(records):
        return sum(len(one) * getattr(one, "itemsize", 1) for one in vars(records).values() if hasattr(one, "append"))

    assert num_bytes(single) < 23 * 10_000 and num_bytes(several) < 39 * 10_000


def test_absent_and_empty_lists_are_refused(folder):
    with pytest.raises(FileNotFoundError, match="no.list"):
        read_list(folder / "no.list", num_classes=1)
    with pytest.raises(ValueError, match="no videos in this list"):
        read_list(write(folder, "# nothing\n"), num_classes=1)
    with pytest.raises(ValueError, match="is a folder, and a list is a text file .*infer.py takes folders by --video"):
        read_list(folder)


@pytest.mark.parametrize(
    "mode, part", [("valid", "--valid_interval=0"), ("infer", "--filelist or --video"), ("test", "")]
)
def test_a_section_without_a_list_is_named(mode, part):
    config = load_config("configs/tsn.txt", [f"{mode.upper()}.filelist=none"])
    with pytest.raises(ValueError, match=f"set {mode.upper()}.filelist.*{part}"):
        build_records(config, mode)


def test_a_list_whose_videos_are_all_absent_is_refused(folder):
    with pytest.raises(FileNotFoundError, match="none of its videos exists .it lists 2."):
        read_list(write(folder, "no.mp4 0\nnot.mp4 0\n"), num_classes=1)
    assert len(read_list(write(folder, "no.mp4 0\na.mp4 0\n"), num_classes=1)) == 2


@pytest.mark.parametrize("other", ["a.mp4 1\nwith space.mp4 0\n", "with space.mp4 0\na.mp4 0\n", "a.mp4 0\n"])
def test_ranks_that_read_different_lists_are_all_refused(folder, other):
    texts, left = ["a.mp4 0\nwith space.mp4 0\n", other], []
    lists = [read_list(write(folder, text), num_classes=2) for text in texts]

    class TwoRanks(Ranks):
        def exchange(self, value):
            assert value == [lists[self.rank].digest, len(lists[self.rank])]
            return [[records.digest, len(records)] for records in lists]

        def leave(self):
            left.append(self.rank)

    messages = []
    for rank, text in enumerate(texts):
        path = write(folder, text)
        config = load_config("configs/tsn.txt", [f"TRAIN.filelist={path}", "MODEL.num_classes=2"])
        with pytest.raises(
            ValueError, match="x.list: is another list on rank 1 .* than on rank 0 .2 videos.; give"
        ) as one:
            build_records(config, "train", TwoRanks(rank, 2))
        messages.append(str(one.value))
    assert messages[0] == messages[1] and "\n" not in messages[0]
    assert left == [0, 1], "each says that it ends, so that none takes the other down"
