r"""Make a data set of your own videos: lists, labels, a config to begin with, a table and a picture of what is there.

    python dataset/own/make_dataset.py /data/my_videos                    # /data/my_videos/CLASS/**/video.mp4
    python dataset/own/make_dataset.py /data/my_videos --group_by 'person(\d+)' --folds 5
    python dataset/own/make_dataset.py videos.csv                         # path,class name[,split]; "a;b": two classes
    python dataset/own/make_dataset.py train.list val.list --labels names.txt     # a split, which is kept

Given is a folder of class folders, or lists (`path label`, `path 3,7`, `path none`) and csv files. Every video is
opened and its first frame decoded; unreadable ones are left out. Written are OUT/train.list, val.list and test.list
(or those of OUT/fold1, fold2, ...), labels.txt, config.txt, found.csv, left_out.csv and contact_sheet.png; the same
command writes them anew. Nothing is written beside the videos. The same videos and --seed give the same lists on any
machine.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    import common.beginning  # noqa: F401

from common.command_line import run, whole_number
from common.console import command, count, say
from common.csv_cells import csv_line
from datareader.list_lines import NO_CLASS
from dataset.contact_sheet import write_contact_sheet
from dataset.jobs import Failure
from dataset.list_files import listed_path, write_files
from dataset.own import checks, report
from dataset.own.folder import RECORD, claim_folder, default_out, record_text, remove_stale
from dataset.own.labels import number_classes
from dataset.own.lists import Lists, make_folds, make_split, take_split
from dataset.own.looking import Look, look_at_all, pictures_of, same_contents
from dataset.own.settings import choices_for, config_of, needs_weights, next_lines, train_command
from dataset.own.sources import Clip, Source, called, read_inputs
from dataset.own.splitting import rarest_classes
from dataset.whole_videos import video_parser

WARNINGS_SHOWN = 20  # of a kind
VAL_SHARE = TEST_SHARE = 0.2
SHEET = "contact_sheet.png"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = video_parser(__doc__)
    parser.add_argument("inputs", type=Path, nargs="+", metavar="FOLDER|LIST|CSV", help="what there is")
    parser.add_argument("--out", type=Path, help="folder to write into (default: dataset/own/data/NAME, after FOLDER)")
    parser.add_argument(
        "--group_by",
        type=_group_search,
        metavar="REGEX",
        help="searched in each path, below FOLDER or as a list has it: equal first groups stay on one side",
    )
    parser.add_argument("--folds", type=whole_number(2, 1000), metavar="K", help="folds of a cross-validation")
    parser.add_argument("--val_share", type=_share, help=f"of the clips, for validation (default: {VAL_SHARE})")
    parser.add_argument(
        "--test_share",
        type=_share,
        help=f"of the clips, for test; 0: val.list is test.list too (default: {TEST_SHARE})",
    )
    parser.add_argument("--seed", type=whole_number(0, 2**32 - 1), default=0, help="draws the split (default: 0)")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="class names in label order (default: sorted)")
    parser.add_argument("--pretrain", type=Path, metavar="PATH", help="weights to name in the command that trains")
    return parser.parse_args(argv)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid number: {text[:40]!r}") from None
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]} is out of range; a share is at least 0 and below 1")
    return share


def _group_search(text: str) -> Callable[[str], str | None]:
    """A clip's name -> its group, or None."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no regular expression: {error}") from None

    def search(name: str) -> str | None:
        match = pattern.search(name)
        return match and match.group(1 if pattern.groups else 0)

    search.pattern = text
    return search


def check_args(args: argparse.Namespace, is_split: bool) -> None:
    """Raise ValueError for flags that contradict one another or the input."""
    shares = {"--val_share": args.val_share, "--test_share": args.test_share}
    typed = [flag for flag, share in shares.items() if share is not None]
    if args.folds and typed:
        raise ValueError(f"--folds and {typed[0]} both say how to split; give one of them")
    if is_split and (args.folds or typed):
        flag = "--folds" if args.folds else typed[0]
        raise ValueError(f"{args.inputs[0]}: brings a split, which is kept, and {flag} asks for another; leave one out")
    args.val_share = VAL_SHARE if args.val_share is None else args.val_share
    args.test_share = TEST_SHARE if args.test_share is None else args.test_share
    if args.val_share == 0 or args.val_share + args.test_share >= 1:
        raise ValueError(
            f"--val_share={args.val_share:g} and --test_share={args.test_share:g}: validation needs a share, and "
            "both together less than 1"
        )
    if args.pretrain and not args.pretrain.exists():
        raise FileNotFoundError(f"{args.pretrain}: no such weights; correct --pretrain")


def warn(lines: list[str]) -> None:
    for line in lines[:WARNINGS_SHOWN]:
        say(f"warning: {line}")
    if len(lines) > WARNINGS_SHOWN:
        say(f"warning: and {count(len(lines) - WARNINGS_SHOWN, 'more line')} of this kind")


