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
    """{"train": rows, "valid": rows}; training rows get `at`, their place in epochs."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    train = [row for row in rows if row["event"] == "train"]
    if not train:
        raise SystemExit(f"error: {path}: holds no training figures")
    steps_per_epoch = max(row["iter"] for row in train) + 1
    for row in train:
        row["at"] = row["epoch"] + row["iter"] / steps_per_epoch
    return {"train": train, "valid": [row for row in rows if row["event"] == "valid"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metrics", type=Path, help="metrics.jsonl of a run")
    parser.add_argument("picture", type=Path, help="file to write; its ending chooses the format")
    args = parser.parse_args()
    rows = read_rows(args.metrics)

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, key, title in zip(axes, ("loss", "top1"), ("loss", "top-1 accuracy"), strict=True):
        axis.plot([row["at"] for row in rows["train"]], [row[key] for row in rows["train"]], alpha=0.6, label="train")
        valid = rows["valid"]  # an epoch's validation comes at its end
        axis.plot([row["epoch"] + 1 for row in valid], [row[key] for row in valid], marker=".", label="validation")
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
        axis.legend()
    axes[1].set_ylim(0, 1)
    figure.savefig(args.picture, dpi=90)
    print(f"wrote {args.picture}")


if __name__ == "__main__":
    main()
