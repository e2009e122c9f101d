"""Figures of a run and of its scores, drawn with matplotlib. Knows no page."""

import base64
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # needs no display
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib import font_manager, ticker  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backend_bases import FigureCanvasBase  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from common.console import printable  # noqa: E402
from evaluation.curves import Curve, area_under_roc, best_f1, best_youden  # noqa: E402

CURVES = {"loss": "loss", "top1": "top-1 accuracy"}
"""What is drawn of a row -> the title."""
NAMED_CLASSES = 40  # up to so many classes a confusion matrix has their names and cells of a colour, beyond it dots
NUMBERED_CELLS = 20  # up to so many its cells have numbers
NICE_SEC = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)  # between marks on a time axis
MARK_STYLES = ("-", "--", ":")
BLUE, RED, GREY = "#2563a8", "#c2410c", "#9aa4b1"
FONT_FILES = {font.name: font.fname for font in font_manager.fontManager.ttflist}
CHINESE_FONTS = [  # those of this machine
    name
    for name in ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei")
    if name in FONT_FILES
]
STYLE = {
    "font.family": ["DejaVu Sans", *CHINESE_FONTS],  # a glyph that the first has not is looked for in the next
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.titlesize": 10,
    "svg.fonttype": "none",
}


def data_uri(figure: Figure) -> str:
    """The figure as an SVG that a page can hold; closes the figure."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the browser draws the text
        figure.savefig(stream, format="svg", metadata={"Date": None})
    plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()


def save(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write the figure; closes it.

    Args:
        path: its ending chooses the format.

    Raises:
        ValueError: no format has that ending.
    """
    check_ending(path)
    figure.savefig(path, dpi=dpi)
    plt.close(figure)


def check_ending(path: Path) -> None:
    """Raise ValueError if no format of pictures has that ending."""
    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in formats:
        raise ValueError(
            f"{path}: no picture has the ending {path.suffix!r}; take one of .{', .'.join(sorted(formats))}"
        )


def training_curves(rows: dict[str, list[dict]]) -> Figure:
    """Loss and top-1 over the epochs of `read_epochs`."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
        for axis, (key, title) in zip(axes, CURVES.items(), strict=True):
            for (name, epochs), colour in zip(rows.items(), (BLUE, RED), strict=True):
                values = [np.nan if row[key] is None else row[key] for row in epochs]
                axis.plot([row["epoch"] + 1 for row in epochs], values, marker=".", label=name, color=colour)
            axis.set(title=title, xlabel="epochs finished")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.grid(alpha=0.3)
            axis.legend(frameon=False)
        axes[1].set_ylim(0, 1.02)
        return figure


def rate_figure(
    rates: Sequence[float], losses: Sequence[float], means: Sequence[float], marks: dict[str, float]
) -> Figure:
    """The losses of a learning-rate range test, and their moving means, over the rate.

    Args:
        marks: {name: rate} of what is suggested.
    """
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
        axis.plot(rates, losses, color=GREY, linewidth=0.8, label="loss of a step")
        axis.plot(rates, means, color=BLUE, linewidth=1.6, label="smoothed")
        for (name, rate), style in zip(marks.items(), MARK_STYLES, strict=False):
            axis.axvline(rate, color=RED, linewidth=1, linestyle=style, label=f"{name}: {rate:.2g}")
        axis.set(xscale="log", xlabel="learning rate", ylabel="training loss")
        low, high = min(means), max(means[: max(int(np.argmin(means)), len(means) // 2) + 1])
        span = high - low or 1.0
        axis.set_ylim(max(low - 0.6 * span, 0), high + 0.6 * span)  # beyond it the loss bursts
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
        return figure


def comparison_figure(
    groups: Mapping[str, Sequence[Mapping[int, float]]], counted: Mapping[str, Sequence[Mapping[int, float]]], what: str
) -> Figure:
    """Validation curves of groups of runs, thin ones and their mean, beside the final values, dots and their mean.

    Args:
        groups: name -> {epochs finished: value} of each run.
        counted: the same of those runs that means are taken of.
        what: the value's name.
    """
    spread = plt.get_cmap("turbo")(np.linspace(0.05, 0.95, len(groups)))
    colours = plt.get_cmap("tab10").colors if len(groups) <= 10 else spread
    with plt.rc_context(STYLE):
        size = (11, max(3.4, 1.2 + 0.3 * len(groups)))
        figure, (left, right) = plt.subplots(1, 2, figsize=size, layout="constrained", width_ratios=(3, 2))
        for place, (name, colour) in enumerate(zip(groups, colours, strict=False)):
            left.plot([], [], color=colour, linewidth=2.2, label=printable(name))
            for curve in groups[name]:
                dot = "o" if len(curve) == 1 else None  # of which there is no line
                left.plot(list(curve), list(curve.values()), marker=dot, color=colour, linewidth=0.8, alpha=0.5)
            means = _mean_curve(counted[name])
            left.plot(list(means), list(means.values()), color=colour, linewidth=2.2)
            finals = [list(curve.values())[-1] for curve in counted[name]]
            right.scatter(finals, [place] * len(finals), 22, color=[colour], alpha=0.6, linewidths=0)
            if finals:
                right.plot([np.mean(finals)] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=2.2)
        left.set(title=f"validation {what}, runs and their mean", xlabel="epochs finished")
        left.xaxis.get_major_locator().set_params(integer=True)
        left.legend(frameon=False)
        right.set(title=f"{what} of the last validation, runs and their mean", ylim=(len(groups) - 0.5, -0.5))
        right.set_yticks(range(len(groups)), list(map(printable, groups)))
        for axis in (left, right):
            axis.grid(alpha=0.3)
        return figure


def _mean_curve(curves: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Over the epochs that all of them have."""
    epochs = sorted(set.intersection(*map(set, curves))) if curves else []
    return {epoch: float(np.mean([curve[epoch] for curve in curves])) for epoch in epochs}


