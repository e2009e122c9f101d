"""Real disks of a few kB."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[None]:
    """A disk of so many bytes in place of a folder; needs the right to mount.

    Raises:
        subprocess.CalledProcessError: this user may not.
    """
    options = ["-t", "tmpfs", "-o", f"size={num_bytes // 4096 * 4096 or 4096}", "tmpfs"]
    subprocess.run(["mount", *options, folder], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def may_mount() -> bool:
    """Whether this user may mount disks."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0
