"""TSN as each toolkit builds it: layers under that toolkit's names, and a forward pass of its own.

Only the names and the structure are the toolkits'; they were read in their public code:
PaddleVideo `paddlevideo/modeling/backbones/resnet.py` and `heads/tsn_head.py`; PaddleClas
`ppcls/arch/backbone/legendary_models/resnet.py` (since 2.1) and `ppcls/modeling/architectures/resnet.py` (2.0);
MMAction2 `mmaction/models/backbones/resnet.py` and `heads/tsn_head.py`. paddle.vision's network is paddle.vision's own;
torchvision and timm name theirs alike, in torch's terms. EfficientNet-Lite is that of
`efficientnet_lite_pytorch/model.py` and `utils.py`, its table scaled by hand.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F
from paddle.vision.models import resnet50

DEPTHS = (3, 4, 6, 3)
CHANNELS = (64, 128, 256, 512)
Layer = Callable[[int, int, int, int], nn.Layer]


def conv_bn(conv_name: str, bn_name: str) -> Layer:
    """A maker of layers that hold a convolution and its batch norm under these names."""

    class ConvBN(nn.Layer):
        def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1):
            super().__init__()
            self.add_sublayer(conv_name, nn.Conv2D(inputs, outputs, size, stride, size // 2, bias_attr=False))
            self.add_sublayer(bn_name, nn.BatchNorm2D(outputs))

        def forward(self, x):
            return getattr(self, bn_name)(getattr(self, conv_name)(x))

    return ConvBN


class Block(nn.Layer):
    """A bottleneck whose parts have the given names."""

    def __init__(self, layer: Layer, parts: tuple[str, str, str], short: str, inputs: int, width: int, stride: int):
        super().__init__()
        self.part_names, self.short_name = parts, short if inputs != width * 4 else None
        sizes = ((inputs, width, 1, 1), (width, width, 3, stride), (width, width * 4, 1, 1))
        for part, size in zip(parts, sizes, strict=True):
            self.add_sublayer(part, layer(*size))
        if self.short_name:
            self.add_sublayer(short, layer(inputs, width * 4, 1, stride))

    def forward(self, x):
        first, second, third = (getattr(self, part) for part in self.part_names)
        shortcut = getattr(self, self.short_name)(x) if self.short_name else x
        return F.relu(third(F.relu(second(F.relu(first(x))))) + shortcut)


def blocks(layer: Layer, parts: tuple[str, str, str], short: str) -> list[list[Block]]:
    stages, inputs = [], 64
    for stage, (depth, width) in enumerate(zip(DEPTHS, CHANNELS, strict=True)):
        stages.append([])
        for index in range(depth):
            stride = 2 if index == 0 and stage > 0 else 1
            stages[-1].append(Block(layer, parts, short, inputs, width, stride))
            inputs = width * 4
    return stages


class Peer(nn.Layer):
    """A network of this stem, these residual blocks and this last layer; a subclass says what it calls them."""

    def parts(self) -> tuple[nn.Layer, list[nn.Layer], nn.Layer]:
        raise NotImplementedError

    def forward(self, frames):
        """Normalised frames (N, T, 3, H, W) -> logits (N, K): classified frame by frame, then averaged."""
        stem, residual_blocks, last = self.parts()
        x = F.max_pool2d(F.relu(stem(frames.reshape([-1, *frames.shape[2:]]))), 3, 2, 1)
        for block in residual_blocks:
            x = block(x)
        logits = last(x.mean(axis=[2, 3]))
        return logits.reshape([-1, frames.shape[1], logits.shape[1]]).mean(axis=1)


def res_names() -> list[str]:
    return [f"res{stage + 2}{chr(97 + index)}" for stage, depth in enumerate(DEPTHS) for index in range(depth)]


def add_paddlevideo_layers(parent: nn.Layer) -> None:
    layer = conv_bn("_conv", "_batch_norm")
    parent.conv = layer(3, 64, 7, 2)
    all_blocks = sum(blocks(layer, ("conv0", "conv1", "conv2"), "short"), [])
    for name, block in zip(res_names(), all_blocks, strict=True):
        parent.add_sublayer(name, block)


class PaddleVideo(Peer):
    def __init__(self, num_classes: int):
        super().__init__()
        self.backbone, self.head = nn.Layer(), nn.Layer()
        add_paddlevideo_layers(self.backbone)
        self.head.fc = nn.Linear(2048, num_classes)

    def parts(self):
        return self.backbone.conv, [getattr(self.backbone, name) for name in res_names()], self.head.fc


class PaddleClas20(Peer):
    def __init__(self, num_classes: int):
        super().__init__()
        add_paddlevideo_layers(self)
        self.out = nn.Linear(2048, num_classes)

    def parts(self):
        return self.conv, [getattr(self, name) for name in res_names()], self.out


class PaddleClas(Peer):
    def __init__(self, num_classes: int):
        super().__init__()
        layer = conv_bn("conv", "bn")
        self.stem = nn.Sequential(layer(3, 64, 7, 2))
        self.blocks = nn.Sequential(*sum(blocks(layer, ("conv0", "conv1", "conv2"), "short"), []))
        self.fc = nn.Linear(2048, num_classes)

    def parts(self):
        return self.stem, list(self.blocks), self.fc


class MMAction2(Peer):
    def __init__(self, num_classes: int):
        super().__init__()
        layer = conv_bn("conv", "bn")
        self.backbone, self.cls_head = nn.Layer(), nn.Layer()
        self.backbone.conv1 = layer(3, 64, 7, 2)
        for number, stage in enumerate(blocks(layer, ("conv1", "conv2", "conv3"), "downsample"), 1):
            self.backbone.add_sublayer(f"layer{number}", nn.Sequential(*stage))
        self.cls_head.fc_cls = nn.Linear(2048, num_classes)

    def parts(self):
        stages = [getattr(self.backbone, f"layer{number}") for number in range(1, 5)]
        return self.backbone.conv1, [block for stage in stages for block in stage], self.cls_head.fc_cls


class PaddleVision(nn.Layer):
    """Its own network, not ours; torchvision's and timm's have the same names for their layers."""

    def __init__(self, num_classes: int):
        super().__init__()
        network = resnet50(num_classes=num_classes)
        for name, layer in network.named_children():
            self.add_sublayer(name, layer)
        self.run = network.forward

    def forward(self, frames):
        logits = self.run(frames.reshape([-1, *frames.shape[2:]]))
        return logits.reshape([-1, frames.shape[1], logits.shape[1]]).mean(axis=1)


def randomize(network: nn.Layer, seed: int) -> None:
    """Fill every tensor at random so that activations stay of one size and no batch norm is trivial."""
    rng = np.random.default_rng(seed)
    for name, tensor in network.state_dict().items():
        noise = rng.standard_normal(tensor.shape)
        if tensor.ndim == 4:
            value = noise * np.sqrt(2 / np.prod(tensor.shape[1:]))
        elif tensor.ndim == 2:
            value = 0.02 * noise
        elif name.endswith("_variance"):
            value = 3 * (1 + 0.1 * abs(noise))
        elif name.endswith("weight"):
            value = 0.5 * (1 + 0.1 * noise)
        else:
            value = 0.1 * noise
        tensor.set_value(value.astype(np.float32))


def as_torch_names_it(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Paddle's state dict of a network as torch's would be: other batch norm names, transposed linear layers."""
    found = {}
    for name, array in arrays.items():
        name = name.replace("._mean", ".running_mean").replace("._variance", ".running_var")
        found[name] = np.ascontiguousarray(array.T) if array.ndim == 2 else array
        if name.endswith(".running_var"):
            found[name.replace("running_var", "num_batches_tracked")] = np.array(7, np.int64)
    return found


