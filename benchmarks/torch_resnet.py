"""The same network in PyTorch, as its users write it: a peer to measure beside. Layers are called as in models/."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from inference.engines.engine import AtOnce, Classified
from models.resnet import STAGE_BLOCKS, STAGE_CHANNELS

IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMES = {"_mean": "running_mean", "_variance": "running_var"}
"""Paddle's name of a batch norm's statistics -> PyTorch's."""


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (ResNet-18 and 34)."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        self.conv1, self.bn1 = conv(in_channels, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels, 3), nn.BatchNorm2d(channels)
        self.relu, self.downsample = nn.ReLU(inplace=True), downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out.add_(x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the stride in the second (ResNet-50 and deeper)."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, downsample: nn.Module | None):
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1, self.bn1 = conv(in_channels, channels, 1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = conv(channels, out_channels, 1), nn.BatchNorm2d(out_channels)
        self.relu, self.downsample = nn.ReLU(inplace=True), downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out.add_(x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Images -> features, averaged over the picture; see models/resnet.py."""

    def __init__(self, num_layers: int = 50):
        super().__init__()
        block = BasicBlock if num_layers < 50 else Bottleneck
        self.num_features = STAGE_CHANNELS[-1] * block.expansion
        self.conv1, self.bn1 = conv(3, 64, 7, 2), nn.BatchNorm2d(64)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        last_channels, stages = 64, []
        for stage, (channels, num_blocks) in enumerate(zip(STAGE_CHANNELS, STAGE_BLOCKS[num_layers], strict=True)):
            out_channels, blocks = channels * block.expansion, []
            for number in range(num_blocks):
                stride = 2 if stage > 0 and number == 0 else 1
                downsample = None
                if stride != 1 or last_channels != out_channels:
                    downsample = nn.Sequential(
                        conv(last_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)
                    )
                blocks.append(block(last_channels, channels, stride, downsample))
                last_channels = out_channels
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float32 (N, 3, H, W) -> (N, num_features)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


class TSN(nn.Module):
    """A ResNet on each frame, its features averaged over the segments, one fully connected layer; see models/tsn.py.

    Its weights have the memory format that is the fastest on CPUs, channels_last.
    """

    def __init__(self, num_classes: int, num_layers: int = 50):
        super().__init__()
        self.backbone = ResNet(num_layers)
        self.fc = nn.Linear(self.backbone.num_features, num_classes)
        for name, values in (("mean", IMAGE_MEAN), ("std", IMAGE_STD)):
            self.register_buffer(name, torch.tensor(values).reshape(3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 (N, T, 3, H, W) -> (N, num_features)."""
        images = ((frames.flatten(0, 1).float() / 255.0) - self.mean) / self.std
        features = self.backbone(images.contiguous(memory_format=torch.channels_last))
        return features.reshape(*frames.shape[:2], -1).mean(1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 (N, T, 3, H, W) -> logits (N, num_classes)."""
        return self.fc(self.features(frames))


def load_from_paddle(model: TSN, state: dict[str, np.ndarray]) -> None:
    """Take the weights of a TSN of models/, a linear layer's (in, out) turned into PyTorch's (out, in)."""
    found = {}
    for name, values in state.items():
        layer, _, last = name.rpartition(".")
        is_linear = name == "fc.weight"
        found[f"{layer}.{NAMES.get(last, last)}"] = torch.from_numpy(np.array(values.T if is_linear else values))
    model.load_state_dict(found)  # refuses what does not fit; that Paddle counts no batches, it takes


class TorchEngine(AtOnce):
    """Classifies as the engines of inference/ do.

    Args:
        model: its weights are loaded.
        precision: "float32", or "bf16" by autocast.
    """

    def __init__(self, model: TSN, num_threads: int, precision: str):
        torch.set_num_threads(num_threads)
        self.title = f"PyTorch {torch.__version__}"
        self._model, self._is_bf16 = model.eval(), precision == "bf16"

    @torch.inference_mode()
    def __call__(self, frames: Any) -> Classified:
        """A Paddle tensor, uint8 (N, T, 3, H, W) -> what it says of each."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._is_bf16):
            features = self._model.features(torch.from_numpy(frames.numpy()))
            logits = self._model.fc(features)
        return Classified(F.softmax(logits.float(), 1).numpy(), features.float().numpy())
