"""Config: an ini (`.txt`) or YAML file plus overrides -> frozen dataclasses. Knows no Paddle.

    config = load_config("configs/tsn.txt", ["TRAIN.batch_size=8"])
    config.train.batch_size

Each key is documented beneath its field; docs/config.md is made of that by scripts/write_docs.py. How a file becomes
typed values is in common/config_files.py.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from common.command_line import DEFAULT_CONFIG
from common.config_files import ConfigError, Entry, build_sections, outside, parse_override, read_entries, refuse

# Beyond these, which no real run meets, a machine's memory or float32 is at its end.
MOST_CLASSES, MOST_SEGMENTS, MOST_FRAMES, MOST_CLIPS = 100_000, 1000, 100, 1000
MOST_VIDEOS_PER_STEP, MOST_PROCESSES, LONGEST_SIDE_PX = 65_536, 1024, 4096
MOST_EPOCHS, MOST_VIDEOS, DAY_SEC = 1_000_000, 10**12, 86_400.0
SMALLEST, LARGEST = 1e-37, 1e37


@dataclass(frozen=True)
class ModelConfig:
    name: str = "TSN"
    """Model, as registered in models/registry.py."""
    format: Literal["mp4", "pkl"] = "mp4"
    """What the lists name: "mp4" for videos of any format, "pkl" for the original's pickled JPEG frames."""
    decoder: Literal["selective", "pyav", "decord", "opencv"] = "selective"
    """How videos are decoded: "selective", only what the wanted frames need; "pyav", everything in order, with the same
    bytes; or by another library, "decord" or "opencv" (extra installs)."""
    decode_timeout_sec: float | None = 60.0
    """Seconds that reading one video may take; after that it counts as unreadable; none: no limit."""
    num_classes: int = 400
    """Number of classes; labels run from 0 to num_classes - 1."""
    seg_num: int = 3
    """Segments per video; one snippet is sampled from each. A section's own seg_num takes its place there."""
    seglen: int = 1
    """Consecutive frames per snippet, stacked as channels; the published weights use 1."""
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of the R, G and B values on the 0..1 scale, subtracted from them."""
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation of the R, G and B values on the 0..1 scale; they are divided by it."""
    backbone: Literal["resnet"] = "resnet"
    """Family of the network that runs on each frame."""
    num_layers: Literal[18, 34, 50, 101, 152] = 50
    """Depth of the ResNet: 50, 101 or 152 as the original; 18 and 34 for small data and CPUs."""
    label_file: str | None = None
    """Text file with one class name per line, in label order; none: classes go by their number."""

    def __post_init__(self):
        refuse(
            self,
            (
                "decode_timeout_sec",
                self.decode_timeout_sec is not None and not 0 < self.decode_timeout_sec <= DAY_SEC,
                f"it must be above 0 and at most {DAY_SEC:,.0f}, or none",
            ),
            ("name", not self.name.isidentifier(), "it must be a word: files are called after it"),
            outside(self, "num_classes", 1, MOST_CLASSES),
            outside(self, "seg_num", 1, MOST_SEGMENTS),
            outside(self, "seglen", 1, MOST_FRAMES),
            ("image_mean", max(map(abs, self.image_mean)) > 1000, "each value must lie between -1000 and 1000"),
            (
                "image_std",
                not 1e-6 <= min(self.image_std) <= max(self.image_std) <= 1000,
                "each value must be above 0, from 1e-6 to 1000",
            ),
        )


@dataclass(frozen=True)
class ReaderConfig:
    """What every section but MODEL holds; VALID no more than that."""

    filelist: str | None = None
    """List file: a line `path label` per video (INFER: the label may be left out; pkl: the path alone)."""
    batch_size: int = 16
    """Videos per step, over all ranks together."""
    seg_num: int | None = None
    """Segments per video in this section; none: MODEL.seg_num."""
    short_size: int = 256
    """Short side of a frame after resizing, in pixels; the long side becomes 4/3 of it."""
    target_size: int = 224
    """Side of the square crop that the network sees, in pixels."""
    num_reader_threads: int = 12
    """Worker processes that read videos, never more than the machine has cores; 0: read in the main process."""
    buf_size: int = 1024
    """No effect today (the original's queue length); kept so that its configs load."""

    def __post_init__(self):
        refuse(self, *self._checks())

    def _checks(self) -> list[tuple[str, bool, str]]:
        return [
            outside(self, "batch_size", 1, MOST_VIDEOS_PER_STEP),
            outside(self, "seg_num", 1, MOST_SEGMENTS),
            outside(self, "short_size", 1, LONGEST_SIDE_PX),
            ("target_size", self.target_size < 1, "it must be at least 1"),
            (
                "target_size",
                self.target_size > self.short_size,
                f"the crop must fit into the resized frame, whose short_size is {self.short_size}",
            ),
            outside(self, "num_reader_threads", 0, MOST_PROCESSES),
        ]


