"""Config section -> plain arguments -> objects. The only place where the config meets the rest."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import paddle

from config import Config, ViewsConfig, changed_keys, load_config
from datareader import READERS
from datareader.decode import check_decoder
from datareader.kinetics_reader import KineticsReader
from datareader.loader import Loader
from datareader.records import Record, read_list
from engine.average import WeightAverage
from engine.distributed import Ranks, gpu_number, on_gpu, parallel, processes_here
from engine.loop import Trainee
from engine.optimizer import create_optimizer, learning_rate_at, steps_per_epoch
from engine.precision import Precision
from evaluation.results import read_class_names
from models import create_model
from models.classifier import Classified, EagerClassifier
from models.exported import is_exported, open_exported, read_card
from models.weights import TSN_KINETICS, Published, load_weights, published_weights, read_weights
from processes import num_cores

Classifier = Callable[[paddle.Tensor], Classified]

logger = logging.getLogger(__name__)


def build_model(config: Config, channels_last: bool = False) -> paddle.nn.Layer:
    model = config.model
    return create_model(
        model.name,
        num_classes=model.num_classes,
        num_layers=model.num_layers,
        seglen=model.seglen,
        image_mean=model.image_mean,
        image_std=model.image_std,
        channels_last=channels_last,
    )


def fetch_published_weights(config: Config, published: Published) -> Path:
    """The folder of published weights, downloaded if need be; what cannot fit the model is refused before that."""
    fits = {"num_layers": published.num_layers, "num_classes": published.num_classes, "seglen": 1}
    for key, theirs in fits.items():
        ours = getattr(config.model, key)
        if theirs is not None and ours != theirs:
            raise ValueError(
                f"the published weights, {published.name}, are for {key} {theirs}, but MODEL.{key} is {ours}; "
                f"{published.other_way}"
            )
    return published_weights(published)


def build_class_names(config: Config) -> list[str] | None:
    return read_class_names(config.model.label_file, config.model.num_classes)


class BuiltClassifier(NamedTuple):
    classify: Classifier
    class_names: list[str] | None
    """In label order; None: classes go by number."""
    weights: Path
    """The file or folder that it was made of."""


def build_classifier(config: Config, mode: str, weights: str | None) -> BuiltClassifier:
    """What classifies in a mode, "test" or "infer".

    Args:
        weights: of any known format, or an exported model; None or "": the published ones.
    """
    if not (weights and is_exported(weights)):
        class_names = build_class_names(config)
        model = build_model(config)
        path = Path(weights or fetch_published_weights(config, TSN_KINETICS))
        found = read_weights(path)
        report = load_weights(model, found)
        logger.info("weights of %s: %s", found.path, report.summary())
        return BuiltClassifier(EagerClassifier(model), class_names, path)
    card = read_card(weights)
    theirs = load_config(weights, text=card.config)
    fixed = [f"MODEL.{key}" for key in ("name", "num_classes", "seglen", "image_mean", "image_std", "num_layers")]
    changed = changed_keys(theirs, config)
    wrong = [f"{key} {changed[key][0]}, the config has {changed[key][1]}" for key in fixed if key in changed]
    side, ours = card.clip_shape[-1], getattr(config, mode).target_size
    if side != ours:
        wrong.append(f"{mode.upper()}.target_size {side}, the config has {ours}")
    if wrong:
        raise ValueError(f"{weights}: was exported with {'; '.join(wrong)}; leave out --config, or export again")
    threads = max(num_cores() // processes_here(), 1)
    classifier = open_exported(weights, threads, gpu_number())
    logger.info("%s: exported from %s", weights, card.weights)
    return BuiltClassifier(classifier, card.class_names or build_class_names(config), Path(weights))


def build_reader(config: Config, mode: str, records: list[Record], seed: int | None = None) -> KineticsReader:
    """The clips of records, read in a mode: "train", "valid", "test" or "infer". Only train draws at random."""
    model, section = config.model, getattr(config, mode)
    check_decoder(model.decoder)
    views = {"num_clips": section.num_clips, "crop": section.crop} if isinstance(section, ViewsConfig) else {}
    return READERS[model.name](
        records,
        clip_format=model.format,
        decoder=model.decoder,
        timeout_sec=model.decode_timeout_sec,
        seg_num=section.seg_num or model.seg_num,
        seglen=model.seglen,
        short_size=section.short_size,
        target_size=section.target_size,
        num_classes=None if mode == "infer" else model.num_classes,
        seed=seed if mode == "train" else None,
        max_broken=int(config.train.max_bad_fraction * len(records)),
        **views,
    )


def build_records(config: Config, mode: str) -> list[Record]:
    """The videos of a mode's list."""
    num_classes = None if mode == "infer" else config.model.num_classes
    return read_list(getattr(config, mode).filelist, config.model.format, num_classes)


