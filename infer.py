r"""Classify videos; labels are not needed.

    python infer.py --model_name=TSN --config=configs/tsn.txt --log_interval=1 --weights=$PATH_TO_WEIGHTS \
        --filelist=$FILELIST
    python infer.py --weights=checkpoints/demo/TSN_epoch14 --video my.mp4 "a folder of videos" --overlay=results/seen
    find / -name "*.mp4" | python infer.py --weights=... --stdin
    python infer.py --weights=... --video match.mp4 --window_sec=4 --stride_sec=2
    python infer.py --weights=... --video rtsp://camera/live --window_sec=4

SAVE_DIR/TSN_infer_result is a pickled list of (video_id, [probabilities], [class ids]), best first, one entry per
video, in order; a video that cannot be read has empty lists. TSN_infer_result.jsonl holds the same with class names, a
JSON object a line, each written as soon as its video is done; TSN_infer_result.csv is for spreadsheets. With
--window_sec, each video gets NAME.timeline.json and .png instead. Ctrl-C keeps what is done, and --skip_done goes on.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import before_paddle  # noqa: F401
from builders import build_loader, build_reader, build_records
from classification import Session, add_weights, describe_protocol, open_session, protocol_of, settings_of
from command_line import common_parser, positive_float, positive_int, run
from datareader.broken import BrokenVideos
from datareader.kinetics_reader import KineticsReader
from datareader.loader import Batch, Loader, read_one_by_one
from datareader.records import Record, records_of
from datareader.stream import is_address
from engine.checkpoint import prepare_save_dir
from engine.distributed import Ranks
from engine.log import log_reading, progress
from engine.loop import predict
from engine.signals import Stopped, StopRequest, lines_until_stopped
from evaluation.results import Features, Prediction, Result, ResultFiles, describe, top_predictions
from illustrate import Illustrator
from long_videos import classify_windows

logger = logging.getLogger("infer")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = common_parser(__doc__)
    add_weights(parser)
    inputs = parser.add_mutually_exclusive_group()
    inputs.add_argument("--filelist", help="list of videos, one path per line (default: INFER.filelist of the config)")
    inputs.add_argument("--video", nargs="+", metavar="PATH", help="files and folders; with --window_sec addresses too")
    inputs.add_argument("--stdin", action="store_true", help="classify paths as they come on standard input")
    parser.add_argument(
        "--infer_topk", type=positive_int, default=20, help="classes kept per video (default: %(default)s)"
    )
    parser.add_argument("--save_dir", default=".", help="folder for the results (default: the working folder)")
    parser.add_argument("--skip_done", action="store_true", help="go on with the results that are in --save_dir")
    parser.add_argument("--features", action="store_true", help="store features too, in TSN_infer_features.npz")
    parser.add_argument("--overlay", metavar="DIR", help="write a copy of each video with its best 3 classes on it")
    parser.add_argument("--cam", metavar="DIR", help="write heat maps (Grad-CAM) of the best class over the frames")
    parser.add_argument(
        "--window_sec", type=positive_float, help="classify long videos by windows of so many seconds, into a timeline"
    )
    parser.add_argument(
        "--stride_sec", type=positive_float, help="seconds from window to window (default: --window_sec, side by side)"
    )
    args = parser.parse_args(argv)
    if args.window_sec and (args.features or args.cam or args.stdin):
        parser.error("--window_sec does not go with --features, --cam and --stdin, which are for whole videos")
    if args.stride_sec and not args.window_sec:
        parser.error("--stride_sec needs --window_sec")
    if args.video and not args.window_sec and any(map(is_address, args.video)):
        parser.error("an address or a camera has no end that could be waited for; give --window_sec")
    return args


def main(argv: list[str] | None = None) -> list[Prediction] | dict[str, list[dict[str, Any]]]:
    args = parse_args(argv)
    session = open_session(args, "infer", {"INFER.filelist": args.filelist})
    if session.ranks.num_ranks > 1 and (args.stdin or args.window_sec):
        raise ValueError("--stdin and --window_sec are for one process; start infer.py without the launcher")
    if session.ranks.rank == 0:
        prepare_save_dir(args.save_dir)
    illustrator = Illustrator(session, args.overlay, args.cam)
    with StopRequest("what is done is written") as stop:
        results = (infer_windows if args.window_sec else infer_videos)(args, session, illustrator, stop)
    session.ranks.leave()
    if stop.signal_number:
        raise SystemExit(Stopped(stop.signal_number).exit_code)
    return results


def infer_windows(
    args: argparse.Namespace, session: Session, illustrator: Illustrator, stop: StopRequest
) -> dict[str, list[dict[str, Any]]]:
    """The windows of each video."""
    return classify_windows(
        session,
        records_to_classify(args, session),
        Path(args.save_dir),
        illustrator,
        window_sec=args.window_sec,
        stride_sec=args.stride_sec or args.window_sec,
        top_k=args.infer_topk,
        log_interval=args.log_interval,
        skip_done=args.skip_done,
        stop=stop,
    )


def infer_videos(
    args: argparse.Namespace, session: Session, illustrator: Illustrator, stop: StopRequest
) -> list[Prediction]:
    """A prediction for each video, in order."""
    config, ranks, save_dir = session.config, session.ranks, Path(args.save_dir)
    records = [] if args.stdin else records_to_classify(args, session)
    for record in records:
        illustrator.names.name(record.name)  # so that names do not depend on what was done before
    protocol = protocol_of(session, build_reader(config, "infer", records))
    logger.info("[INFER] %s", describe_protocol(protocol))
    files = ResultFiles(save_dir, f"{config.model.name}_infer_result", session.class_names)
    features = Features(save_dir / f"{config.model.name}_infer_features.npz") if args.features else None
    settings = settings_of(session, protocol) | {"infer_topk": args.infer_topk}
    results = earlier_results(files, features, settings, args.skip_done) if ranks.rank == 0 else {}
    done = set(ranks.exchange(list(results))[0])

    loader, reader, batches = open_input(args, session, records, done, stop)
    broken = BrokenVideos(reader.records)
    with progress(batches, len(loader) if loader else None, "infer") as batches:
        steps = predict(session.classifier, batches, broken.add, reader.num_views, config.infer.max_frames_per_batch)
        for iteration, (batch, probabilities, rows) in enumerate(steps):
            found = results_of(batch, probabilities, reader.records, args.infer_topk)
            for result, index, frames in zip(found, batch.indices, batch.frames if batch.indices else (), strict=False):
                illustrator.draw(
                    reader.records[index].path, result.prediction, frames[: len(frames) // reader.num_views]
                )
            if iteration % args.log_interval == 0:
                for result in found[: len(batch.indices)]:
                    logger.info("[INFER] %s", describe(result.prediction, session.class_names))
            for finished, vectors in share(ranks, stop, found, rows.tolist() if features else []):
                results.update((result.path, result) for result in finished)
                if features:
                    features.add([result.path for result in finished if not result.problem], vectors)
                if ranks.rank == 0:
                    files.add(finished)
            if stop.signal_number:
                break
    if loader:
        log_reading("[INFER]", broken, loader, ranks)
    in_order = [results[record.name] for record in records if record.name in results] or list(results.values())
    if ranks.rank == 0:
        files.finish(in_order)
        if features:
            features.save()
        what = f"stopped, --skip_done goes on: {len(in_order)}" if stop.signal_number else f"finished: {len(in_order)}"
        logger.info("[INFER] %s videos, results in %s, with .jsonl and .csv", what, files.pickle)
    return [result.prediction for result in in_order]


def open_input(
    args: argparse.Namespace, session: Session, records: list[Record], done: set[str], stop: StopRequest
) -> tuple[Loader | None, KineticsReader, Iterator[Batch]]:
    """What is not done yet: the loader of the records, or for --stdin none; its reader; its batches."""
    if not args.stdin:
        todo = [record for record in records if record.name not in done]
        loader = build_loader(session.config, "infer", session.ranks, records=todo)
        return loader, loader.reader, loader.epoch(0)
    reader = build_reader(session.config, "infer", [])
    paths = (line.strip() for line in lines_until_stopped(sys.stdin.fileno(), stop))
    return (
        None,
        reader,
        read_one_by_one(reader, (Record(path, None, path) for path in paths if path and path not in done)),
    )


def records_to_classify(args: argparse.Namespace, session: Session) -> list[Record]:
    """The videos of --video, or of the list."""
    if not args.video:
        return build_records(session.config, "infer")
    if session.config.model.format != "mp4":
        raise ValueError("--video takes videos, but MODEL.format is pkl; use -o MODEL.format=mp4, or --filelist")
    return [
        record
        for path in args.video
        for record in ([Record(path, None, path)] if is_address(path) else records_of([path]))
    ]


def earlier_results(
    files: ResultFiles, features: Features | None, settings: dict[str, Any], skip_done: bool
) -> dict[str, Result]:
    """What --skip_done goes on from, by path: the results that need not be computed again."""
    if not skip_done:
        files.begin(settings)
        return {}
    results = files.go_on(settings)
    if features:
        features.load()
        results = {path: result for path, result in results.items() if path in features.rows}
    logger.info("[INFER] %d videos are done already", len(results))
    return results


def share(
    ranks: Ranks, stop: StopRequest, found: list[Result], rows: list[list[float]]
) -> list[tuple[list[Result], list[list[float]]]]:
    """What each rank has found in this step; a stop that one of them was asked for is asked of all."""
    everyones = ranks.exchange([stop.signal_number, found, rows])
    stop.signal_number = max(signal_number for signal_number, _, _ in everyones)
    return [
        ([Result(path, Prediction(*prediction), problem) for path, prediction, problem in entries], vectors)
        for _, entries, vectors in everyones
    ]


def results_of(batch: Batch, probabilities: np.ndarray, records: list[Record], top_k: int) -> list[Result]:
    """Of the batch's rows, then of its unreadable videos."""
    predictions = top_predictions(batch.video_ids, probabilities, top_k)
    found = [Result(records[index].name, one) for index, one in zip(batch.indices, predictions, strict=True)]
    return found + [
        Result(records[index].name, Prediction(records[index].name, [], []), problem) for index, problem in batch.broken
    ]


if __name__ == "__main__":
    run(main)
