"""Clips and crops of a video: which frames and places, and what averaging over them gives."""

import numpy as np
import paddle
import pytest

from conftest import clip_reader, frame_numbers, grey_frames, write_video
from datareader.loader import Loader
from datareader.reader import ClipReader
from datareader.records import Record
from datareader.sampling import segment_indices
from datareader.transforms import CROPS, View, center_view
from evaluation.predictions import probability_table
from inference.engines.eager import EagerPaddle
from inference.engines.engine import AtOnce
from inference.predict import predict
from models.registry import create_model


@pytest.mark.parametrize(
    "num_frames, seg_num, seglen, num_clips, expected",
    [
        (21, 3, 1, 1, [3, 10, 17]),
        (21, 3, 1, 3, [1, 8, 15, 3, 10, 17, 5, 12, 19]),  # each segment of 7 frames in thirds
        (20, 2, 2, 2, [2, 3, 12, 13, 6, 7, 16, 17]),
        (2, 3, 1, 2, [0, 1, 0, 0, 1, 0]),
    ],
)
def test_clips_are_spread_within_the_segments(num_frames, seg_num, seglen, num_clips, expected):
    assert segment_indices(num_frames, seg_num, seglen, num_clips=num_clips).tolist() == expected


@pytest.mark.parametrize("num_frames", [1, 5, 24, 25, 26, 250, 251])
@pytest.mark.parametrize("num_clips", [1, 2, 3, 10])
def test_any_number_of_clips_stays_inside_and_an_odd_one_has_the_plain_clip_in_its_middle(num_frames, num_clips):
    indices = segment_indices(num_frames, 25, num_clips=num_clips).reshape(num_clips, 25)
    assert indices.min() >= 0 and indices.max() < num_frames
    assert (np.diff(indices, axis=0) >= 0).all()
    if num_clips % 2:
        assert indices[num_clips // 2].tolist() == segment_indices(num_frames, 25).tolist()


def test_three_crops_lie_along_the_long_side():
    assert CROPS["three"](340, 256, 256) == [View(0, 0, False), View(42, 0, False), View(84, 0, False)]
    assert CROPS["three"](256, 340, 224) == [View(16, 0, False), View(16, 58, False), View(16, 116, False)]


def test_ten_crops_are_corners_and_center_and_their_mirror_images():
    views = CROPS["ten"](340, 256, 224)
    assert {(view.left_px, view.top_px) for view in views} == {(0, 0), (116, 0), (0, 32), (116, 32), (58, 16)}
    assert [view._replace(mirrored=True) for view in views[:5]] == views[5:]
    assert center_view(340, 256, 224) in views


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> str:
    """40 grey frames that tell their number, with a white left half so that a mirror image is seen."""
    frames = grey_frames(40, 72, 96)
    frames[:, :, :48] = 255
    return str(write_video(tmp_path_factory.mktemp("views") / "video.mp4", frames))


def reader_of(video: str, **settings) -> ClipReader:
    settings = {"seg_num": 4, "short_size": 72, "target_size": 64, **settings}
    return clip_reader([Record(video, 0, "video")] * 3, **settings)


def test_a_videos_place_holds_clip_after_clip_and_crop_after_crop(video):
    reader = reader_of(video, num_clips=3, crop="ten")
    assert (reader.num_views, reader.clip_shape) == (30, (120, 3, 64, 64))
    clip = np.empty(reader.clip_shape, np.uint8)
    reader.read(0, 0, clip)
    views = clip.reshape(3, 10, 4, 3, 64, 64)
    expected = segment_indices(40, 4, num_clips=3).reshape(3, 4)
    for clip_number in range(3):
        right_edge = views[clip_number, 0, :, :, :, -8:]  # grey in the upper left crop
        assert frame_numbers(right_edge) == expected[clip_number].tolist()
    assert np.array_equal(views[:, 5:], views[:, :5, ..., ::-1])
    assert views[0, 0, 0, 0, 0, 0] > 240 and views[0, 5, 0, 0, 0, 0] < 100


def classify(classifier, reader, batch_size, max_frames):
    """Probabilities in the order of the classes, and features."""
    steps = predict(classifier, Loader(reader, batch_size).epoch(0), reader, max_frames=max_frames, keep_features=True)
    predictions = [prediction for step in steps for prediction in step.predictions]
    return probability_table(predictions, 5), np.stack([prediction.features for prediction in predictions])


@pytest.fixture(scope="module")
def classifier():
    paddle.seed(0)
    return EagerPaddle(create_model("TSN", num_classes=5, num_layers=18))


def test_one_view_is_the_plain_prediction_to_the_bit(video, classifier):
    reader = reader_of(video)
    ours, _ = classify(classifier, reader, 3, None)
    batch = next(iter(Loader(reader, 3).epoch(0)))
    with paddle.no_grad():
        plain = paddle.nn.functional.softmax(classifier.model(batch.frames), axis=1).numpy()
    assert np.array_equal(ours, plain)


def test_views_are_averaged_and_chunks_do_not_matter(video, classifier):
    reader = reader_of(video, num_clips=2, crop="three")
    whole, features = classify(classifier, reader, 3, None)
    calls = []

    class Counting(AtOnce):
        def __call__(self, frames):
            calls.append(len(frames))
            return classifier(frames)

    for max_frames, sizes in ((8, [2] * 9), (20, [5, 5, 5, 3]), (1, [1] * 18)):
        calls.clear()
        chunked, chunked_features = classify(Counting(), reader, 3, max_frames)
        assert calls == sizes  # clips of 4 frames; a clip is never split
        assert np.abs(chunked - whole).max() < 1e-6
        assert np.allclose(chunked_features, features, rtol=1e-4)
    clip = np.empty(reader.clip_shape, np.uint8)
    reader.read(0, 0, clip)
    by_hand = np.mean([classifier(paddle.to_tensor(view[None])).probabilities[0] for view in np.split(clip, 6)], axis=0)
    assert np.abs(whole[0] - by_hand).max() < 1e-6
