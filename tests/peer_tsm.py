"""TSM and ResNet-vd as each toolkit defines them: names written down by hand, and a forward pass in numpy alone.

Names and behaviour were read in the toolkits' public code: PaddlePaddle/models release/1.4
`PaddleCV/video/models/tsm/tsm_res_model.py`; PaddleVideo `paddlevideo/modeling/backbones/resnet_tsm.py`,
`resnet_tweaks_tsm.py`, `resnet_tweaks_tsn.py` and their heads; MMAction2 `mmaction/models/backbones/resnet_tsm.py`; MIT
`ops/temporal_shift.py` and `ops/models.py`; PaddleClas `ppcls/arch/backbone/legendary_models/resnet.py` (since 2.1) and
`ppcls/modeling/architectures/resnet_vd.py` (2.0).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
PADDLE_LEAVES = (".weight", ".bias", "._mean", "._variance")
TORCH_LEAVES = (".weight", ".bias", ".running_mean", ".running_var")
Names = tuple[str, str]
"""Of a convolution, and of its batch norm, without what follows for each of its four arrays."""


class Layer(NamedTuple):
    names: Names
    shape: tuple[int, int, int, int]
    """Of the kernel: outputs, inputs, height, width."""


class Block(NamedTuple):
    branch: list[Layer]
    shortcut: Layer | None
    stride: int
    shifts: bool


class Toolkit(NamedTuple):
    """What a toolkit calls the layers of its network, and what that does."""

    stem: tuple[Names, ...]
    """Of one convolution, or of three: a ResNet-vd."""
    branch: Callable[[int, int, int, int], Names]
    """Depth, stage from 1, block from 0, convolution from 0."""
    shortcut: Callable[[int, int, int], Names]
    head: tuple[str, str]
    leaves: tuple[str, str, str, str] = PADDLE_LEAVES
    is_torch: bool = False
    shifts: bool = True
    looks_ahead: bool = False
    skips_in_deep_ones: bool = False
    feature_factor: float = 1.0
    slope: float = 0.0

    @property
    def is_vd(self) -> bool:
        return len(self.stem) == 3

    def stem_layers(self) -> list[Layer]:
        shapes = [(32, 3, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3)] if self.is_vd else [(64, 3, 7, 7)]
        return [Layer(*one) for one in zip(self.stem, shapes, strict=True)]

    def blocks(self, depth: int) -> Iterator[Block]:
        is_deep, inputs = depth >= 50, 64
        every = 2 if self.skips_in_deep_ones and BLOCKS[depth][2] >= 23 else 1
        for stage, num_blocks in enumerate(BLOCKS[depth], 1):
            width = 32 * 2**stage
            outputs = 4 * width if is_deep else width
            for index in range(num_blocks):
                shapes = [(width, inputs, 1, 1), (width, width, 3, 3), (outputs, width, 1, 1)]
                if not is_deep:
                    shapes = [(width, inputs, 3, 3), (width, width, 3, 3)]
                branch = [Layer(self.branch(depth, stage, index, i), shape) for i, shape in enumerate(shapes)]
                shortcut = None
                if index == 0 and (self.is_vd or stage > 1 or is_deep):
                    shortcut = Layer(self.shortcut(depth, stage, index), (outputs, inputs, 1, 1))
                stride = 2 if index == 0 and stage > 1 else 1
                yield Block(branch, shortcut, stride, self.shifts and index % every == 0)
                inputs = outputs

    def weights(self, depth: int, num_classes: int, seed: int) -> dict[str, np.ndarray]:
        """Random float32 weights under the toolkit's names, in its layouts; activations stay of one size."""
        rng, arrays = np.random.default_rng(seed), {}
        layers = self.stem_layers()
        for block in self.blocks(depth):
            layers += [*block.branch, *([block.shortcut] if block.shortcut else [])]
        for (convolution, norm), shape in layers:
            arrays[convolution] = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
            for leaf, least, spread in zip(self.leaves, (0.6, -0.2, -0.1, 1.2), (0.4, 0.4, 0.2, 1), strict=True):
                arrays[norm + leaf] = (least + spread * rng.random(shape[0])).astype(np.float32)
        head = (0.2 * rng.standard_normal((shape[0] if depth < 50 else 2048, num_classes))).astype(np.float32)
        arrays[self.head[0]] = np.ascontiguousarray(head.T) if self.is_torch else head
        arrays[self.head[1]] = rng.random(num_classes).astype(np.float32)
        return arrays

    def logits(self, arrays: dict[str, np.ndarray], depth: int, frames: np.ndarray, shift_div: int) -> np.ndarray:
        """Normalised frames (N, T, 3, H, W) -> logits (N, K)."""
        num_segments = frames.shape[1]

        def conv_bn(x: np.ndarray, layer: Layer, stride: int = 1) -> np.ndarray:
            convolution, norm = layer.names
            scale, offset, mean, variance = (arrays[norm + leaf][:, None, None] for leaf in self.leaves)
            return (convolve(x, arrays[convolution], stride) - mean) / np.sqrt(
                variance + np.float32(1e-5)
            ) * scale + offset

        def relu(x: np.ndarray) -> np.ndarray:
            return np.where(x > 0, x, np.float32(self.slope) * x)

        x = frames.reshape(-1, *frames.shape[2:])
        for number, layer in enumerate(self.stem_layers()):
            x = relu(conv_bn(x, layer, 2 if number == 0 else 1))
        x = windows(x, 3, 2, -np.inf).max(axis=(4, 5))
        for block in self.blocks(depth):
            seen = shift(x, num_segments, shift_div, self.looks_ahead) if block.shifts else x
            strides = [1] * len(block.branch)
            strides[1 if depth >= 50 else 0] = block.stride
            for number, layer in enumerate(block.branch):
                seen = conv_bn(seen, layer, strides[number])
                seen = relu(seen) if number < len(block.branch) - 1 else seen
            if block.shortcut and self.is_vd and block.stride == 2:
                x = conv_bn(average_2x2(x), block.shortcut)
            elif block.shortcut:
                x = conv_bn(x, block.shortcut, block.stride)
            x = relu(x + seen)
        features = x.mean(axis=(2, 3)).reshape(len(frames), num_segments, -1).mean(axis=1) * self.feature_factor
        weight = arrays[self.head[0]]
        return features @ (weight.T if self.is_torch else weight) + arrays[self.head[1]]


