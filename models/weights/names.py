"""What each toolkit calls the tensors of a network and of its last layer."""

import re
from collections.abc import Callable
from typing import NamedTuple

from models.layout import BlockPlace
from models.resnet_vd import NEGATIVE_SLOPE

PADDLE_BATCH_NORM = (".weight", ".bias", "._mean", "._variance")
TORCH_BATCH_NORM = (".weight", ".bias", ".running_mean", ".running_var")

NOT_WEIGHTS = re.compile(r"_velocity_\d+$|^@.*@$|^learning_rate(_\d+)?$|\.tmp_\d+$|\.num_batches_tracked$")
"""State of a training that lies among the weights: the original's velocities and counters, torch's batch counters."""

RESNET_D = re.compile(r"(^|\.)(conv1_[123][._]|stem\.[1-9]\.|conv1\.0\.)")
"""The stem of three 3x3 convolutions, as PaddleClas, PaddleVideo, MMPretrain and timm name it."""


class Shift(NamedTuple):
    """What a toolkit's TSM does, where names and shapes of its tensors do not tell.

    The channels that its blocks get from the segment before and from the one after are 1 / div of all each.
    """

    div: int | None = None
    """None: it had several."""
    every_second_from: int | None = None
    """The depth from which on only every second block of a stage shifts; None: every block does, in every depth."""
    looks_ahead: bool = False
    """Whether the first channels come from the segment after, the next from the one before; ours: the other way."""
    feature_factor: float = 1.0
    """What features are multiplied by before the last layer: dropout, where training leaves that to later."""
    negative_slope: float = 0.0
    """Of its rectifiers."""

    def every(self, num_layers: int) -> int:
        """1: every block of a stage shifts; 2: every second one, from the first."""
        return 2 if self.every_second_from and num_layers >= self.every_second_from else 1


class Naming(NamedTuple):
    """One toolkit's names for the networks of a family.

    The places of layers are format strings over {block} (a block's name), {number} (1, 2, 3: which of the convolutions
    of its part), {index} (the same from 0) and {letter} (a, b, c).
    """

    title: str
    """Whose names these are, for messages."""
    block: Callable[[BlockPlace], str]
    """The name of a block."""
    parts: dict[str, tuple[str, str]]
    """Part of a network, as its `layer_places` has them -> places of a convolution and of its batch norm."""
    head: tuple[str, str]
    """Weight and bias of the last layer."""
    family: str = "resnet"
    """A key of BACKBONES."""
    convolution: str = ".weight"
    """What follows a convolution's place."""
    batch_norm: tuple[str, str, str, str] = PADDLE_BATCH_NORM
    """What follows a batch norm's place: scale, offset, mean, variance."""
    head_is_transposed: bool = False
    """Whether the last layer's weight is stored as [classes, features], as torch does."""
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """image_mean and image_std that all weights of these names were trained with; None: they had several."""
    shift: Shift | None = None
    """How the network shifts; None: it does not."""
    shifted_convolution: str | None = None
    """What follows the place of a convolution whose input is shifted, if that is not `convolution`."""
    tsm: "Naming | None" = None
    """The toolkit's names for a TSM; None: it has none, or they are these."""

    def with_tsm(self, title: str, shift: Shift, shifted_convolution: str | None = None) -> "Naming":
        """The same, with that of the toolkit's TSM, whose names are these but for convolutions of what is shifted."""
        return self._replace(tsm=self._replace(title=title, shift=shift, shifted_convolution=shifted_convolution))

    @property
    def tells_shift(self) -> bool:
        """Whether the names tell a TSM from a network that does not shift."""
        return self.tsm is None or self.tsm.shifted_convolution is not None


def _layer_and_index(block: BlockPlace) -> str:
    return f"layer{block.stage}.{block.index}"


def _flat(block: BlockPlace) -> str:
    return f"blocks.{block.position}"


def _stage_and_index(block: BlockPlace) -> str:
    return f"bb_{block.stage - 1}_{block.index}"


