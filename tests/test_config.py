import dataclasses
import re

import pytest

from common.config_files import ConfigError
from config import dump_config, load_config

CONFIG = "configs/tsn.txt"


def mistakes(*overrides: str, **flags) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(CONFIG, list(overrides), {key.replace("__", "."): value for key, value in flags.items()})
    return str(caught.value).splitlines()


def test_original_keys_and_values():
    config = load_config(CONFIG)
    assert (config.model.name, config.model.format, config.model.num_layers) == ("TSN", "mp4", 50)
    assert (config.model.num_classes, config.model.seg_num, config.model.seglen) == (400, 3, 1)
    assert config.model.image_mean == (0.485, 0.456, 0.406)
    assert config.model.image_std == (0.229, 0.224, 0.225)
    assert (config.train.epoch, config.train.batch_size, config.train.total_videos) == (45, 256, 224684)
    assert (config.train.learning_rate, config.train.l2_weight_decay, config.train.momentum) == (0.01, 1e-4, 0.9)
    assert (config.test.seg_num, config.test.batch_size, config.infer.batch_size) == (7, 16, 1)
    assert config.valid.short_size == 256 and config.valid.target_size == 224


def test_the_original_s_keys_and_values_of_tsm():
    config, tsn = load_config("configs/tsm.txt"), load_config(CONFIG)
    same = dataclasses.replace(config.model, name="TSN", seg_num=3)
    assert (config.model.name, config.model.seg_num) == ("TSM", 8) and same == tsn.model
    train = config.train
    assert (train.epoch, train.batch_size, train.decay_epochs, train.total_videos) == (65, 128, (40, 60), 239781)
    assert (train.learning_rate, train.learning_rate_decay) == (0.01, 0.1)
    assert (train.l2_weight_decay, train.momentum) == (1e-4, 0.9)
    assert (train.dropout, train.head_rate, train.decay_bn_and_bias) == (0.5, 1.0, "all_but_last")
    assert (config.valid.batch_size, config.test.batch_size, config.infer.batch_size) == (128, 16, 1)
    assert config.test.seg_num is None, "the model's"
    for section in (config.train, config.valid, config.test, config.infer):
        assert (section.short_size, section.target_size, section.num_reader_threads) == (256, 224, 12)


def test_yaml_and_ini_say_the_same():
    assert load_config("configs/tsn.yaml") == load_config(CONFIG)


def test_dumped_config_reads_back_equal(tmp_path):
    config = load_config(CONFIG, ["TRAIN.learning_rate=3e-5", "MODEL.label_file=none", "TRAIN.use_gpu=False"])
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "config.yaml") == config


def test_flags_win_over_overrides_and_these_over_the_file():
    config = load_config(
        CONFIG, ["TRAIN.batch_size=8", "TEST.batch_size=2"], {"TRAIN.batch_size": 4, "TRAIN.epoch": None}
    )
    assert (config.train.batch_size, config.test.batch_size, config.train.epoch) == (4, 2, 45)


def test_values_are_literals_and_never_run(tmp_path):
    config = load_config(CONFIG, ["TRAIN.filelist=my videos/train.list", "TRAIN.total_videos=none", 'MODEL.name="TSN"'])
    assert config.train.filelist == "my videos/train.list" and config.train.total_videos is None
    assert "a whole number" in mistakes("TRAIN.epoch=__import__('os').getpid()")[0]


def test_yaml_reads_exponents_as_numbers(tmp_path):
    (tmp_path / "c.yaml").write_text("TRAIN:\n  l2_weight_decay: 1e-4\n  learning_rate: 1\n")
    train = load_config(tmp_path / "c.yaml").train
    assert train.l2_weight_decay == 1e-4 and type(train.learning_rate) is float


