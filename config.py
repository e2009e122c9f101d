"""Config: an ini (`.txt`) or YAML file plus overrides -> frozen dataclasses. Knows no Paddle.

    config = load_config("configs/tsn.txt", ["TRAIN.batch_size=8"])
    config.train.batch_size

Values are literals, never evaluated as code. All mistakes are reported at once, each with its file, section and key.
"""

import ast
import configparser
import dataclasses
import difflib
import math
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

NUM_LAYERS = (18, 34, 50, 101, 152)
FORMATS = ("mp4", "pkl")
DECODERS = ("selective", "pyav", "decord", "opencv")
PRECISIONS = ("off", "bf16", "fp16")
ON_SAVE_ERROR = ("stop", "continue")
CROPS = ("center", "three", "ten")


class ConfigError(ValueError):
    """Everything that is wrong with a config; one line per mistake."""

    def __init__(self, mistakes: list[str]):
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True)
class ModelConfig:
    name: str = "TSN"
    """Model, as registered in models/__init__.py."""
    format: str = "mp4"
    """What the lists name: "mp4" for videos of any format, "pkl" for the original's pickled JPEG frames."""
    decoder: str = "selective"
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
    num_layers: int = 50
    """Depth of the ResNet: 50, 101 or 152 as the original; 18 and 34 for small data and CPUs."""
    label_file: str | None = None
    """Text file with one class name per line, in label order; none: classes go by their number."""

    def __post_init__(self):
        _refuse(
            self,
            ("format", self.format not in FORMATS, f"known formats: {_join(FORMATS)}"),
            ("decoder", self.decoder not in DECODERS, f"known decoders: {_join(DECODERS)}"),
            (
                "decode_timeout_sec",
                self.decode_timeout_sec is not None and self.decode_timeout_sec <= 0,
                "it must be above 0, or none",
            ),
            ("num_layers", self.num_layers not in NUM_LAYERS, f"known depths: {_join(NUM_LAYERS)}"),
            ("num_classes", self.num_classes < 1, "it must be at least 1"),
            ("seg_num", self.seg_num < 1, "it must be at least 1"),
            ("seglen", self.seglen < 1, "it must be at least 1"),
            ("image_std", min(self.image_std) <= 0, "each value must be above 0"),
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
        _refuse(self, *self._checks())

    def _checks(self) -> list[tuple[str, bool, str]]:
        return [
            ("batch_size", self.batch_size < 1, "it must be at least 1"),
            ("seg_num", self.seg_num is not None and self.seg_num < 1, "it must be at least 1"),
            ("target_size", self.target_size < 1, "it must be at least 1"),
            (
                "target_size",
                self.target_size > self.short_size,
                f"the crop must fit into the resized frame, whose short_size is {self.short_size}",
            ),
            ("num_reader_threads", self.num_reader_threads < 0, "it must be at least 0"),
        ]


@dataclass(frozen=True)
class ViewsConfig(ReaderConfig):
    """What TEST and INFER hold: the views of a video, whose probabilities are averaged."""

    num_clips: int = 1
    """Clips per video, of seg_num segments each, spread over the places within the segments; 1: the middle ones."""
    crop: str = "center"
    """Crops of each clip: "center", one; "three", along the long side; "ten", corners and centre, also mirrored."""
    max_frames_per_batch: int = 64
    """Frames that the model gets at once: views beyond it are computed one part after another; memory follows it."""

    def _checks(self) -> list[tuple[str, bool, str]]:
        return [
            *super()._checks(),
            ("num_clips", self.num_clips < 1, "it must be at least 1"),
            ("crop", self.crop not in CROPS, f"it takes {_join(CROPS)}"),
            ("max_frames_per_batch", self.max_frames_per_batch < 1, "it must be at least 1"),
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
    """Number of training videos that the decay points are computed from; none: the list's length."""
    max_bad_fraction: float = 0.05
    """Share of an epoch's videos that may be unreadable before training stops; 1: never stop."""
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
    amp: str = "off"
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
    on_save_error: str = "stop"
    """What a checkpoint that cannot be written (a full disk) does: "stop" the run, or "continue" with a warning."""
    visualdl: bool = False
    """Write curves for VisualDL to SAVE_DIR/visualdl (an extra install)."""
    use_gpu: bool | str = "auto"
    """True, False, or "auto": a GPU if there is a usable one. The flag --use_gpu overrides it."""
    num_gpus: int = 8
    """No effect today (the launcher decides how many GPUs run); kept so that the original's configs load."""

    def _checks(self) -> list[tuple[str, bool, str]]:
        return [
            *super()._checks(),
            ("epoch", self.epoch < 1, "it must be at least 1"),
            ("learning_rate", self.learning_rate <= 0, "it must be above 0"),
            ("learning_rate_decay", not 0 < self.learning_rate_decay <= 1, "it must be above 0 and at most 1"),
            ("l2_weight_decay", self.l2_weight_decay < 0, "it must be at least 0"),
            ("momentum", not 0 <= self.momentum < 1, "it must be at least 0 and below 1"),
            ("total_videos", self.total_videos is not None and self.total_videos < 1, "it must be at least 1"),
            ("max_bad_fraction", not 0 <= self.max_bad_fraction <= 1, "it must lie between 0 and 1"),
            ("accumulate_steps", self.accumulate_steps < 1, "it must be at least 1"),
            (
                "accumulate_steps",
                self.accumulate_steps > max(self.batch_size, 1),
                f"a step of {self.batch_size} videos (batch_size) has no more parts than that",
            ),
            (
                "clip_grad_norm",
                self.clip_grad_norm is not None and self.clip_grad_norm <= 0,
                "it must be above 0, or none",
            ),
            (
                "ema_decay",
                self.ema_decay is not None and not 0 < self.ema_decay < 1,
                "it must be above 0 and below 1, or none",
            ),
            ("sync_bn", self.sync_bn and self.freeze_bn, "freeze_bn leaves no statistics to compute; set one of them"),
            ("amp", self.amp not in PRECISIONS, f"it takes {_join(PRECISIONS)}"),
            ("save_interval_steps", self.save_interval_steps < 0, "it must be at least 0"),
            ("keep_last", self.keep_last is not None and self.keep_last < 1, "it must be at least 1, or none"),
            ("on_save_error", self.on_save_error not in ON_SAVE_ERROR, f"it takes {_join(ON_SAVE_ERROR)}"),
            ("use_gpu", self.use_gpu not in (True, False, "auto"), "it takes True, False or auto"),
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
    path = Path(path)
    if text is None and not path.is_file():
        raise FileNotFoundError(f"{path}: no such config file; try --config=configs/tsn.txt")
    read = _read_ini if text is None and path.suffix not in (".yaml", ".yml") else _read_yaml
    mistakes: list[str] = []
    entries = [
        (str(path), section, key, value)
        for section, key, value in read(path, _read_text(path) if text is None else text)
    ]
    for override in overrides or []:
        target, equals, text = override.partition("=")
        section, dot, key = target.strip().partition(".")
        if not (equals and dot):
            mistakes.append(f"-o {override}: expected SECTION.key=value, for example -o TRAIN.batch_size=8")
            continue
        entries.append(("-o", section, key, _literal(text.strip())))
    for target, value in (flags or {}).items():
        if value is not None:
            entries.append(("command line", *target.split("."), value))
    return _build(str(path), entries, mistakes)


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


def _build(path: str, entries: list[tuple[str, str, str, Any]], mistakes: list[str]) -> Config:
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    origins: dict[tuple[str, str], str] = {}
    unusable = set()  # sections with a value of the wrong type: their other checks would see a default in its place
    for origin, section, key, value in entries:
        if section not in SECTIONS:
            mistakes.append(f"{origin}: [{section}]: unknown section{_nearest(section, SECTIONS)}")
            continue
        hints = typing.get_type_hints(SECTIONS[section])
        where = f"{origin}: [{section}] {key}"
        if key not in hints:
            mistakes.append(f"{where}: unknown key{_nearest(key, hints)}")
            continue
        try:
            values[section][key] = _convert(value, hints[key])
            origins[section, key] = origin
        except TypeError as error:
            mistakes.append(f"{where}: expected {error}, got {value!r}")
            unusable.add(section)
    sections = {}
    for section in [name for name in SECTIONS if name not in unusable]:
        try:
            sections[section.lower()] = SECTIONS[section](**values[section])
        except ConfigError as error:
            for mistake in error.mistakes:
                origin = origins.get((section, mistake.split()[0]), path)
                mistakes.append(f"{origin}: [{section}] {mistake}")
    if mistakes:
        raise ConfigError(list(dict.fromkeys(mistakes)))
    return Config(**sections)


def _read_ini(path: Path, text: str) -> list[tuple[str, str, Any]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # keys keep their case
    try:
        parser.read_string(text, source=str(path))
    except configparser.Error as error:
        raise ConfigError([f"{path}: not a valid ini file: {' '.join(str(error).split())}"]) from error
    return [(section, key, _literal(value)) for section in parser.sections() for key, value in parser[section].items()]


def _read_yaml(path: Path, text: str) -> list[tuple[str, str, Any]]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: not a valid YAML file: {' '.join(str(error).split())}"]) from error
    if not isinstance(content, dict) or not all(isinstance(keys, dict) for keys in content.values()):
        raise ConfigError([f"{path}: expected sections ({_join(SECTIONS)}), each with keys and values"])
    return [(str(section), str(key), value) for section, keys in content.items() for key, value in keys.items()]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not a text file in UTF-8: {error}"]) from error


def _literal(text: str) -> Any:
    """A Python literal (number, quoted text, list, True, None) if the text is one, else the text itself."""
    if text.lower() in ("none", "null", ""):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _convert(value: Any, hint: Any) -> Any:
    """The value as the type that the field's annotation asks for; TypeError("<what was expected>") if it is none."""
    if isinstance(hint, types.UnionType):
        for member in typing.get_args(hint):
            try:
                return _convert(value, member)
            except TypeError:
                continue
        raise TypeError(" or ".join(_describe(member) for member in typing.get_args(hint)))
    if typing.get_origin(hint) is tuple:
        members = typing.get_args(hint)
        if not isinstance(value, list | tuple) or len(value) != len(members):
            raise TypeError(_describe(hint))
        return tuple(_convert(item, member) for item, member in zip(value, members, strict=True))
    if hint is float:  # PyYAML reads 1e-4 as text
        try:
            number = float(value) if type(value) in (int, float, str) else math.nan
        except ValueError:
            number = math.nan
        return number if math.isfinite(number) else _fail(hint)
    if hint is str and value is False:  # YAML reads a bare off so
        return "off"
    if type(value) is not hint:  # type() and not isinstance(): True is no number here
        _fail(hint)
    return value


def _fail(hint: Any) -> typing.NoReturn:
    raise TypeError(_describe(hint))


def _describe(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "True or False", str: "text", types.NoneType: "none"}
    return names.get(hint, "a list of three numbers")


def _refuse(section: Any, *checks: tuple[str, bool, str]) -> None:
    """Raise ConfigError with a line, its key first, for each (key, is_wrong, what is right) that is wrong."""
    mistakes = [f"{key} is {getattr(section, key)!r}; {what}" for key, is_wrong, what in checks if is_wrong]
    if mistakes:
        raise ConfigError(mistakes)


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1) or difflib.get_close_matches(name.upper(), known, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else f"; known: {_join(known)}"


def _join(items: typing.Iterable[Any]) -> str:
    return ", ".join(str(item) for item in items)
