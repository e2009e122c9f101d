"""What a request may cost, and the flags for it."""

import argparse
from typing import NamedTuple

from common.command_line import positive_float, positive_int


class Limits(NamedTuple):
    """What a request may cost, and the defaults."""

    max_bytes: int = 200 * 10**6
    """Of a video."""
    upload_sec: float = 300.0
    """Seconds that sending a request may take."""
    max_video_sec: float = 600.0
    """Length of a video."""
    max_pixels: int = 4096 * 2304
    """Of a frame: 4K."""
    read_sec: float = 30.0
    """Seconds that decoding may take: a video, or a window of it."""
    timeout_sec: float = 120.0
    """Seconds from the last byte of a request to its answer, or to the next window of it."""
    queue: int = 64
    """Requests that wait or run; further ones are refused."""


def add_limits(parser: argparse.ArgumentParser) -> None:
    default = Limits()
    parser.add_argument(
        "--queue", type=positive_int, default=default.queue,
        help="requests that may wait or run; further ones get 429 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--timeout_sec", type=positive_float, default=default.timeout_sec,
        help="seconds until a request without an answer gets 504 (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--max_mb", type=positive_float, default=default.max_bytes / 1e6,
        help="size of a video, in millions of bytes (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--max_video_sec", type=positive_float, default=default.max_video_sec, help="its length (default: %(default)g)"
    )
    parser.add_argument(
        "--max_pixels", type=positive_int, default=default.max_pixels, help="of a frame (default: %(default)s: 4K)"
    )
    parser.add_argument(
        "--read_sec", type=positive_float, default=default.read_sec,
        help="seconds that decoding a video, or a window of it, may take (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--upload_sec", type=positive_float, default=default.upload_sec,
        help="seconds that sending a request may take (default: %(default)g)",
    )  # fmt: skip


def limits_of(args: argparse.Namespace) -> Limits:
    """What these flags say."""
    return Limits(
        max_bytes=round(args.max_mb * 1e6),
        upload_sec=args.upload_sec,
        max_video_sec=args.max_video_sec,
        max_pixels=args.max_pixels,
        read_sec=args.read_sec,
        timeout_sec=args.timeout_sec,
        queue=args.queue,
    )
