"""Backbones by name, and the sizes of each."""

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from paddle import nn

from models import efficientnet_lite, resnet, resnet_vd
from models.layout import LayerPlace


class Backbone(NamedTuple):
    """Networks of one plan in several sizes, as MODEL.backbone and MODEL.num_layers choose them."""

    title: str
    """What messages call one of them; {} is its size."""
    network: Callable[[int, int, str], nn.Layer]
    """num_layers, in_channels, data_format -> a network with what models/resnet.py has: `num_features`, `forward`,
    `feature_maps` and its parts `stem`, `block_stages`, `top` and `pool`, `stages`."""
    sizes: Collection[int]
    layer_places: Callable[[int], Iterator[LayerPlace]]
    """Size -> the places of its layers, the first comes first."""


BACKBONES = {
    "resnet": Backbone("ResNet-{}", resnet.ResNet, resnet.STAGE_BLOCKS, resnet.layer_places),
    "resnet_vd": Backbone("ResNet-{}-vd", resnet_vd.ResNetVd, resnet.STAGE_BLOCKS, resnet_vd.layer_places),
    "resnet_vd_leaky": Backbone(
        "leaky ResNet-{}-vd", resnet_vd.LeakyResNetVd, resnet.STAGE_BLOCKS, resnet_vd.layer_places
    ),
    "efficientnet_lite": Backbone(
        "EfficientNet-Lite{}",
        efficientnet_lite.EfficientNetLite,
        efficientnet_lite.SCALES,
        efficientnet_lite.layer_places,
    ),
}
"""MODEL.backbone -> its networks."""


def create_backbone(name: str, num_layers: int, in_channels: int, data_format: str) -> nn.Layer:
    """A backbone for images of in_channels channels, `data_format` being "NCHW" or "NHWC"."""
    return BACKBONES[name].network(num_layers, in_channels, data_format)
