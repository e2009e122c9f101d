"""ResNet: the frame backbone. Knows no time, no segments.

Layer names are those of paddle.vision and torchvision (`layer1.0.conv1.weight`); a bottleneck has its stride in the 3x3
convolution, as both of them and the original have it.
"""

from collections.abc import Iterator

import paddle
from paddle import nn

from models.layout import LayerPlace, block_places

STAGE_CHANNELS = (64, 128, 256, 512)
STAGE_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def conv(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, data_format: str = "NCHW"
) -> nn.Conv2D:
    padding = kernel_size // 2
    return nn.Conv2D(in_channels, out_channels, kernel_size, stride, padding, bias_attr=False, data_format=data_format)


class BasicBlock(nn.Layer):
    """Two 3x3 convolutions (ResNet-18 and 34)."""

    expansion = 1
    is_residual = True

    def __init__(self, in_channels: int, channels: int, stride: int, downsample: nn.Layer | None, data_format: str):
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, stride, data_format)
        self.bn1 = nn.BatchNorm2D(channels, data_format=data_format)
        self.conv2 = conv(channels, channels, 3, data_format=data_format)
        self.bn2 = nn.BatchNorm2D(channels, data_format=data_format)
        self.relu = nn.ReLU()
        self.downsample = downsample

    def forward(self, x: paddle.Tensor, seen: paddle.Tensor | None = None) -> paddle.Tensor:
        """x goes the shortcut's way, `seen` through the convolutions; None: x too."""
        out = self.relu(self.bn1(self.conv1(x if seen is None else seen)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Layer):
    """1x1, 3x3 and 1x1 convolutions (ResNet-50 and deeper)."""

    expansion = 4
    is_residual = True

    def __init__(self, in_channels: int, channels: int, stride: int, downsample: nn.Layer | None, data_format: str):
        super().__init__()
        self.conv1 = conv(in_channels, channels, 1, data_format=data_format)
        self.bn1 = nn.BatchNorm2D(channels, data_format=data_format)
        self.conv2 = conv(channels, channels, 3, stride, data_format)
        self.bn2 = nn.BatchNorm2D(channels, data_format=data_format)
        self.conv3 = conv(channels, channels * self.expansion, 1, data_format=data_format)
        self.bn3 = nn.BatchNorm2D(channels * self.expansion, data_format=data_format)
        self.relu = nn.ReLU()
        self.downsample = downsample

    def forward(self, x: paddle.Tensor, seen: paddle.Tensor | None = None) -> paddle.Tensor:
        """As `BasicBlock.forward`."""
        out = self.relu(self.bn1(self.conv1(x if seen is None else seen)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Layer):
    """Images -> features, averaged over the picture.

    Args:
        num_layers: a key of STAGE_BLOCKS.
        in_channels: 3 for one RGB frame, 3 * seglen for stacked ones.
        data_format: layout of the images and of everything inside, "NCHW" or "NHWC"; the weights are the same.

    Convolutions start from a normal distribution with variance 2 / (kernel area * in_channels), Paddle's default and
    the original's. Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
    """

    def __init__(self, num_layers: int = 50, in_channels: int = 3, data_format: str = "NCHW"):
        super().__init__()
        block = BasicBlock if num_layers < 50 else Bottleneck
        self.num_features = STAGE_CHANNELS[-1] * block.expansion
        self.add_stem(in_channels, data_format)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2D(kernel_size=3, stride=2, padding=1, data_format=data_format)
        last_channels = 64
        for stage, (channels, num_blocks) in enumerate(zip(STAGE_CHANNELS, STAGE_BLOCKS[num_layers], strict=True), 1):
            stride, out_channels = 1 if stage == 1 else 2, channels * block.expansion
            downsample = self.downsample(last_channels, out_channels, stride, data_format)
            blocks = [block(last_channels, channels, stride, downsample, data_format)]
            blocks += [block(out_channels, channels, 1, None, data_format) for _ in range(num_blocks - 1)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            last_channels = out_channels
        self.avgpool = nn.AdaptiveAvgPool2D(1, data_format=data_format)

    def add_stem(self, in_channels: int, data_format: str) -> None:
        """Make the layers of `stem`, of which 64 channels come out."""
        self.conv1 = conv(in_channels, 64, 7, 2, data_format)
        self.bn1 = nn.BatchNorm2D(64, data_format=data_format)

    def downsample(self, in_channels: int, out_channels: int, stride: int, data_format: str) -> nn.Layer | None:
        """The shortcut of a stage's first block; None: its input as it is."""
        if stride == 1 and in_channels == out_channels:
            return None
        return nn.Sequential(
            conv(in_channels, out_channels, 1, stride, data_format),
            nn.BatchNorm2D(out_channels, data_format=data_format),
        )

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """float32 (N, in_channels, H, W), or (N, H, W, in_channels) for NHWC -> float32 (N, num_features)."""
        return self.pool(self.feature_maps(images))

    def feature_maps(self, images: paddle.Tensor) -> paddle.Tensor:
        """What the average is taken of: float32 (N, num_features, H / 32, W / 32), or its NHWC form."""
        return self.top(self.layer4(self.layer3(self.layer2(self.layer1(self.stem(images))))))

    def stem(self, images: paddle.Tensor) -> paddle.Tensor:
        """What the first block gets."""
        return self.maxpool(self.relu(self.bn1(self.conv1(images))))

    def block_stages(self) -> list[list[nn.Layer]]:
        """The blocks of each stage; those that are `is_residual` take a second input, for their convolutions alone."""
        return [list(stage) for stage in (self.layer1, self.layer2, self.layer3, self.layer4)]

    def top(self, x: paddle.Tensor) -> paddle.Tensor:
        """The last block's output -> the feature maps: nothing is between them here."""
        return x

    def pool(self, maps: paddle.Tensor) -> paddle.Tensor:
        """Feature maps -> features, float32 (N, num_features)."""
        return self.avgpool(maps).flatten(1)

    def stages(self) -> list[list[nn.Layer]]:
        """The parts of the network, the stem first."""
        return [[self.conv1, self.bn1], [self.layer1], [self.layer2], [self.layer3], [self.layer4]]


def layer_places(num_layers: int) -> Iterator[LayerPlace]:
    """The places of a network's layers."""
    yield LayerPlace("stem")
    for block in block_places(num_layers, STAGE_BLOCKS[num_layers]):
        for index in range(2 if num_layers < 50 else 3):
            yield LayerPlace("branch", block, index)
        if block.index == 0 and (block.stage > 1 or num_layers >= 50):
            yield LayerPlace("shortcut", block)
