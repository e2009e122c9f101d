"""Frame backbones by name: what TSN runs on each snippet."""

from paddle import nn

from models.efficientnet_lite import EfficientNetLite
from models.resnet import ResNet

BACKBONES = {
    "resnet": ResNet,
    "efficientnet_lite": EfficientNetLite,
}
"""Name -> (num_layers, in_channels, data_format) -> a network with what models/resnet.py has:
`num_features`, `forward`, `feature_maps` and its parts `stem`, `block_stages`, `top` and `pool`, `stages`."""


def create_backbone(name: str, num_layers: int, in_channels: int, data_format: str) -> nn.Layer:
    """The backbone registered under a name; see its class for the arguments."""
    return BACKBONES[name](num_layers, in_channels, data_format)
