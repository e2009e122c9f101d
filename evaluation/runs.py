"""metrics.jsonl -> rows of epochs, what a run came to, means over seeds and folds. Knows no picture.

Runs whose folders are called NAME_foldI_seedJ (either part may be absent) are one group: the same training of other
folds and seeds. A run's score is that of its last validation, not of its best: that epoch was chosen by the very list
that scores it.
"""

import os
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.console import count
from common.plain_json import fits, parse_json

METRICS_FILE = "metrics.jsonl"
EVENTS = {"train": "epoch", "validation": "valid"}
"""Curve -> what its rows in metrics.jsonl are called."""
BEGINNINGS = ("start", "resume")
LARGEST = 1e12  # of any number that a run writes down
FIGURES = ("loss", "top1")
"""What such a row is sure to have."""
NAME = re.compile(r"(?P<group>.+?)(_fold(?P<fold>[^/_]+))?(_seed(?P<seed>\d+))?", re.DOTALL)
SCORES = {"top1": "top-1", "mean_average_precision": "mAP"}
"""Column of a validation -> what tables call it; of both, more is better."""


class Run(NamedTuple):
    """A training run, by its metrics.jsonl."""

    path: str
    """Its folder, as it was named."""
    group: str
    """The path without fold and seed."""
    fold: str | None
    seed: int | None
    num_epochs: int
    """Epochs whose training is over."""
    is_finished: bool
    """Whether train.py came to its end, and not only to that of an epoch."""
    train_loss: float | None
    """Of the last epoch's training steps."""
    minutes: float
    """From the first line of each start or resume to the last one before the next."""
    curves: dict[str, dict[int, float]]
    """Column of a validation -> {epochs finished: value}, without those that are not finite."""

    def last(self, metric: str) -> float | None:
        """At the last validation."""
        return list(self.curves[metric].values())[-1] if self.curves.get(metric) else None

    def best(self, metric: str) -> float | None:
        choose = min if metric == "loss" else max
        return choose(self.curves[metric].values()) if self.curves.get(metric) else None


class GroupScore(NamedTuple):
    """A score's mean over a group's folds and seeds, and how far it scatters.

    Both deviations are sample deviations (n - 1 below the line), None for a single value.
    """

    group: str
    metric: str
    num_seeds: int
    num_folds: int
    mean: float
    """Mean over all runs."""
    run_deviation: float | None
    """Over all runs: how far single runs scatter, because folds are easy or hard and because of the seed."""
    seed_means: dict[int | None, float]
    """Seed -> mean over the folds: what one whole cross-validation says."""
    seed_deviation: float | None
    """Over the means of the seeds: how far a whole cross-validation moves when it is repeated. This is the one to see a
    difference between two groups beside, if both have the same folds."""


def read_run(path: str) -> Run:
    """What a run's folder, or its metrics.jsonl, says.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: no epoch is noted, or the file is damaged.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such run; give the --save_dir of train.py, or its {METRICS_FILE}")
    file = Path(path, METRICS_FILE) if os.path.isdir(path) else Path(path)
    if not file.is_file():
        raise ValueError(f"{path}: has no {METRICS_FILE}; a run's folder gets one when its training begins")
    rows = read_rows(file)
    epochs = _epochs(rows)
    if not epochs["train"]:
        raise ValueError(f"{path}: no epoch has come to its end yet")
    folder = str(file.parent if file.name == METRICS_FILE else file.with_suffix(""))
    name = NAME.fullmatch(folder)
    return Run(
        path=folder,
        group=name["group"],
        fold=name["fold"],
        seed=int(name["seed"]) if name["seed"] else None,
        num_epochs=epochs["train"][-1]["epoch"] + 1,
        is_finished=_is_finished(rows),
        train_loss=loss if _is_number(loss := epochs["train"][-1].get("loss")) else None,
        minutes=_minutes(rows),
        curves={metric: _curve(epochs["validation"], metric) for metric in ("loss", *SCORES)},
    )


def read_epochs(path: Path) -> dict[str, list[dict]]:
    """{"train": rows, "validation": rows} of a metrics.jsonl: a row per epoch, the last one where there are two.

    Raises:
        ValueError: it is damaged, see `read_rows`.
    """
    return _epochs(read_rows(path))


def read_rows(path: Path) -> list[dict]:
    """All rows of a metrics.jsonl.

    Raises:
        ValueError: it is damaged; a last line without an end does not count, since a run may have been killed there.
    """
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            row = parse_json(line)
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is damaged ({error}); delete it") from error
        if not fits(row, dict) or (row.get("event") in EVENTS.values() and not _has_figures(row)):
            raise ValueError(f"{path}: line {number} is damaged (no figures of a run); delete it")
        rows.append(row)
    return rows


def group_scores(runs: Sequence[Run], metric: str) -> list[GroupScore]:
    """The scores of the groups of several runs, in the runs' order; `left_out` says which runs do not count."""
    without, found = left_out(runs, metric), []
    for members in _groups(runs):
        counted = [run for run in members if run.path not in without]
        if len(counted) > 1:
            found.append(_group_score(counted, metric))
    return found


