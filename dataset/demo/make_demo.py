"""Makes a small data set in the shape of Kinetics: actions, drawn and encoded as mp4 clips.

    python dataset/demo/make_demo.py                # six actions
    python dataset/demo/make_demo.py --set=order    # sitting down, and the same films backwards: standing up

The same seed gives the same clips; a clip does not depend on how many others are made, or by how many
processes.
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    import common.beginning  # noqa: F401

from common.command_line import OneLineParser, positive_int, run
from common.processes import num_cores
from dataset.demo.clips import Clip
from dataset.demo.contact_sheet import write_demo_sheet
from dataset.demo.sets import SETS, DemoSet
from dataset.jobs import Failure, run_jobs

HERE = Path(__file__).resolve().parent
# Training clips are numbered from 0; the validation clips' numbers lie beyond any training clip's.
FIRST_NUMBER = {"train": 0, "val": 1_000_000}
INFER_CLIPS = 2  # of each class


def defaults(field: str) -> str:
    """What the help says of a flag whose default is that field of the set."""
    return ", ".join(f"{getattr(one, field)} for {name}" for name, one in SETS.items())


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = OneLineParser(__doc__)
    parser.add_argument("--set", choices=SETS, default="actions", help="what to draw (default: %(default)s)")
    parser.add_argument("--out", type=Path, help=f"the folder to make (default, in {HERE}: {defaults('folder')})")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes another data set (default: 0)")
    parser.add_argument("--train_clips", type=positive_int, help=f"per class (default: {defaults('train_clips')})")
    parser.add_argument("--val_clips", type=positive_int, help=f"per class (default: {defaults('val_clips')})")
    parser.add_argument(
        "--workers", type=positive_int, default=num_cores(), help="processes (default: one for each core)"
    )
    parser.add_argument(
        "--contact_sheet", type=Path, metavar="FILE.png", help="only write a picture with some clips of each class"
    )
    args = parser.parse_args(argv)
    args.set = SETS[args.set]
    args.out = args.out or HERE / args.set.folder
    args.train_clips, args.val_clips = args.train_clips or args.set.train_clips, args.val_clips or args.set.val_clips
    return args


def plan_clips(demo_set: DemoSet, seed: int, counts: dict[str, int]) -> dict[str, list[Clip]]:
    """The clips of each split, class by class."""
    return {
        split: [
            Clip(demo_set, seed, label, FIRST_NUMBER[split] + number)
            for label in range(len(demo_set.classes))
            for number in range(count)
        ]
        for split, count in counts.items()
    }


def clip_path(split: str, clip: Clip) -> str:
    """Where the clip is, relative to the data set's folder."""
    return f"{split}/{clip.class_name}/{clip.file_name}"


def claim_folder(out: Path, settings: dict) -> None:
    """Makes the folder and records the settings in it; refuses a folder that was made with other ones."""
    record, text = out / "demo.json", json.dumps(settings, indent=2) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    if record.exists():
        if record.read_text(encoding="utf-8") != text:
            raise ValueError(f"{out} was made with other settings; delete it, or choose a folder with --out")
    elif any(path for path in out.iterdir() if not path.name.startswith(".")):
        raise ValueError(f"{out} is not empty and holds no demo.json; choose another with --out")
    else:
        record.write_text(text, encoding="utf-8")


def write_clip(out: Path, job: tuple[str, Clip]) -> None:
    """Makes a clip of a split, unless it is there already."""
    split, clip = job
    path = out / clip_path(split, clip)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        clip.write(path)


def write_clips(out: Path, splits: dict[str, list[Clip]], workers: int) -> None:
    """Makes all the clips in worker processes."""
    jobs = [(split, clip) for split, clips in splits.items() for clip in clips]
    for (split, clip), result in run_jobs(partial(write_clip, out), jobs, workers, "clip"):
        if isinstance(result, Failure):
            path = out / clip_path(split, clip)
            raise OSError(f"{path}: not made, {result.reason}; run it again with fewer --workers")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_lists(out: Path, class_names: Sequence[str], splits: dict[str, list[Clip]]) -> None:
    """Writes the labels, Kinetics' annotations, and the lists that the training reads."""
    write_lines(out / "labels.txt", class_names)
    for split, clips in splits.items():
        write_annotations(out / "annotations" / f"{split}.csv", split, clips)
        write_lines(out / f"{split}.list", (f"{clip_path(split, clip)} {clip.label}" for clip in clips))
    (out / "test.list").write_bytes((out / "val.list").read_bytes())
    count = len(splits["val"]) // len(class_names)
    shown = [clip for number, clip in enumerate(splits["val"]) if number % count < INFER_CLIPS]
    write_lines(out / "infer.list", (clip_path("val", clip) for clip in shown))


def write_annotations(path: Path, split: str, clips: list[Clip]) -> None:
    """Writes a table as Kinetics publishes it."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("label", "youtube_id", "time_start", "time_end", "split", "is_cc"))
        for clip in clips:
            table.writerow((clip.class_name, clip.youtube_id, clip.start, clip.start + 10, split, 0))


def make_demo(demo_set: DemoSet, out: Path, seed: int, train_clips: int, val_clips: int, workers: int) -> int:
    """Makes the data set, or what is missing of it, in the folder `out`; returns the number of its clips."""
    settings = {"version": demo_set.version, "seed": seed, "train_clips": train_clips, "val_clips": val_clips}
    claim_folder(out, settings)
    splits = plan_clips(demo_set, seed, {"train": train_clips, "val": val_clips})
    write_clips(out, splits, workers)
    write_lists(out, list(demo_set.classes), splits)  # last: a list that exists names clips that exist
    return sum(map(len, splits.values()))


def main(argv: Sequence[str] | None = None) -> None:
    args, begin = parse_args(argv), time.perf_counter()
    if args.seed < 0:
        raise ValueError(f"--seed={args.seed} is less than 0; give a whole number from 0")
    if args.contact_sheet:
        write_demo_sheet(args.contact_sheet, args.set, args.seed)
        print(f"wrote {args.contact_sheet}")
    else:
        count = make_demo(args.set, args.out, args.seed, args.train_clips, args.val_clips, args.workers)
        print(f"{count} clips in {args.out} ({time.perf_counter() - begin:.0f} s)")


if __name__ == "__main__":
    run(main)
