"""What a data set and a machine are -> the network and the schedule to begin with, each with its reason. Pure numbers.

The recipe is that of configs/tsn_finetune.txt, whose values are read from there: a network that knows ImageNet is
fine-tuned on few clips.
"""

import textwrap
from typing import Any, NamedTuple

from common.command_line import PROJECT
from common.console import printable
from config import load_config

FINETUNE = load_config(PROJECT / "configs" / "tsn_finetune.txt")
FEW_CLIPS = 3000  # up to here a small network; more clips feed a larger one
LITE = FINETUNE.model.num_layers  # which EfficientNet-Lite
NUM_SEGMENTS = FINETUNE.train.seg_num
BATCH_SIZE = FINETUNE.train.batch_size
PASSES = FINETUNE.train.epoch  # over the training clips, within these numbers of steps and of passes
LEAST_STEPS, MOST_STEPS_CPU, MOST_STEPS_GPU = 200, 3000, 10_000
LEAST_PASSES, MOST_PASSES = 8, 60
LARGE_PX, SMALL_PX = 224, 160
CORES_FOR_LARGE = 8  # that a CPU needs for frames of 224 pixels
FRAME_BYTES = {"resnet": 130e6, "efficientnet_lite": 80e6}  # that a training step keeps of a 224-pixel frame, about
MEMORY_SHARE = 0.5  # of the machine's, which a training step may fill
LINE = 116  # characters of a comment


class Facts(NamedTuple):
    """What the choices depend on."""

    num_clips: int
    """Training clips."""
    num_classes: int
    is_multi_label: bool
    num_cores: int
    memory_bytes: int
    has_gpu: bool


class Choice(NamedTuple):
    """A key of the config, its value, and why."""

    section: str
    key: str
    value: Any
    reason: str


def choose(facts: Facts) -> list[Choice]:
    """The network, the reading and the schedule; lists and label file are not among them."""
    is_small = facts.num_clips < FEW_CLIPS or not facts.has_gpu
    backbone = "efficientnet_lite" if is_small else "resnet"
    size_px = LARGE_PX if facts.has_gpu or facts.num_cores >= CORES_FOR_LARGE else SMALL_PX
    reading = [
        choice for section in ("TRAIN", "VALID", "TEST", "INFER") for choice in _reading(section, size_px, facts)
    ]
    return [*_network(facts, is_small), *reading, *_schedule(facts, backbone, size_px)]


def _network(facts: Facts, is_small: bool) -> list[Choice]:
    choices = [Choice("MODEL", "num_classes", facts.num_classes, "as many as labels.txt has lines")]
    if facts.is_multi_label:
        choices.append(Choice("MODEL", "multi_label", True, "the lists name several classes for a video, or none"))
    seg_num = FINETUNE.model.seg_num
    why = f"{seg_num} moments of each clip tell more of an action than the original's 3"
    choices.append(Choice("MODEL", "seg_num", seg_num, why))
    if not is_small:
        why = f"{facts.num_clips} training clips and a GPU: enough for the larger network, with its ImageNet weights"
        return [*choices, Choice("MODEL", "backbone", "resnet", why), Choice("MODEL", "num_layers", 50, "ResNet-50")]
    causes = {
        f"{facts.num_clips} training clips are few": facts.num_clips < FEW_CLIPS,
        "there is no GPU": not facts.has_gpu,
    }
    why = " and ".join(cause for cause, is_so in causes.items() if is_so)
    why += ": the smallest network, with its ImageNet weights"
    scale = "the scale that these ImageNet weights were trained with: (value - 127) / 128"
    return [
        *choices,
        Choice("MODEL", "backbone", "efficientnet_lite", why),
        Choice("MODEL", "num_layers", LITE, f"EfficientNet-Lite{LITE}"),
        Choice("MODEL", "image_mean", [round(127 / 255, 6)] * 3, scale),
        Choice("MODEL", "image_std", [round(128 / 255, 6)] * 3, "likewise"),
    ]


