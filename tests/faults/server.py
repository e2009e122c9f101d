"""A server of weights for the campaign, in a process of its own: prints its address, and serves until it is killed."""

import hashlib
import io
import sys
import tarfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from weights_server import serve  # noqa: E402

NAME = "tsn_small"
NUM_FILES, NUM_BYTES = 40, 50_000
PAUSE_SEC = 0.02  # between blocks of 64 KiB, so that a download takes as long as it takes to hurt it


def make_archive() -> bytes:
    """An archive of weights; its content is noise."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for number in range(NUM_FILES):
            content = b"".join(hashlib.sha256(b"%d %d" % (number, i)).digest() for i in range(NUM_BYTES // 32))
            entry = tarfile.TarInfo(f"{NAME}/weights_{number}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


if __name__ == "__main__":
    with serve({f"{NAME}.tar.gz": make_archive()}) as server:
        server.pause_sec = PAUSE_SEC
        print(server.url, flush=True)
        while True:
            time.sleep(3600)
