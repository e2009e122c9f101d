#!/usr/bin/env python3
"""List what a weights file of any known origin holds, or write it in another format.

    python scripts/convert_weights.py SRC                          # list every tensor
    python scripts/convert_weights.py SRC tsn.pdparams             # for Paddle
    python scripts/convert_weights.py SRC tsn.safetensors          # for everyone
    python scripts/convert_weights.py SRC tsn_kinetics             # the 2019 original's folder, a file per variable
    python scripts/convert_weights.py SRC tsn.safetensors --names=mmaction2

SRC is a checkpoint folder, a .pdparams, .safetensors, .pth, .pt or .npz file, or the 2019 original's folder or
.tar.gz, recognised by its content; its names may be those of any toolkit below.
DST must not exist yet; checksums are written beside it. --names gives it another toolkit's names, and that toolkit's
layout of the last layer. The original's and PaddleVideo's weights do not tell a TSM from a TSN: --model_name does.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    import common.beginning  # noqa: F401

import common.startup  # noqa: F401
from common import command_line
from models.weights import Weights, read_weights, write_weights
from models.weights.matching import our_naming, tensor_names
from models.weights.names import NAMINGS, OURS, Naming
from models.weights.shifts import MARKS, as_ours, kind_of, marks_of

FORMATS = ".pdparams, .safetensors, or no suffix for the 2019 original's folder"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.OneLineParser(__doc__)
    parser.add_argument("source", metavar="SRC", help="weights of any known format, in any known naming")
    parser.add_argument("destination", metavar="DST", nargs="?", help=f"what to write: {FORMATS}; left out: list SRC")
    parser.add_argument(
        "--names",
        choices=("ours", *NAMINGS),
        help="whose names to write under (default: ours; for a folder: original)",
    )
    parser.add_argument(
        "--model_name",
        choices=("TSN", "TSM"),
        help="what SRC is made for (default: what its names tell; TSN where they do not)",
    )
    parser.add_argument(
        "--shift_div",
        type=int,
        default=8,
        help="MODEL.shift_div of a TSM of another toolkit (default: 8; PaddleVideo's for 16 segments have 16)",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    destination = Path(args.destination) if args.destination else None
    is_folder = bool(destination) and (not destination.suffix or args.destination.endswith("/"))
    if destination and not is_folder and destination.suffix not in (".pdparams", ".safetensors"):
        raise ValueError(f"{destination}: unknown format {destination.suffix}; DST takes {FORMATS}")
    if is_folder and args.names not in (None, "original"):
        raise ValueError(f"{destination}: a folder is written in the original's names; leave out --names={args.names}")
    weights = _as_ours(read_weights(args.source), args.model_name, args.shift_div)
    if not destination:
        print("\n".join(listing(weights)))
        return
    naming = _naming(args.names or ("original" if is_folder else "ours"), weights)
    write_weights(destination, weights.arrays, weights.num_layers, naming, as_folder=is_folder)
    print(f"{args.source}: {weights.description()}, {len(weights.arrays)} tensors")
    print(f"{destination}: written in the names of {naming.title}, checksums beside it")


def _naming(name: str, weights: Weights) -> Naming:
    """What to write the weights under; ValueError: those names are for other networks."""
    family = weights.naming.family
    fitting = {"ours": our_naming(family)} | {key: one for key, one in NAMINGS.items() if one.family == family}
    if name not in fitting:
        raise ValueError(
            f"{weights.path}: the names {name} are for {NAMINGS[name].family}, but these weights are of {family}; "
            f"write a .pdparams or .safetensors file with --names={' or '.join(fitting)}"
        )
    return _fitting_kind(fitting[name], weights)


def _as_ours(weights: Weights, model_name: str | None, shift_div: int) -> Weights:
    """The weights as this project's networks compute with them; ValueError: they are of another model."""
    if model_name == "TSM" and not weights.naming.tells_shift:
        weights = weights._replace(naming=weights.naming.tsm)
    naming, kind = weights.naming, kind_of(weights.arrays, weights.naming, weights.num_layers)
    if model_name not in (None, "TSM" if kind.is_tsm else "TSN"):
        raise ValueError(f"{weights.path}: is not the weights of a {model_name}; leave out --model_name")
    if naming.shift is None:
        return weights
    shift_div = naming.shift.div or shift_div
    arrays = as_ours(weights.arrays, naming, weights.num_layers, shift_div) | marks_of(kind, shift_div)
    return weights._replace(arrays=arrays)


def _fitting_kind(naming: Naming, weights: Weights) -> Naming:
    """A toolkit's names for a TSM, where these weights are of one; ValueError: its TSM is another."""
    kind = kind_of(weights.arrays)
    if naming in OURS.values() or not kind.is_tsm:
        return naming
    theirs = naming.tsm and kind_of({}, naming.tsm, weights.num_layers)
    if theirs is None or theirs._replace(shift_div=theirs.shift_div or kind.shift_div) != kind:
        raise ValueError(f"{weights.path}: {naming.title} has no such TSM; leave out --names")
    return naming.tsm


def listing(weights: Weights) -> list[str]:
    """A line for every tensor: its name, ours, its shape."""
    ours = tensor_names(our_naming(weights.naming.family), weights.num_layers)
    known = [*ours, *(name for name in MARKS if name in weights.arrays)]
    missing = [name for name in known if name not in weights.arrays]
    strangers = [name for name in weights.arrays if name not in known]
    width = max(len(name) for name in weights.their_names.values())
    lines = [
        f"{weights.path}: {weights.description()}",
        f"{len(weights.arrays) - len(strangers)} tensors of {len(known)} are there, {len(missing)} missing, "
        f"{len(strangers)} unknown, {len(weights.passed_over)} of training state",
        "",
    ]
    for name, array in weights.arrays.items():
        ours = name if name in known else "-"
        lines.append(f"{weights.their_names.get(name, '-'):{width}}  {ours:42}  {list(array.shape)}")
    lines += [f"{'missing':{width}}  {name}" for name in missing]
    lines += [f"{name:{width}}  training state" for name in weights.passed_over]
    return lines


if __name__ == "__main__":
    command_line.run(main)