def confusion_figure(confusion: np.ndarray, names: Sequence[str]) -> Figure:
    """Rows are true classes, columns predicted ones; the colour, or a dot's size, is the share of the row."""
    with plt.rc_context(STYLE):
        shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
        side = 3 + min(0.32 * len(names), 6.0)
        figure, axis = plt.subplots(figsize=(side + 1, side), layout="constrained")
        draw = _cells if len(names) <= NAMED_CLASSES else _dots
        draw(axis, confusion, shares, names)
        axis.set(xlabel="predicted class", ylabel="true class")
        axis.tick_params(length=0)
        return figure


def calibration_figure(curve: Sequence[tuple[float, float, int]]) -> Figure:
    """Top-1 over confidence, of `scores.calibration_curve`; on the diagonal a model is as sure as it should be."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(4, 3.4), layout="constrained")
        axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        confidences, top1, numbers = zip(*curve, strict=True) if curve else ((), (), ())
        axis.plot(confidences, top1, color=BLUE, linewidth=1)
        sizes = 15 + 150 * np.array(numbers) / max(sum(numbers), 1)
        axis.scatter(confidences, top1, sizes, color=BLUE, alpha=0.8, label="size: share of the videos")
        axis.set(xlabel="confidence", ylabel="top-1 accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
        axis.legend(frameon=False, loc="lower right")
        return figure


def roc_figure(curves: Sequence[tuple[str, Curve]]) -> Figure:
    """Recall over the false positive rate, a curve for each class and its name, with the report's two thresholds."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
        axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        colours = [BLUE] if len(curves) == 1 else plt.get_cmap("tab20").colors
        for (name, curve), colour in zip(curves, colours, strict=False):
            label = f"{_short(name)}: {area_under_roc(curve):.4f}"
            axis.plot(np.append(0, curve.false_rate), np.append(0, curve.recall), color=colour, label=label)
            for chosen, marker in ((best_f1(curve), "o"), (best_youden(curve), "s")):
                axis.plot(chosen.false_rate, chosen.recall, marker, color=colour, markersize=5)
        axis.set(xlabel="false positive rate", ylabel="recall", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        place = {"loc": "lower right"} if len(curves) == 1 else {"loc": "upper left", "bbox_to_anchor": (1.02, 1)}
        axis.legend(frameon=False, title="area under the curve\n(dot: best F1, square: Youden's J)", **place)
        return figure


def timeline_figure(
    starts_sec: Sequence[float], ends_sec: Sequence[float], probabilities: np.ndarray, names: Sequence[str], title: str
) -> Figure:
    """Probabilities of the classes, float (K, W), over the W windows of a video: a row per class."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(11, 1.3 + 0.32 * len(names)), layout="constrained")
        # a window is drawn up to the next one's start, so that overlapping ones lie side by side
        edges = [*starts_sec, max(ends_sec[-1], starts_sec[-1] + 1e-3)]
        mesh = axis.pcolormesh(edges, np.arange(len(names) + 1), probabilities, cmap="Blues", vmin=0, vmax=1)
        axis.set_yticks(np.arange(len(names)) + 0.5, [_short(name) for name in names])
        axis.invert_yaxis()
        step_sec = next((step for step in NICE_SEC if edges[-1] - edges[0] <= 10 * step), NICE_SEC[-1])
        axis.xaxis.set_major_locator(ticker.MultipleLocator(step_sec))
        axis.xaxis.set_major_formatter(lambda seconds, _: f"{int(seconds // 60)}:{seconds % 60:02.0f}")
        axis.set(xlabel="time, min:s", title=_plain(title))
        axis.tick_params(length=0)
        figure.colorbar(mesh, label="probability", pad=0.01)
        return figure


def _cells(axis: Axes, confusion: np.ndarray, shares: np.ndarray, names: Sequence[str]) -> None:
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks, labels = range(len(names)), [_short(name) for name in names]
    axis.set_xticks(ticks, labels, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(ticks, labels)
    for row, column in np.argwhere(confusion) if len(names) <= NUMBERED_CELLS else ():
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, confusion[row, column], ha="center", va="center", color=colour)


def _dots(axis: Axes, confusion: np.ndarray, shares: np.ndarray, names: Sequence[str]) -> None:
    """A cell of so many classes is too small to be seen, a dot is not."""
    rows, columns = np.nonzero(confusion)
    sizes = 6 + 30 * shares[rows, columns]
    is_right = rows == columns
    axis.scatter(columns[is_right], rows[is_right], sizes[is_right], color=BLUE, linewidths=0, label="right")
    axis.scatter(
        columns[~is_right], rows[~is_right], sizes[~is_right], color=RED, alpha=0.7, linewidths=0, label="wrong"
    )
    step = next((step for step in (2, 5, 10, 20, 50, 100) if len(names) <= 40 * step), len(names) // 40)
    ticks = range(0, len(names), step)
    axis.set_xticks(ticks, [f"{tick}" for tick in ticks], rotation=90)
    axis.set_yticks(ticks, [f"{_short(names[tick])}  {tick}" for tick in ticks])
    axis.set(xlim=(-1, len(names)), ylim=(len(names), -1))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


def _short(name: str, most: int = 24) -> str:
    return _plain(name if len(name) <= most else name[: most - 1] + "…")


def _plain(name: str) -> str:
    """A name as it is: between two dollars matplotlib would read mathematics, and a file's name need not be text."""
    return printable(name).replace("$", r"\$")
