"""The table of faults: which command suffers what, how often, and how it may end."""

import signal
from collections.abc import Callable
from typing import NamedTuple

import disks
import inputs
import machine
import ranks
from process import Ended
from signals import ctrl_c_in_a_pipe, sent

from small_disks import may_mount

KILLED, TERMINATED, INTERRUPTED = -signal.SIGKILL, -signal.SIGTERM, (130, -signal.SIGINT)
PADDLE = "train test infer export"
READERS = "train test infer transcode check_videos"
FRESH = f"{PADDLE} transcode check_videos"
ALL = f"{PADDLE} transcode check_videos download"
QUICKNESS = {"train": 0.6, "test": 1, "infer": 1.3, "export": 0.5, "transcode": 0.8, "check_videos": 0.8, "download": 2}
"""How many faults a command gets, relative to the others: more if its runs are quick."""


class Fault(NamedTuple):
    name: str
    commands: str
    hurt: Callable[..., Ended]
    """(bench, command, place, rng) -> how the run ended."""
    codes: tuple[int, ...]
    """The exit codes that docs/reliability.md names for it."""
    share: float
    """Of the campaign, for each command, relative to the others."""
    in_a_row: int = 1
    """How many of them a training run suffers one after the other before its end is looked at."""
    result_counts: bool = True
    """Whether the end has to be that of an undisturbed run; not so where the training data were others."""
    is_possible: Callable[[], bool] = lambda: True
    """Whether this machine lets this user do it."""


FAULTS = (
    Fault("SIGKILL", ALL, sent(signal.SIGKILL), (KILLED,), 3, 5),
    Fault("SIGTERM", ALL, sent(signal.SIGTERM), (TERMINATED, 143), 2, 5),
    Fault("SIGTERM to all processes", ALL, sent(signal.SIGTERM, everyone=True), (TERMINATED, 143), 2, 5),
    Fault("Ctrl-C", ALL, sent(signal.SIGINT, everyone=True), INTERRUPTED, 2, 5),
    Fault("Ctrl-C of ... | tee", FRESH, ctrl_c_in_a_pipe, INTERRUPTED, 1, 5),
    Fault("disk full from the n-th write on", f"{PADDLE} download", disks.fails(disks.FULL, True), (2,), 3, 5),
    Fault("n-th write fails (EIO)", f"{PADDLE} download", disks.fails(disks.BROKEN, False), (0, 2), 2, 5),
    Fault("n-th read fails (EIO)", f"{PADDLE} download", disks.fails(disks.BROKEN, False, True), (0, 2), 2, 5),
    Fault("file size limit", "export transcode check_videos", disks.file_limit, (2,), 1.5),
    Fault("small disk", "train test infer export transcode", disks.small, (2,), 1, is_possible=may_mount),
    Fault("read-only folder", FRESH, disks.read_only, (2,), 0.3, is_possible=disks.may_be_kept_out),
    *(
        Fault(
            f"a video {damage}",
            "train test infer transcode check_videos",
            inputs.video(damage),
            (0, 1, 2),
            0.5,
            1,
            False,
        )
        for damage in inputs.DAMAGES
    ),
    Fault("the lists change", "train test infer check_videos", inputs.list_changes, (0,), 1),
    Fault("a worker is killed", READERS, machine.worker(signal.SIGKILL), (0, 1, 2), 1, 3),
    Fault("little memory", PADDLE, machine.little_memory, (2,), 1),
    Fault("/dev/shm of 8 MB", "train test infer", machine.small_shared_memory, (0,), 0.2, 1, False, may_mount),
    Fault("the clock jumps", f"{PADDLE} download", machine.clock_jumps, (0,), 0.4),
    Fault("two runs in one folder", ALL, machine.two_runs, (0, 2), 1),
    *(Fault(surroundings, FRESH, machine.poor(surroundings), (0, 2), 0.15) for surroundings in machine.SURROUNDINGS),
    Fault("a rank is killed", "train", ranks.signalled(signal.SIGKILL), (1,), 1, 1, False),
    Fault("a rank gets SIGTERM", "train", ranks.signalled(signal.SIGTERM), (143, 1, TERMINATED), 1, 1, False),
    Fault("a rank stops (SIGSTOP)", "train", ranks.signalled(signal.SIGSTOP), (1,), 0.3, 1, False),
    Fault("a rank is late", "train", ranks.late, (0,), 0.5, 1, False),
    Fault("a rank's port is taken", "train", ranks.taken_port, (2,), 0.3, 1, False),
)