def windows(x: np.ndarray, size: int, stride: int, filling: float = 0.0) -> np.ndarray:
    """(N, C, H, W) -> what each place sees: (N, C, H', W', size, size)."""
    edge = size // 2
    x = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)), constant_values=filling)
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))[:, :, ::stride, ::stride]


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    seen = windows(x, kernel.shape[2], stride).transpose(0, 2, 3, 1, 4, 5)
    flat = seen.reshape(*seen.shape[:3], -1) @ kernel.reshape(len(kernel), -1).T
    return flat.transpose(0, 3, 1, 2)


def average_2x2(x: np.ndarray) -> np.ndarray:
    """The mean of each two by two pixels; of what there is of them at the edge of an odd picture."""
    tops, lefts = range(0, x.shape[2], 2), range(0, x.shape[3], 2)
    means = [[x[:, :, top : top + 2, left : left + 2].mean(axis=(2, 3)) for left in lefts] for top in tops]
    return np.array(means).transpose(2, 3, 0, 1)


def shift(x: np.ndarray, num_segments: int, div: int, looks_ahead: bool) -> np.ndarray:
    """(N * T, C, H, W) -> the same, frame by frame."""
    clips, size = x.reshape(-1, num_segments, *x.shape[1:]), x.shape[1] // div
    found = np.zeros_like(clips)
    found[:, :, 2 * size :] = clips[:, :, 2 * size :]
    for segment in range(num_segments):
        for channels, step in ((slice(0, size), -1), (slice(size, 2 * size), 1)):
            source = segment + (-step if looks_ahead else step)
            if 0 <= source < num_segments:
                found[:, segment, channels] = clips[:, source, channels]
    return found.reshape(x.shape)


def _res(depth: int, stage: int, index: int) -> str:
    """2a, 2b, ...; 4a, 4b1, 4b2, ... in the third stage of the deep ones."""
    return f"{stage + 1}b{index}" if depth > 50 and stage == 3 and index else f"{stage + 1}{chr(97 + index)}"


def _block_number(depth: int, stage: int, index: int) -> int:
    return sum(BLOCKS[depth][: stage - 1]) + index


def _paddle(place: str) -> Names:
    return f"{place}._conv.weight", f"{place}._batch_norm"


def _original_branch(depth: int, stage: int, index: int, number: int) -> Names:
    place = f"{_res(depth, stage, index)}_branch2{'abc'[number]}"
    return f"res{place}_weights", f"bn{place}"