def test_every_mistake_is_reported_at_once_with_origin_section_and_key(tmp_path):
    (tmp_path / "c.txt").write_text("[TRAIN]\nbatchsize = 8\nepoch = many\n[VALD]\nx = 1\n[TEST]\ntarget_size = 512\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "c.txt", ["MODEL.num_layers=51"])
    lines = str(caught.value).splitlines()
    where = tmp_path / "c.txt"
    assert f"{where}: [TRAIN] batchsize: unknown key; did you mean 'batch_size'?" in lines
    assert f"{where}: [TRAIN] epoch: expected a whole number, got 'many'" in lines
    assert f"{where}: [VALD]: unknown section; did you mean 'VALID'?" in lines
    assert any(line.startswith(f"{where}: [TEST] target_size is 512") for line in lines)
    expected = "-o: [MODEL] num_layers: expected one of 0, 1, 2, 18, 34, 50, 101, 152, got 51"
    assert any(line.startswith(expected) for line in lines)
    assert len(lines) == 5


@pytest.mark.parametrize(
    "override, part",
    [
        ("TRAIN.batch_size=True", "expected a whole number"),
        ("TRAIN.batch_size=8.5", "expected a whole number"),
        ("TRAIN.learning_rate=fast", "expected a number"),
        ("TRAIN.learning_rate=nan", "expected a number"),
        ("TRAIN.batch_size=none", "expected a whole number, got None"),
        ("MODEL.image_std=[0.2, 0.2]", "a list of three numbers"),
        ("MODEL.image_std=[0.2, 0.2, 0]", "above 0"),
        ("TRAIN.use_gpu=maybe", "expected one of True, False, auto"),
        ("TRAIN.momentum=1.0", "below 1"),
        ("TRAIN.max_bad_fraction=2", "between 0 and 1"),
        ("TRAIN.batch_size=0", "at least 1"),
        ("INFER.target_size=300", "must fit into the resized frame"),
        ("MODEL.decoder=ffmpeg", "expected one of selective, pyav, decord, opencv"),
        ("MODEL.format=avi", "expected one of mp4, pkl"),
        ("TEST.crop=10", "expected one of center, three, ten, got 10"),
        ("TRAIN.target_size=100000", "must fit into the resized frame, whose short_size is 256"),
        ("TEST.short_size=100000", "at most 4,096"),
        ("MODEL.name=../TSN", "it must be a word"),
        ("MODEL.num_classes=1000000000", "at most 100,000"),
        ("MODEL.seg_num=1001", "at most 1,000"),
        ("INFER.seg_num=1001", "at most 1,000"),
        ("MODEL.seglen=101", "at most 100"),
        ("VALID.batch_size=65537", "at most 65,536"),
        ("INFER.num_clips=1001", "at most 1,000"),
        ("TRAIN.num_reader_threads=1025", "at most 1,024"),
        ("TRAIN.epoch=1000001", "at most 1,000,000"),
        ("MODEL.decode_timeout_sec=1e9", "at most 86,400"),
        ("MODEL.image_mean=[0, 0, 1e30]", "between -1000 and 1000"),
        ("MODEL.image_std=[1, 1, 1e-30]", "above 0, from 1e-6"),
        ("TRAIN.learning_rate=-0.0", "above 0"),
        ("TRAIN.learning_rate=1e-300", "from 1e-37"),
        ("TRAIN.learning_rate=1e300", "to 1e+37"),
        ("TRAIN.learning_rate=" + "9" * 400, "expected a number, got 999999"),
        ("TRAIN.learning_rate=" + "9" * 5000, "expected a number, got '999999"),
        ("TRAIN.learning_rate=0x" + "f" * 5000, "expected a number, got a number of thousands of digits"),
        ("TRAIN.learning_rate=1e400", "expected a number, got inf"),
        ("TRAIN.buf_size=" + "9" * 400, "a whole number of at most 18 digits, got 999"),
        ("TRAIN.buf_size=0x" + "f" * 5000, "a whole number of at most 18 digits"),
        ("TRAIN.clip_grad_norm=1e300", "at most 1e+37"),
        ("TRAIN.l2_weight_decay=1e300", "at most"),
        ("TRAIN.epoch=\u0663", "expected a whole number"),
        ("TRAIN.epoch={[]: 1}", "expected a whole number"),
        ("TRAIN.epoch=" + "[" * 500, "expected a whole number"),
        ("batch_size=8", "SECTION.key=value"),
        ("TRAIN.batch_size", "SECTION.key=value"),
    ],
)
def test_wrong_values_are_refused(override, part):
    (line,) = mistakes(override)
    assert part in line and len(line) < 200


@pytest.mark.parametrize(
    "name, text, part",
    [
        ("a.txt", "epoch = 3\n", "not a valid ini file"),
        ("a.txt", "[TRAIN]\nepoch = 3\nepoch = 4\n", "already exists"),
        ("a.yaml", "TRAIN: [", "not a valid YAML file"),
        ("a.yaml", "just text", "expected sections"),
        ("a.yaml", "TRAIN:\n  epoch: 2020-13-45\n", "not a valid YAML file"),
        ("a.yaml", "TRAIN:\n  epoch: " + "9" * 5000, "not a valid YAML file"),
        ("a.yaml", "TRAIN:\n  epoch: " + "[" * 5000, "not a valid YAML file"),
        ("a.yaml", "TRAIN:\n  learning_rate: " + "9" * 400, "expected a number, got 999"),
        ("a.yaml", "TRAIN:\n  learning_rate: .inf", "expected a number, got inf"),
        ("a.yaml", 'TRAIN:\n  filelist: "a\\0b"', "expected text or none, got 'a.x00b'"),
        ("a.txt", "[TRAIN]\nlearning_rate = " + "9" * 400, "expected a number, got 999"),
        ("a.yaml", "TRAIN: {epoch: 2001-99-99}", "not a valid YAML file: month must be"),
        ("a.yaml", "TRAIN: {epoch: !!bool perhaps}", "not a valid YAML file"),
        ("a.yaml", "TRAIN: {epoch: !!timestamp x}", "not a valid YAML file"),
        ("a.yaml", "TRAIN: {epoch: !!int ''}", "not a valid YAML file"),
        ("a.yaml", f"TRAIN: {{epoch: {'1' * 5000}}}", "not a valid YAML file"),
        ("a.yaml", "TRAIN: " + "{a: " * 3000, "not a valid YAML file: maximum recursion depth"),
        ("a.txt", "[TRAIN]\nepoch = {[]: 1}\n", "expected a whole number, got '{\\[\\]: 1}'"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, name, text, part):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=part):
        load_config(tmp_path / name)


def test_values_without_end_are_not_printed_whole(tmp_path):
    """A few lines of YAML may spell 2^60 words."""
    lines = ["  a0: &a0 [x, x]"] + [f"  a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    (tmp_path / "a.yaml").write_text("\n".join(["TRAIN:", *lines, "  epoch: *a59", "  momentum: &me [*me]"]))
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "a.yaml")
    assert re.search(r"\[TRAIN\] epoch: expected a whole number, got \[+\.\.\.\]", str(caught.value))
    assert max(map(len, caught.value.mistakes)) < 2000


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        load_config("nowhere.txt")
