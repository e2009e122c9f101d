"""Kinetics' annotations and a folder of videos -> the lists that training reads, and what is missing."""

import csv
from pathlib import Path

import pytest

from common import command_line
from datareader.records import read_list
from dataset.demo import make_demo
from dataset.kinetics import make_lists

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"


def video(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not opened here")
    return path


def annotations(folder: Path, name: str, rows: str, header: str = HEADER) -> Path:
    (folder / name).write_text(header + rows)
    return folder / name


def make(*csvs: Path, videos: Path, out: Path, flags=()) -> None:
    make_lists.main(["--annotations", *map(str, csvs), f"--videos={videos}", f"--out={out}", *flags])


def mistake(capsys, *arguments) -> str:
    """The one line with which the command ends."""
    with pytest.raises(SystemExit) as caught:
        command_line.run(lambda: make_lists.main(list(map(str, arguments))))
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_lists_labels_and_what_is_missing(tmp_path, capsys):
    rows = "abseiling,0wR5jVB-WPk,417,427,train,0\n" + '"air drumming",-egPJubR-CE,1,11,train,0\n'
    train = annotations(tmp_path, "train.csv", rows + "zumba,gone_gone-x,0,10,train,0\n")
    val = annotations(tmp_path, "validate.csv", "zumba,ab_cd-ef_12,30,40,validate,0\n")
    videos, out = tmp_path / "k400", tmp_path / "lists"
    spaces = video(videos / "train" / "air drumming" / "-egPJubR-CE_000001_000011.mp4")
    short_name = video(videos / "train" / "abseiling" / "0wR5jVB-WPk_417_427.MKV")
    id_alone = video(videos / "val" / "zumba" / "ab_cd-ef_12.webm")
    video(videos / "val" / "zumba" / "stranger.mp4")
    make(train, val, videos=videos, out=out)
    assert (out / "labels.txt").read_text() == "abseiling\nair drumming\nzumba\n"
    records = read_list(out / "train.list", num_classes=3)
    assert [(record.path, record.label) for record in records] == [(str(short_name), 0), (str(spaces), 1)]
    for name in ("val", "test"):
        assert [tuple(record[:2]) for record in read_list(out / f"{name}.list", num_classes=3)] == [(str(id_alone), 2)]
    assert [record.label for record in read_list(out / "infer.list")] == [None]
    assert (out / "missing.csv").read_text() == HEADER + "zumba,gone_gone-x,0,10,train,0\n"
    assert capsys.readouterr().out.splitlines() == [
        "train: 2 of 3 videos found, 1 missing",
        "val: 1 of 1 videos found, 0 missing",
        f"1 video files in {videos} are named by no row",
        f"3 classes, numbered as in {out / 'labels.txt'}",
        "test.list holds the validation videos: no test annotation with labels was given",
        f"written to {out}: missing.csv, labels.txt, train.list, val.list, test.list, infer.list",
    ]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    make(train, val, videos=videos, out=out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    # the report of what is missing is an annotation itself
    video(videos / "gone_gone-x.mp4")
    make(out / "missing.csv", videos=videos, out=tmp_path / "rest")
    assert read_list(tmp_path / "rest" / "train.list", num_classes=1)[0].path == str(videos / "gone_gone-x.mp4")
    assert not (tmp_path / "rest" / "val.list").exists()
    assert "not written, since no video belongs there: val.list, test.list, infer.list" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["playing ping pong", "playing_ping_pong", "Playing_Ping_Pong"])
def test_class_folders_with_spaces_or_underscores(tmp_path, folder):
    """Two clips of one name: the one in the folder of the row's class is taken."""
    path = annotations(tmp_path, "val.csv", "playing ping pong,0wR5jVB-WPk,0,10,val,0\n")
    video(tmp_path / "videos" / "a copy" / "0wR5jVB-WPk_000000_000010.mp4")
    right = video(tmp_path / "videos" / folder / "0wR5jVB-WPk_000000_000010.mp4")
    make(path, videos=tmp_path / "videos", out=tmp_path / "out")
    assert [record.path for record in read_list(tmp_path / "out" / "val.list", num_classes=1)] == [str(right)]


def test_csv_without_time_columns(tmp_path):
    header, rows = "label,youtube_id,split\n", "zumba,0wR5jVB-WPk,val\nzumba,qqJisE6m6XI,val\n"
    path = annotations(tmp_path, "val.csv", rows, header)
    first = video(tmp_path / "videos" / "zumba" / "0wR5jVB-WPk_000417_000427.mp4")
    second = video(tmp_path / "videos" / "zumba" / "qqJisE6m6XI.mp4")
    make(path, videos=tmp_path / "videos", out=tmp_path / "out")
    assert [record.path for record in read_list(tmp_path / "out" / "val.list", num_classes=1)] == [
        str(first), str(second),
    ]  # fmt: skip


def test_one_source_cut_at_two_times_is_two_videos(tmp_path):
    path = annotations(tmp_path, "val.csv", "a,0wR5jVB-WPk,0,10,val,0\na,0wR5jVB-WPk,10,20,val,0\n")
    cuts = [video(tmp_path / "videos" / f"0wR5jVB-WPk_{s:06d}_{s + 10:06d}.mp4") for s in (0, 10)]
    make(path, videos=tmp_path / "videos", out=tmp_path / "out")
    assert [record.path for record in read_list(tmp_path / "out" / "val.list", num_classes=1)] == list(map(str, cuts))


def test_split_from_the_files_name_and_rows_twice(tmp_path, capsys):
    rows = "a,0wR5jVB-WPk,0,10\na,0wR5jVB-WPk,0,10\n"
    path = annotations(tmp_path, "validate.csv", rows, "\ufefflabel,youtube_id,time_start,time_end\n")
    video(tmp_path / "videos" / "0wR5jVB-WPk_000000_000010.mp4")
    make(path, videos=tmp_path / "videos", out=tmp_path / "out")
    assert len(read_list(tmp_path / "out" / "val.list", num_classes=1)) == 1
    assert "1 rows name a video of their split again: listed once" in capsys.readouterr().out


def test_test_split_without_labels_is_for_inference(tmp_path, capsys):
    val = annotations(tmp_path, "val.csv", "a,0wR5jVB-WPk,0,10,val,0\n")
    test = annotations(tmp_path, "test.csv", "qqJisE6m6XI,0,10,test\n", "youtube_id,time_start,time_end,split\n")
    labelled = video(tmp_path / "videos" / "0wR5jVB-WPk_000000_000010.mp4")
    unlabelled = video(tmp_path / "videos" / "qqJisE6m6XI_000000_000010.mp4")
    make(val, test, videos=tmp_path / "videos", out=tmp_path / "out")
    assert [record.path for record in read_list(tmp_path / "out" / "test.list", num_classes=1)] == [str(labelled)]
    assert [record.path for record in read_list(tmp_path / "out" / "infer.list")] == [str(unlabelled)]
    assert "1 rows without a label: infer.list only" in capsys.readouterr().out
    make(test, videos=tmp_path / "videos", out=tmp_path / "out")
    out = capsys.readouterr().out
    assert "left from an earlier run, perhaps with other labels: val.list, test.list" in out
    assert "classes" not in out  # no label, so no labels.txt to point to


def test_unfinished_and_empty_files_do_not_count(tmp_path):
    path = annotations(tmp_path, "val.csv", "a,0wR5jVB-WPk,0,10,val,0\na,qqJisE6m6XI,0,10,val,0\na,x,0,1,val,0\n")
    (tmp_path / "0wR5jVB-WPk_000000_000010.mp4").touch()
    video(tmp_path / "qqJisE6m6XI_000000_000010.mp4.part")
    video(tmp_path / "x.mp4")
    make(path, videos=tmp_path, out=tmp_path / "out")
    with (tmp_path / "out" / "missing.csv").open() as file:
        assert [row["youtube_id"] for row in csv.DictReader(file)] == ["0wR5jVB-WPk", "qqJisE6m6XI"]


def test_odd_paths_read_back(tmp_path, capsys):
    path = annotations(tmp_path, "val.csv", "a,#wR5jVB-WPk,0,10,val,0\n")
    video(tmp_path / "#wR5jVB-WPk_000000_000010.mp4")
    make(path, videos=tmp_path, out=tmp_path)
    (record,) = read_list(tmp_path / "val.list", num_classes=1)
    assert Path(record.path) == tmp_path / "#wR5jVB-WPk_000000_000010.mp4"
    video(tmp_path / "with\ttab" / "#wR5jVB-WPk_000000_000010.mp4")
    (tmp_path / "#wR5jVB-WPk_000000_000010.mp4").unlink()
    line = mistake(capsys, "--annotations", path, "--videos", tmp_path, "--out", tmp_path)
    assert "with\\ttab" in line and "rename it" in line


def test_published_labels_number_the_classes(tmp_path, capsys):
    path = annotations(tmp_path, "val.csv", "zumba,0wR5jVB-WPk,0,10,val,0\n")
    video(tmp_path / "0wR5jVB-WPk.mp4")
    labels = "dataset/kinetics/kinetics400_labels.txt"
    make(path, videos=tmp_path, out=tmp_path / "out", flags=[f"--labels={labels}"])
    assert [record.label for record in read_list(tmp_path / "out" / "val.list", num_classes=400)] == [399]
    assert not (tmp_path / "out" / "labels.txt").exists()
    assert f"400 classes, numbered as in {labels}" in capsys.readouterr().out
    path = annotations(tmp_path, "val.csv", "zumbaa,0wR5jVB-WPk,0,10,val,0\n")
    line = mistake(capsys, "--annotations", path, "--videos", tmp_path, "--out", tmp_path, "--labels", labels)
    assert f"{path} line 2: class 'zumbaa' is not in {labels}; the nearest is 'zumba'" in line


MISTAKES = {
    "missing csv": ("--annotations=no.csv --videos={tmp} --out={tmp}/out", "no.csv: no such csv file"),
    "missing folder": ("--annotations={tmp}/val.csv --videos={tmp}/no --out={tmp}/out", "/no: no such folder"),
    "wrong columns": (
        "--annotations={tmp}/columns.csv --videos={tmp} --out={tmp}/out",
        "its columns are a,b; expected",
    ),
    "bad time": ("--annotations={tmp}/time.csv --videos={tmp} --out={tmp}/out", "time.csv line 2: time_start 'soon'"),
    "unknown split": ("--annotations={tmp}/split.csv --videos={tmp} --out={tmp}/out", "unknown split 'dev'"),
    "no split": ("--annotations={tmp}/nosplit.csv --videos={tmp} --out={tmp}/out", "name must begin with train, val"),
    "not text": ("--annotations={tmp}/latin.csv --videos={tmp} --out={tmp}/out", "not a csv file in UTF-8"),
    "no videos": ("--annotations={tmp}/val.csv --videos={tmp}/empty --out={tmp}/out", "holds none of the 1 videos"),
    "two labels": ("--annotations={tmp}/two.csv --videos={tmp} --out={tmp}/out", "is 'b', but 'a' in"),
    "unwritable": ("--annotations={tmp}/val.csv --videos={tmp} --out={tmp}/val.csv", "cannot write here"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gives_one_line_and_writes_nothing(tmp_path, capsys, name):
    video(tmp_path / "0wR5jVB-WPk_000000_000010.mp4")
    (tmp_path / "empty").mkdir()
    row = "a,0wR5jVB-WPk,0,10,val,0\n"
    annotations(tmp_path, "val.csv", row)
    annotations(tmp_path, "columns.csv", "1,2\n", "a,b\n")
    annotations(tmp_path, "time.csv", row.replace(",0,10", ",soon,10"))
    annotations(tmp_path, "split.csv", row.replace("val", "dev"))
    annotations(tmp_path, "nosplit.csv", "a,0wR5jVB-WPk\n", "label,youtube_id\n")
    (tmp_path / "latin.csv").write_bytes((HEADER + "caf\u00e9,0wR5jVB-WPk,0,10,val,0\n").encode("latin-1"))
    annotations(tmp_path, "two.csv", row + row.replace("a,", "b,", 1))
    flags, part = MISTAKES[name]
    assert part in mistake(capsys, *flags.format(tmp=tmp_path).split())
    assert not (tmp_path / "out").exists()


def test_the_published_annotation(tmp_path, capsys):
    """A part of Kinetics-400's own validation csv; every third video is there, in folders with underscores."""
    path = Path(__file__).resolve().parents[2] / "shared" / "reference" / "kinetics-400_val_sample.csv"
    if not path.is_file():
        pytest.skip("the published annotation of ../shared/reference is not here")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows[::3]:
        name = f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}.mp4"
        video(tmp_path / "val" / row["label"].replace(" ", "_") / name)
    labels = "dataset/kinetics/kinetics400_labels.txt"
    make(path, videos=tmp_path, out=tmp_path / "out", flags=[f"--labels={labels}"])
    records = read_list(tmp_path / "out" / "val.list", num_classes=400)
    names = Path(labels).read_text().splitlines()
    assert [names[record.label] for record in records] == [row["label"] for row in rows[::3]]
    assert "val: 202 of 604 videos found, 402 missing" in capsys.readouterr().out


def test_the_demo_datas_own_annotations_give_its_own_lists(tmp_path):
    demo = tmp_path / "demo"
    make_demo.main([f"--out={demo}", "--train_clips=1", "--val_clips=1"])
    csvs = [demo / "annotations" / f"{split}.csv" for split in ("train", "val")]
    make(*csvs, videos=demo, out=tmp_path / "out")
    for name in ("train", "val", "test"):
        ours, theirs = (read_list(folder / f"{name}.list", num_classes=6) for folder in (tmp_path / "out", demo))
        assert [(record.path, record.label) for record in ours] == [(record.path, record.label) for record in theirs]
    assert (tmp_path / "out" / "labels.txt").read_text() == (demo / "labels.txt").read_text()
