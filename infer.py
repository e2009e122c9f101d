r"""Classify videos; labels are not needed.

    python infer.py --model_name=TSN --config=configs/tsn.txt --log_interval=1 --weights=$PATH_TO_WEIGHTS \
        --filelist=$FILELIST
    python infer.py --weights=checkpoints/demo/TSN_epoch14 --video my.mp4 "a folder of videos" --overlay=results/seen
    find / -name "*.mp4" | python infer.py --weights=... --stdin
    python infer.py --weights=... --video match.mp4 --window_sec=4 --stride_sec=2 --features
    python infer.py --weights=... --video rtsp://camera/live --window_sec=4

SAVE_DIR/TSN_infer_result is a pickled list of (video_id, [probabilities], [class ids]), best first, one entry per
video, in order; a video that cannot be read has empty lists. TSN_infer_result.jsonl holds the same with class names, a
JSON object a line, each written as soon as its video is done; TSN_infer_result.csv is for spreadsheets. With
--window_sec, each video gets NAME.timeline.json and .png instead, and by --features NAME.features.npz. Ctrl-C keeps
what is done, and --skip_done goes on.
"""

import argparse
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    import common.beginning  # noqa: F401

import common.startup  # noqa: F401
from common import command_line, console
from common.command_line import positive_float, positive_int
from common.whole_file import prepare_save_dir
from datareader.build import build_loader, build_reader, build_records
from datareader.loader import Batch, Loader, read_one_by_one
from datareader.overview import picture_warnings
from datareader.reader import ClipReader
from datareader.records import Record, RecordList, records_of
from datareader.stream import is_address
from datareader.unreadable import UnreadableVideos, report_reading
from datareader.workers import ReadingFailed
from distributed.ranks import Ranks
from distributed.signals import Stopped, StopRequest, lines_until_stopped
from evaluation.files import Features, ResultFiles
from evaluation.predictions import Prediction, describe
from inference.choice import add_engine, wish_of
from inference.drawing import Illustrator
from inference.predict import predict
from inference.session import Opening, Session, begin_session, describe_protocol
from inference.windows import Cutting, classify_windows

MOST_WINDOWS = 1000  # at a time; the pictures of each are kept

logger = logging.getLogger("infer")


def build_parser() -> command_line.OneLineParser:
    parser = command_line.config_parser(__doc__)
    command_line.add_reading(parser, log_interval=1)
    command_line.add_weights(parser)
    add_engine(parser)
    inputs = parser.add_mutually_exclusive_group()
    inputs.add_argument("--filelist", help="list of videos, one path per line (default: INFER.filelist of the config)")
    inputs.add_argument("--video", nargs="+", metavar="PATH", help="files and folders; with --window_sec addresses too")
    inputs.add_argument("--stdin", action="store_true", help="classify paths as they come on standard input")
    parser.add_argument(
        "--infer_topk", type=positive_int, default=20, help="classes kept per video (default: %(default)s)"
    )
    parser.add_argument("--save_dir", default=".", help="folder for the results (default: the working folder)")
    parser.add_argument("--skip_done", action="store_true", help="go on with the results that are in --save_dir")
    parser.add_argument(
        "--features",
        action="store_true",
        help="store features too, in TSN_infer_features.npz; with --window_sec those of its windows, in "
        "NAME.features.npz for each video",
    )
    parser.add_argument("--overlay", metavar="DIR", help="write a copy of each video with its best 3 classes on it")
    parser.add_argument("--cam", metavar="DIR", help="write heat maps (Grad-CAM) of the best class over the frames")
    parser.add_argument(
        "--window_sec", type=positive_float, help="classify long videos by windows of so many seconds, into a timeline"
    )
    parser.add_argument(
        "--stride_sec", type=positive_float, help="seconds from window to window (default: --window_sec, side by side)"
    )
    return parser


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.window_sec and (args.cam or args.stdin):
        parser.error("--window_sec does not go with --cam and --stdin, which are for whole videos")
    if args.stride_sec and not args.window_sec:
        parser.error("--stride_sec needs --window_sec")
    if args.stride_sec and args.window_sec > MOST_WINDOWS * args.stride_sec:
        parser.error(f"more than {MOST_WINDOWS} windows would overlap; give a larger --stride_sec")
    if args.video and not args.window_sec and any(map(is_address, args.video)):
        parser.error("an address or a camera has no end that could be waited for; give --window_sec")
    return args


def main(argv: list[str] | None = None) -> list[Prediction] | dict[str, list[dict[str, Any]]]:
    args = parse_args(argv)
    console.start_logging()
    flags = {
        "MODEL.name": args.model_name,
        "INFER.batch_size": args.batch_size,
        "INFER.filelist": args.filelist,
        "TRAIN.use_gpu": args.use_gpu,
    }
    opening = begin_session(args.weights, args.config, args.overrides, flags=flags, wish=wish_of(args))
    if opening.ranks.num_ranks > 1 and (args.stdin or args.window_sec):
        raise ValueError("--stdin and --window_sec are for one process; start infer.py without the launcher")
    if opening.ranks.rank == 0:
        prepare_save_dir(args.save_dir)
    records = RecordList() if args.stdin else records_to_classify(args, opening)
    has_no_end = args.stdin or bool(args.window_sec)
    session = opening.open(
        None if has_no_end else len(records), needs_layers=bool(args.cam), one_by_one=has_no_end or len(records) == 1
    )
    for warning in picture_warnings(records):
        logger.warning("[INFER] %s", warning)
    # names for a million pictures would take minutes and gigabytes
    named = records.listed() if args.overlay or args.cam or args.window_sec else ()
    illustrator = Illustrator(session, args.overlay, args.cam, (name for name, _ in named))
    with StopRequest("what is done is written") as stop:
        results = (infer_windows if args.window_sec else infer_videos)(args, session, records, illustrator, stop)
    session.ranks.leave()
    if stop.signal_number:
        raise SystemExit(Stopped(stop.signal_number).exit_code)
    return results