def read_videos(source: Source, args: argparse.Namespace) -> tuple[list[Clip], dict[str, Look], dict[str, str]]:
    """The clips to list, what is known of their videos, and {path that is left out: why}."""
    is_split = bool(source.clips[0].split)
    clips = source.clips if is_split else sorted(source.clips, key=lambda clip: (clip.name, clip.path))
    found = look_at_all([clip.path for clip in clips], args.workers, args.timeout_sec)
    looks = {path: look for path, look in found.items() if isinstance(look, Look)}
    left_out = {path: look.reason for path, look in found.items() if isinstance(look, Failure)}
    warn([f"{path}: left out: {reason}" for path, reason in left_out.items()])
    warn([f"{path}: {look.warning}" for path, look in looks.items() if look.warning])
    if not looks:
        path, reason = next(iter(left_out.items()))
        raise ValueError(f"none of {count(len(clips), 'video')} can be read; {path}: {reason}")
    readable = [clip for clip in clips if clip.path in looks]
    kept, warnings = checks.drop_repeats(readable, same_contents(looks))
    warn(warnings)
    listed = {clip.place for clip in kept}
    left_out |= {called(clip): "listed once already" for clip in readable if clip.place not in listed}
    return kept, looks, left_out


def divide(clips: list[Clip], labels: dict[str, tuple[int, ...]], args: argparse.Namespace) -> Lists:
    """The lists, by the split given or a new one."""
    keys = {clip.place: clip.name for clip in clips}
    if args.group_by:
        keys = checks.group_keys(clips, args.group_by)
    if clips[0].split:
        warn(checks.split_groups(clips, keys) if args.group_by else [])
        return take_split(clips)
    groups, strata = [keys[clip.place] for clip in clips], rarest_classes([labels[clip.place] for clip in clips])
    if args.folds:
        return make_folds(clips, groups, strata, args.folds, args.seed)
    return make_split(clips, groups, strata, args.val_share, args.test_share, args.seed)


def lists_apart(lists: Lists) -> dict[str, list[Clip]]:
    """The lists without those that are the same as one before."""
    apart = {id(members): (name, members) for name, members in reversed(lists.members.items())}
    return dict(reversed(apart.values()))


def texts_of(
    out: Path, args: argparse.Namespace, lists: Lists, labels: dict[str, tuple[int, ...]], names: list[str]
) -> dict[str, str]:
    """{file below OUT: content} of the record, which comes first, the lists and the class names."""
    settings = {"seed": args.seed, "folds": args.folds, "group_by": args.group_by and args.group_by.pattern}
    texts = {RECORD: record_text(args.inputs, settings | {"val_share": args.val_share, "test_share": args.test_share})}
    for name, members in lists.members.items():
        lines = [(listed_path(clip.path, (out / name).parent), labels[clip.place]) for clip in members]
        texts[name] = "".join(f"{path} {','.join(map(str, own)) or NO_CLASS}\n" for path, own in lines)
    return texts | {"labels.txt": "".join(f"{name}\n" for name in names)}


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    source = read_inputs(args.inputs)
    check_args(args, is_split=bool(source.clips[0].split))
    out = args.out or default_out(args.inputs)
    claim_folder(out, args.inputs)
    classes = number_classes(source, args.labels)
    for clip in source.clips:  # mistakes are told before the videos are read
        listed_path(clip.path, out)
    if args.group_by:
        checks.group_keys(source.clips, args.group_by)
    warn(source.warnings + classes.warnings)
    clips, looks, left_out = read_videos(source, args)
    labels = {clip.place: tuple(sorted(classes.numbers[name] for name in clip.classes)) for clip in clips}
    lists = divide(clips, labels, args)
    apart = {name: [labels[clip.place] for clip in members] for name, members in lists_apart(lists).items()}
    warn(checks.missing_classes(classes.names, apart))

    is_multi_label = any(len(clip.classes) != 1 for clip in source.clips)
    choices = choices_for(out, lists, len(classes.names), is_multi_label)
    rows = report.class_rows(classes.names, clips, labels, looks, lists.columns)
    made_by = command("python", "dataset/own/make_dataset.py", *(sys.argv[1:] if argv is None else argv))
    train = train_command(out, args.pretrain)
    texts = texts_of(out, args, lists, labels, classes.names) | {
        "config.txt": config_of(out, choices, made_by, train),
        "found.csv": report.found_csv(rows),
        "left_out.csv": "".join(map(csv_line, [("path", "reason"), *left_out.items()])),
    }
    write_files(out, texts)
    remove_stale(out, set(texts))
    write_sheet(out / SHEET, report.shown_clips(classes.names, clips, labels), args)

    for line in [*report.table_lines(rows), *report.notes(rows), *lists.notes]:
        say(line)
    names = ", ".join(name for name in [*texts, SHEET] if name.partition("/")[0] in ("fold1", name))
    more = f" (and so on to fold{args.folds})" if args.folds else ""
    say(f"{count(len(clips), 'video')} of {len(source.clips):,} listed in {out}: {names}{more}")
    say("next, in the project's folder:")
    for line in next_lines(out, train, needs_weights(choices) and not args.pretrain, bool(args.folds)):
        say(f"  {line}")


def write_sheet(path: Path, shown: dict[str, list[str]], args: argparse.Namespace) -> None:
    """Draw some clips of each class."""
    paths = list(dict.fromkeys(path for paths in shown.values() for path in paths))
    pictures = pictures_of(paths, args.workers, args.timeout_sec)
    write_contact_sheet(path, {name: [pictures[p] for p in own if p in pictures] for name, own in shown.items()})


if __name__ == "__main__":
    run(main)
