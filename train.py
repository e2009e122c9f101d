r"""Train a video classification model.

    python train.py --model_name=TSN --config=./configs/tsn.txt --save_dir=checkpoints --log_interval=10 \
        --valid_interval=1
    python train.py --config=configs/tsn_demo.txt --save_dir=checkpoints/demo --pretrain=none
    python train.py --config=configs/tsn.txt --resume=checkpoints/TSN_epoch7
    python train.py --config=my.txt --pretrain=tsn_r50_kinetics400.pth

Each epoch ends with a checkpoint folder SAVE_DIR/TSN_epoch0, TSN_epoch1, ...; every figure also goes to
SAVE_DIR/metrics.jsonl.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import before_paddle  # noqa: F401
import command_line
from builders import (
    build_class_names,
    build_loader,
    build_model,
    build_optimizer,
    build_schedule,
    fetch_published_weights,
)
from config import Config, dump_config, load_config
from datareader.broken import BrokenVideos
from datareader.loader import Loader
from engine.checkpoint import TrainingState, load_training_state, prepare_save_dir, save_checkpoint
from engine.distributed import Ranks, parallel, start
from engine.log import MetricsFile, duration, progress, start_logging
from engine.loop import Interval, evaluate, train_one_epoch
from engine.optimizer import optimizer_arrays, restore_optimizer
from evaluation.metrics import ScoreMeter, Scores
from models.weights import RESNET50_IMAGENET, load_weights, read_weights

if TYPE_CHECKING:
    import paddle

logger = logging.getLogger("train")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.common_parser(__doc__)
    parser.add_argument("--learning_rate", type=float, help="base learning rate (default: the config's)")
    parser.add_argument(
        "--pretrain",
        help="weights to start from, of any known format, with a fresh last layer where theirs does not fit; "
        "none: from scratch (default: the published ResNet-50, downloaded)",
    )
    parser.add_argument(
        "--resume",
        help="checkpoint folder to go on from, with its optimizer state and epoch; "
        "or weights without such state, last layer included, to train from epoch 0",
    )
    parser.add_argument("--epoch_num", "--epoch", type=int, help="number of epochs (default: the config's)")
    parser.add_argument("--valid_interval", type=int, default=1, help="epochs between validations; 0: never")
    parser.add_argument("--save_dir", default="checkpoints", help="folder for what a run leaves (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="seed of everything random (default: the resumed run's, else 0)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = load_config(
        args.config,
        args.overrides,
        {
            "MODEL.name": args.model_name,
            "TRAIN.batch_size": args.batch_size,
            "TRAIN.learning_rate": args.learning_rate,
            "TRAIN.epoch": args.epoch_num,
            "TRAIN.use_gpu": args.use_gpu,
        },
    )
    if args.resume and args.pretrain:
        raise ValueError("--resume and --pretrain both name weights to start from; give one of them")
    start_logging()
    resumed = load_training_state(args.resume) if args.resume else None
    state, velocities = resumed or (None, None)
    seed = args.seed if args.seed is not None else state.seed if state else 0
    ranks = start(config.train.use_gpu, seed)
    save_dir = prepare_save_dir(args.save_dir)
    metrics = MetricsFile(save_dir / "metrics.jsonl" if ranks.rank == 0 else None)
    build_class_names(config)  # a label file that does not fit is better found now than by infer.py

    model = build_model(config)
    train_loader = build_loader(config, "train", ranks, seed)
    valid_loader = build_loader(config, "valid", ranks) if args.valid_interval > 0 else None
    load_start(model, args.resume, args.pretrain, config)
    optimizer = build_optimizer(config, model)
    if state:
        restore_optimizer(optimizer, model, velocities)
    first_epoch, step = first_step(state, args.resume, config)
    learning_rate_at = build_schedule(config, len(train_loader.reader))
    network = parallel(model, ranks.num_ranks)
    broken = BrokenVideos(train_loader.reader.records, config.train.max_bad_fraction)
    logger.info(
        "[TRAIN] %d videos, %d steps per epoch, %d epochs, batch size %d over %d rank(s), seed %d, on %s",
        len(train_loader.reader),
        len(train_loader),
        config.train.epoch,
        config.train.batch_size,
        ranks.num_ranks,
        seed,
        next(iter(model.parameters())).place,
    )

    for epoch in range(first_epoch, config.train.epoch):
        started_sec = time.perf_counter()
        broken.start_epoch()
        steps_left = (config.train.epoch - epoch) * len(train_loader)
        with progress(train_loader.epoch(epoch), len(train_loader), f"epoch {epoch}") as batches:
            step, scores = train_one_epoch(
                network,
                batches,
                optimizer,
                learning_rate_at,
                step,
                ScoreMeter,
                args.log_interval,
                on_interval=interval_logger(metrics, epoch, steps_left, started_sec, ranks),
                on_broken=broken.add,
            )
        metrics.write(event="epoch", epoch=epoch, step=step, num_in_order=train_loader.num_in_order, **scores._asdict())
        elapsed = duration(time.perf_counter() - started_sec)
        logger.info("[TRAIN] Epoch %d training finished  %s, %s", epoch, scores.text(), elapsed)
        if broken.summary():
            logger.warning("[TRAIN] Epoch %d: %s; their neighbours took their places", epoch, broken.summary())
        if train_loader.num_in_order:
            logger.info("[TRAIN] Epoch %d: %s", epoch, train_loader.in_order_summary())
        valid_scores = {}
        if valid_loader and (epoch + 1) % args.valid_interval == 0:
            valid_scores = validate(network, valid_loader, epoch, ranks)._asdict()
            metrics.write(event="valid", epoch=epoch, step=step, **valid_scores)
        if ranks.rank == 0:
            state = TrainingState(epoch + 1, step, seed, valid_scores)
            folder = save_dir / f"{config.model.name}_epoch{epoch}"
            save_checkpoint(folder, model, optimizer_arrays(optimizer, model), state, dump_config(config))
            logger.info("[TRAIN] Epoch %d saved to %s", epoch, folder)
    logger.info("[TRAIN] training finished")


def load_start(model: paddle.nn.Layer, resume: str | None, pretrain: str | None, config: Config) -> None:
    """Fill the model with the weights that training starts from, and say which."""
    if pretrain and pretrain.lower() == "none":
        logger.info("[TRAIN] from scratch")
        return
    weights = read_weights(resume or pretrain or fetch_published_weights(config, RESNET50_IMAGENET))
    report = load_weights(model, weights, fresh_head=not resume)
    logger.info("[TRAIN] weights of %s: %s", weights.path, report.summary())


def first_step(state: TrainingState | None, resume: str | None, config: Config) -> tuple[int, int]:
    """The (epoch, step) that training goes on with."""
    if state is None:
        if resume:
            logger.info("[TRAIN] %s carries no training state: starting with epoch 0", resume)
        return 0, 0
    if state.epoch >= config.train.epoch:
        raise ValueError(
            f"{resume}: has finished {state.epoch} epochs and TRAIN.epoch is {config.train.epoch}: "
            "nothing is left to train; raise --epoch_num"
        )
    logger.info("[TRAIN] going on with epoch %d, step %d", state.epoch, state.step)
    return state.epoch, state.step


def interval_logger(
    metrics: MetricsFile, epoch: int, steps_left: int, started_sec: float, ranks: Ranks
) -> Callable[[Interval], None]:
    """What train_one_epoch calls: a log line, and the same figures to metrics.jsonl."""

    def on_interval(interval: Interval) -> None:
        scores, iteration = interval.scores, interval.iteration
        clips_per_sec = interval.clips_per_sec * ranks.num_ranks
        left_sec = (time.perf_counter() - started_sec) / (iteration + 1) * (steps_left - iteration - 1)
        logger.info(
            "[TRAIN] Epoch %d, iter %d  %s, lr: %.6g, clips/s: %.1f, data wait: %.0f %%, left: %s",
            epoch,
            iteration,
            scores.text(),
            interval.learning_rate,
            clips_per_sec,
            100 * interval.wait_fraction,
            duration(left_sec),
        )
        metrics.write(
            event="train",
            epoch=epoch,
            iter=iteration,
            loss=scores.loss,
            top1=scores.top1,
            top5=scores.top5,
            learning_rate=interval.learning_rate,
            clips_per_sec=clips_per_sec,
            wait_fraction=interval.wait_fraction,
        )

    return on_interval


def validate(network: paddle.nn.Layer, loader: Loader, epoch: int, ranks: Ranks) -> Scores:
    """Score the validation list, every video once; unreadable ones count as wrong answers."""
    broken = BrokenVideos(loader.reader.records)
    with progress(loader.epoch(0), len(loader), "validation") as batches:
        scores = evaluate(network, batches, ScoreMeter(), broken.add, num_ranks=ranks.num_ranks)
    logger.info("[VALID] Epoch %d  %s, %s", epoch, scores.text(), scores.coverage())
    if broken.summary():
        logger.warning("[VALID] Epoch %d: %s", epoch, broken.summary())
    if loader.num_in_order:
        logger.info("[VALID] Epoch %d: %s", epoch, loader.in_order_summary())
    return scores


if __name__ == "__main__":
    command_line.run(main)
