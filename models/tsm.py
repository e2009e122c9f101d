"""Temporal Shift Module: TSN whose blocks see the segments before and after. Knows no config, no loss, no files."""

import paddle

from models.tsn import TSN


class TSM(TSN):
    """TSN in which an eighth of the channels comes from the segment before, and an eighth from the segment after.

    What is shifted is what a residual branch sees of its block's input; the shortcut stays as it is. Nothing is learnt
    more and nothing multiplied more than in a TSN. Dropout works on each segment's features, before they are averaged.

    Args:
        shift_div: the channels are 1 / shift_div from before, as many from after.
        shift_every: 1: every residual block shifts; 2: every second one of a stage, from its first.
        arguments: as `TSN`.

    Source: Lin, Gan and Han, TSM, ICCV 2019, as computed by the 2019 PaddlePaddle original: the first channels are
    those of the segment before. Blocks without a shortcut (of EfficientNet-Lite) do not shift, as the authors'
    MobileNetV2.
    """

    def __init__(self, num_classes: int, shift_div: int = 8, shift_every: int = 1, **arguments):
        super().__init__(num_classes, **arguments)
        self.shift_div = shift_div
        self.shift_every = shift_every
        # saved with the weights, whose names and shapes are those of a TSN
        self.register_buffer("shift", paddle.to_tensor([shift_div, shift_every], "float32"))

    def forward(self, frames: paddle.Tensor, keep: paddle.Tensor | None = None) -> paddle.Tensor:
        """As `TSN.forward`."""
        features = self.segment_features(frames)
        return self.fc((features if keep is None else features * keep).mean(axis=1))

    def dropout_shape(self, seg_num: int) -> tuple[int, ...]:
        """The shape of what dropout works on, for each clip: the features of its segments."""
        return (seg_num, self.backbone.num_features)

    def feature_maps(self, snippets: paddle.Tensor, seg_num: int) -> paddle.Tensor:
        """What `snippets` gives -> the backbone's feature maps; neighbours in time are seen."""
        x = self.backbone.stem(snippets)
        for stage in self.backbone.block_stages():
            for index, block in enumerate(stage):
                shifts = block.is_residual and index % self.shift_every == 0
                x = block(x, temporal_shift(x, seg_num, self.shift_div, self.channels_last) if shifts else None)
        return self.backbone.top(x)


def temporal_shift(x: paddle.Tensor, seg_num: int, shift_div: int, channels_last: bool = False) -> paddle.Tensor:
    """Each segment's first channels are those of the segment before, the next ones those of the segment after.

    At the ends of the clip they are 0. Every engine has slices, concatenations and products. Pictures keep their four
    axes: OpenVINO would rearrange them for a fifth, which takes a third of its speed in bf16.

    Args:
        x: float32 (N * seg_num, C, H, W), or (N * seg_num, H, W, C) with channels_last.
        shift_div: C // shift_div channels are of each kind.

    Returns:
        The same shape.
    """
    axis = 3 if channels_last else 1
    width, size = x.shape[axis], x.shape[axis] // shift_div
    ends = ((0, size), (size, 2 * size), (2 * size, width))  # slices: Paddle Inference cannot split in bf16
    earlier, later, still = (paddle.slice(x, [axis], [start], [end]) for start, end in ends)
    segment = paddle.arange(paddle.shape(x)[0]).reshape([-1, 1, 1, 1]) % seg_num
    has_before, has_after = (segment != 0).astype(x.dtype), (segment != seg_num - 1).astype(x.dtype)
    nothing = paddle.zeros_like(earlier[:1])
    earlier = paddle.concat([nothing, earlier])[:-1] * has_before
    later = paddle.concat([later, nothing])[1:] * has_after
    return paddle.concat([earlier, later, still], axis=axis)
