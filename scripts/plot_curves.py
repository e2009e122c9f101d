"""Draw a run's metrics.jsonl: loss and accuracy over the epochs.

    python scripts/plot_curves.py checkpoints/demo/metrics.jsonl curve.png

Needs matplotlib (requirements-dev.txt).
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of a backend that needs no display)


def read_rows(path: Path) -> dict[str, list[dict]]:
    """{"train": rows, "validation": rows}, a row per epoch: the last one, where a run that was killed repeated some."""
    if not path.is_file():
        raise SystemExit(f"error: {path}: no such file; train.py writes it into its --save_dir")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    events = {"train": "epoch", "validation": "valid"}
    return {
        name: list({row["epoch"]: row for row in rows if row["event"] == event}.values())
        for name, event in events.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metrics", type=Path, help="metrics.jsonl of a run")
    parser.add_argument("picture", type=Path, help="file to write; its ending chooses the format")
    args = parser.parse_args()
    rows = read_rows(args.metrics)

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, key, title in zip(axes, ("loss", "top1"), ("loss", "top-1 accuracy"), strict=True):
        for name, epochs in rows.items():
            axis.plot([row["epoch"] + 1 for row in epochs], [row[key] for row in epochs], marker=".", label=name)
        axis.set(title=title, xlabel="epochs finished")
        axis.grid(alpha=0.3)
        axis.legend()
    axes[1].set_ylim(0, 1)
    figure.savefig(args.picture, dpi=90)
    print(f"wrote {args.picture}")


if __name__ == "__main__":
    main()
