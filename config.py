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
from common.config_files import ConfigError, Entry, build_sections, join, outside, parse_override, read_entries, refuse

# Beyond these, which no real run meets, a machine's memory or float32 is at its end.
MOST_CLASSES, MOST_SEGMENTS, MOST_FRAMES, MOST_CLIPS, MOST_SHIFT_DIV = 100_000, 1000, 100, 1000, 16
MOST_VIDEOS_PER_STEP, MOST_PROCESSES, LONGEST_SIDE_PX = 65_536, 1024, 4096
MOST_EPOCHS, MOST_VIDEOS, DAY_SEC = 1_000_000, 10**12, 86_400.0
SMALLEST, LARGEST = 1e-37, 1e37
RESNET_DEPTHS = (18, 34, 50, 101, 152)
SIZES = dict.fromkeys(("resnet", "resnet_vd", "resnet_vd_leaky"), RESNET_DEPTHS) | {"efficientnet_lite": (0, 1, 2)}
"""MODEL.backbone -> its values of MODEL.num_layers."""


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
    backbone: Literal["resnet", "resnet_vd", "resnet_vd_leaky", "efficientnet_lite"] = "resnet"
    """Family of the network that runs on each frame: "resnet_vd" is PaddleClas' and PP-TSN's, "resnet_vd_leaky"
    PP-TSM's."""
    num_layers: Literal[0, 1, 2, 18, 34, 50, 101, 152] = 50
    """Which of the family: the depth of a ResNet or ResNet-vd, 50, 101 or 152 as the original, 18 and 34 for
    small data and CPUs; the number of an EfficientNet-Lite, 0, 1 or 2."""
    shift_div: int = 8
    """TSM: 1 / shift_div of the channels come from the segment before, as many from the one after; PaddleVideo's
    networks of 16 segments use 16."""
    shift_every: Literal[1, 2] = 1
    """TSM: which residual blocks shift, all of them, or, 2, every second one of a stage, as in MIT's and MMAction2's
    ResNet-101 and 152."""
    multi_label: bool = False
    """Whether a video may show several classes, or none: labels such as 3,7, sigmoids instead of a softmax, and mean
    average precision."""
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
            (
                "num_layers",
                self.num_layers not in SIZES[self.backbone],
                f"{self.backbone} has {join(SIZES[self.backbone])}",
            ),
            outside(self, "num_classes", 1, MOST_CLASSES),
            outside(self, "seg_num", 1, MOST_SEGMENTS),
            outside(self, "seglen", 1, MOST_FRAMES),
            outside(self, "shift_div", 2, MOST_SHIFT_DIV),
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
    """Short side of a frame after resizing, in pixels."""
    resize: Literal["stretch", "keep"] = "stretch"
    """What becomes of the long side: "stretch", 4/3 of the short one whatever it was, as the original; "keep", what the
    frame's shape makes of it."""
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
class RecipeConfig(ReaderConfig):
    """What TRAIN holds of the recipe: how the weights change, and what the network sees of the videos."""

    epoch: int = 45
    """Number of epochs."""
    patience: int | None = None
    """Epochs without a better validation (top-1; mean average precision with multi_label) after which training ends;
    none: never before the last epoch."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """How a step follows from the gradients: "sgd", with momentum; "adamw", betas 0.9 and 0.999."""
    learning_rate: float = 0.01
    """Highest learning rate, for the global batch_size; see rate_for_batch."""
    rate_for_batch: int | None = None
    """Videos per step that learning_rate is meant for: with another batch_size it is scaled in proportion; none: it is
    taken as it is."""
    schedule: Literal["steps", "cosine"] = "steps"
    """How the learning rate falls: "steps", by learning_rate_decay at certain points; "cosine", to 0 at the end."""
    learning_rate_decay: float = 0.1
    """Factor on the learning rate at each point of "steps"."""
    decay_epochs: tuple[float, ...] | None = None
    """The points of "steps", in epochs, such as [40, 60]; none: 1/3 and 2/3 of the epochs."""
    total_videos: int | None = None
    """Number of training videos that the original's arithmetic computes those points from; none: they are those of the
    run's own steps."""
    warmup_epochs: float = 0.0
    """Epochs in which the learning rate rises, in a straight line, to where the schedule is then; 0: off."""
    momentum: float = 0.9
    """Momentum of SGD; 0: off."""
    nesterov: bool = False
    """Nesterov's form of the momentum."""
    l2_weight_decay: float = 1e-4
    """L2 penalty of SGD on every parameter; of AdamW the share, times the learning rate, that a step takes off; 0:
    off."""
    decay_bn_and_bias: Literal[True, False, "all_but_last"] = True
    """Whether it counts for batch norm and biases too, as in the original; or, as in its TSM, for all but the last
    layer's biases."""
    head_rate: float | None = None
    """Factor on the learning rate of the last layer's weights; its biases get twice that; none: 1 for both."""
    clip_grad_norm: float | None = None
    """Largest L2 norm of all gradients together; a larger one is scaled down to it; none: off."""
    frozen_stages: int = 0
    """Parts of the backbone, from its beginning, that stay as they are: 1 is the stem, 2 the first stage too; 0:
    off."""
    freeze_bn: Literal[True, False, "all_but_first"] = False
    """Batch norm uses the running statistics it started with and does not change them (small batches, fine-tuning):
    that of all layers, or, partial batch norm, of all but the network's first."""
    precise_bn_steps: int = 0
    """Steps whose clips batch norm's running statistics are computed anew from before each validation; 0: off."""
    ema_decay: float | None = None
    """Share that the moving average of the weights keeps at each step, for example 0.999; validation and the saved
    weights are the average then; none: off."""

    crop: Literal["random", "multi_scale", "random_resized"] = "random"
    """The part of a frame that is seen: "random", target_size as it is; "multi_scale", sides of 1, 0.875, 0.75 or 0.66
    of short_size, at 13 places; "random_resized", 8 to 100 % of the area, sides 3:4 to 4:3; then
    sized to target_size."""
    mirror: bool = True
    """Whether half of the clips are mirrored; False where left and right make classes."""
    color_jitter: float = 0.0
    """How far brightness, contrast and saturation are changed, up to 1, by a factor from 1 - it to 1 + it; 0: off."""
    mixup: float | None = None
    """Parameter of the Beta distribution of the share in which two neighbours of a step's videos are mixed, for example
    0.2; none: off."""
    cutmix: float | None = None
    """The same for a rectangle that is cut out of one and put into the other; with mixup, each is taken for half of the
    steps."""
    dropout: float = 0.0
    """Share of the features that each step leaves out before the last layer; 0: off."""
    label_smoothing: float = 0.0
    """Share of the truth that is spread over all classes; 0: off."""
    class_weights: Literal["off", "balanced"] | tuple[float, ...] = "off"
    """Weight of each class in the loss: "balanced", in inverse proportion to its videos; or a list, in label order."""
    sampling: Literal["shuffle", "class_balanced"] = "shuffle"
    """Which videos an epoch has: "shuffle", each once; "class_balanced", as many drawn, each class equally often."""

    def _checks(self) -> list[tuple[str, bool, str]]:
        at_most = f"it must be above 0 and at most {LARGEST}, or none"
        return [
            *super()._checks(),
            outside(self, "epoch", 1, MOST_EPOCHS),
            outside(self, "patience", 1, MOST_EPOCHS),
            (
                "learning_rate",
                not SMALLEST <= self.learning_rate <= LARGEST,
                f"it must be above 0, from {SMALLEST} to {LARGEST}",
            ),
            outside(self, "rate_for_batch", 1, MOST_VIDEOS_PER_STEP),
            ("learning_rate_decay", not 0 < self.learning_rate_decay <= 1, "it must be above 0 and at most 1"),
            (
                "decay_epochs",
                self.decay_epochs is not None and list(self.decay_epochs) != sorted(set(self.decay_epochs)),
                "the points must rise",
            ),
            outside(self, "total_videos", 1, MOST_VIDEOS),
            (
                "warmup_epochs",
                not 0 <= self.warmup_epochs <= self.epoch,
                f"it must lie between 0 and epoch, {self.epoch}",
            ),
            ("momentum", not 0 <= self.momentum < 1, "it must be at least 0 and below 1"),
            (
                "nesterov",
                self.nesterov and (self.optimizer != "sgd" or not self.momentum),
                "it is a form of the momentum of sgd; set TRAIN.optimizer=sgd and a momentum, or leave it out",
            ),
            outside(self, "l2_weight_decay", 0, LARGEST),
            ("head_rate", not _is_share(self.head_rate, LARGEST), at_most),
            ("clip_grad_norm", not _is_share(self.clip_grad_norm, LARGEST), at_most),
            outside(self, "frozen_stages", 0, 100),
            outside(self, "precise_bn_steps", 0, MOST_VIDEOS),
            (
                "precise_bn_steps",
                bool(self.precise_bn_steps and self.freeze_bn),
                "freeze_bn keeps them; set one of them",
            ),
            (
                "ema_decay",
                self.ema_decay == 1 or not _is_share(self.ema_decay, 1),
                "it must be above 0 and below 1, or none",
            ),
            *self._checks_of_samples(),
        ]

    def _checks_of_samples(self) -> list[tuple[str, bool, str]]:
        return [
            ("color_jitter", not 0 <= self.color_jitter <= 1, "it must lie between 0 and 1"),
            ("mixup", not _is_share(self.mixup, 1000), "it must be above 0 and at most 1000, or none"),
            ("cutmix", not _is_share(self.cutmix, 1000), "it must be above 0 and at most 1000, or none"),
            ("dropout", not 0 <= self.dropout < 1, "it must be at least 0 and below 1"),
            ("label_smoothing", not 0 <= self.label_smoothing < 1, "it must be at least 0 and below 1"),
            (
                "class_weights",
                isinstance(self.class_weights, tuple) and not all(0 <= one <= 1e6 for one in self.class_weights),
                "each weight must lie between 0 and 1,000,000",
            ),
        ]


def _is_share(value: float | None, most: float) -> bool:
    """Whether a value is above 0 and at most so large, or none."""
    return value is None or SMALLEST <= value <= most


@dataclass(frozen=True)
class TrainConfig(RecipeConfig):
    max_bad_fraction: float = 0.05
    """Share of an epoch's videos that may be unreadable before training stops; it stops too when more than half (or
    this share, if larger) of at least 200 videos tried so far are; 1: never stop."""
    accumulate_steps: int = 1
    """Parts that a step's videos are computed in, one after another: the same step in less memory; 1: off."""
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
            ("max_bad_fraction", not 0 <= self.max_bad_fraction <= 1, "it must lie between 0 and 1"),
            outside(self, "accumulate_steps", 1, MOST_VIDEOS_PER_STEP),
            (
                "accumulate_steps",
                self.accumulate_steps > max(self.batch_size, 1),
                f"a step of {self.batch_size} videos (batch_size) has no more parts than that",
            ),
            (
                "sync_bn",
                self.sync_bn and self.freeze_bn is not False,
                "freeze_bn leaves no statistics to compute; set one of them",
            ),
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
