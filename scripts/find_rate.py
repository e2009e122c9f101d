r"""Find a learning rate: train a few steps while it rises, and see where the loss falls and where it bursts.

    python scripts/find_rate.py --config=my.txt
    python scripts/find_rate.py --config=my.txt --pretrain=checkpoints/TSN_best --lowest=1e-5 --steps=200

A range test (Smith, Cyclical Learning Rates for Training Neural Networks, 2017): as train.py begins, from the same
weights, with the same videos and recipe, but with a rate that rises from --lowest to --highest, step by step. It ends
where the smoothed loss is 4 times its lowest. Nothing is saved but the picture.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    import common.beginning  # noqa: F401

import common.startup  # noqa: E402, F401  isort: skip
from common import command_line, console  # noqa: E402
from config import TrainConfig, load_config  # noqa: E402
from distributed.ranks import start  # noqa: E402
from evaluation.plots import check_ending, rate_figure, save  # noqa: E402
from training.build import build_run  # noqa: E402
from training.log import table  # noqa: E402
from training.rate_range import SETTLING_STEPS, Suggestion, range_test, smoothed, suggest  # noqa: E402

logger = logging.getLogger("find_rate")

ROWS_SHOWN = 20
LOWEST, HIGHEST = 1e-37, 1e37  # as TRAIN.learning_rate has them


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.config_parser(__doc__)
    parser.add_argument("--batch_size", type=command_line.positive_int, help="videos per step (default: the config's)")
    parser.add_argument("--pretrain", help="weights to start from, as for train.py (default: as train.py's)")
    parser.add_argument(
        "--seed", type=command_line.whole_number(0, 2**32 - 1), default=0, help="seed of everything random (default: 0)"
    )
    parser.add_argument("--lowest", type=float, default=1e-6, help="rate of the first step (default: %(default)s)")
    parser.add_argument("--highest", type=float, default=1.0, help="rate of the last step (default: %(default)s)")
    parser.add_argument(
        "--steps",
        type=command_line.whole_number(SETTLING_STEPS + 2, 100_000),
        default=100,
        help="steps from the lowest to the highest rate (default: %(default)s)",
    )
    parser.add_argument(
        "--picture", type=Path, default=Path("rate.png"), help="picture to write; its ending chooses the format"
    )
    args = parser.parse_args(argv)
    if not LOWEST <= args.lowest < args.highest <= HIGHEST:
        parser.error(
            f"--lowest is {args.lowest} and --highest is {args.highest}; the first must be above 0 and smaller"
        )
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    flags = {
        "MODEL.name": args.model_name,
        "TRAIN.batch_size": args.batch_size,
        "TRAIN.use_gpu": args.use_gpu,
    }
    config = load_config(args.config, [*args.overrides, "TRAIN.total_videos=none"], flags)
    check_ending(args.picture)
    if not args.picture.absolute().parent.is_dir():
        raise FileNotFoundError(f"{args.picture}: there is no such folder; make it, or choose another --picture")
    console.start_logging()
    ranks = start(config.train.use_gpu)
    if ranks.num_ranks > 1:
        ranks.leave()  # they all raise this
        raise ValueError("find_rate.py is for one process; start it without the launcher")
    run = build_run(
        config, ranks, None, resume=None, pretrain=args.pretrain, seed=args.seed, log_interval=1, valid_interval=0
    )
    logger.info("range test: %d steps at most, from rate %g to %g", args.steps, args.lowest, args.highest)
    rates, losses = range_test(run, args.lowest, args.highest, args.steps)
    if not rates:
        raise ValueError(
            "the loss of the first step is no number, which no rate has to do with; are the weights whole that it "
            "starts from? if TRAIN.amp is fp16, try off"
        )
    means = smoothed(losses)
    suggestion = suggest(rates, means)
    rows = range(0, len(rates), -(-len(rates) // ROWS_SHOWN))
    shown = [{"step": row, "rate": rates[row], "loss": losses[row], "smoothed": means[row]} for row in rows]
    logger.info("%s of %d steps\n%s", "all" if len(rates) == args.steps else len(rates), args.steps, table(shown))
    save(rate_figure(rates, losses, means, marks(suggestion) if suggestion else {}), args.picture)
    logger.info("wrote %s", args.picture)
    for line in advice(suggestion, rates, config.train):
        logger.info("%s", line)


def marks(suggestion: Suggestion) -> dict[str, float]:
    """What the picture shows of it."""
    return {"recommended": suggestion.safe, "falls fastest": suggestion.steepest, "lowest": suggestion.lowest}


def advice(suggestion: Suggestion | None, rates: list[float], train: TrainConfig) -> list[str]:
    """What to do, in lines; the last one has what to type."""
    if suggestion is None:
        return [
            "the loss hardly falls at any of these rates, so none is recommended: take more --steps or a larger "
            "--batch_size, whose loss is less noisy, or start lower (--lowest); train.py --overfit_batches=2 tells "
            "whether the network can learn at all"
        ]
    lines = [
        f"the smoothed loss falls fastest at rate {suggestion.steepest:.2g}, and is lowest at {suggestion.lowest:.2g}"
    ]
    if suggestion.lowest == rates[-1]:  # it has not burst
        lines.append("it still falls at the last rate: a higher --highest may show better ones")
    # the config's rate is for as many videos as it says
    factor = train.rate_for_batch / train.batch_size if train.rate_for_batch else 1.0
    lines.append(
        f"recommended, a tenth of the latter, for a batch size of {train.batch_size}: "
        f"-o TRAIN.learning_rate={suggestion.safe * factor:.2g}"
    )
    return lines


if __name__ == "__main__":
    command_line.run(main)
