"""EfficientNet-Lite 0, 1 and 2: frame backbones for small data, CPUs and phones. Knows no time, no segments.

Layer names are those of the package efficientnet_lite_pytorch without its underscores (`blocks.1.expand_conv.weight`),
from whose companions the ImageNet weights come.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import paddle
from paddle import nn

from models.depthwise import DepthwiseConv2D
from models.layout import LayerPlace, block_places

STEM_CHANNELS, TOP_CHANNELS = 32, 1280
CHANNEL_DIVISOR = 8


class Stage(NamedTuple):
    """Blocks of one resolution, before scaling."""

    num_blocks: int
    kernel_size: int
    stride: int
    """Of the first block."""
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
"""Number of the network -> factors on its channels and on its blocks."""


def stages_of(number: int) -> list[Stage]:
    """The stages of EfficientNet-Lite 0, 1 or 2; the first and the last keep their number of blocks."""
    width, depth = SCALES[number]
    scaled = [stage._replace(channels=_rounded(stage.channels * width)) for stage in STAGES]
    middle = [stage._replace(num_blocks=math.ceil(stage.num_blocks * depth)) for stage in scaled[1:-1]]
    return [scaled[0], *middle, scaled[-1]]


def _rounded(channels: float) -> int:
    """The nearest multiple of CHANNEL_DIVISOR, but not less than 9/10 of it."""
    nearest = max(CHANNEL_DIVISOR, int(channels + CHANNEL_DIVISOR / 2) // CHANNEL_DIVISOR * CHANNEL_DIVISOR)
    return nearest + CHANNEL_DIVISOR if nearest < 0.9 * channels else nearest


class EfficientNetLite(nn.Layer):
    """Images -> features, averaged over the picture.

    Args:
        num_layers: which of them, a key of SCALES; the name is what every backbone calls its size.
        in_channels: 3 for one RGB frame, 3 * seglen for stacked ones.
        data_format: layout of the images and of everything inside, "NCHW" or "NHWC"; the weights are the same.

    Their ImageNet weights were trained on 224, 240 and 260 pixels, with (pixel - 127) / 128 and padding that puts the
    odd pixel to the right and below (TensorFlow's "SAME"). Source: Tan and Le, EfficientNet, ICML 2019; Lite as
    published with TensorFlow's TPU models: no squeeze-and-excitation, ReLU6, an unscaled stem and top.
    """

    def __init__(self, num_layers: int = 0, in_channels: int = 3, data_format: str = "NCHW"):
        super().__init__()
        self.num_features = TOP_CHANNELS
        self.conv_stem = _conv(in_channels, STEM_CHANNELS, 3, 2, data_format)
        self.bn0 = _batch_norm(STEM_CHANNELS, data_format)
        self.relu = nn.ReLU6()
        blocks, last_channels, self.stage_ends = [], STEM_CHANNELS, []
        for stage in stages_of(num_layers):
            for index in range(stage.num_blocks):
                blocks.append(Block(last_channels, stage, stage.stride if index == 0 else 1, data_format))
                last_channels = stage.channels
            self.stage_ends.append(len(blocks))
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = _conv(last_channels, TOP_CHANNELS, 1, 1, data_format)
        self.bn1 = _batch_norm(TOP_CHANNELS, data_format)
        self.avgpool = nn.AdaptiveAvgPool2D(1, data_format=data_format)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """float32 (N, in_channels, H, W), or (N, H, W, in_channels) for NHWC -> float32 (N, num_features)."""
        return self.pool(self.feature_maps(images))

    def feature_maps(self, images: paddle.Tensor) -> paddle.Tensor:
        """What the average is taken of: float32 (N, num_features, H / 32, W / 32), or its NHWC form."""
        return self.top(self.blocks(self.stem(images)))

    def stem(self, images: paddle.Tensor) -> paddle.Tensor:
        """What the first block gets."""
        return self.relu(self.bn0(self.conv_stem(images)))

    def block_stages(self) -> list[list[nn.Layer]]:
        """The blocks of each stage; those that are `is_residual` take a second input, for their convolutions alone."""
        blocks, ends = list(self.blocks), (0, *self.stage_ends)
        return [blocks[start:end] for start, end in pairwise(ends)]

    def top(self, x: paddle.Tensor) -> paddle.Tensor:
        """The last block's output -> the feature maps."""
        return self.relu(self.bn1(self.conv_head(x)))

    def pool(self, maps: paddle.Tensor) -> paddle.Tensor:
        """Feature maps -> features, float32 (N, num_features)."""
        return self.avgpool(maps).flatten(1)

    def stages(self) -> list[list[nn.Layer]]:
        """The parts of the network, the stem first."""
        return [[self.conv_stem, self.bn0], *self.block_stages(), [self.conv_head, self.bn1]]


class Block(nn.Layer):
    """Expand by a 1x1 convolution, filter each channel, project back; a shortcut where the shape stays.

    Args:
        stage: what it belongs to.
        stride: its own.
    """

    def __init__(self, in_channels: int, stage: Stage, stride: int, data_format: str):
        super().__init__()
        inner = in_channels * stage.expansion
        self.is_residual = stride == 1 and in_channels == stage.channels
        if stage.expansion != 1:
            self.expand_conv = _conv(in_channels, inner, 1, 1, data_format)
            self.bn0 = _batch_norm(inner, data_format)
        self.depthwise_conv = DepthwiseConv2D(inner, stage.kernel_size, stride, data_format)
        self.bn1 = _batch_norm(inner, data_format)
        self.project_conv = _conv(inner, stage.channels, 1, 1, data_format)
        self.bn2 = _batch_norm(stage.channels, data_format)
        self.relu = nn.ReLU6()
        self.expands = stage.expansion != 1

    def forward(self, x: paddle.Tensor, seen: paddle.Tensor | None = None) -> paddle.Tensor:
        """x goes the shortcut's way, `seen` through the convolutions; None: x too."""
        out = x if seen is None else seen
        out = self.relu(self.bn0(self.expand_conv(out))) if self.expands else out
        out = self.relu(self.bn1(self.depthwise_conv(out)))
        out = self.bn2(self.project_conv(out))
        return out + x if self.is_residual else out


def _conv(in_channels: int, out_channels: int, kernel_size: int, stride: int, data_format: str) -> nn.Conv2D:
    return nn.Conv2D(in_channels, out_channels, kernel_size, stride, "SAME", bias_attr=False, data_format=data_format)


def _batch_norm(channels: int, data_format: str) -> nn.BatchNorm2D:
    return nn.BatchNorm2D(channels, momentum=0.99, epsilon=1e-3, data_format=data_format)


def layer_places(number: int) -> Iterator[LayerPlace]:
    """The places of a network's layers; those of Lite1 and Lite2 are alike but for their channels."""
    stages = stages_of(number)
    yield LayerPlace("stem")
    for block in block_places(number, [stage.num_blocks for stage in stages]):
        stage = stages[block.stage - 1]
        if stage.expansion != 1:
            yield LayerPlace("expand", block)
        yield LayerPlace("depthwise", block)
        yield LayerPlace("project", block, channels=stage.channels)
    yield LayerPlace("top")