@dataclass(frozen=True)
class ViewsConfig(ReaderConfig):
    """What TEST and INFER hold: the views of a video, whose probabilities are averaged."""

    num_clips: int = 1
    """Clips per video, of seg_num segments each, spread over the places within the segments; 1: the middle ones."""
    crop: Literal["center", "three", "ten"] = "center"
    """Crops of each clip: "center", one; "three", along the long side; "ten", corners and centre, also mirrored."""
    max_frames_per_batch: int = 64
    """Frames that the model gets at once: views beyond it are computed one part after another; memory follows it."""

    def _checks(self) -> list[tuple[str, bool, str]]:
        return [
            *super()._checks(),
            outside(self, "num_clips", 1, MOST_CLIPS),
            outside(self, "max_frames_per_batch", 1, MOST_VIDEOS_PER_STEP * MOST_SEGMENTS),
        ]


@dataclass(frozen=True)
class TestConfig(ViewsConfig):
    save_dir: str | None = "results/test"
    """Folder for scores, predictions and report; none: write no files. The flag --save_dir overrides it."""


@dataclass(frozen=True)
class TrainConfig(ReaderConfig):
    epoch: int = 45
    """Number of epochs."""
    learning_rate: float = 0.01
    """Learning rate of the first third of training, for the global batch_size."""
    learning_rate_decay: float = 0.1
    """Factor on the learning rate at 1/3 and again at 2/3 of the epochs."""
    l2_weight_decay: float = 1e-4
    """L2 penalty on every parameter, batch norm and biases included; 0: off."""
    momentum: float = 0.9
    """Momentum of SGD; 0: off."""
    total_videos: int | None = None
    """Number of training videos that the original's arithmetic computes the decay points from; none: they lie at 1/3
    and 2/3 of the run's own steps."""
    max_bad_fraction: float = 0.05
    """Share of an epoch's videos that may be unreadable before training stops; it stops too when more than half (or
    this share, if larger) of at least 200 videos tried so far are; 1: never stop."""
    accumulate_steps: int = 1
    """Parts that a step's videos are computed in, one after another: the same step in less memory; 1: off."""
    clip_grad_norm: float | None = None
    """Largest L2 norm of all gradients together; a larger one is scaled down to it; none: off."""
    ema_decay: float | None = None
    """Share that the moving average of the weights keeps at each step, for example 0.999; validation and the saved
    weights are the average then; none: off."""
    freeze_bn: bool = False
    """Batch norm uses the running statistics it started with and does not change them (small batches, fine-tuning)."""
    sync_bn: bool = False
    """Batch norm computes its statistics over all ranks; for several GPUs."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """Mixed precision: "bf16" or "fp16" (with loss scaling); weights and loss stay float32. On a CPU "bf16" rounds as a
    GPU does, to see its effect; it is slower there."""
    channels_last: bool = False
    """Convolve in NHWC layout; on GPUs with amp."""
    to_static: bool = False
    """Compile the model into a static graph at its first step."""
    save_interval_steps: int = 0
    """Steps between checkpoints within an epoch; 0: only at the end of each epoch."""
    keep_last: int | None = 3
    """Checkpoints to keep besides the best one; older ones of this run are deleted; none: keep all."""
    on_save_error: Literal["stop", "continue"] = "stop"
    """What a checkpoint that cannot be written (a full disk) does: "stop" the run, or "continue" with a warning."""
    visualdl: bool = False
    """Write curves for VisualDL to SAVE_DIR/visualdl (an extra install)."""
    use_gpu: Literal[True, False, "auto"] = "auto"
    """True, False, or "auto": a GPU if there is a usable one. The flag --use_gpu overrides it."""
    num_gpus: int = 8
    """No effect today (the launcher decides how many GPUs run); kept so that the original's configs load."""

    def _checks(self) -> list[tuple[str, bool, str]]:
        return [
            *super()._checks(),
            outside(self, "epoch", 1, MOST_EPOCHS),
            (
                "learning_rate",
                not SMALLEST <= self.learning_rate <= LARGEST,
                f"it must be above 0, from {SMALLEST} to {LARGEST}",
            ),
            ("learning_rate_decay", not 0 < self.learning_rate_decay <= 1, "it must be above 0 and at most 1"),
            outside(self, "l2_weight_decay", 0, LARGEST),
            ("momentum", not 0 <= self.momentum < 1, "it must be at least 0 and below 1"),
            outside(self, "total_videos", 1, MOST_VIDEOS),
            ("max_bad_fraction", not 0 <= self.max_bad_fraction <= 1, "it must lie between 0 and 1"),
            outside(self, "accumulate_steps", 1, MOST_VIDEOS_PER_STEP),
            (
                "accumulate_steps",
                self.accumulate_steps > max(self.batch_size, 1),
                f"a step of {self.batch_size} videos (batch_size) has no more parts than that",
            ),
            (
                "clip_grad_norm",
                self.clip_grad_norm is not None and not SMALLEST <= self.clip_grad_norm <= LARGEST,
                f"it must be above 0 and at most {LARGEST}, or none",
            ),
            (
                "ema_decay",
                self.ema_decay is not None and not 0 < self.ema_decay < 1,
                "it must be above 0 and below 1, or none",
            ),
            ("sync_bn", self.sync_bn and self.freeze_bn, "freeze_bn leaves no statistics to compute; set one of them"),
            ("save_interval_steps", self.save_interval_steps < 0, "it must be at least 0"),
            ("keep_last", self.keep_last is not None and self.keep_last < 1, "it must be at least 1, or none"),
        ]


