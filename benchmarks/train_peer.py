"""How long a training step takes on a CPU, beside PyTorch: the same ResNet-50 TSN, batch and optimizer in both.

    pip install torch                                       # 2.13 was measured
    python benchmarks/train_peer.py                         # 4 clips of 3 x 112 px, 2 threads: 2 minutes on 2 cores
    python benchmarks/train_peer.py --threads 1 --operators # and what each operator takes

This project's loop and PyTorch (channels-last, float32) run in processes of their own, since they change each other's
threads, and take turns at every step, so that a noisy machine blurs the times more than their ratio. Both train from
random weights on one batch in memory, with SGD of momentum 0.9 and weight decay 1e-4. Every row is also a JSON line,
before the table.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common import command_line  # noqa: E402

PEERS = ("paddle", "torch")
ANSWER = "answer: "
WARM_UP_STEPS = 3
PAUSE_SEC = 0.3  # before a turn: the threads of the other one go on spinning for a while, to be at hand
NUM_CLASSES = 400
RATE, MOMENTUM, WEIGHT_DECAY = 0.001, 0.9, 1e-4

REPEATS = 7  # of an operator alone


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.OneLineParser(__doc__)
    positive_int = command_line.positive_int
    parser.add_argument("--num_layers", type=int, choices=(50, 101, 152), default=50, help="(default: %(default)s)")
    parser.add_argument("--clips", type=positive_int, default=4, help="of a step (default: %(default)s)")
    parser.add_argument("--seg_num", type=positive_int, default=3, help="segments (default: %(default)s)")
    parser.add_argument("--target_size", type=positive_int, default=112, help="pixels (default: %(default)s)")
    parser.add_argument("--threads", type=positive_int, default=2, help="of each (default: %(default)s)")
    parser.add_argument("--rounds", type=positive_int, default=20, help="steps to measure (default: %(default)s)")
    parser.add_argument("--operators", action="store_true", help="also what each operator takes by itself")
    parser.add_argument("--job", choices=PEERS, help=argparse.SUPPRESS)  # what a measured process is to run
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.job:
        serve(args)
        return
    if importlib.util.find_spec("torch") is None:
        raise ValueError("this Python has no PyTorch to compare with; run 'pip install torch'")
    with contextlib.ExitStack() as stack:
        jobs = {peer: stack.enter_context(job(peer, sys.argv[1:] if argv is None else argv)) for peer in PEERS}
        rounds = [{peer: ask(jobs[peer], "step") for peer in PEERS} for _ in range(WARM_UP_STEPS + args.rounds)]
        rows = step_rows(args, rounds[WARM_UP_STEPS:])
        if args.operators:
            found = {peer: ask(jobs[peer], "operators") for peer in PEERS}
            rows += [{"what": what, **compared(*(found[peer][what] for peer in PEERS))} for what in found["paddle"]]
    print(*map(json.dumps, rows), sep="\n")
    print("\n" + table(rows))


@contextlib.contextmanager
def job(peer: str, flags: list[str]) -> Iterator[subprocess.Popen]:
    """A measured process, whose libraries see the number of threads when they are loaded."""
    threads = str(parse_args(flags).threads)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, __file__, *flags, f"--job={peer}"]
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": threads}, **pipes) as process:
        yield process
        process.communicate()  # it ends with its orders


def ask(process: subprocess.Popen, what: str) -> dict:
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    for line in process.stdout:  # libraries may print lines of their own before the answer
        if line.startswith(ANSWER):
            return json.loads(line.removeprefix(ANSWER))
    raise ValueError(f"a measured process failed: {process.stderr.read()[-3000:]}")


def step_rows(args: argparse.Namespace, rounds: list[dict]) -> list[dict]:
    """The median step of each and the median of the rounds' ratios; the fastest steps and their ratio."""
    times = {peer: [turn[peer]["ms"] for turn in rounds] for peer in PEERS}
    ratios = [ours / theirs for ours, theirs in zip(times["paddle"], times["torch"], strict=True)]
    threads = f"{args.threads} thread{'s' if args.threads > 1 else ''}"
    medians = {f"{peer}_ms": round(statistics.median(times[peer]), 1) for peer in PEERS}
    return [
        {"what": f"step, {threads}, median", **medians, "ratio": round(statistics.median(ratios), 2)},
        {"what": f"step, {threads}, fastest", **compared(min(times["paddle"]), min(times["torch"]))},
    ]


def compared(ours_ms: float, theirs_ms: float) -> dict:
    return {"paddle_ms": round(ours_ms, 1), "torch_ms": round(theirs_ms, 1), "ratio": round(ours_ms / theirs_ms, 2)}


def serve(args: argparse.Namespace) -> None:
    """Answer each order on standard input, "step" or "operators", with milliseconds."""
    peer = PaddlePeer(args) if args.job == "paddle" else TorchPeer(args)
    for what in sys.stdin:
        time.sleep(PAUSE_SEC)
        content = {"ms": milliseconds(peer.step)} if what.strip() == "step" else operators(peer)
        print(f"\n{ANSWER}{json.dumps(content)}", flush=True)


def milliseconds(run: Callable[[], object]) -> float:
    started_sec = time.perf_counter()
    run()
    return (time.perf_counter() - started_sec) * 1e3


