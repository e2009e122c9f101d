"""The processor that is measured on: its name, and what of the things that engines use it can compute."""

import platform
from pathlib import Path
from typing import NamedTuple

FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


class Processor(NamedTuple):
    name: str
    flags: list[str]
    """Those of FLAGS that it has; empty where nothing tells them, that is, not on Linux."""

    def __str__(self) -> str:
        return f"{self.name} ({' '.join(self.flags) or 'flags not known'})"


def read_processor(path: Path = Path("/proc/cpuinfo")) -> Processor:
    """The first one of the machine."""
    if not path.is_file():
        return Processor(platform.processor() or platform.machine(), [])
    lines = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    found: dict[str, str] = {}
    for key, _, value in lines:
        found.setdefault(key.strip(), value.strip())
    has = found.get("flags", "").split()
    return Processor(found.get("model name", platform.machine()), [flag for flag in FLAGS if flag in has])