def _stage_and_letter(block: BlockPlace) -> str:
    """2a, 2b, ...; in the long third stage of ResNet-101 and 152 4a, 4b1, 4b2, ..."""
    if block.size > 50 and block.stage == 3 and block.index > 0:
        return f"{block.stage + 1}b{block.index}"
    return f"{block.stage + 1}{chr(ord('a') + block.index)}"


def _behind(prefix: str, parts: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Places of a network that lies in another one, under that name."""
    return {part: (prefix + convolution, prefix + batch_norm) for part, (convolution, batch_norm) in parts.items()}


OURS = {
    "resnet": Naming(
        "this project",
        block=_layer_and_index,
        parts={
            "stem": ("backbone.conv1", "backbone.bn1"),
            "branch": ("backbone.{block}.conv{number}", "backbone.{block}.bn{number}"),
            "shortcut": ("backbone.{block}.downsample.0", "backbone.{block}.downsample.1"),
        },
        head=("fc.weight", "fc.bias"),
    ),
    "resnet_vd": Naming(
        "this project",
        family="resnet_vd",
        block=_layer_and_index,
        parts={
            "stem": ("backbone.conv1_{number}", "backbone.bn1_{number}"),
            "branch": ("backbone.{block}.conv{number}", "backbone.{block}.bn{number}"),
            "shortcut": ("backbone.{block}.downsample.1", "backbone.{block}.downsample.2"),
        },
        head=("fc.weight", "fc.bias"),
    ),
    "efficientnet_lite": Naming(
        "this project",
        family="efficientnet_lite",
        block=_flat,
        parts={
            "stem": ("backbone.conv_stem", "backbone.bn0"),
            "expand": ("backbone.{block}.expand_conv", "backbone.{block}.bn0"),
            "depthwise": ("backbone.{block}.depthwise_conv", "backbone.{block}.bn1"),
            "project": ("backbone.{block}.project_conv", "backbone.{block}.bn2"),
            "top": ("backbone.conv_head", "backbone.bn1"),
        },
        head=("fc.weight", "fc.bias"),
    ),
}
"""Family -> this project's names; those of resnet_vd_leaky are resnet_vd's."""
ANOTHER_BACKBONE = Naming(
    "this project", family="another backbone", block=_flat, parts={}, head=("fc.weight", "fc.bias")
)
"""A network of this project that no family lists: its tensors keep their names."""
PADDLE_VISION = Naming(
    "paddle.vision",
    block=_layer_and_index,
    parts={
        "stem": ("conv1", "bn1"),
        "branch": ("{block}.conv{number}", "{block}.bn{number}"),
        "shortcut": ("{block}.downsample.0", "{block}.downsample.1"),
    },
    head=("fc.weight", "fc.bias"),
)
TORCH_SHIFT = Shift(every_second_from=101, looks_ahead=True)  # as MIT and MMAction2 have it
PADDLECLAS_2_VD = Naming(
    "PaddleClas 2.0's ResNet-vd and PaddleVideo's backbone",
    family="resnet_vd",
    block=_stage_and_index,
    parts={
        "stem": ("conv1_{number}._conv", "conv1_{number}._batch_norm"),
        "branch": ("{block}.conv{index}._conv", "{block}.conv{index}._batch_norm"),
        "shortcut": ("{block}.short._conv", "{block}.short._batch_norm"),
    },
    head=("out.weight", "out.bias"),
)
NAMINGS = {
    "original": Naming(
        "the 2019 original",
        block=_stage_and_letter,
        parts={
            "stem": ("conv1", "bn_conv1"),
            "branch": ("res{block}_branch2{letter}", "bn{block}_branch2{letter}"),
            "shortcut": ("res{block}_branch1", "bn{block}_branch1"),
        },
        head=("fc_0.w_0", "fc_0.b_0"),
        convolution="_weights",
        batch_norm=("_scale", "_offset", "_mean", "_variance"),
    ).with_tsm("the 2019 original's TSM", Shift(div=8, feature_factor=0.5)),
    "paddlevideo": Naming(
        "PaddleVideo's TSN",
        block=_stage_and_letter,
        parts={
            "stem": ("backbone.conv._conv", "backbone.conv._batch_norm"),
            "branch": ("backbone.res{block}.conv{index}._conv", "backbone.res{block}.conv{index}._batch_norm"),
            "shortcut": ("backbone.res{block}.short._conv", "backbone.res{block}.short._batch_norm"),
        },
        head=("head.fc.weight", "head.fc.bias"),
    ).with_tsm("PaddleVideo's TSM", Shift()),
    "paddleclas": Naming(
        "PaddleClas",
        block=_flat,
        parts={
            "stem": ("stem.0.conv", "stem.0.bn"),
            "branch": ("{block}.conv{index}.conv", "{block}.conv{index}.bn"),
            "shortcut": ("{block}.short.conv", "{block}.short.bn"),
        },
        head=("fc.weight", "fc.bias"),
    ),
    "paddleclas2.0": Naming(
        "PaddleClas 2.0 and PaddleVideo's backbone",
        block=_stage_and_letter,
        parts={
            "stem": ("conv._conv", "conv._batch_norm"),
            "branch": ("res{block}.conv{index}._conv", "res{block}.conv{index}._batch_norm"),
            "shortcut": ("res{block}.short._conv", "res{block}.short._batch_norm"),
        },
        head=("out.weight", "out.bias"),
    ),
    "paddleclas_vd": Naming(
        "PaddleClas' ResNet-vd",
        family="resnet_vd",
        block=_flat,
        parts={
            "stem": ("stem.{index}.conv", "stem.{index}.bn"),
            "branch": ("{block}.conv{index}.conv", "{block}.conv{index}.bn"),
            "shortcut": ("{block}.short.conv", "{block}.short.bn"),
        },
        head=("fc.weight", "fc.bias"),
    ),
    "paddleclas2.0_vd": PADDLECLAS_2_VD,
    "paddlevideo_pp": PADDLECLAS_2_VD._replace(
        title="PaddleVideo's PP-TSN",
        parts=_behind("backbone.", PADDLECLAS_2_VD.parts),
        head=("head.fc.weight", "head.fc.bias"),
    ).with_tsm("PaddleVideo's PP-TSM", Shift(negative_slope=NEGATIVE_SLOPE)),
    "paddle.vision": PADDLE_VISION,
    "torchvision": PADDLE_VISION._replace(
        title="torchvision and timm", batch_norm=TORCH_BATCH_NORM, head_is_transposed=True
    ),
    "mmaction2": Naming(
        "MMAction2's TSN",
        block=_layer_and_index,
        parts={
            "stem": ("backbone.conv1.conv", "backbone.conv1.bn"),
            "branch": ("backbone.{block}.conv{number}.conv", "backbone.{block}.conv{number}.bn"),
            "shortcut": ("backbone.{block}.downsample.conv", "backbone.{block}.downsample.bn"),
        },
        head=("cls_head.fc_cls.weight", "cls_head.fc_cls.bias"),
        batch_norm=TORCH_BATCH_NORM,
        head_is_transposed=True,
    ).with_tsm("MMAction2's TSM", TORCH_SHIFT, ".net.weight"),
    "mit": PADDLE_VISION._replace(
        title="MIT's TSN",
        parts=_behind("base_model.", PADDLE_VISION.parts),
        head=("new_fc.weight", "new_fc.bias"),
        batch_norm=TORCH_BATCH_NORM,
        head_is_transposed=True,
    ).with_tsm("MIT's TSM", TORCH_SHIFT, ".net.weight"),
    "efficientnet_lite_pytorch": Naming(
        "efficientnet_lite_pytorch",
        family="efficientnet_lite",
        block=_flat,
        parts={
            "stem": ("_conv_stem", "_bn0"),
            "expand": ("_{block}._expand_conv", "_{block}._bn0"),
            "depthwise": ("_{block}._depthwise_conv", "_{block}._bn1"),
            "project": ("_{block}._project_conv", "_{block}._bn2"),
            "top": ("_conv_head", "_bn1"),
        },
        head=("_fc.weight", "_fc.bias"),
        batch_norm=TORCH_BATCH_NORM,
        head_is_transposed=True,
        normalisation=((127 / 255,) * 3, (128 / 255,) * 3),
    ),
}
"""Other toolkits' names."""
