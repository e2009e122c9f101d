"""Draw a run's metrics.jsonl: loss and accuracy over the epochs.

python scripts/plot_curves.py checkpoints/demo/metrics.jsonl curve.png
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import command_line  # noqa: E402
from evaluation.plots import save, training_curves  # noqa: E402
from evaluation.runs import read_epochs  # noqa: E402


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.OneLineParser(__doc__)
    parser.add_argument("metrics", type=Path, help="metrics.jsonl of a run")
    parser.add_argument("picture", type=Path, help="file to write; its ending chooses the format")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if not args.metrics.is_file():
        raise ValueError(f"{args.metrics}: no such file; train.py writes it into its --save_dir")
    save(training_curves(read_epochs(args.metrics)), args.picture, dpi=90)
    print(f"wrote {args.picture}")


if __name__ == "__main__":
    command_line.run(main)