def _reading(section: str, size_px: int, facts: Facts) -> list[Choice]:
    size = (
        f"{facts.num_cores} cores and no GPU: smaller frames cost half the time" if size_px < LARGE_PX else "as usual"
    )
    train, seen = FINETUNE.train, getattr(FINETUNE, section.lower())
    short_px = round(size_px * seen.short_size / seen.target_size)
    why = (
        "more than target_size: crops differ" if short_px > size_px else "as target_size: all of the short side is seen"
    )
    choices = [
        ("resize", seen.resize, "frames keep their shape; people are not stretched"),
        ("short_size", short_px, why),
        ("target_size", size_px, size),
        ("num_reader_threads", facts.num_cores, "one for each core of this machine"),
        ("batch_size", _batch_size(facts), "small steps suit few clips" if section == "TRAIN" else "as in training"),
    ]
    if section == "TRAIN":
        why = "fewer than in the other sections: each step is cheaper, and the draws differ"
        choices.append(("seg_num", train.seg_num, why))
    return [Choice(section, *choice) for choice in choices]


def _schedule(facts: Facts, backbone: str, size_px: int) -> list[Choice]:
    passes, why = num_passes(facts)
    choices = [(key, getattr(FINETUNE.train, key), reason) for key, reason in REASONS.items()]
    choices.append(("epoch", passes, why))
    num_parts = _parts(facts, backbone, size_px)
    if num_parts > 1:
        why = (
            f"{facts.memory_bytes / 1e9:.0f} GB of memory: a step's videos are computed in parts, with the same result"
        )
        choices.append(("accumulate_steps", num_parts, why))
    return [Choice("TRAIN", *choice) for choice in choices]


REASONS = {
    "crop": "crops of several sizes: few clips are seen in many ways",
    "optimizer": "fine-tuning settles in few steps with it",
    "learning_rate": "of configs/tsn_finetune.txt; too high a rate destroys what the weights know",
    "rate_for_batch": "learning_rate is for so many videos a step; another batch_size scales it",
    "l2_weight_decay": "of configs/tsn_finetune.txt",
    "head_rate": "the last layer is new and learns faster than what is already trained",
    "schedule": "the rate falls smoothly to 0",
    "warmup_epochs": "the new last layer settles before the rest moves far",
    "freeze_bn": f"{BATCH_SIZE} videos a step are too few to compute batch norm's statistics from",
    "label_smoothing": "few clips are learnt by heart otherwise",
}
"""Key of TRAIN that is taken from configs/tsn_finetune.txt -> why."""


def num_passes(facts: Facts) -> tuple[int, str]:
    """The number of epochs, and why: 30, but neither too few steps to learn nor so many that it takes days."""
    steps = -(-facts.num_clips // _batch_size(facts))
    most_steps = MOST_STEPS_GPU if facts.has_gpu else MOST_STEPS_CPU
    passes = max(min(PASSES, most_steps // steps), -(-LEAST_STEPS // steps))
    passes = min(max(passes, LEAST_PASSES), MOST_PASSES)
    why = f"{PASSES} passes are usual for a hundred clips" if passes == PASSES else (
        f"fewer than the usual {PASSES}: there are many clips" if passes < PASSES else f"more than {PASSES}: few clips"
    )  # fmt: skip
    return passes, f"{why}; {passes} x {steps} = {passes * steps} steps"


def _batch_size(facts: Facts) -> int:
    return min(BATCH_SIZE, facts.num_clips)


def _parts(facts: Facts, backbone: str, size_px: int) -> int:
    """Parts of a step whose frames fit into the memory; a GPU's is not known here."""
    step_bytes = _batch_size(facts) * NUM_SEGMENTS * FRAME_BYTES[backbone] * (size_px / LARGE_PX) ** 2
    if facts.has_gpu:
        return 1
    return min(max(-(-int(step_bytes) // int(facts.memory_bytes * MEMORY_SHARE)), 1), _batch_size(facts))


def config_text(header: list[str], choices: list[Choice]) -> str:
    """An ini file: the header as comments, then each section's keys, a reason above each."""
    lines = [f"# {printable(line)}".rstrip() for line in header]
    for section in dict.fromkeys(choice.section for choice in choices):
        lines += ["", f"[{section}]"]
        for choice in choices:
            if choice.section == section:
                lines += [f"# {line}" for line in textwrap.wrap(choice.reason, LINE)]
                lines.append(f"{choice.key} = {_written(choice.value)}")
    return "\n".join(lines) + "\n"


def _written(value: Any) -> str:
    """A value as Python writes it, text in double quotes where it can be."""
    return f'"{value}"' if isinstance(value, str) and not set(value) & {'"', "\\"} else repr(value)
