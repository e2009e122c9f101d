"""ResNet-vd, PaddleClas' kind of ResNet-D: ResNet with another stem and other shortcuts. Knows no time, no segments.

Layers have ResNet's names, but for the stem (`conv1_1`, `bn1_1`, `conv1_2`, ...) and the shortcuts (`downsample.1` and
`downsample.2`, behind what averages).
"""

from collections.abc import Iterator

import paddle
from paddle import nn

from models.layout import LayerPlace, block_places
from models.resnet import STAGE_BLOCKS, ResNet, conv

NEGATIVE_SLOPE = 0.01


class ResNetVd(ResNet):
    """Images -> features, averaged over the picture.

    The stem is three 3x3 convolutions, the first of stride 2. Where a stage shrinks the picture, its shortcut takes the
    average of 2x2 pixels instead of one of them; that of the first stage convolves too, in every size of the network.

    Args: as `ResNet`.

    Source: He et al., Bag of Tricks for Image Classification, CVPR 2019, as PaddleClas computes it.
    """

    def add_stem(self, in_channels: int, data_format: str) -> None:
        """Make the layers of `stem`, of which 64 channels come out."""
        self.conv1_1 = conv(in_channels, 32, 3, 2, data_format)
        self.bn1_1 = nn.BatchNorm2D(32, data_format=data_format)
        self.conv1_2 = conv(32, 32, 3, data_format=data_format)
        self.bn1_2 = nn.BatchNorm2D(32, data_format=data_format)
        self.conv1_3 = conv(32, 64, 3, data_format=data_format)
        self.bn1_3 = nn.BatchNorm2D(64, data_format=data_format)

    def downsample(self, in_channels: int, out_channels: int, stride: int, data_format: str) -> nn.Layer:
        """The shortcut of a stage's first block."""
        average = nn.AvgPool2D(2, 2, ceil_mode=True, data_format=data_format) if stride == 2 else nn.Identity()
        return nn.Sequential(
            average,
            conv(in_channels, out_channels, 1, data_format=data_format),
            nn.BatchNorm2D(out_channels, data_format=data_format),
        )

    def stem(self, images: paddle.Tensor) -> paddle.Tensor:
        """What the first block gets."""
        x = self.relu(self.bn1_1(self.conv1_1(images)))
        x = self.relu(self.bn1_2(self.conv1_2(x)))
        return self.maxpool(self.relu(self.bn1_3(self.conv1_3(x))))

    def stages(self) -> list[list[nn.Layer]]:
        """The parts of the network, the stem first."""
        stem = [self.conv1_1, self.bn1_1, self.conv1_2, self.bn1_2, self.conv1_3, self.bn1_3]
        return [stem, [self.layer1], [self.layer2], [self.layer3], [self.layer4]]


class LeakyResNetVd(ResNetVd):
    """ResNet-vd whose rectifiers let through a hundredth of what is below 0, as in PaddleVideo's PP-TSM."""

    def __init__(self, num_layers: int = 50, in_channels: int = 3, data_format: str = "NCHW"):
        super().__init__(num_layers, in_channels, data_format)
        for layer in (self, *sum(self.block_stages(), [])):
            layer.relu = LeakyReLU()
        self.register_buffer("negative_slope", paddle.to_tensor([NEGATIVE_SLOPE]))  # told to whoever loads the weights


class LeakyReLU(nn.Layer):
    """x, or a hundredth of it below 0. Not Paddle's own, whose slope paddle2onnx 2.1 writes wrongly into ONNX files."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.maximum(x, NEGATIVE_SLOPE * x)


def layer_places(num_layers: int) -> Iterator[LayerPlace]:
    """The places of a network's layers."""
    for index in range(3):
        yield LayerPlace("stem", index=index)
    for block in block_places(num_layers, STAGE_BLOCKS[num_layers]):
        for index in range(2 if num_layers < 50 else 3):
            yield LayerPlace("branch", block, index)
        if block.index == 0:
            yield LayerPlace("shortcut", block)
