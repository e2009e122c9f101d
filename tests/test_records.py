import pytest

from config import load_config
from datareader.build import build_records
from datareader.records import Record, read_list
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
