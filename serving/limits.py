"""What a request may cost."""

from typing import NamedTuple


class Limits(NamedTuple):
    """What a request may cost; the flags of serve.py, and their defaults."""

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