def records_to_classify(args: argparse.Namespace, opening: Opening) -> RecordList:
    """The videos of --video, or of the list."""
    if not args.video:
        return build_records(opening.config, "infer", opening.ranks)
    if opening.config.model.format != "mp4":
        raise ValueError("--video takes videos, but MODEL.format is pkl; use -o MODEL.format=mp4, or --filelist")
    return records_of(args.video, is_address)


def infer_windows(
    args: argparse.Namespace, session: Session, records: RecordList, illustrator: Illustrator, stop: StopRequest
) -> dict[str, list[dict[str, Any]]]:
    """The windows of each video."""
    return classify_windows(
        session,
        records,
        Path(args.save_dir),
        illustrator,
        Cutting(args.window_sec, args.stride_sec or args.window_sec, args.infer_topk),
        keep_features=args.features,
        log_interval=args.log_interval,
        skip_done=args.skip_done,
        stop=stop,
    )


def infer_videos(
    args: argparse.Namespace, session: Session, records: RecordList, illustrator: Illustrator, stop: StopRequest
) -> list[Prediction]:
    """A prediction for each video, in order."""
    config, ranks = session.config, session.ranks
    reader = build_reader(config, "infer", records)
    protocol = session.protocol(reader)
    logger.info("[INFER] %s", describe_protocol(reader, protocol))
    stem = Path(args.save_dir) / f"{config.model.name}_infer"
    files = ResultFiles(stem.parent, f"{stem.name}_result", session.class_names)
    features = Features(stem.with_name(f"{stem.name}_features.npz")) if args.features else None
    settings = session.settings(protocol) | {"infer_topk": args.infer_topk}
    results = earlier_results(files, features, settings, args.skip_done) if ranks.rank == 0 else {}
    source = open_source(args, session, records, set(ranks.exchange(list(results))[0]), stop)
    unreadable, failures = UnreadableVideos(source.reader.records), []
    with console.progress(source.batches, source.loader and len(source.loader), "infer") as batches:
        steps = predict(
            session.engine, unreadable.watch(until_failure(batches, ranks, failures)), source.reader,
            max_frames=session.max_frames, keep_features=args.features, ranks=ranks, stop=stop,
        )  # fmt: skip
        for iteration, step in enumerate(steps):
            for record, prediction, frames in step.seen:
                illustrator.draw(record.path, prediction, frames)
            if ranks.rank == 0:
                if iteration % args.log_interval == 0:
                    log_predictions(step.predictions, session.class_names)
                if features:
                    features.add(step.predictions)
                found = [prediction.top(args.infer_topk) for prediction in step.predictions]
                files.add(found)
                results |= {prediction.path: prediction for prediction in found}
    if source.loader:
        report_reading("[INFER]", unreadable, source.loader, ranks)
    ordered = [results[name] for name, _ in records.listed() if name in results] or list(results.values())
    if ranks.rank == 0:
        finish(files, features, ordered, is_stopped=bool(stop.signal_number or failures))
    if failures:
        raise ReadingFailed(f"{failures[0]}; what is done is written, and --skip_done goes on")
    return ordered


class Source(NamedTuple):
    """What is not done yet."""

    loader: Loader | None
    """None: paths come on standard input."""
    reader: ClipReader
    batches: Iterator[Batch]


def open_source(
    args: argparse.Namespace, session: Session, records: RecordList, done: set[str], stop: StopRequest
) -> Source:
    """The records that are not done, or the paths on standard input."""
    if not args.stdin:
        loader = build_loader(session.config, "infer", records.without(done), session.ranks)
        return Source(loader, loader.reader, loader.epoch(0))
    reader = build_reader(session.config, "infer", [])
    paths = (line.strip() for line in lines_until_stopped(sys.stdin.fileno(), stop))
    batches = read_one_by_one(reader, (Record(path, None, path) for path in paths if path and path not in done))
    return Source(None, reader, batches)


def until_failure(batches: Iterable[Batch], ranks: Ranks, failures: list[ReadingFailed]) -> Iterator[Batch]:
    """The batches up to one that cannot be had; with several ranks that ends them all at once."""
    try:
        yield from batches
    except ReadingFailed as error:
        if ranks.num_ranks > 1:
            raise
        failures.append(error)


def earlier_results(
    files: ResultFiles, features: Features | None, settings: dict[str, Any], skip_done: bool
) -> dict[str, Prediction]:
    """What --skip_done goes on from, by path: the results that need not be computed again."""
    if not skip_done:
        files.begin(settings)
        return {}
    results = files.go_on(settings)
    if features:
        features.load()
        results = {path: result for path, result in results.items() if path in features.rows}
    logger.info("[INFER] %s done already", console.count(len(results), "video"))
    return results


def log_predictions(predictions: list[Prediction], class_names: list[str] | None) -> None:
    """A line for each video; one that cannot be read has had its line."""
    for prediction in predictions:
        if not prediction.problem:
            logger.info("[INFER] %s", describe(prediction, class_names))


def finish(files: ResultFiles, features: Features | None, predictions: list[Prediction], is_stopped: bool) -> None:
    """Write the results and say what was written."""
    paths = files.finish(predictions)
    if features:
        features.save()
        paths.append(features.path)
    what = "stopped, --skip_done goes on" if is_stopped else "finished"
    logger.info("[INFER] %s: %s; %s", what, console.count(len(predictions), "video"), console.written(paths))


if __name__ == "__main__":
    command_line.run(main)