@dataclass(frozen=True)
class Config:
    model: ModelConfig
    train: TrainConfig
    valid: ReaderConfig
    test: TestConfig
    infer: ViewsConfig


SECTIONS = {field.name.upper(): field.type for field in dataclasses.fields(Config)}


def load_config(
    path: str | Path,
    overrides: list[str] | None = None,
    flags: dict[str, Any] | None = None,
    text: str | None = None,
) -> Config:
    """Read a config file and put overrides on top.

    Args:
        path: ini text, or YAML when it ends in .yaml or .yml.
        overrides: "SECTION.key=value", as given to -o; they win over the file.
        flags: {"SECTION.key": value} from command-line flags; None values are left out; they win over both.
        text: YAML to take instead of the file's content; `path` says where it comes from.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: every mistake in the file and the overrides, each on a line with its origin, section and key.
    """
    path, mistakes = Path(path), []
    if text is None and not path.is_file():
        raise FileNotFoundError(f"{path}: no such config file; try --config={DEFAULT_CONFIG}")
    entries = read_entries(path, text)
    for override in overrides or []:
        try:
            entries.append(parse_override(override))
        except ConfigError as error:
            mistakes += error.mistakes
    for target, value in (flags or {}).items():
        if value is not None:
            entries.append(Entry("command line", *target.split("."), value))
    sections = build_sections(str(path), SECTIONS, entries, mistakes)
    return Config(**{name.lower(): section for name, section in sections.items()})


def dump_config(config: Config) -> str:
    """The config as YAML text that `load_config` reads back to an equal config."""
    sections = {name.upper(): values for name, values in dataclasses.asdict(config).items()}
    for values in sections.values():
        values.update({key: list(value) for key, value in values.items() if isinstance(value, tuple)})
    return yaml.safe_dump(sections, sort_keys=False)


def changed_keys(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """{"SECTION.key": (old value, new value)} of every key whose value is another one."""
    return {
        f"{name.upper()}.{field.name}": (getattr(ours, field.name), getattr(theirs, field.name))
        for name in (field.name for field in dataclasses.fields(Config))
        for ours, theirs in [(getattr(old, name), getattr(new, name))]
        for field in dataclasses.fields(ours)
        if getattr(ours, field.name) != getattr(theirs, field.name)
    }
