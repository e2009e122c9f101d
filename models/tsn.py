"""Temporal Segment Network: segments -> frames -> mean -> logits. Knows no config, no loss, no files."""

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from models.backbones import create_backbone
from models.normalize import Normalize


class TSN(nn.Layer):
    """A backbone on each snippet, features averaged over the segments, one fully connected layer.

    Args:
        num_classes: number of classes, K.
        num_layers: depth of the backbone.
        seglen: frames per snippet, stacked as channels.
        image_mean, image_std: of R, G and B on the 0..1 scale.
        channels_last: convolve in NHWC layout; input, output and weights stay what they are.
        backbone: a key of models.backbones.BACKBONES.
        multi_label: whether a clip may have several classes, so that each has a probability for itself.

    Source: Wang et al., Temporal Segment Networks, ECCV 2016, as computed by the 2019 PaddlePaddle original.
    """

    def __init__(
        self,
        num_classes: int,
        num_layers: int = 50,
        seglen: int = 1,
        image_mean: Sequence[float] = (0.485, 0.456, 0.406),
        image_std: Sequence[float] = (0.229, 0.224, 0.225),
        channels_last: bool = False,
        backbone: str = "resnet",
        multi_label: bool = False,
    ):
        super().__init__()
        self.multi_label = multi_label
        self.seglen = seglen
        self.channels_last = channels_last
        self.normalize = Normalize(image_mean, image_std)
        self.backbone = create_backbone(backbone, num_layers, 3 * seglen, "NHWC" if channels_last else "NCHW")
        num_features = self.backbone.num_features
        bound = num_features**-0.5
        self.fc = nn.Linear(num_features, num_classes, weight_attr=nn.initializer.Uniform(-bound, bound))

    def forward(self, frames: paddle.Tensor, keep: paddle.Tensor | None = None) -> paddle.Tensor:
        """uint8 (N, T, 3, H, W), T = seg_num * seglen -> logits, float32 (N, K).

        Args:
            keep: float32 (N, *dropout_shape(seg_num)), factors on the features: dropout, while it is trained.
        """
        features = self.features(frames)
        return self.fc(features if keep is None else features * keep)

    def dropout_shape(self, seg_num: int) -> tuple[int, ...]:
        """The shape of what dropout works on, for each clip: its averaged features."""
        return (self.backbone.num_features,)

    def probabilities(self, logits: paddle.Tensor) -> paddle.Tensor:
        """float32 (N, K) -> the same: softmax, or sigmoid of each where a clip may have several classes."""
        return F.sigmoid(logits) if self.multi_label else F.softmax(logits, axis=1)

    def features(self, frames: paddle.Tensor) -> paddle.Tensor:
        """uint8 (N, T, 3, H, W) -> features averaged over the segments, float32 (N, num_features)."""
        return self.segment_features(frames).mean(axis=1)

    def segment_features(self, frames: paddle.Tensor) -> paddle.Tensor:
        """uint8 (N, T, 3, H, W) -> features of each segment, float32 (N, seg_num, num_features)."""
        snippets, seg_num = self.snippets(frames)
        features = self.backbone.pool(self.feature_maps(snippets, seg_num))
        return features.reshape([-1, seg_num, self.backbone.num_features])

    def feature_maps(self, snippets: paddle.Tensor, seg_num: int) -> paddle.Tensor:
        """What `snippets` gives -> the backbone's feature maps; each snippet is seen for itself."""
        return self.backbone.feature_maps(snippets)

    def snippets(self, frames: paddle.Tensor) -> tuple[paddle.Tensor, int]:
        """What the backbone gets of uint8 (N, T, 3, H, W), and the number of segments.

        It is float32 (N * seg_num, 3 * seglen, H, W), or (N * seg_num, H, W, 3 * seglen) with channels_last.
        """
        frames = self.normalize(frames)  # before the shape is asked: Paddle 2.6 cannot export that of uint8
        num_frames, height, width = frames.shape[1], frames.shape[3], frames.shape[4]
        snippets = frames.reshape([-1, 3 * self.seglen, height, width])
        return snippets.transpose([0, 2, 3, 1]) if self.channels_last else snippets, num_frames // self.seglen
