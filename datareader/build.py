"""Config section -> the records, reader and loader of a mode: "train", "valid", "test" or "infer"."""

import functools
import logging
from collections.abc import Sequence

import numpy as np

from common.console import count, size
from common.processes import cores_each, memory_bytes
from config import Config, ReaderConfig, ViewsConfig
from datareader.augment import RandomView
from datareader.decode import check_decoder
from datareader.loader import Loader
from datareader.order import CLASS_BALANCED, Order, balanced_order, shuffled_order
from datareader.reader import ClipReader, Decoding
from datareader.records import Record, RecordList, read_list
from datareader.sampling import Sampling
from datareader.transforms import Views
from distributed.ranks import Ranks

NEIGHBOURS_TRIED = 5  # in place of a training video that cannot be read: a hunt through the list could take days

logger = logging.getLogger(__name__)


def build_records(config: Config, mode: str, ranks: Ranks = Ranks()) -> RecordList:
    """The videos of a mode's list.

    Raises:
        ValueError, FileNotFoundError: no list is named, see `read_list`, or ranks do not read the same.
    """
    list_path = getattr(config, mode).filelist
    if list_path is None:
        by_flag = ", or give --filelist or --video" if mode == "infer" else ""
        by_interval = ", or --valid_interval=0 to train without validation" if mode == "valid" else ""
        raise ValueError(f"no list of videos: set {mode.upper()}.filelist{by_flag}{by_interval}")
    num_classes = None if mode == "infer" else config.model.num_classes
    records = read_list(list_path, config.model.format, num_classes, config.model.multi_label)
    if ranks.num_ranks > 1:
        _check_same(records, list_path, ranks)
    return records


def _check_same(records: RecordList, list_path: str, ranks: Ranks) -> None:
    """Raise ValueError, on every rank, if another rank's list has other videos, labels or another order."""
    lists = ranks.exchange([records.digest, len(records)])
    other = next((rank for rank, entry in enumerate(lists) if entry != lists[0]), None)
    if other is not None:
        ranks.leave()  # they all raise this
        raise ValueError(
            f"{list_path}: is another list on rank {other} ({count(lists[other][1], 'video')}) than on rank 0 "
            f"({count(lists[0][1], 'video')}); give all ranks the same, and leave it alone while a run starts"
        )


def build_reader(config: Config, mode: str, records: Sequence[Record], seed: int | None = None) -> ClipReader:
    """The clips of records, as a mode sees them, read in this process. Only train draws at random, from the seed."""
    model, section = config.model, getattr(config, mode)
    check_decoder(model.decoder)
    num_clips = section.num_clips if isinstance(section, ViewsConfig) else 1
    return ClipReader(
        records,
        Decoding(model.format, model.decoder, model.decode_timeout_sec, _num_threads(mode, num_readers=1)),
        Sampling(section.seg_num or model.seg_num, model.seglen, num_clips),
        _build_random_view(config) if mode == "train" else _build_views(section),
        num_classes=None if mode == "infer" else model.num_classes,
        multi_label=model.multi_label,
        seed=seed if mode == "train" else None,
        max_unreadable=NEIGHBOURS_TRIED,
    )


def _build_random_view(config: Config) -> RandomView:
    """How training sees a video."""
    train = config.train
    return RandomView(train.short_size, train.target_size, train.crop, train.resize, train.color_jitter, train.mirror)


def _build_views(section: ReaderConfig) -> Views:
    """How a section other than TRAIN sees a video."""
    crop = section.crop if isinstance(section, ViewsConfig) else "center"
    return Views(section.short_size, section.target_size, crop, section.resize)


def build_loader(
    config: Config, mode: str, records: Sequence[Record], ranks: Ranks = Ranks(), seed: int | None = None
) -> Loader:
    """The loader of records, as a mode sees them. Only train draws at random, from the seed."""
    section, is_training = getattr(config, mode), mode == "train"
    reader = build_reader(config, mode, records, seed)
    batch_size = section.batch_size
    if isinstance(section, ViewsConfig):  # no more videos per step than may be computed at once
        batch_size = min(batch_size, ranks.num_ranks * max(section.max_frames_per_batch // reader.clip_shape[0], 1))
    if is_training and len(records) < ranks.num_ranks:
        ranks.leave()  # they all raise this
        raise ValueError(
            f"{section.filelist}: has {count(len(records), 'video')} for {ranks.num_ranks} ranks, and each needs one "
            f"at every step; start {len(records)} at most, or take a longer list"
        )
    batch_size = _whole_shares(mode, batch_size, ranks)
    _check_memory(mode, batch_size // ranks.num_ranks, reader.clip_shape)
    num_workers = _num_workers(section.num_reader_threads, len(records), batch_size)
    reader.decoding = reader.decoding._replace(num_threads=_num_threads(mode, num_workers))
    return Loader(
        reader,
        batch_size,
        order=build_order(config, records, seed) if is_training else None,
        num_workers=num_workers,
        rank=ranks.rank,
        num_ranks=ranks.num_ranks,
        even_ranks=is_training,
    )


def build_order(config: Config, records: RecordList, seed: int) -> Order:
    """What training's epochs have, in which order."""
    if config.train.sampling == CLASS_BALANCED:
        if records.multi_label:
            raise ValueError(
                "TRAIN.sampling is class_balanced, but a video of a multi-label list is of no one class; use "
                "-o TRAIN.sampling=shuffle, with TRAIN.class_weights=balanced if need be"
            )
        return functools.partial(balanced_order, labels=records.labels, seed=seed)
    return functools.partial(shuffled_order, num_clips=len(records), seed=seed)


def _whole_shares(mode: str, batch_size: int, ranks: Ranks) -> int:
    """A batch size that ranks can share equally. Training's stays as it is, because results depend on it."""
    num_ranks = ranks.num_ranks
    if batch_size % num_ranks == 0:
        return batch_size
    if mode == "train":
        ranks.leave()  # they all raise this
        raise ValueError(
            f"[TRAIN] batch_size is {batch_size}, which {num_ranks} ranks cannot share equally; "
            f"make it a multiple of {num_ranks}"
        )
    whole = -(-batch_size // num_ranks) * num_ranks
    logger.info(
        "[%s] batch size %d instead of %d, so that %s share it",
        mode.upper(), whole, batch_size, count(num_ranks, "rank"),
    )  # fmt: skip
    return whole


def _check_memory(mode: str, num_videos: int, clip_shape: tuple[int, ...]) -> None:
    """Refuse a batch that is larger than the machine's memory."""
    needed, available = num_videos * int(np.prod(clip_shape)), memory_bytes()
    if needed > available:
        raise ValueError(
            f"[{mode.upper()}] a batch of {count(num_videos, 'video')} takes {size(needed)}, and this machine has "
            f"{size(available)} of memory; lower batch_size, seg_num or target_size"
        )


def _num_workers(wanted: int, num_clips: int, batch_size: int) -> int:
    """The worker processes to start: as many as wanted, but no more than cores per process or batches to read."""
    return min(wanted, cores_each(), -(-num_clips // batch_size))


def _num_threads(mode: str, num_readers: int) -> int:
    """The threads that may decode one video: the cores that reading several videos at a time leaves to each.

    One in training, where an epoch always has more videos to read than there are cores.
    """
    return 1 if mode == "train" else max(cores_each() // max(num_readers, 1), 1)