class Lite(NamedTuple):
    """What tells an EfficientNet-Lite from the others: the blocks of its seven stages and their channels."""

    repeats: tuple[int, ...]
    channels: tuple[int, ...]


LITES = {
    0: Lite((1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320)),
    1: Lite((1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320)),
    2: Lite((1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352)),
}
"""The table of efficientnet_lite_pytorch, scaled by hand: 1.1 and 1.2 times the blocks, 1.1 times the channels."""
LITE_KERNELS, LITE_STRIDES = (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1)


def efficientnet_lite_arrays(number: int, num_classes: int, seed: int) -> dict[str, np.ndarray]:
    """Random weights of EfficientNet-Lite 0, 1 or 2 under the package's names, in torch's layouts."""
    rng, arrays = np.random.default_rng(seed), {}

    def add(convolution: str, batch_norm: str, outputs: int, inputs: int, kernel_size: int) -> None:
        fan_in = inputs * kernel_size**2
        noise = rng.standard_normal((outputs, inputs, kernel_size, kernel_size))
        arrays[f"{convolution}.weight"] = noise * np.sqrt(2 / fan_in)
        arrays[f"{batch_norm}.weight"] = 1 + 0.1 * rng.standard_normal(outputs)
        arrays[f"{batch_norm}.bias"] = 0.5 + 0.3 * rng.standard_normal(outputs)
        arrays[f"{batch_norm}.running_mean"] = 0.2 * rng.standard_normal(outputs)
        arrays[f"{batch_norm}.running_var"] = 0.5 + rng.random(outputs)
        arrays[f"{batch_norm}.num_batches_tracked"] = np.array(7, np.int64)

    add("_conv_stem", "_bn0", 32, 3, 3)
    inputs, block = 32, 0
    for kernel_size, repeats, outputs in zip(LITE_KERNELS, *LITES[number], strict=True):
        for _ in range(repeats):
            inner = inputs if block == 0 else 6 * inputs
            if block > 0:
                add(f"_blocks.{block}._expand_conv", f"_blocks.{block}._bn0", inner, inputs, 1)
            add(f"_blocks.{block}._depthwise_conv", f"_blocks.{block}._bn1", inner, 1, kernel_size)
            add(f"_blocks.{block}._project_conv", f"_blocks.{block}._bn2", outputs, inner, 1)
            inputs, block = outputs, block + 1
    add("_conv_head", "_bn1", 1280, inputs, 1)
    arrays["_fc.weight"] = 0.1 * rng.standard_normal((num_classes, 1280))
    arrays["_fc.bias"] = rng.standard_normal(num_classes)
    return {name: array.astype(np.float32) if array.ndim else array for name, array in arrays.items()}


