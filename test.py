"""Score a trained model on a list of labelled videos: every video once, the unreadable ones as wrong answers.

python test.py --model_name=TSN --config=configs/tsn.txt --log_interval=1 --weights=$PATH_TO_WEIGHTS
python test.py --weights=checkpoints/demo/TSN_epoch14 -o TEST.seg_num=25 -o TEST.crop=ten

TEST.save_dir gets scores.json, predictions.csv, TSN_test_result (a pickle like infer.py's) and report.html, one file to
open in a browser.
"""

import logging
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    import common.beginning  # noqa: F401

import numpy as np

import common.startup  # noqa: F401
from common import command_line, console
from common.whole_file import prepare_save_dir
from datareader.build import build_loader, build_records
from datareader.overview import report_list
from datareader.reader import ClipReader
from datareader.unreadable import UnreadableVideos, report_reading
from evaluation.files import write_csv, write_json, write_pickle
from evaluation.predictions import Prediction, all_class_names
from evaluation.report import Report, confident_mistakes
from evaluation.scores import ROW_COLUMNS, Summary, Tally, prediction_rows, summarize, summary_as_json
from inference.choice import add_engine, wish_of
from inference.exported import is_exported
from inference.predict import predict
from inference.session import Session, begin_session, describe_protocol

TOP_K = 20  # classes per video in the pickle, as infer.py's default

logger = logging.getLogger("test")


def build_parser() -> command_line.OneLineParser:
    parser = command_line.config_parser(__doc__)
    command_line.add_reading(parser, log_interval=10)
    command_line.add_weights(parser)
    add_engine(parser)
    parser.add_argument("--save_dir", help="folder for scores, predictions and report (default: TEST.save_dir)")
    return parser


def main(argv: list[str] | None = None) -> Summary:
    args = build_parser().parse_args(argv)
    console.start_logging()
    flags = {
        "MODEL.name": args.model_name,
        "TEST.batch_size": args.batch_size,
        "TEST.save_dir": args.save_dir,
        "TRAIN.use_gpu": args.use_gpu,
    }
    wish = wish_of(args)
    opening = begin_session(args.weights, args.config, args.overrides, flags=flags, mode="test", wish=wish)
    config, ranks = opening.config, opening.ranks
    save_dir = Path(config.test.save_dir) if config.test.save_dir and ranks.rank == 0 else None
    if save_dir:
        prepare_save_dir(save_dir)
    records, num_classes = build_records(config, "test", ranks), config.model.num_classes
    session = opening.open(len(records))
    names = all_class_names(session.class_names, num_classes)
    report_list("[TEST]", config.test.filelist, records, names)
    loader = build_loader(config, "test", records, ranks)
    reader = loader.reader
    protocol = session.protocol(reader)
    logger.info("[TEST] %s", describe_protocol(reader, protocol))

    started_sec = time.perf_counter()
    unreadable, tally, predictions = UnreadableVideos(records), Tally(), []
    with console.progress(loader.epoch(0), len(loader), "test") as batches:
        steps = predict(session.engine, unreadable.watch(batches), reader, max_frames=session.max_frames, ranks=ranks)
        for iteration, step in enumerate(steps):
            predictions += step.predictions
            tally.add(step.predictions)
            if iteration % args.log_interval == 0:
                logger.info("[TEST] iter %d  %s", iteration, tally.text(num_classes))
    report_reading("[TEST]", unreadable, loader, ranks)
    summary = summarize(predictions, num_classes, config.model.multi_label)
    took = console.duration(time.perf_counter() - started_sec)
    logger.info("[TEST] finished  %s, %s, %s, %s", summary.text(), summary.coverage(), reader.describe(), took)
    logger.info("[TEST] %s", summary.further_text())
    if summary.warning():
        logger.warning("[TEST] %s", summary.warning())
    if save_dir:
        write_files(save_dir, session, reader, predictions, summary, protocol | {"took": took})
        say_what_next(session)
    ranks.leave()
    return summary


def write_files(
    save_dir: Path,
    session: Session,
    reader: ClipReader,
    predictions: list[Prediction],
    summary: Summary,
    protocol: dict[str, Any],
) -> None:
    """Scores, predictions and report."""
    about = {"list": session.config.test.filelist, "engine": session.engine.title} | session.settings(protocol)
    paths = [save_dir / name for name in ("scores.json", "predictions.csv", f"{session.config.model.name}_test_result")]
    write_json(paths[0], {"about": about, **summary_as_json(summary, predictions, session.class_names)})
    write_csv(paths[1], ROW_COLUMNS, prediction_rows(predictions, session.class_names))
    write_pickle(paths[2], (prediction.top(TOP_K) for prediction in predictions))
    report = Report(
        about=about,
        summary=summary,
        predictions=predictions,
        class_names=session.class_names,
        metrics=session.weights.parent / "metrics.jsonl",
        pictures={place: sampled_frames(reader, place) for place in confident_mistakes(predictions)},
    )
    report.write(save_dir / "report.html")
    logger.info("[TEST] %s", console.written([*paths, save_dir / "report.html"]))


def say_what_next(session: Session) -> None:
    """The commands that a user types after a test."""
    weights = f"--weights={session.weights}"
    logger.info("[TEST] next: %s", console.command("python", "infer.py", weights, "--video", "my.mp4"))
    if not is_exported(session.weights):
        export = console.command("python", "export.py", weights, "--save_dir=exported")
        logger.info("[TEST] next, for programs without this code: %s", export)


def sampled_frames(reader: ClipReader, index: int) -> list[np.ndarray]:
    """What the model saw of a video: a frame of each segment of the first view, uint8 (H, W, 3).

    None of them, with a warning, if the video cannot be read any more.
    """
    clip = np.empty(reader.clip_shape, np.uint8)
    sample = reader.read(0, index, clip)
    if not sample.is_readable:
        reason = sample.unreadable[0][1]
        logger.warning("the report has no pictures of %s, which cannot be read any more: %s", sample.video_id, reason)
        return []
    sampling = reader.sampling
    first_view = clip[: sampling.frames_per_clip : sampling.seglen]
    return list(first_view.transpose(0, 2, 3, 1).copy())  # not all views


if __name__ == "__main__":
    command_line.run(main)
