"""A process and all below it: their memory and processor time, as Linux tells them."""

import os
from pathlib import Path

MEGABYTE = 1e6


def family(pid: int) -> list[int]:
    """The process, then its descendants."""
    found = [pid]
    for member in found:  # grows meanwhile
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            found += map(int, _read(children).split())
    return found


def resident_mb(pids: list[int]) -> float:
    """Resident memory of processes that run, together; pages that they share count in each."""
    pages = sum(int((_read(Path(f"/proc/{pid}/statm")).split() or [0, 0])[1]) for pid in pids)
    return round(pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE, 1)


def processor_sec(pids: list[int]) -> float:
    """Processor time of processes that run, together."""
    fields = (_read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split() for pid in pids)
    return sum(int(each[11]) + int(each[12]) for each in fields if each) / os.sysconf("SC_CLK_TCK")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended
        return ""
