"""A list of videos, and the two files that check_videos writes beside it: the findings, and a list of the readable."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common.csv_cells import as_before, csv_line
from common.whole_file import whole_file
from datareader.records import read_list

OK, DAMAGED, BROKEN = "ok", "damaged", "broken"
SELECTIVE = "selective"


class Finding(NamedTuple):
    """What is known of a video; the middle columns of the csv."""

    status: str
    """OK, DAMAGED or BROKEN."""
    num_frames: int
    """Frames that can be decoded; 0 if it is broken."""
    decoding: str
    """SELECTIVE, or "in order: reason"; empty if it is broken."""
    reason: str
    """Why it is damaged or broken."""


COLUMNS = ["path", *Finding._fields, "size_bytes", "modified_ns"]


class CheckedList:
    """A list. Its videos are known by their absolute path: another list may call them otherwise.

    Raises:
        ValueError, FileNotFoundError: see `read_list`.
    """

    def __init__(self, path: Path):
        self.path = path
        self.csv_path = path.with_name(f"{path.stem}.check.csv")
        self.checked_path = path.with_name(f"{path.stem}.checked{path.suffix}")
        records = read_list(path, multi_label=True)  # whatever labels it has
        self._lines = path.read_bytes().decode("utf-8-sig").splitlines(keepends=True)
        self._names = [record.name for record in records]
        self._files = {record.name: os.path.abspath(record.path) for record in records}
        self._stamps = {name: _stamp(file) for name, file in self._files.items()}
        self.videos: dict[str, list[str]] = {}
        """{video: what the list calls it}, in the list's order."""
        for name, file in self._files.items():
            self.videos.setdefault(file, []).append(name)

    def known(self) -> dict[str, Finding]:
        """{video: finding} of the csv, for those that need not be checked again.

        A line that was cut off by the end of a run has too few columns, or a stamp that is no video's.
        """
        if not self.csv_path.exists():
            return {}
        with self.csv_path.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = csv.reader(line.replace("\0", "") for line in file)
            if next(rows, COLUMNS) != COLUMNS:
                raise ValueError(f"{self.csv_path}: not of check_videos, which would overwrite it; move it away")
            rows = [as_before(row) for row in rows if len(row) == len(COLUMNS) and row[1] in (OK, DAMAGED)]
        return {
            self._files[name]: Finding(status, int(num_frames), decoding, reason)
            for name, status, num_frames, decoding, reason, *stamp in rows
            if stamp == self._stamps.get(name)
        }

    def write_csv(self, findings: dict[str, Finding]) -> None:
        """Write the csv anew, in the list's order, with what is known."""
        rows = [self._row(name, findings[file]) for name, file in self._files.items() if file in findings]
        with whole_file(self.csv_path) as table:
            table.write("".join([csv_line(COLUMNS), *rows]).encode())

    def append(self, video: str, finding: Finding) -> None:
        """Add one of the list's videos to the csv."""
        with self.csv_path.open("a", encoding="utf-8", newline="") as table:
            table.writelines(self._row(name, finding) for name in self.videos[video])

    def write_checked(self, findings: dict[str, Finding], dropped: Sequence[str]) -> str:
        """Write the list without the videos of some statuses; returns the summary."""
        in_order = [findings[self._files[name]] for name in self._names]
        following, kept = iter(in_order), []
        for line in self._lines:
            is_video = line.strip() and not line.strip().startswith("#")
            if not is_video or next(following).status not in dropped:
                kept.append(line)
        with whole_file(self.checked_path) as checked:
            checked.write("".join(kept).encode())
        counts = Counter(finding.status for finding in in_order)
        return (
            f"{self.path}: {counts[OK]} of {len(in_order)} videos are fine, {counts[DAMAGED]} damaged, "
            f"{counts[BROKEN]} broken, {sum(finding.decoding not in (SELECTIVE, '') for finding in in_order)} are "
            f"decoded in order; {len(in_order) - sum(counts[status] for status in dropped)} videos in "
            f"{self.checked_path}"
        )

    def _row(self, name: str, finding: Finding) -> str:
        return csv_line([name, *finding, *self._stamps[name]])


def _stamp(file: str) -> list[str]:
    """Size and time of modification: another stamp, another content."""
    try:
        status = os.stat(file)
    except OSError:
        return ["", ""]
    return [str(status.st_size), str(status.st_mtime_ns)]
