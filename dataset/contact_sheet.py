"""A picture that shows some clips of each class, for people."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from common.console import printable
from common.whole_file import whole_file

SHAPE = (2, 2)  # clips of a class side by side, and one above another
CLIPS_SHOWN = SHAPE[0] * SHAPE[1]
ACROSS = 6  # clips side by side on the whole sheet
MANY_CLASSES, MANY_ACROSS = 12, 12  # from that number of classes on, more of them
CELL = (160, 120)  # a clip's width and height
GAP, CAPTION = 4, 26  # pixels between the clips, and for the name over a class
PAPER, INK, EMPTY = (250, 249, 246), (45, 45, 50), (225, 224, 220)
FIRST_CHINESE = 0x2E80  # of Unicode's East Asian characters
CHINESE_FONTS = (
    "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "PingFang.ttc",
    "msyh.ttc",
)  # fmt: skip
"""Files that Pillow looks for among the system's fonts; its own has no Chinese."""


def write_contact_sheet(path: Path, classes: dict[str, list[Image.Image]], shape: tuple[int, int] = SHAPE) -> None:
    """Write a picture with the first clips of each class, row by row under the class's name.

    Args:
        classes: {name: a picture of each clip, of the size CELL}.
        shape: how many of a class's pictures are side by side, and how many one above another.
    """
    num_columns = min((ACROSS if len(classes) <= MANY_CLASSES else MANY_ACROSS) // shape[0], len(classes))
    wide, high = shape[0] * (CELL[0] + GAP) + 3 * GAP, shape[1] * (CELL[1] + GAP) + CAPTION + 3 * GAP
    rows = -(-len(classes) // num_columns)
    sheet = Image.new("RGB", (num_columns * wide + 2 * GAP, rows * high + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for label, (name, pictures) in enumerate(classes.items()):
        left, top = 3 * GAP + label % num_columns * wide, label // num_columns * high
        draw.text((left, top + CAPTION / 2 + 2), *_caption(name, wide - 3 * GAP), anchor="lm")
        for number in range(shape[0] * shape[1]):
            row, column = divmod(number, shape[0])
            place = left + column * (CELL[0] + GAP), top + CAPTION + row * (CELL[1] + GAP)
            sheet.paste(pictures[number] if number < len(pictures) else Image.new("RGB", CELL, EMPTY), place)
    with whole_file(path) as file:
        sheet.save(file, format="PNG", optimize=True)


def _caption(name: str, wide_px: int) -> tuple[str, tuple[int, int, int], ImageFont.FreeTypeFont]:
    """A class's name, cut to the room it has, its colour and font."""
    font, text = _font(name), printable(name)
    while len(text) > 1 and font.getlength(text) > wide_px:
        text = f"{text.removesuffix('…')[:-1]}…"
    return text, INK, font


def _font(text: str, size_px: int = 17) -> ImageFont.FreeTypeFont:
    """Pillow's own font; for Chinese one of this machine's, if it has any."""
    if any(ord(letter) >= FIRST_CHINESE for letter in text):
        for file_name in CHINESE_FONTS:
            try:
                return ImageFont.truetype(file_name, size_px)
            except OSError:
                continue  # not on this machine
    return ImageFont.load_default(size=size_px)