def operators(peer: "PaddlePeer | TorchPeer") -> dict[str, float]:
    """What the layers of a step take, each alone on inputs of its shape (the fastest of some runs), by kind."""
    found: dict[str, float] = {}
    for layer, shape in peer.layers():
        times = [alone(peer, layer, shape) for _ in range(REPEATS)]
        for way, fastest in zip(("forward", "backward"), map(min, zip(*times, strict=True)), strict=True):
            what = f"{kind_of(layer)}, {way}"
            found[what] = found.get(what, 0.0) + fastest
    peer.give_gradients()
    return found | {"optimizer": min(milliseconds(peer.optimizer.step) for _ in range(REPEATS))}


def alone(peer: "PaddlePeer | TorchPeer", layer: Callable, shape: list[int]) -> tuple[float, float]:
    """Milliseconds of a layer's way forward and backward."""
    inputs, outputs = peer.input_of(shape), []
    forward = milliseconds(lambda: outputs.append(layer(inputs)))
    gradient = peer.gradient_of(outputs[0])
    backward = milliseconds(lambda: outputs[0].backward(gradient))
    peer.optimizer.clear_grad() if isinstance(peer, PaddlePeer) else peer.optimizer.zero_grad()
    return forward, backward


def seen(run: Callable[[], object], layers: list, register: str) -> list[tuple]:
    """The layers in the order that a run comes through them, each with the shape of its input."""
    found: list[tuple] = []
    hooks = [
        getattr(layer, register)(lambda layer, inputs: found.append((layer, list(inputs[0].shape)))) for layer in layers
    ]
    run()
    for hook in hooks:
        hook.remove()
    return found


def kind_of(layer: Callable) -> str:
    """The same name for the layers of both."""
    name = type(layer).__name__
    if hasattr(layer, "stride") or hasattr(layer, "_stride"):
        if not hasattr(layer, "weight"):
            return "max pooling"
        size, stride = layer.weight.shape[2], getattr(layer, "_stride", None) or layer.stride
        return f"convolution {size}x{size}" + (f" / {stride[0]}" if stride[0] > 1 else "")
    return {"BatchNorm2D": "batch norm", "BatchNorm2d": "batch norm", "ReLU": "relu"}[name]


class PaddlePeer:
    """This project's loop."""

    def __init__(self, args: argparse.Namespace):
        import common.startup  # noqa: F401  isort: skip
        import paddle

        from datareader.loader import Batch
        from models.registry import create_model
        from training.meter import ScoreMeter
        from training.optimizer import create_optimizer
        from training.precision import Precision
        from training.steps import Learner, train_steps

        paddle.seed(0)
        self.model = create_model("TSN", num_classes=NUM_CLASSES, num_layers=args.num_layers)
        self.optimizer = create_optimizer(self.model, RATE, MOMENTUM, WEIGHT_DECAY)
        precision = Precision("off", self.model, on_gpu=False)
        learner = Learner(self.model, self.optimizer, lambda step: RATE, precision)
        shape = [args.clips, args.seg_num, 3, args.target_size, args.target_size]
        frames = (paddle.rand(shape) * 255).astype("uint8")
        names = list(map(str, range(args.clips)))
        labels = paddle.randint(0, NUM_CLASSES, [args.clips])
        batch = Batch(frames, labels, list(range(args.clips)), names, [], [], [])
        steps = train_steps(learner, itertools.repeat(batch), ScoreMeter(), log_interval=10)
        self.step = lambda: next(steps)

    def layers(self) -> list[tuple]:
        from paddle import nn

        kinds = (nn.Conv2D, nn.BatchNorm2D, nn.ReLU, nn.MaxPool2D)
        layers = [layer for layer in self.model.sublayers() if isinstance(layer, kinds)]
        return seen(self.step, layers, "register_forward_pre_hook")

    def input_of(self, shape: list[int]):
        import paddle

        inputs = paddle.randn(shape)
        inputs.stop_gradient = shape[1] == 3  # frames need none
        return inputs

    def give_gradients(self) -> None:
        """A step leaves zeros."""
        self.step()

    def gradient_of(self, output):
        import paddle

        return paddle.randn(output.shape)


class TorchPeer:
    def __init__(self, args: argparse.Namespace):
        import torch

        from benchmarks.torch_resnet import TSN

        torch.set_num_threads(args.threads)
        torch.manual_seed(0)
        self.model = TSN(NUM_CLASSES, args.num_layers)
        self.optimizer = torch.optim.SGD(self.model.parameters(), RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
        shape = (args.clips, args.seg_num, 3, args.target_size, args.target_size)
        self.frames = (torch.rand(shape) * 255).to(torch.uint8)
        self.labels = torch.randint(0, NUM_CLASSES, (args.clips,))

    def step(self) -> None:
        import torch.nn.functional as F

        F.cross_entropy(self.model(self.frames), self.labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def layers(self) -> list[tuple]:
        from torch import nn

        kinds = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d)
        layers = [layer for layer in self.model.modules() if isinstance(layer, kinds)]
        for layer in layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # alone, it would overwrite what its gradient is asked of
        return seen(self.step, layers, "register_forward_pre_hook")

    def input_of(self, shape: list[int]):
        import torch

        return torch.randn(*shape).contiguous(memory_format=torch.channels_last).requires_grad_(shape[1] != 3)

    def give_gradients(self) -> None:
        """A step leaves none."""
        for parameter in self.model.parameters():
            parameter.grad = parameter.detach() * 0

    def gradient_of(self, output):
        import torch

        return torch.randn_like(output)


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    columns = {"what": "what", "paddle_ms": "Paddle, ms", "torch_ms": "PyTorch, ms", "ratio": "PyTorch = 1"}
    return tabulate([[row[key] for key in columns] for row in rows], list(columns.values()), "github")


if __name__ == "__main__":
    command_line.run(main)