def _original_shortcut(depth: int, stage: int, index: int) -> Names:
    place = f"{_res(depth, stage, index)}_branch1"
    return f"res{place}_weights", f"bn{place}"


def _mmaction2_branch(depth: int, stage: int, index: int, number: int) -> Names:
    place = f"backbone.layer{stage}.{index}.conv{number + 1}"
    return f"{place}.conv{_net(depth, index, number)}.weight", f"{place}.bn"


def _mit_branch(depth: int, stage: int, index: int, number: int) -> Names:
    place = f"base_model.layer{stage}.{index}"
    return f"{place}.conv{number + 1}{_net(depth, index, number)}.weight", f"{place}.bn{number + 1}"


def _net(depth: int, index: int, number: int) -> str:
    """What wraps a convolution whose input is shifted."""
    return ".net" if number == 0 and (depth < 101 or index % 2 == 0) else ""


def _clas(depth: int, stage: int, index: int, part: str) -> Names:
    place = f"blocks.{_block_number(depth, stage, index)}.{part}"
    return f"{place}.conv.weight", f"{place}.bn"


VD_2 = Toolkit(
    stem=tuple(_paddle(f"conv1_{number}") for number in (1, 2, 3)),
    branch=lambda depth, stage, index, number: _paddle(f"bb_{stage - 1}_{index}.conv{number}"),
    shortcut=lambda depth, stage, index: _paddle(f"bb_{stage - 1}_{index}.short"),
    head=("out.weight", "out.bias"),
    shifts=False,
)
PP_TSN = VD_2._replace(
    stem=tuple(_paddle(f"backbone.conv1_{number}") for number in (1, 2, 3)),
    branch=lambda depth, stage, index, number: _paddle(f"backbone.bb_{stage - 1}_{index}.conv{number}"),
    shortcut=lambda depth, stage, index: _paddle(f"backbone.bb_{stage - 1}_{index}.short"),
    head=("head.fc.weight", "head.fc.bias"),
)
MIT = Toolkit(
    stem=(("base_model.conv1.weight", "base_model.bn1"),),
    branch=_mit_branch,
    shortcut=lambda depth, stage, index: (
        f"base_model.layer{stage}.{index}.downsample.0.weight",
        f"base_model.layer{stage}.{index}.downsample.1",
    ),
    head=("new_fc.weight", "new_fc.bias"),
    leaves=TORCH_LEAVES,
    is_torch=True,
    looks_ahead=True,
    skips_in_deep_ones=True,
)
TSM = {
    "original": Toolkit(
        stem=(("conv1_weights", "bn_conv1"),),
        branch=_original_branch,
        shortcut=_original_shortcut,
        head=("fc_0.w_0", "fc_0.b_0"),
        leaves=("_scale", "_offset", "_mean", "_variance"),
        feature_factor=0.5,  # fluid's dropout of a half, which leaves the scaling to inference
    ),
    "paddlevideo": Toolkit(
        stem=(_paddle("backbone.conv"),),
        branch=lambda depth, stage, index, number: _paddle(f"backbone.res{_res(depth, stage, index)}.conv{number}"),
        shortcut=lambda depth, stage, index: _paddle(f"backbone.res{_res(depth, stage, index)}.short"),
        head=("head.fc.weight", "head.fc.bias"),
    ),
    "paddlevideo_pp": PP_TSN._replace(shifts=True, slope=0.01),
    "mmaction2": MIT._replace(
        stem=(("backbone.conv1.conv.weight", "backbone.conv1.bn"),),
        branch=_mmaction2_branch,
        shortcut=lambda depth, stage, index: (
            f"backbone.layer{stage}.{index}.downsample.conv.weight",
            f"backbone.layer{stage}.{index}.downsample.bn",
        ),
        head=("cls_head.fc_cls.weight", "cls_head.fc_cls.bias"),
    ),
    "mit": MIT,
}
"""Key of our table of names -> the toolkit's TSM."""
RESNET_VD = {
    "paddleclas_vd": Toolkit(
        stem=tuple((f"stem.{index}.conv.weight", f"stem.{index}.bn") for index in range(3)),
        branch=lambda depth, stage, index, number: _clas(depth, stage, index, f"conv{number}"),
        shortcut=lambda depth, stage, index: _clas(depth, stage, index, "short"),
        head=("fc.weight", "fc.bias"),
        shifts=False,
    ),
    "paddleclas2.0_vd": VD_2,
    "paddlevideo_pp": PP_TSN,
}
"""Key of our table of names -> the toolkit's ResNet-vd, each frame for itself."""
