"""The two pure parts of make_dataset: the split of clips, and the config's choices from numbers."""

from collections import Counter

import pytest

from config import load_config
from dataset.own.recipe import Choice, Facts, choose, config_text, num_passes
from dataset.own.splitting import CLASSLESS, place_groups, rarest_classes, split_clips

SHARES = [0.6, 0.2, 0.2]
SMALL = Facts(96, 6, False, num_cores=2, memory_bytes=24 * 10**9, has_gpu=False)


@pytest.mark.parametrize(
    "num_clips, sizes",
    [(1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1]), (4, [2, 1, 1]), (5, [3, 1, 1]), (10, [6, 2, 2])],
)
def test_a_class_is_divided_by_the_shares(num_clips, sizes):
    sides = split_clips([str(number) for number in range(num_clips)], [0] * num_clips, SHARES, seed=0)
    assert [sides.count(side) for side in range(3)] == sizes


def test_each_class_is_divided_for_itself():
    strata = [0] * 20 + [1] * 10 + [2] * 5
    sides = split_clips([f"{number:02d}" for number in range(35)], strata, SHARES, seed=3)
    counts = Counter(zip(strata, sides, strict=True))
    assert [[counts[label, side] for side in range(3)] for label in range(3)] == [[12, 4, 4], [6, 2, 2], [3, 1, 1]]


def test_the_order_of_the_clips_changes_nothing_and_the_seed_does():
    keys, strata = [f"{number:02d}" for number in range(30)], [number % 2 for number in range(30)]
    sides = dict(zip(keys, split_clips(keys, strata, SHARES, seed=0), strict=True))
    back = split_clips(keys[::-1], strata[::-1], SHARES, seed=0)
    assert dict(zip(keys[::-1], back, strict=True)) == sides
    assert dict(zip(keys, split_clips(keys, strata, SHARES, seed=1), strict=True)) != sides


def test_groups_by_hand():
    """Wanted of 10 clips are 6, 2 and 2. The four go where most is missing, to the first side, and so on."""
    groups = [Counter({0: size}) for size in (2, 4, 2, 1, 1)]
    sides = place_groups(groups, SHARES, seed=0)
    assert sides[1] == 0
    clips = Counter()
    for group, side in zip(groups, sides, strict=True):
        clips[side] += group[0]
    assert clips == {0: 6, 1: 2, 2: 2}


def test_a_class_of_few_groups_is_on_every_side():
    """By shares alone the two groups of ten would fill two sides, and the third would lack the class."""
    groups = [Counter({0: 10}), Counter({0: 10}), Counter({0: 10}), *(Counter({1: 1}) for _ in range(10))]
    assert sorted(place_groups(groups, SHARES, seed=0)[:3]) == [0, 1, 2]


def test_folds_of_equal_groups():
    groups = [Counter({label: 1 for label in range(6)}) for _ in range(20)]
    assert Counter(place_groups(groups, [0.2] * 5, seed=0)) == {fold: 4 for fold in range(5)}


def test_of_several_classes_the_rarest_counts():
    assert rarest_classes([(0, 1), (0,), (0, 2), (2,), (0, 1, 2), ()]) == [1, 0, 2, 2, 1, CLASSLESS]


def value_of(facts: Facts, section: str, key: str):
    return {(choice.section, choice.key): choice.value for choice in choose(facts)}.get((section, key))


def test_few_clips_on_a_cpu():
    values = {(choice.section, choice.key): choice.value for choice in choose(SMALL)}
    assert values["MODEL", "backbone"] == "efficientnet_lite" and values["MODEL", "num_layers"] == 0
    assert values["MODEL", "image_mean"] == [0.498039] * 3 and values["MODEL", "image_std"] == [0.501961] * 3
    assert values["TRAIN", "epoch"] == 20 and values["TRAIN", "label_smoothing"] == 0.1
    for section in ("TRAIN", "VALID", "TEST", "INFER"):
        assert values[section, "resize"] == "keep" and values[section, "num_reader_threads"] == 2
        short_px = 184 if section == "TRAIN" else 160
        assert (values[section, "short_size"], values[section, "target_size"]) == (short_px, 160)
    assert ("TRAIN", "accumulate_steps") not in values
    assert all(choice.reason for choice in choose(SMALL))


def test_what_changes_the_network():
    many = SMALL._replace(num_clips=3000, has_gpu=True)
    assert (value_of(many, "MODEL", "backbone"), value_of(many, "MODEL", "num_layers")) == ("resnet", 50)
    assert value_of(many, "MODEL", "image_mean") is None, "the default is that of its weights"
    assert value_of(many, "TRAIN", "target_size") == 224
    for small in (many._replace(num_clips=2999), many._replace(has_gpu=False)):
        assert value_of(small, "MODEL", "backbone") == "efficientnet_lite"
    assert value_of(SMALL._replace(num_cores=8), "TRAIN", "target_size") == 224


def test_a_step_in_parts_where_memory_is_short():
    """32 frames of 160 pixels keep 32 * 80 MB * (160 / 224)^2 = 1.3 GB; half of 2 GB takes them in two parts."""
    assert value_of(SMALL._replace(memory_bytes=2 * 10**9), "TRAIN", "accumulate_steps") == 2


def test_several_classes_a_video():
    several = SMALL._replace(is_multi_label=True)
    assert value_of(several, "MODEL", "multi_label") is True


def test_the_recipe_is_that_of_the_config_for_fine_tuning():
    finetune = load_config("configs/tsn_finetune.txt")
    chosen = {(choice.section, choice.key): choice.value for choice in choose(SMALL)}
    for (section, key), value in chosen.items():
        if key not in ("image_mean", "image_std"):  # rounded there
            assert value == getattr(getattr(finetune, section.lower()), key), (section, key)


@pytest.mark.parametrize(
    "num_clips, has_gpu, passes",
    [
        (100, False, 20),  # 13 steps a pass
        (40, False, 40),  # 5: 200 steps are the least
        (5, False, 60),  # 1: 60 passes are the most
        (2000, False, 12),  # 250: 3000 steps are the most
        (2000, True, 20),
        (8000, True, 10),  # 1000: 10,000 steps are the most
        (80_000, True, 8),  # 8 passes are the least
    ],
)
def test_number_of_passes(num_clips, has_gpu, passes):
    number, reason = num_passes(SMALL._replace(num_clips=num_clips, has_gpu=has_gpu))
    assert number == passes and f"{passes} x " in reason


@pytest.mark.parametrize(
    "facts",
    [SMALL, SMALL._replace(num_clips=9000, has_gpu=True), SMALL._replace(is_multi_label=True, memory_bytes=10**9)],
)
def test_every_choice_is_a_key_of_the_config(facts, tmp_path):
    path = tmp_path / "config.txt"
    path.write_text(config_text(["a header"], [*choose(facts), Choice("TRAIN", "filelist", 'a "list"', "why")]))
    config = load_config(path)
    assert config.train.filelist == 'a "list"' and config.train.head_rate == 10.0
    assert path.read_text().startswith("# a header\n\n[MODEL]\n# as many as labels.txt has lines\nnum_classes = 6\n")


def test_a_header_with_line_ends_stays_a_comment():
    assert config_text(["a\n[TRAIN]"], []) == "# a\\n[TRAIN]\n"
