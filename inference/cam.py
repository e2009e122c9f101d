"""Where in the frames a class is seen."""

import paddle
import paddle.nn.functional as F
from paddle import nn


@paddle.no_grad()
def class_maps(model: nn.Layer, frames: paddle.Tensor, class_ids: list[int]) -> paddle.Tensor:
    """Grad-CAM of a class over the last feature maps of each snippet.

    After those maps the model only averages and has one linear layer. So the gradient by which Grad-CAM weighs the maps
    is that layer's weight, up to a constant, and no gradient has to be computed.

    Args:
        model: as models/tsn.py.
        frames: uint8 (N, T, 3, H, W).
        class_ids: a class for each of the N clips.

    Returns:
        float32 (N, seg_num, H, W), 0 to 1, where 1 is the strongest place of the clip.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017; Zhou et al., CAM, CVPR 2016.
    """
    model.eval()
    snippets, seg_num = model.snippets(frames)
    maps = model.feature_maps(snippets, seg_num)
    if model.channels_last:
        maps = maps.transpose([0, 3, 1, 2])
    weights = model.fc.weight.t()[paddle.to_tensor(class_ids)]
    weights = weights.repeat_interleave(seg_num, axis=0).unsqueeze([2, 3])
    seen = F.relu((maps * weights).sum(axis=1, keepdim=True))
    seen = F.interpolate(seen, size=frames.shape[3:], mode="bilinear").reshape([-1, seg_num, *frames.shape[3:]])
    return seen / seen.max(axis=[1, 2, 3], keepdim=True).clip(min=1e-12)
