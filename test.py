"""Score a trained model on a list of labelled videos: every video once, the unreadable ones as wrong answers.

python test.py --model_name=TSN --config=configs/tsn.txt --log_interval=1 --weights=$PATH_TO_WEIGHTS
python test.py --weights=checkpoints/demo/TSN_epoch14 -o TEST.seg_num=25 -o TEST.crop=ten

TEST.save_dir gets scores.json, predictions.csv, TSN_test_result (a pickle like infer.py's) and report.html, one file to
open in a browser.
"""

import argparse
import logging
import time
from pathlib import Path

import numpy as np

import before_paddle  # noqa: F401
from builders import build_loader
from classification import Session, add_weights, describe_protocol, open_session, protocol_of, settings_of
from command_line import common_parser, run
from datareader.broken import BrokenVideos
from datareader.kinetics_reader import KineticsReader
from datareader.loader import Batch
from datareader.records import Record
from engine.checkpoint import prepare_save_dir
from engine.distributed import Ranks
from engine.log import duration, log_reading, progress
from engine.loop import predict
from evaluation.report import Report, confident_mistakes
from evaluation.results import Prediction, top_predictions, write_csv, write_json, write_pickle
from evaluation.scores import (
    OUTCOME_COLUMNS,
    Outcome,
    Summary,
    Tally,
    judge,
    outcome_rows,
    summarize,
    summary_as_json,
    unreadable,
)

TOP_K = 20  # classes per video in the pickle, as infer.py's default

logger = logging.getLogger("test")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = common_parser(__doc__)
    add_weights(parser)
    parser.add_argument("--save_dir", help="folder for scores, predictions and report (default: TEST.save_dir)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> Summary:
    args = parse_args(argv)
    session = open_session(args, "test", {"TEST.save_dir": args.save_dir})
    config, ranks = session.config, session.ranks
    save_dir = Path(config.test.save_dir) if config.test.save_dir and ranks.rank == 0 else None
    if save_dir:
        prepare_save_dir(save_dir)
    loader = build_loader(config, "test", ranks)
    reader = loader.reader
    protocol = protocol_of(session, reader)
    logger.info("[TEST] %s", describe_protocol(protocol))

    started_sec = time.perf_counter()
    broken = BrokenVideos(reader.records)
    outcomes: dict[int, Outcome] = {}
    tally = Tally()  # this rank's, for the log
    with progress(loader.epoch(0), len(loader), "test") as batches:
        steps = predict(session.classifier, batches, broken.add, reader.num_views, config.test.max_frames_per_batch)
        for iteration, (batch, probabilities, _) in enumerate(steps):
            found = outcomes_of(batch, probabilities, reader.records)
            outcomes.update(found)
            tally.add(found.values())
            if iteration % args.log_interval == 0:
                logger.info("[TEST] iter %d  %s", iteration, tally.text())
    results = in_order(outcomes, ranks)
    log_reading("[TEST]", broken, loader, ranks)
    summary = summarize(results, config.model.num_classes)
    took = duration(time.perf_counter() - started_sec)
    logger.info("[TEST] finished  %s, %s, %s", summary.text(), summary.coverage(), took)
    logger.info("[TEST] %s; %s", summary.further_text(), describe_protocol(protocol))
    if save_dir:
        write_files(save_dir, session, reader, results, summary, protocol | {"took": took})
    ranks.leave()
    return summary


def outcomes_of(batch: Batch, probabilities: np.ndarray, records: list[Record]) -> dict[int, Outcome]:
    """By place in the list: the batch's rows and its unreadable videos."""
    predictions = top_predictions(batch.video_ids, probabilities, TOP_K)
    labels = batch.labels.tolist() if batch.indices else []
    found = dict(zip(batch.indices, judge(predictions, probabilities, labels, batch.read_sec), strict=True))
    for index, problem in batch.broken:
        found[index] = unreadable(records[index].name, records[index].label, problem)
    return found


def in_order(outcomes: dict[int, Outcome], ranks: Ranks) -> list[Outcome]:
    """All ranks' outcomes in the order of the list."""
    everyones = {
        index: Outcome(Prediction(*prediction), *fields)
        for index, (prediction, *fields) in ranks.chain(outcomes.items())
    }
    return [everyones[index] for index in sorted(everyones)]


def write_files(
    save_dir: Path,
    session: Session,
    reader: KineticsReader,
    outcomes: list[Outcome],
    summary: Summary,
    protocol: dict,
) -> None:
    """Scores, predictions and report."""
    about = {"list": session.config.test.filelist, "engine": session.classifier.title} | settings_of(session, protocol)
    scores = summary_as_json(summary, outcomes, session.class_names)
    write_json(save_dir / "scores.json", {"about": about, **scores})
    write_csv(save_dir / "predictions.csv", OUTCOME_COLUMNS, outcome_rows(outcomes, session.class_names))
    name = f"{session.config.model.name}_test_result"
    write_pickle(save_dir / name, (outcome.prediction for outcome in outcomes))
    report = Report(
        about=about,
        summary=summary,
        outcomes=outcomes,
        class_names=session.class_names,
        metrics=session.weights.parent / "metrics.jsonl",
        pictures={index: sampled_frames(reader, index) for index in confident_mistakes(outcomes)},
    )
    report.write(save_dir / "report.html")
    logger.info("[TEST] scores.json, predictions.csv, %s and report.html are in %s", name, save_dir)


def sampled_frames(reader: KineticsReader, index: int) -> list[np.ndarray]:
    """What the model saw of a video: a frame of each segment of the first view, uint8 (H, W, 3)."""
    clip = np.empty(reader.clip_shape, np.uint8)
    reader.read(0, index, clip)
    return list(clip[: reader.seg_num * reader.seglen : reader.seglen].transpose(0, 2, 3, 1).copy())  # not all views


if __name__ == "__main__":
    run(main)
