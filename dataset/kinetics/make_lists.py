r"""Write the lists that training reads, from Kinetics' annotations and a folder of downloaded videos.

    python dataset/kinetics/make_lists.py --annotations train.csv validate.csv --videos /data/k400 \
        --out dataset/kinetics --labels dataset/kinetics/kinetics400_labels.txt

The csv files are taken as published (label,youtube_id,time_start,time_end,split). Videos lie anywhere below --videos
and are called {id}_{start:06d}_{end:06d}, {id}_{start}_{end} or {id}. Written are OUT/train.list, val.list, test.list
and infer.list, and OUT/missing.csv: the rows whose video is not there, for a downloader; afterwards run the same
command again. Videos without a label are in infer.list only.
"""

import argparse
import csv
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    import common.beginning  # noqa: F401

from tqdm import tqdm

from common.command_line import OneLineParser, run
from common.console import say
from datareader.folders import VIDEO_SUFFIXES, find_videos
from dataset.kinetics.annotations import Row, read_annotations
from dataset.list_files import SPLITS, listed_path, read_label_file, refuse_all, refuse_unknown_class, write_files


class Video(NamedTuple):
    """A row to list, and the files that fit it."""

    row: Row
    paths: list[str]
    """Best first; empty: the video is missing."""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = OneLineParser(__doc__)
    parser.add_argument("--annotations", type=Path, nargs="+", required=True, metavar="CSV", help="one or more")
    parser.add_argument("--videos", type=Path, required=True, metavar="FOLDER", help="where the videos are")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="class names in label order (default: sorted, as OUT/labels.txt)"
    )
    return parser.parse_args(argv)


def number_labels(rows: list[Row], label_file: Path | None) -> dict[str, int]:
    """{class name: label}, in the order of the label file, or sorted without one."""
    if label_file is None:
        return {name: label for label, name in enumerate(sorted({row.label for row in rows} - {""}))}
    labels = {name: label for label, name in enumerate(read_label_file(label_file))}
    for row in rows:
        if row.label:
            refuse_unknown_class(row.label, row.place, labels, label_file)
    return labels


