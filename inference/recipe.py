"""What an export's card says of the frames that the model wants: numbers for preprocess.py, words for people.

Whoever changes how frames are read, in datareader/ and in preprocess.py, changes these words too.
"""

from typing import Any

from datareader.sampling import Sampling
from datareader.transforms import Views

PLACES = {
    "center": "one square: left = round((width - target_size) / 2), top = round((height - target_size) / 2), halves to "
    "even",
    "three": "three squares along the longer side (across, if both are equal): at its start, middle and end; in the "
    "middle of the shorter side; a middle is round((side - target_size) / 2), halves to even",
    "ten": "ten squares: upper left, upper right, lower left, lower right, centre (round((side - target_size) / 2), "
    "halves to even), then the same five mirrored left to right",
}
"""Crop -> which squares it cuts."""
RESIZES = {
    "stretch": "a frame whose short side is short_size stays as it is; else short side to short_size and long side "
    "to short_size * 4 // 3, whatever the aspect ratio was (a square becomes that wide)",
    "keep": "short side to short_size and long side to (2 * long * short_size + short) // (2 * short), which keeps the "
    "aspect ratio (to the nearest pixel, halves upwards)",
}
"""How a section resizes -> what becomes of a frame."""


def preprocessing_of(sampling: Sampling, views: Views, multi_label: bool = False) -> dict[str, Any]:
    """How infer.py makes the model's input of a video, and what its output is."""
    return {
        "seg_num": sampling.seg_num,
        "seglen": sampling.seglen,
        "num_clips": sampling.num_clips,
        "crop": views.crop,
        "resize_mode": views.resize,
        "short_size": views.short_size,
        "target_size": views.target_size,
        "program": "preprocess.py, written beside the model, does what the following lines say",
        "video_stream": "the one that FFmpeg calls the best, av_find_best_stream",
        "decoding": "all n frames that the decoder gives, in the order shown, counted from 0; a packet that it refuses "
        "is passed over, and where the file cannot be read further the video ends; frames that an edit list hides do "
        "not count",
        "orientation": "turned and mirrored as the display matrix says, to the nearest quarter turn",
        "color": "8-bit RGB by FFmpeg's conversion to rgb24, swscale's flag bilinear",
        "frame_numbers": "(s * max(length, 1) + offset + k) % n for segment s < seg_num and k < seglen, where length = "
        "n // seg_num; offset of clip c = (2 * c + 1) * (length - seglen) // (2 * num_clips), or 0 if length < seglen",
        "resize": RESIZES[views.resize],
        "interpolation": "Pillow's BILINEAR, which weighs all pixels around a new one when it makes a picture smaller",
        "cropping": PLACES[views.crop],
        "layout": "uint8 (views, T, 3, target_size, target_size), values 0 to 255; a view is a crop of a clip: all of "
        "the first clip, then of the second, ...; T = seg_num * seglen: segment by segment, its frames in order",
        "normalisation": "inside the model, and sigmoid too: a video may have several classes, and each probability is "
        "for itself"
        if multi_label
        else "inside the model, and softmax too",
        "answer": "the mean of the probabilities, or of the features, over the views",
    }
