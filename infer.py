r"""Classify the videos of a list; labels are not needed.

    python infer.py --model_name=TSN --config=configs/tsn.txt --log_interval=1 --weights=$PATH_TO_WEIGHTS \
        --filelist=$FILELIST

SAVE_DIR/TSN_infer_result is a pickled list of (video_id, [probabilities], [class ids]), best first, one entry per line
of the list, in its order; a video that cannot be read has empty lists. TSN_infer_result.json holds the same with class
names.
"""

import argparse
import logging

import before_paddle  # noqa: F401
import command_line
from builders import build_class_names, build_loader, build_model, fetch_published_weights
from config import load_config
from datareader.broken import BrokenVideos
from engine.checkpoint import prepare_save_dir
from engine.distributed import start
from engine.log import log_reading, progress, start_logging
from engine.loop import predict
from evaluation.results import Prediction, describe, top_predictions, write_results
from models.weights import TSN_KINETICS, load_weights, read_weights

logger = logging.getLogger("infer")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.common_parser(__doc__)
    parser.add_argument(
        "--weights", help="weights to classify with, of any known format (default: the published ones, downloaded)"
    )
    parser.add_argument("--filelist", help="list of videos, one path per line (default: INFER.filelist of the config)")
    parser.add_argument(
        "--infer_topk", type=command_line.positive_int, default=20, help="classes kept per video (default: %(default)s)"
    )
    parser.add_argument("--save_dir", default=".", help="folder for the results (default: the working folder)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> list[Prediction]:
    args = parse_args(argv)
    flags = {
        "MODEL.name": args.model_name,
        "INFER.batch_size": args.batch_size,
        "INFER.filelist": args.filelist,
        "TRAIN.use_gpu": args.use_gpu,
    }
    config = load_config(args.config, args.overrides, flags)
    start_logging()
    ranks = start(config.train.use_gpu)
    if ranks.rank == 0:
        prepare_save_dir(args.save_dir)
    class_names = build_class_names(config)
    model = build_model(config)
    loader = build_loader(config, "infer", ranks)
    weights = read_weights(args.weights or fetch_published_weights(config, TSN_KINETICS))
    report = load_weights(model, weights)
    logger.info("[INFER] weights of %s: %s", weights.path, report.summary())

    records = loader.reader.records
    broken = BrokenVideos(records)
    predictions: dict[int, Prediction] = {}
    with progress(loader.epoch(0), len(loader), "infer") as batches:
        for iteration, (batch, probabilities) in enumerate(predict(model, batches, broken.add)):
            found = top_predictions(batch.video_ids, probabilities, args.infer_topk)
            predictions.update(zip(batch.indices, found, strict=True))
            predictions.update({index: Prediction(records[index].name, [], []) for index, _ in batch.broken})
            if iteration % args.log_interval == 0:
                for prediction in found:
                    logger.info("[INFER] %s", describe(prediction, class_names))
    predictions = {index: Prediction(*fields) for index, fields in ranks.chain(predictions.items())}
    results = [predictions[index] for index in range(len(records))]
    log_reading("[INFER]", broken, loader, ranks)
    if ranks.rank == 0:
        path = write_results(args.save_dir, f"{config.model.name}_infer_result", results, class_names)
        logger.info("[INFER] finished: %d videos, results in %s and %s.json", len(results), path, path.name)
    ranks.leave()
    return results


if __name__ == "__main__":
    command_line.run(main)