def index_videos(folder: Path) -> dict[str, list[str]]:
    """{name without suffix: files below the folder}; a name that ends in two times stands there as `{id}_*` too."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; correct --videos")
    videos, _ = find_videos(folder, on_error=lambda error: say(f"passed over: {error}"))
    found: dict[str, list[str]] = {}
    for video in tqdm(videos, desc="looking at videos", unit="file", disable=None):
        if video.stat().st_size:  # an empty one is what a downloader has left of a failure
            for key in {video.stem, re.sub(r"_\d+_\d+$", "_*", video.stem)}:
                found.setdefault(key, []).append(str(video))
    return found


def fitting_files(row: Row, found: dict[str, list[str]]) -> list[str]:
    """The files that fit a row: by name, then those in a folder of its class, then of its split, then sorted."""

    def rank(name_and_path: tuple[int, str]) -> tuple:
        folders = Path(name_and_path[1]).parts[:-1]
        in_class = plain(row.label) in map(plain, folders)
        in_split = row.split in (SPLITS.get(folder.lower()) for folder in folders)
        return name_and_path[0], not in_class, not in_split, name_and_path[1]

    files = [(number, path) for number, name in enumerate(row.names) for path in found.get(name, [])]
    return [path for _, path in sorted(files, key=rank)]


def plain(name: str) -> str:
    """A class name without what downloaders replace in folder names: case, spaces, signs."""
    return re.sub(r"[\W_]+", "", name.casefold())


def match(rows: list[Row], found: dict[str, list[str]]) -> list[Video]:
    """Each row's files, a video once per split, in the order of the rows.

    Raises:
        ValueError: a video has two labels; a line for each, the first five.
    """
    videos: dict[tuple[str, str], Video] = {}
    labelled: dict[str, Row] = {}
    mistakes = []
    for row in rows:
        paths = fitting_files(row, found)
        name = paths[0] if paths else row.names[0]
        if (row.split, name) not in videos or not videos[row.split, name].row.label:
            videos[row.split, name] = Video(row, paths)
        if row.label:
            other = labelled.setdefault(name, row)
            if other.label != row.label:
                mistakes.append(f"{row.place}: {name} is {row.label!r}, but {other.label!r} in {other.place}")
    refuse_all(mistakes, "such rows")
    return list(videos.values())


def choose_lists(videos: list[Video]) -> dict[str, list[Video]]:
    """{list's name: its videos}; the validation videos stand in for a test split that was not published."""
    test = "test" if any(row.split == "test" and row.label for row, _ in videos) else "val"
    infer = "test" if any(row.split == "test" for row, _ in videos) else "val"
    there = [video for video in videos if video.paths]
    lists = {
        f"{name}.list": [video for video in there if video.row.split == split and video.row.label]
        for name, split in (("train", "train"), ("val", "val"), ("test", test))
    }
    return lists | {"infer.list": [video for video in there if video.row.split == infer or not video.row.label]}


def missing_csv(videos: list[Video]) -> str:
    """The rows whose video is missing, as published."""
    text = io.StringIO()
    columns = dict.fromkeys(column for row, _ in videos for column in row.cells)
    table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(row.cells for row, paths in videos if not paths)
    return text.getvalue()


def summary(rows: list[Row], videos: list[Video], found: dict[str, list[str]], folder: Path) -> list[str]:
    lines = []
    for split in ("train", "val", "test"):
        counts = [bool(paths) for row, paths in videos if row.split == split]
        if counts:
            lines.append(f"{split}: {sum(counts)} of {len(counts)} videos found, {counts.count(False)} missing")
    files = {path for paths in found.values() for path in paths}
    strangers = files.difference(*(paths for _, paths in videos))
    notes = {
        "rows without a label: infer.list only": sum(not row.label for row, _ in videos),
        "rows name a video of their split again: listed once": len(rows) - len(videos),
        "rows fit several files: one was taken": sum(len(paths) > 1 for _, paths in videos),
        f"video files in {folder} are named by no row": len(strangers),
    }
    return lines + [f"{count} {note}" for note, count in notes.items() if count]


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    rows = [row for path in args.annotations for row in read_annotations(path)]
    labels = number_labels(rows, args.labels)
    found = index_videos(args.videos)
    videos = match(rows, found)
    if not any(paths for _, paths in videos):
        raise FileNotFoundError(
            f"{args.videos}: holds none of the {len(videos)} videos; the first was looked for as "
            f"{rows[0].names[0]}{VIDEO_SUFFIXES[0]} (or another suffix), in all folders below"
        )
    lists = choose_lists(videos)
    texts = {"missing.csv": missing_csv(videos)}
    if args.labels is None and labels:
        texts["labels.txt"] = "".join(f"{name}\n" for name in labels)
    for name, members in lists.items():
        lines = [(listed_path(paths[0], args.out), labels.get(row.label)) for row, paths in members]
        if lines:
            texts[name] = "".join(f"{path}\n" if name == "infer.list" else f"{path} {n}\n" for path, n in lines)
    write_files(args.out, texts)

    for line in summary(rows, videos, found, args.videos):
        say(line)
    if labels:
        say(f"{len(labels)} classes, numbered as in {args.labels or args.out / 'labels.txt'}")
    if lists["test.list"] and lists["test.list"] == lists["val.list"]:
        say("test.list holds the validation videos: no test annotation with labels was given")
    say(f"written to {args.out}: {', '.join(texts)}")
    empty = [name for name in lists if name not in texts]
    if empty:
        say(f"not written, since no video belongs there: {', '.join(empty)}")
    older = [name for name in empty if (args.out / name).exists()]
    if older:
        say(f"left from an earlier run, perhaps with other labels: {', '.join(older)}")


if __name__ == "__main__":
    run(main)
