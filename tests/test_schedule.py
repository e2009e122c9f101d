import pytest

from config import load_config
from training.build import build_schedule
from training.schedule import (
    learning_rate_at,
    learning_rate_in_steps,
    learning_rate_in_thirds,
    learning_rate_on_cosine,
    rate_for_batch,
    steps_per_epoch,
    warmed_up,
)


def test_steps_per_epoch_as_the_original_counts():
    assert [steps_per_epoch(*sizes) for sizes in ((224684, 256), (240, 16), (16, 4), (3, 4))] == [878, 16, 5, 1]


def test_learning_rate_drops_at_one_and_two_thirds():
    rates = [learning_rate_at(step, 0.01, 0.1, num_epochs=3, epoch_steps=5) for step in range(15)]
    assert rates == pytest.approx([0.01] * 5 + [0.001] * 5 + [0.0001] * 5)
    rates = [learning_rate_at(step, 1.0, 0.5, num_epochs=1, epoch_steps=4) for step in range(4)]
    assert rates == [1.0, 1.0, 0.5, 0.25]  # 4/3 and 8/3


@pytest.mark.parametrize("num_steps, drops", [(1, []), (2, [1]), (3, [1, 2]), (4, [2, 3]), (5, [2, 4]), (9, [3, 6])])
def test_learning_rate_drops_at_exactly_the_thirds_of_a_run(num_steps, drops):
    rates = [learning_rate_in_thirds(step, 1.0, 0.5, num_steps) for step in range(num_steps)]
    assert [step for step in range(1, num_steps) if rates[step] == rates[step - 1] / 2] == drops
    assert rates[-1] == 0.5 ** len(drops)


def test_learning_rate_drops_at_given_epochs():
    rates = [learning_rate_in_steps(step, 1.0, 0.5, (1, 2.5), epoch_steps=2) for step in range(6)]
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.5, 0.25]


def test_cosine_goes_from_the_rate_to_nothing():
    rates = [learning_rate_on_cosine(step, 2.0, num_steps=4) for step in range(5)]
    assert rates == pytest.approx([2.0, 1 + 0.5**0.5, 1.0, 1 - 0.5**0.5, 0.0])


def test_warm_up_rises_in_equal_parts_to_where_the_cosine_is_by_then():
    def cosine(step):
        return learning_rate_on_cosine(step, 1.0, num_steps=9)

    rates = [warmed_up(step, cosine, num_warmup_steps=3) for step in range(9)]
    assert cosine(3) == pytest.approx(0.75)
    assert rates[:4] == pytest.approx([0.75 / 4, 0.75 / 2, 0.75 * 3 / 4, 0.75])
    assert rates[4:] == [cosine(step) for step in range(4, 9)]


def test_a_rate_follows_the_batch_size_where_it_is_asked_to():
    assert [rate_for_batch(0.01, 16, meant_for) for meant_for in (None, 64, 16)] == [0.01, 0.0025, 0.01]


@pytest.mark.parametrize(
    "total_videos, drops",
    [("none", [45, 90]), (12, [60, 120])],  # the original counts 4 steps of 4 among 12 videos, one too many
)
def test_a_lists_own_length_counts_its_own_steps(total_videos, drops):
    settings = ["TRAIN.epoch=45", "TRAIN.batch_size=4", f"TRAIN.total_videos={total_videos}"]
    schedule = build_schedule(load_config("configs/tsn.txt", settings), list_length=12, epoch_steps=3)
    assert [step for step in range(1, 3 * 45) if schedule(step) < schedule(step - 1)] == drops


def test_the_original_s_tsm_drops_its_rate_after_40_and_60_epochs_of_its_own_count():
    schedule = build_schedule(load_config("configs/tsm.txt"), list_length=239781, epoch_steps=1874)
    rates = [schedule(step) for step in (0, 40 * 1874 - 1, 40 * 1874, 60 * 1874 - 1, 60 * 1874)]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001])  # int(239781 / 128 + 1) is 1874
    schedule = build_schedule(load_config("configs/tsm.txt"), list_length=230000, epoch_steps=1797)
    assert schedule(40 * 1874 - 1) > schedule(40 * 1874), "whatever the list's own length"


def built(*settings):
    """The rates of 4 epochs of 2 steps."""
    settings = ["TRAIN.epoch=4", "TRAIN.batch_size=8", "TRAIN.total_videos=none", *settings]
    schedule = build_schedule(load_config("configs/tsn.txt", settings), list_length=16, epoch_steps=2)
    return [schedule(step) for step in range(8)]


def test_the_config_chooses_the_schedule():
    rates = built("TRAIN.learning_rate=0.2", "TRAIN.decay_epochs=[1, 3]")
    assert rates == pytest.approx([0.2, 0.2, 0.02, 0.02, 0.02, 0.02, 0.002, 0.002])
    rates = built("TRAIN.learning_rate=1", "TRAIN.schedule=cosine", "TRAIN.warmup_epochs=2", "TRAIN.rate_for_batch=16")
    assert rates[:5] == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25])  # the cosine is at half of 0.5 at step 4
    assert rates[5:] == pytest.approx([learning_rate_on_cosine(step, 0.5, 8) for step in (5, 6, 7)])