def left_out(runs: Sequence[Run], metric: str) -> dict[str, str]:
    """{path of a run: why its group's means are without it}.

    A seed counts with all the folds that its group has, or not at all: means over other folds are other scores.
    """
    why = {}
    for members in _groups(runs):
        why |= {run.path: problem for run in members if (problem := _problem(run, metric))}
        folds = {run.fold for run in members}
        for seed in _seeds(members):
            whole = [run for run in members if run.seed == seed and run.path not in why]
            if missing := folds - {run.fold for run in whole}:
                lacks = f"seed {seed} lacks a finished run of fold {', '.join(sorted(map(str, missing)))}"
                why |= {run.path: lacks for run in whole}
    return why


def remarks(runs: Sequence[Run], metric: str) -> list[str]:
    """What a reader of the scores has to know, a line each."""
    said = []
    for members in _groups(runs):
        why = left_out(members, metric)
        for run in members:
            last = max(run.curves[metric], default=0)
            if run.path in why:
                said.append(f"{run.path}: {why[run.path]}" + ("; its group goes without it" if members[1:] else ""))
            elif last != run.num_epochs:
                said.append(f"{run.path}: validated last after {last} of its {count(run.num_epochs, 'epoch')}")
        lengths = sorted({run.num_epochs for run in members if run.path not in why})
        if len(lengths) > 1:
            said.append(f"{members[0].group}: its runs are of {' and '.join(map(str, lengths))} epochs")
    return said


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    return [[run for run in runs if run.group == group] for group in dict.fromkeys(run.group for run in runs)]


def _seeds(runs: Sequence[Run]) -> list[int | None]:
    return sorted({run.seed for run in runs}, key=lambda seed: -1 if seed is None else seed)


def _problem(run: Run, metric: str) -> str:
    """Why a run has no score."""
    if not run.is_finished:
        return f"unfinished, {count(run.num_epochs, 'epoch')} so far"
    return "" if run.curves[metric] else f"no validation with a {SCORES[metric]}"


def _group_score(runs: list[Run], metric: str) -> GroupScore:
    scores = [run.last(metric) for run in runs]
    means = {seed: statistics.fmean(run.last(metric) for run in runs if run.seed == seed) for seed in _seeds(runs)}
    return GroupScore(
        group=runs[0].group,
        metric=metric,
        num_seeds=len(means),
        num_folds=len({run.fold for run in runs}),
        mean=statistics.fmean(scores),
        run_deviation=_deviation(scores),
        seed_means=means,
        seed_deviation=_deviation(list(means.values())),
    )


def _deviation(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _epochs(rows: list[dict]) -> dict[str, list[dict]]:
    found = {name: {} for name in EVENTS}
    for row in rows:
        if row.get("event") in BEGINNINGS and fits(row.get("epoch"), int):  # what lies behind it is trained anew
            for epochs in found.values():
                for epoch in [epoch for epoch in epochs if epoch >= row["epoch"]]:
                    del epochs[epoch]
        for name, event in EVENTS.items():
            if row.get("event") == event:
                found[name][row["epoch"]] = row
    return {name: list(epochs.values()) for name, epochs in found.items()}


def _has_figures(row: dict[str, Any]) -> bool:
    return (
        fits(row.get("epoch"), int)
        and _is_number(row["epoch"])
        and all(fits(row.get(key), float | None) for key in FIGURES)
    )


def _curve(rows: list[dict], metric: str) -> dict[int, float]:
    return {row["epoch"] + 1: row[metric] for row in rows if _is_number(row.get(metric))}


def _is_number(value: Any) -> bool:
    return fits(value, float) and abs(value) < LARGEST  # which NaN is not


def _is_finished(rows: list[dict]) -> bool:
    turns = [row["event"] for row in rows if row.get("event") in (*BEGINNINGS, "end")]
    return turns[-1:] == ["end"]


def _minutes(rows: list[dict]) -> float:
    stretches: list[list[float]] = []
    for row in rows:
        if _is_number(row.get("time")):
            if row.get("event") in BEGINNINGS or not stretches:
                stretches.append([])
            stretches[-1].append(row["time"])
    return sum(stretch[-1] - stretch[0] for stretch in stretches) / 60
