"""Pictures with writing on them: captions on frames, sheets of heat maps.

matplotlib, which has the font and the colours, takes half a second to import: it is when something is drawn.
"""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.console import printable

SHEET_COLUMNS = 8
SHEET_CELL_PX = 224
HEAT_SHARE = 0.5  # of the heat map in the blended picture, where the heat is greatest
FIRST_CHINESE = 0x2E80  # of Unicode's East Asian characters
INK, GROUND = (255, 255, 255), (16, 20, 26)


def draw_caption(picture: np.ndarray, lines: list[str]) -> np.ndarray:
    """A copy of a picture, uint8 (H, W, 3), with lines of text on a dark ground in its upper left corner."""
    size_px = max(round(min(picture.shape[:2]) / 18), 10)
    font = font_of(size_px, "".join(lines))
    image = Image.fromarray(np.ascontiguousarray(picture))
    draw = ImageDraw.Draw(image, "RGBA")
    margin, line_px = size_px // 2, round(1.3 * size_px)
    width = max((draw.textlength(printable(line), font) for line in lines), default=0)
    draw.rectangle((0, 0, width + 2 * margin, line_px * len(lines) + margin), (*GROUND, 170))
    for number, line in enumerate(lines):
        draw.text((margin, margin // 2 + number * line_px), printable(line), INK, font)
    return np.asarray(image)


def heated(frames: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Frames with their heat maps over them, uint8 (T, H, W, 3); arguments as those of `heat_sheet`."""
    from matplotlib import colormaps

    colours = colormaps["turbo"](maps)[..., :3] * 255
    shares = HEAT_SHARE * maps[..., None]
    return (frames * (1 - shares) + colours * shares).astype(np.uint8)


def heat_sheet(frames: np.ndarray, maps: np.ndarray, caption: str) -> Image.Image:
    """Frames above, the same with their heat maps below, in order of time.

    Args:
        frames: uint8 (T, H, W, 3).
        maps: float (T, H, W), 0 to 1.
        caption: the line on top.
    """
    pairs = zip(frames, heated(frames, maps), strict=True)
    num_columns = min(len(frames), SHEET_COLUMNS)
    num_rows = -(-len(frames) // num_columns)
    cell, gap, top = SHEET_CELL_PX, 4, 34
    sheet = Image.new(
        "RGB", (max(num_columns * (cell + gap) + gap, 480), top + num_rows * (2 * cell + 2 * gap)), GROUND
    )
    ImageDraw.Draw(sheet).text((8, 8), printable(caption), INK, font_of(16, caption))
    for number, pair in enumerate(pairs):
        row, column = divmod(number, num_columns)
        for part, picture in enumerate(pair):
            place = (gap + column * (cell + gap), top + row * (2 * cell + 2 * gap) + part * cell)
            sheet.paste(Image.fromarray(picture).resize((cell, cell)), place)
    return sheet


def font_of(size_px: int, text: str) -> ImageFont.FreeTypeFont:
    """The font for a text: matplotlib's own; for Chinese one of this machine's, if it has any."""
    return _font_file(size_px, any(ord(letter) >= FIRST_CHINESE for letter in text))


@functools.cache
def _font_file(size_px: int, is_chinese: bool) -> ImageFont.FreeTypeFont:
    from matplotlib import font_manager

    from evaluation.plots import CHINESE_FONTS

    name = CHINESE_FONTS[0] if is_chinese and CHINESE_FONTS else "DejaVu Sans"
    return ImageFont.truetype(font_manager.findfont(name), size_px)  # upright and of regular weight
