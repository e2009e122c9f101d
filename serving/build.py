"""Flags and a session -> the server."""

from pathlib import Path
from typing import NamedTuple

from config import Config
from datareader.build import build_reader
from inference.engines.engine import Engine
from inference.session import Session
from serving.addresses import Fetcher
from serving.batching import Batcher
from serving.decoder import Setup
from serving.decoders import Decoders
from serving.doors import Doors
from serving.house import House, Model
from serving.limits import Limits
from serving.metrics import Metrics
from serving.service import ClipShape, Service
from serving.uploads import Uploads

BOUNDED_DECODERS = ("selective", "pyav")


class Settings(NamedTuple):
    """What serve.py was told of the server itself."""

    limits: Limits
    num_workers: int
    num_threads: int
    """That may decode one video."""
    temp_dir: Path
    fetcher: Fetcher
    token: str | None


def check_config(config: Config) -> None:
    """Raise ValueError if strangers' videos cannot be read by this config."""
    if config.model.format != "mp4":
        raise ValueError("serve.py takes videos, but MODEL.format is pkl; use -o MODEL.format=mp4")
    if config.model.decoder not in BOUNDED_DECODERS:
        raise ValueError(
            f"MODEL.decoder is {config.model.decoder}, which keeps no limits; use -o MODEL.decoder=selective"
        )


def build_house(session: Session, settings: Settings, lone_engine: Engine | None) -> House:
    """All parts of a server; its engine's threads run, its decoders do not yet.

    Args:
        lone_engine: see `Batcher`.
    """
    config, limits = session.config, settings.limits
    reader = build_reader(config, "infer", [])
    views = reader.views
    setup = Setup(
        sampling=list(reader.sampling),
        views=[views.short_size, views.target_size, views.crop, views.resize],
        decoder=config.model.decoder,
        num_threads=settings.num_threads,
        read_sec=limits.read_sec,
        max_pixels=limits.max_pixels,
        max_video_sec=limits.max_video_sec,
    )
    metrics, doors, decoders = Metrics(), Doors(limits.queue), Decoders(setup, settings.num_workers)
    metrics.watch(doors, decoders)
    max_clips = max(min(config.infer.batch_size, session.max_frames // reader.clip_shape[0]), 1)
    shape = ClipShape(reader.num_views, views.num_crops, reader.sampling.seglen)
    model = Model(
        config.model.name, session.class_names, config.model.num_classes, reader.sampling.seg_num, views.target_size,
        session.engine.title,
    )  # fmt: skip
    uploads = Uploads(settings.temp_dir, limits.max_bytes, limits.upload_sec)
    batcher = Batcher(session.engine, max_clips, session.max_frames, metrics.batch_clips.observe, lone_engine)
    service = Service(session.engine, decoders, batcher, limits, shape)
    return House(model, service, doors, uploads, settings.fetcher, metrics, settings.token)
