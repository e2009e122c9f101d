"""Compare training runs: a table of their last and best validations, means over seeds and folds, a picture.

    python scripts/compare_runs.py checkpoints/own/*
    python scripts/compare_runs.py runs/base_fold*_seed* runs/mixup_fold*_seed* --picture=runs.png --csv=runs.csv

A RUN is a --save_dir of train.py, or its metrics.jsonl. Runs called NAME_foldI_seedJ, as scripts/cross_validate.sh
calls them (either part may be absent), are a group, of which a second table says:

    mean           over all its runs, each by its last validation
    over runs      the sample deviation of single runs: easy and hard folds and the seed's luck, mixed
    mean per seed  over the folds: what one whole cross-validation says
    over seeds     the sample deviation of these means: how far a whole cross-validation moves when it is repeated. The
                   difference between the means of two groups is to be seen beside this one

The best validation is shown, but no mean is taken of it: its epoch was chosen by the very videos that score it. A run
that is unfinished, and a seed without all the folds, are named and left out of the means; a damaged run of everything.
A run is finished where train.py has noted its "end"; a run of an older version gets one by --resume=auto.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import command_line  # noqa: E402
from common.console import count, printable  # noqa: E402
from evaluation.files import write_csv  # noqa: E402
from evaluation.plots import comparison_figure, save  # noqa: E402
from evaluation.runs import SCORES, GroupScore, Run, group_scores, left_out, read_run, remarks  # noqa: E402


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.OneLineParser(__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or its metrics.jsonl")
    parser.add_argument(
        "--picture", type=Path, help="draw the validations into this file; its ending chooses the format"
    )
    parser.add_argument("--csv", type=Path, help="write the table of runs, unrounded, into this file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    runs = read_runs(args.runs)
    metrics = [metric for metric in SCORES if any(run.curves[metric] for run in runs)]
    print(table(run_rows(runs, metrics)))
    scores = [score for metric in metrics for score in group_scores(runs, metric)]
    if scores:
        print("\n" + table(list(map(group_row, scores))))
    said = [remark for metric in metrics or ["top1"] for remark in remarks(runs, metric)]
    print("".join(f"\n{printable(remark)}" for remark in dict.fromkeys(said)), end="\n" if said else "")
    if args.csv:
        write_csv(args.csv, *csv_table(runs, metrics))
        print(f"wrote {args.csv}")
    if args.picture:
        if not metrics:
            raise ValueError(f"{args.picture}: not drawn, since no run has a validation")
        save(picture(runs, metrics[-1]), args.picture)
        print(f"wrote {args.picture}")


def read_runs(paths: Sequence[str]) -> list[Run]:
    """The runs that can be read; of the others a line is printed.

    Raises:
        FileNotFoundError, ValueError: a path is none, a run is named twice, or not one can be read.
    """
    runs, seen, problems = [], {}, []
    for path in paths:
        try:
            run = read_run(path)
        except ValueError as error:
            problems.append(str(error))
            continue
        real = os.path.realpath(run.path)
        if real in seen:
            raise ValueError(f"{path}: is the same run as {seen[real]}; name it once, or it would count twice")
        seen[real] = path
        runs.append(run)
    if not runs:
        raise ValueError("\n".join(problems))
    print("".join(f"left out: {printable(problem)}\n" for problem in problems), end="")
    return runs


def run_rows(runs: Sequence[Run], metrics: Sequence[str]) -> list[dict]:
    """A row for each run; "last" and "best" are of its validations, the lowest loss being the best."""
    rows = []
    for run in runs:
        row = {"run": printable(run.path), "epochs": f"{run.num_epochs}{'' if run.is_finished else ', unfinished'}"}
        for metric in (*metrics, "loss"):
            title = SCORES.get(metric, metric)
            row |= {f"{title} last": run.last(metric), f"{title} best": run.best(metric)}
        rows.append(row | {"train loss": run.train_loss, "minutes": f"{run.minutes:.1f}"})
    return rows


def group_row(score: GroupScore) -> dict:
    seeds, folds = count(score.num_seeds, "seed"), count(score.num_folds, "fold")
    return {
        "group": printable(score.group),
        "runs": f"{seeds} x {folds}",
        "score": SCORES[score.metric],
        "mean": score.mean,
        "over runs": score.run_deviation,
        "mean per seed": " ".join(f"{mean:.4f}" for mean in score.seed_means.values()),
        "over seeds": score.seed_deviation,
    }


def table(rows: Sequence[dict]) -> str:
    texts = [column for column, value in enumerate(rows[0].values()) if isinstance(value, str)]
    return tabulate(rows, headers="keys", tablefmt="simple", floatfmt=".4f", missingval="-", disable_numparse=texts)


def csv_table(runs: Sequence[Run], metrics: Sequence[str]) -> tuple[list[str], list[list]]:
    """Header and rows, unrounded."""
    header = ["run", "group", "fold", "seed", "epochs", "is_finished", "train_loss", "minutes"]
    header += [f"{metric}_{which}" for metric in (*metrics, "loss") for which in ("last", "best")]
    rows = []
    for run in runs:
        row = [run.path, run.group, run.fold, run.seed, run.num_epochs, run.is_finished, run.train_loss, run.minutes]
        rows.append(row + [value for metric in (*metrics, "loss") for value in (run.last(metric), run.best(metric))])
    return header, rows


def picture(runs: Sequence[Run], metric: str) -> Figure:
    """The curves of all runs; means and final values of those that count."""
    without, groups, counted = left_out(runs, metric), {}, {}
    names = {run.group: Path(run.group).name for run in runs}
    for run in runs:
        is_only = list(names.values()).count(names[run.group]) == 1
        name = names[run.group] if is_only else run.group
        groups.setdefault(name, []).append(run.curves[metric])
        counted.setdefault(name, []).extend([] if run.path in without else [run.curves[metric]])
    return comparison_figure(groups, counted, SCORES[metric])


if __name__ == "__main__":
    command_line.run(main)