def efficientnet_lite_logits(arrays: dict[str, np.ndarray], number: int, images: paddle.Tensor) -> np.ndarray:
    """Images (N, 3, H, W) -> logits (N, K) in their type, computed by functions alone, pictures padded by hand."""
    tensors = {name: paddle.to_tensor(array).astype(images.dtype) for name, array in arrays.items()}

    def conv_bn(x: paddle.Tensor, convolution: str, batch_norm: str, stride: int = 1) -> paddle.Tensor:
        kernel = tensors[f"{convolution}.weight"]
        is_depthwise = kernel.shape[1] == 1
        top, bottom, left, right = (
            *same(x.shape[2], kernel.shape[2], stride),
            *same(x.shape[3], kernel.shape[3], stride),
        )
        x = F.conv2d(
            F.pad(x, [left, right, top, bottom]), kernel, stride=stride, groups=x.shape[1] if is_depthwise else 1
        )
        mean, variance, weight, bias = (
            tensors[f"{batch_norm}.{leaf}"].reshape([1, -1, 1, 1])
            for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-3).sqrt() * weight + bias

    def relu6(x: paddle.Tensor) -> paddle.Tensor:
        return x.clip(0, 6)

    x, block = relu6(conv_bn(images, "_conv_stem", "_bn0", 2)), 0
    for first_stride, repeats in zip(LITE_STRIDES, LITES[number].repeats, strict=True):
        for repeat in range(repeats):
            place, inputs = f"_blocks.{block}.", x
            if block > 0:
                x = relu6(conv_bn(x, f"{place}_expand_conv", f"{place}_bn0"))
            x = relu6(conv_bn(x, f"{place}_depthwise_conv", f"{place}_bn1", first_stride if repeat == 0 else 1))
            x = conv_bn(x, f"{place}_project_conv", f"{place}_bn2")
            if repeat > 0:
                x = x + inputs
            block += 1
    x = relu6(conv_bn(x, "_conv_head", "_bn1")).mean(axis=[2, 3])
    return (x.matmul(tensors["_fc.weight"].t()) + tensors["_fc.bias"]).numpy()


def same(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "SAME" padding of one side, before and after."""
    missing = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
    return missing // 2, missing - missing // 2
