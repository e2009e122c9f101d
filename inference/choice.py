"""Which engine classifies: the user's, or the fastest of those that are here, if the job is long enough for it."""

import argparse
from typing import NamedTuple

from inference.engines.engine import PRECISIONS
from inference.engines.openvino_runtime import INSTALL_OPENVINO
from inference.exported import ENGINES
from inference.exporting import FORMATS, missing_for

EAGER, AUTO = "eager", "auto"
NAMES = (AUTO, EAGER, *ENGINES)
FASTEST_FIRST = {
    "float32": ("openvino", "onnxruntime", "paddle"),
    "bf16": ("openvino", "paddle"),
    "int8": ("openvino", "onnxruntime"),
}
"""Precision -> engines on a CPU, by benchmarks/infer.py."""
FORMAT_OF = {engine: name for name, engine in FORMATS.items()}
GMACS_WORTH_CONVERTING = 300
"""Billions of multiply-adds that a job has to have: converting a ResNet-50 takes the time that the faster engine saves
on 24 clips of 3 segments of 224 px, on 2 cores of an AMD EPYC."""
UNKNOWN_VIDEOS = 1000
"""What a job counts as whose end is not known: paths on standard input, a program's session."""


class Wish(NamedTuple):
    """What the user asked for."""

    engine: str = AUTO
    """One of NAMES."""
    precision: str | None = None
    """One of PRECISIONS; None: float32, or what an export was made for."""
    calibration: str | None = None
    """List of the clips that int8 is calibrated on; None: TRAIN.filelist."""

    @property
    def is_open(self) -> bool:
        """Whether any engine will do that computes what the weights compute."""
        return self.engine == AUTO and self.precision in (None, "float32")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The flags of every verb that classifies."""
    parser.add_argument(
        "--engine", choices=NAMES, default=AUTO,
        help="what computes: auto takes the fastest that is installed, if the job is long enough for it; a model is "
        "converted once and kept in ~/.cache/tsn-engines (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=PRECISIONS,
        help="what it computes in: bf16 and int8 are faster, less exact (default: float32, or what an export is for)",
    )  # fmt: skip
    add_calibration(parser)


def add_calibration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--calibration", metavar="LIST", help="list of clips that int8 is calibrated on (default: TRAIN.filelist)"
    )


def wish_of(args: argparse.Namespace) -> Wish:
    """What these flags ask for."""
    return Wish(args.engine, args.precision, args.calibration)


class Choice(NamedTuple):
    """What it came to."""

    engine: str
    """EAGER, or a key of ENGINES."""
    reason: str


def choose_engine(wish: Wish, *, on_gpu: bool, needs_layers: bool) -> Choice:
    """The engine for weights, however long the job is.

    Args:
        on_gpu: whether Paddle runs on a GPU, which eager Paddle uses well.
        needs_layers: whether heat maps are asked for, which only eager Paddle can make.

    Raises:
        ValueError: the wishes do not go together, or what they need is not installed.
    """
    precision = wish.precision or "float32"
    if needs_layers:
        if wish.engine not in (AUTO, EAGER) or precision != "float32":
            raise ValueError("heat maps need the model's layers: leave out --engine and --precision, or --cam")
        return Choice(EAGER, "heat maps need the model's layers")
    if wish.engine != AUTO:
        if precision not in (ENGINES[wish.engine].precisions if wish.engine in ENGINES else ("float32",)):
            others = " or ".join(f"--engine={name}" for name in FASTEST_FIRST[precision])
            raise ValueError(f"--engine={wish.engine} does not compute {precision}; {others} does")
        if wish.engine in ENGINES:
            check_installed(wish.engine, precision)
        return Choice(wish.engine, "as asked for")
    if on_gpu:
        if precision != "float32":
            raise ValueError(f"--precision={precision} is for CPUs here; leave it out, or --use_gpu=False")
        return Choice(EAGER, "on a GPU")
    return _fastest(precision)


def check_installed(engine: str, precision: str) -> None:
    """Raise ValueError if what an engine needs to run weights is not installed."""
    missing = missing_for(FORMAT_OF[engine], precision)
    if missing:
        raise ValueError(f"--engine={engine} needs {', '.join(missing)}: {ENGINES[engine].install}")


def is_worth_converting(num_videos: int | None, gmacs_per_video: float) -> bool:
    """Whether a job is long enough for a faster engine; num_videos None: its end is not known."""
    return (UNKNOWN_VIDEOS if num_videos is None else num_videos) * gmacs_per_video >= GMACS_WORTH_CONVERTING


def _fastest(precision: str) -> Choice:
    candidates = FASTEST_FIRST[precision]
    found = next((engine for engine in candidates if not missing_for(FORMAT_OF[engine], precision)), None)
    if found is None:
        raise ValueError(f"--precision={precision} needs OpenVINO: {INSTALL_OPENVINO}")
    faster = "" if found == candidates[0] else f"; {ENGINES[candidates[0]].install} brings a faster one"
    return Choice(found, f"the fastest here{faster}")
