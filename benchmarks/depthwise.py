"""The project's depthwise convolution beside Paddle's, on a CPU: each layer of an EfficientNet-Lite, and a step.

    python benchmarks/depthwise.py                     # 8 clips of 4 x 160 px, Lite0: a minute on one core
    python benchmarks/depthwise.py --number 2 --pixels 224 --clips 4

Both compute the same numbers up to rounding and take turns; a time is the fastest of the runs, of forward and backward
pass together. One thread, as training has by default.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import common.startup  # noqa: E402, F401  isort: skip
import paddle  # noqa: E402
from paddle import nn  # noqa: E402
from tabulate import tabulate  # noqa: E402

from benchmarks.processor import read_processor  # noqa: E402
from common import command_line  # noqa: E402
from models.depthwise import DepthwiseConv2D  # noqa: E402
from models.registry import create_model  # noqa: E402

WAYS = {"ours": DepthwiseConv2D.forward, "Paddle's": nn.Conv2D.forward}


def fastest_ms(
    forward: Callable[[paddle.Tensor], paddle.Tensor], pictures: paddle.Tensor, num_runs: int
) -> list[float]:
    """Milliseconds of forward and backward pass in each of WAYS."""
    fastest = [float("inf")] * len(WAYS)
    for _ in range(1 + num_runs):  # the first one compiles
        for place, DepthwiseConv2D.forward in enumerate(WAYS.values()):
            started_sec = time.perf_counter()
            forward(pictures).sum().backward()
            fastest[place] = min(fastest[place], (time.perf_counter() - started_sec) * 1e3)
    return fastest


def layer_inputs(model: nn.Layer, frames: paddle.Tensor) -> dict[DepthwiseConv2D, list[int]]:
    """{depthwise layer: the shape of what it gets}, in the order of the network."""
    shapes = {}
    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs: shapes.update({layer: inputs[0].shape}))
        for layer in model.sublayers()
        if isinstance(layer, DepthwiseConv2D)
    ]
    with paddle.no_grad():
        model(frames)
    for hook in hooks:
        hook.remove()
    return shapes


def main(argv: list[str] | None = None) -> None:
    parser = command_line.OneLineParser(__doc__)
    parser.add_argument("--number", type=int, choices=(0, 1, 2), default=0, help="of the Lite; default: %(default)s")
    parser.add_argument("--clips", type=command_line.positive_int, default=8, help="of a step; default: %(default)s")
    parser.add_argument("--segments", type=command_line.positive_int, default=4, help="default: %(default)s")
    parser.add_argument("--pixels", type=command_line.positive_int, default=160, help="default: %(default)s")
    parser.add_argument("--runs", type=command_line.positive_int, default=5, help="default: %(default)s")
    args: argparse.Namespace = parser.parse_args(argv)
    paddle.base.core.set_num_threads(1)
    model = create_model("TSN", num_classes=6, num_layers=args.number, backbone="efficientnet_lite")
    frames = paddle.randint(0, 256, [args.clips, args.segments, 3, args.pixels, args.pixels]).astype("uint8")
    rows = []
    for layer, shape in layer_inputs(model, frames).items():
        pictures = paddle.rand(shape)
        pictures.stop_gradient = False
        times = fastest_ms(layer, pictures, args.runs)
        size, stride = layer.weight.shape[2], layer._stride[0]
        rows.append([f"{shape[1]} x {shape[2]} x {shape[3]}, {size}x{size} / {stride}", *times])
    rows.append(["all depthwise layers", *map(sum, zip(*(row[1:] for row in rows), strict=True))])
    rows.append(["the network, all layers", *fastest_ms(model, frames, args.runs)])
    print(read_processor())
    headings = ["layer", *(f"{way}, ms" for way in WAYS), "times as fast"]
    table = [[name, ours, theirs, theirs / ours] for name, ours, theirs in rows]
    print(tabulate(table, headings, "github", floatfmt=("", ".1f", ".1f", ".1f")))


if __name__ == "__main__":
    command_line.run(main)
