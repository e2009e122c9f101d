"""Mixup and CutMix in numbers that were computed by hand."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from training.mixing import Box, Mix, Mixing, cutmix_of


def clips(*values: int, side: int = 4) -> paddle.Tensor:
    """A clip of 2 frames for each value, all of whose pixels have it."""
    pixels = np.array(values, np.uint8)[:, None, None, None, None]
    return paddle.to_tensor(np.broadcast_to(pixels, (len(values), 2, 3, side, side)).copy())


def test_mixup_is_the_weighed_mean_of_neighbours_and_not_rounded():
    mixed = Mix(0.75, None).apply(clips(100, 201, 0, 255, 77))
    assert mixed.shape == [5, 2, 3, 4, 4] and mixed.dtype == paddle.float32
    for clip, expected in zip(mixed, [125.25, 175.75, 63.75, 191.25, 77], strict=True):
        assert (clip == expected).all(), expected


def test_cutmix_puts_the_neighbours_box_into_all_frames():
    frames = clips(10, 20, 30)
    mixed = Mix(1 - 2 / 16, Box(1, 2, 3, 3)).apply(frames)
    assert mixed.dtype == paddle.uint8
    first = np.full((2, 3, 4, 4), 10)
    first[:, :, 2, 1:3] = 20
    assert np.array_equal(mixed[0].numpy(), first)
    assert np.array_equal(mixed[1].numpy(), np.where(first == 20, 10, 20))
    assert (mixed[2] == 30).all(), "a last odd clip stays"
    assert (frames[0] == 10).all(), "what was read stays as it is"


def test_a_box_of_no_size_and_one_clip_change_nothing():
    assert (Mix(1.0, Box(2, 2, 2, 2)).apply(clips(10, 20)) == clips(10, 20)).all()
    for mix in (Mix(0.3, None), Mix(0.0, Box(0, 0, 4, 4))):
        assert (mix.apply(clips(10)).astype("int32") == 10).all()
    assert (Mix(0.0, Box(0, 0, 4, 4)).apply(clips(10, 20)) == clips(20, 10)).all()


@pytest.mark.parametrize(
    "center, box, share",
    [
        ((50, 50), Box(25, 25, 75, 75), 0.75),
        ((0, 50), Box(0, 25, 25, 75), 0.875),  # half of it lies outside
        ((99, 99), Box(74, 74, 100, 100), 1 - 26 * 26 / 10000),
    ],
)
def test_a_boxs_share_is_the_area_that_it_leaves(center, box, share):
    assert cutmix_of(0.75, *center, 100) == Mix(share, box)  # sqrt(1 - 0.75) is half a side


def test_the_loss_counts_both_labels_by_their_shares():
    logits = paddle.to_tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    labels, mix = paddle.to_tensor([0, 1, 1]), Mix(0.75, None)
    others = mix.of_partners(labels)
    assert others.tolist() == [1, 0, 1]
    right, wrong = np.log1p(np.exp([-2, -1, 3])), np.log1p(np.exp([2, 1, 3]))  # -log softmax of the label
    loss = mix.loss(F.cross_entropy, logits, labels, others)
    assert float(loss) == pytest.approx(np.mean(0.75 * right + 0.25 * wrong), rel=1e-6)
    parts = [float(mix.loss(F.cross_entropy, logits[i:j], labels[i:j], others[i:j])) for i, j in ((0, 1), (1, 3))]
    assert parts[0] / 3 + 2 * parts[1] / 3 == pytest.approx(float(loss), rel=1e-6), "cut between two partners"


def test_labels_of_several_classes_have_partners_too():
    labels = paddle.to_tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    assert Mix(0.5, None).of_partners(labels).tolist() == [[0, 1, 0], [1, 0, 1]]


def test_the_main_label_has_the_larger_share():
    labels, others = paddle.to_tensor([0, 1]), paddle.to_tensor([1, 0])
    assert [Mix(share, None).main_labels(labels, others).tolist()[0] for share in (0.9, 0.5, 0.4)] == [0, 0, 1]


def test_a_draw_depends_on_seed_and_step_alone():
    mixing = Mixing(5, 0.2, 1.0, 64)
    draws = [mixing.draw(step) for step in range(200)]
    assert [Mixing(5, 0.2, 1.0, 64).draw(step) for step in reversed(range(200))] == draws[::-1]
    assert len(set(draws)) > 190 and Mixing(6, 0.2, 1.0, 64).draw(0) != draws[0]
    assert 70 < sum(mix.box is None for mix in draws) < 130
    for share, box in draws:
        assert 0 <= share <= 1 and (box or share >= 0.5), "by mixup a clip has the larger share in what becomes of it"
        if box:
            assert share == 1 - (box.right - box.left) * (box.bottom - box.top) / 64**2


def test_with_one_of_them_it_is_always_that_one():
    assert all(Mixing(0, 0.2, None, 64).draw(step).box is None for step in range(20))
    assert all(Mixing(0, None, 1.0, 64).draw(step).box for step in range(20))
    share = np.random.default_rng([0, 3, 0, 2]).beta(0.2, 0.2)
    assert Mixing(0, 0.2, None, 64).draw(3).share == max(share, 1 - share)
    with pytest.raises(ValueError, match="nothing to mix"):
        Mixing(0, None, None, 64)


def test_two_ranks_mix_as_one_does():
    """Each rank has a half of the step's clips, an even number of them."""
    whole = clips(10, 20, 30, 40)
    for step in range(6):
        mix = Mixing(1, 0.4, 1.0, 4).draw(step)
        halves = paddle.concat([mix.apply(whole[:2]), mix.apply(whole[2:])])
        assert np.array_equal(halves.numpy(), mix.apply(whole).numpy())
