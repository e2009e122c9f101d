"""The TSN of models/tsn.py, written in PyTorch, channels last: what train_peer.py measures beside it."""

import torch
from torch import nn

STAGES = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class Bottleneck(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int, has_downsample: bool):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = nn.Conv2d(channels, channels * 4, 1, bias=False), nn.BatchNorm2d(channels * 4)
        self.relu = nn.ReLU(inplace=True)
        shortcut = [nn.Conv2d(in_channels, channels * 4, 1, stride, bias=False), nn.BatchNorm2d(channels * 4)]
        self.downsample = nn.Sequential(*(shortcut if has_downsample else []))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))
        return self.relu(out.add_(self.downsample(x)))


class TSN(nn.Module):
    """uint8 (N, T, 3, H, W) -> logits, float32 (N, num_classes)."""

    def __init__(self, num_layers: int, num_classes: int, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(3, 2, 1))
        last_channels = 64
        for channels, num_blocks in zip((64, 128, 256, 512), STAGES[num_layers], strict=True):
            for block in range(num_blocks):
                stride = 2 if block == 0 and channels > 64 else 1
                layers.append(Bottleneck(last_channels, channels, stride, block == 0))
                last_channels = channels * 4
        self.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(last_channels, num_classes)
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(3, 1, 1))
        self.to(memory_format=torch.channels_last)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        images = ((frames.float() / 255 - self.mean) / self.std).flatten(0, 1)
        features = self.backbone(images.contiguous(memory_format=torch.channels_last))
        return self.fc(features.reshape(*frames.shape[:2], -1).mean(1))
