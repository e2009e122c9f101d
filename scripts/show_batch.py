r"""Draw what training sees: some clips of its list, each as several epochs draw it, with crops, colours and mixing.

    python scripts/show_batch.py --config=configs/tsn_demo.txt batch.png
    python scripts/show_batch.py --config=my.txt -o TRAIN.crop=multi_scale -o TRAIN.mixup=0.2 batch.png

Nothing is trained. The clips lie evenly over the list, and the steps are the first ones: mixing takes neighbours.
"""

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import common.startup  # noqa: E402, F401, I001
import numpy as np  # noqa: E402
import paddle  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402

from common import command_line  # noqa: E402
from common.console import printable  # noqa: E402
from config import Config, load_config  # noqa: E402
from datareader.augment import Draw, RandomView  # noqa: E402
from datareader.build import build_reader, build_records  # noqa: E402
from datareader.reader import ClipReader  # noqa: E402
from evaluation.predictions import class_name, read_class_names  # noqa: E402
from inference.pictures import font_of  # noqa: E402
from training.mixing import Mix, Mixing  # noqa: E402

NUM_CLIPS, NUM_EPOCHS, MOST_SEGMENTS = 4, 4, 8
CELL_PX, GAP_PX, TITLE_PX, TEXT_PX = 112, 4, 24, 230
LINE_PX, LINE_CHARACTERS = 15, 36
PAPER, INK, FAINT = (250, 249, 246), (45, 45, 50), (110, 110, 118)


class NotedView(RandomView):
    """A view that remembers what was drawn last."""

    def __init__(self, view: RandomView):
        super().__init__(view.short_size, view.target_size, view.crop, view.resize, view.color_jitter)
        self.last: Draw | None = None

    def draw(self, width: int, height: int, rng: np.random.Generator) -> Draw:
        self.last = super().draw(width, height, rng)
        return self.last


class Row(NamedTuple):
    """A clip as one epoch sees it."""

    name: str
    """Of the video that was read."""
    classes: str
    """The names of its classes."""
    frames: np.ndarray
    """uint8 (T, 3, target_size, target_size)."""
    text: list[str]
    """What was drawn, in words."""


def build_parser() -> command_line.OneLineParser:
    parser = command_line.config_parser(__doc__)
    parser.add_argument("picture", type=Path, help="PNG file to write")
    parser.add_argument(
        "--seed", type=command_line.whole_number(0, 2**32 - 1), default=0, help="as train.py's (default: %(default)s)"
    )
    return parser


def read_epoch(reader: ClipReader, indices: list[int], epoch: int, class_names: list[str] | None) -> list[Row]:
    """The clips as an epoch draws them, counted from 0."""
    rows = []
    for index in indices:
        frames = np.empty(reader.clip_shape, np.uint8)
        sample = reader.read(epoch, index, frames)
        if not sample.is_readable:
            (position, reason), *_ = sample.unreadable
            raise ValueError(f"{reader.records[position].path}: cannot be read, nor can those after it: {reason}")
        labels = (sample.label,) if sample.labels is None else sample.labels
        classes = ", ".join(class_name(label, class_names) for label in labels) or "no class"
        rows.append(Row(sample.video_id, classes, frames, words_of(reader.views.last)))
    return rows


def words_of(draw: Draw) -> list[str]:
    """What was drawn for a clip, a line each."""
    left, top, width, height = draw.box
    lines = [f"crop {width} x {height} at {left}, {top}" + (", mirrored" if draw.mirrored else "")]
    if draw.color_factors:
        names = ("brightness", "contrast", "saturation")
        lines += [f"{name} x {factor:.2f}" for name, factor in zip(names, draw.color_factors, strict=True)]
    return lines


def mix_rows(rows: list[Row], mix: Mix) -> list[Row]:
    """The clips, each mixed with its neighbour."""
    frames = mix.apply(paddle.to_tensor(np.stack([row.frames for row in rows])))
    frames = frames.astype("float32").round().astype("uint8").numpy()
    partners = mix.of_partners(paddle.arange(len(rows))).tolist()
    kind = "mixup" if mix.box is None else "CutMix"
    mixed = []
    for row, pixels, partner in zip(rows, frames, partners, strict=True):
        words = f"{kind}: {mix.share:.2f} {row.classes} + {1 - mix.share:.2f} {rows[partner].classes}"
        mixed.append(row._replace(frames=pixels, text=[*row.text, *textwrap.wrap(words, LINE_CHARACTERS)]))
    return mixed


def draw_sheet(epochs: list[list[Row]], seglen: int) -> Image.Image:
    """The clips two by two, as they are mixed."""
    pictures = [draw_clip(clip, seglen) for clip in zip(*epochs, strict=True)]
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width * min(2, len(pictures)), height * -(-len(pictures) // 2)), PAPER)
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % 2 * width, number // 2 * height))
    return sheet


def draw_clip(clip: Sequence[Row], seglen: int) -> Image.Image:
    """A clip under its name: epochs beneath each other, segments side by side."""
    num_columns, step = min(len(clip[0].frames) // seglen, MOST_SEGMENTS), CELL_PX + GAP_PX
    size = (num_columns * step + TEXT_PX + 4 * GAP_PX, TITLE_PX + len(clip) * step + 2 * GAP_PX)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    title = printable(f"{clip[0].classes}   {Path(clip[0].name).name}")
    pen.text((2 * GAP_PX, TITLE_PX / 2), title, INK, font_of(13, title), anchor="lm")
    for epoch, row in enumerate(clip):
        top = TITLE_PX + epoch * step
        for column in range(num_columns):
            frame = Image.fromarray(row.frames[column * seglen].transpose(1, 2, 0))
            sheet.paste(frame.resize((CELL_PX, CELL_PX)), (2 * GAP_PX + column * step, top))
        for line, text in enumerate([f"epoch {epoch}", *row.text]):
            place = (4 * GAP_PX + num_columns * step, top + line * LINE_PX)
            pen.text(place, printable(text), INK if line else FAINT, font_of(11, text))
    return sheet


def read_batch(config: Config, seed: int, class_names: list[str] | None) -> list[list[Row]]:
    """The clips as the first epochs draw them."""
    train, records = config.train, build_records(config, "train")
    reader = build_reader(config, "train", records, seed)
    reader.views = NotedView(reader.views)
    indices = np.linspace(0, len(records) - 1, min(NUM_CLIPS, len(records))).round().astype(int).tolist()
    epochs = [read_epoch(reader, indices, epoch, class_names) for epoch in range(NUM_EPOCHS)]
    if train.mixup or train.cutmix:
        mixing = Mixing(seed, train.mixup, train.cutmix, train.target_size)
        epochs = [mix_rows(rows, mixing.draw(step)) for step, rows in enumerate(epochs)]
    return epochs


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    config = load_config(args.config, args.overrides, {"MODEL.name": args.model_name})
    class_names = read_class_names(config.model.label_file, config.model.num_classes)
    paddle.set_device("cpu")
    sheet = draw_sheet(read_batch(config, args.seed, class_names), config.model.seglen)
    sheet.save(args.picture, "PNG", optimize=True)
    print(f"wrote {args.picture}")


if __name__ == "__main__":
    command_line.run(main)
