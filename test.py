"""Score a trained model on a list of labelled videos: every video once, the unreadable ones as wrong answers.

python test.py --model_name=TSN --config=configs/tsn.txt --log_interval=1 --weights=$PATH_TO_WEIGHTS
python test.py --config=configs/tsn_demo.txt --weights=checkpoints/demo/TSN_epoch14 -o TEST.seg_num=25
"""

import argparse
import logging
import time

import before_paddle  # noqa: F401
import command_line
from builders import build_class_names, build_loader, build_model, fetch_published_weights
from config import load_config
from datareader.broken import BrokenVideos
from engine.distributed import start
from engine.log import duration, log_reading, progress, start_logging
from engine.loop import evaluate
from evaluation.metrics import ScoreMeter, Scores
from models.weights import TSN_KINETICS, load_weights, read_weights

logger = logging.getLogger("test")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.common_parser(__doc__)
    parser.add_argument(
        "--weights", help="weights to score, of any known format (default: the published ones, downloaded)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> Scores:
    args = parse_args(argv)
    flags = {"MODEL.name": args.model_name, "TEST.batch_size": args.batch_size, "TRAIN.use_gpu": args.use_gpu}
    config = load_config(args.config, args.overrides, flags)
    start_logging()
    ranks = start(config.train.use_gpu)
    build_class_names(config)
    model = build_model(config)
    loader = build_loader(config, "test", ranks)
    weights = read_weights(args.weights or fetch_published_weights(config, TSN_KINETICS))
    report = load_weights(model, weights)
    logger.info("[TEST] weights of %s: %s", weights.path, report.summary())

    started_sec = time.perf_counter()
    broken = BrokenVideos(loader.reader.records)

    def on_batch(iteration: int, meter: ScoreMeter) -> None:
        if iteration % args.log_interval == 0:
            scores = meter.scores()
            logger.info("[TEST] iter %d  %s, %d videos so far", iteration, scores.text(), scores.num_videos)

    with progress(loader.epoch(0), len(loader), "test") as batches:
        scores = evaluate(model, batches, ScoreMeter(), broken.add, on_batch, ranks)
    log_reading("[TEST]", broken, loader, ranks)
    logger.info(
        "[TEST] finished  %s, %s, %d segments each, %s",
        scores.text(),
        scores.coverage(),
        loader.reader.seg_num,
        duration(time.perf_counter() - started_sec),
    )
    ranks.leave()
    return scores


if __name__ == "__main__":
    command_line.run(main)