def build_loader(
    config: Config,
    mode: str,
    ranks: Ranks = Ranks(),
    seed: int | None = None,
    records: list[Record] | None = None,
) -> Loader:
    """The loader of a mode: "train", "valid", "test" or "infer". Only train draws at random, from the seed.

    Args:
        records: the videos; None: those of the mode's list.
    """
    section, is_training = getattr(config, mode), mode == "train"
    records = build_records(config, mode) if records is None else records
    reader = build_reader(config, mode, records, seed)
    batch_size = section.batch_size
    if isinstance(section, ViewsConfig):  # no more videos per step than may be computed at once
        batch_size = min(batch_size, ranks.num_ranks * max(section.max_frames_per_batch // reader.clip_shape[0], 1))
    batch_size = _whole_shares(mode, batch_size, ranks.num_ranks)
    return Loader(
        reader,
        batch_size,
        shuffle_seed=seed if is_training else None,
        num_workers=_num_workers(section.num_reader_threads, len(records), batch_size),
        rank=ranks.rank,
        num_ranks=ranks.num_ranks,
        even_ranks=is_training,
    )


def build_trainee(config: Config, model: paddle.nn.Layer, list_length: int, ranks: Ranks) -> Trainee:
    """What the training loop takes: network, optimizer, schedule, precision, moving average."""
    train = config.train
    if train.sync_bn and not on_gpu():
        raise ValueError("TRAIN.sync_bn is for GPUs; on a CPU use -o TRAIN.sync_bn=False")
    if train.sync_bn and ranks.num_ranks > 1:
        model = paddle.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return Trainee(
        network=parallel(paddle.jit.to_static(model) if train.to_static else model, ranks),
        optimizer=create_optimizer(
            model, train.learning_rate, train.momentum, train.l2_weight_decay, train.clip_grad_norm
        ),
        learning_rate_at=build_schedule(config, list_length),
        precision=Precision(train.amp, model, on_gpu()),
        average=WeightAverage(model, train.ema_decay) if train.ema_decay else None,
        accumulate_steps=train.accumulate_steps,
        freeze_bn=train.freeze_bn,
    )


def build_schedule(config: Config, list_length: int) -> Callable[[int], float]:
    """step -> learning rate, for a training list of that length."""
    train = config.train
    total_videos = train.total_videos or list_length
    if abs(total_videos - list_length) > 0.1 * list_length:
        logger.warning(
            "TRAIN.total_videos is %d, but the list has %d videos: the learning rate drops where total_videos says; "
            "-o TRAIN.total_videos=none takes the list's length",
            total_videos,
            list_length,
        )
    return functools.partial(
        learning_rate_at,
        base_rate=train.learning_rate,
        decay=train.learning_rate_decay,
        num_epochs=train.epoch,
        epoch_steps=steps_per_epoch(total_videos, train.batch_size),
    )


def _whole_shares(mode: str, batch_size: int, num_ranks: int) -> int:
    """A batch size that ranks can share equally. Training's stays as it is, because results depend on it."""
    if batch_size % num_ranks == 0:
        return batch_size
    if mode == "train":
        raise ValueError(
            f"[TRAIN] batch_size is {batch_size}, which {num_ranks} ranks cannot share equally; "
            f"make it a multiple of {num_ranks}"
        )
    whole = -(-batch_size // num_ranks) * num_ranks
    logger.info(
        "[%s] batch size %d instead of %d, so that %d ranks share it", mode.upper(), whole, batch_size, num_ranks
    )
    return whole


def _num_workers(wanted: int, num_clips: int, batch_size: int) -> int:
    """As many worker processes as wanted, unless there are fewer cores per process or fewer batches to read."""
    return min(wanted, max(num_cores() // processes_here(), 1), -(-num_clips // batch_size))
