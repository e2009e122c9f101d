"""The picture of what training sees."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import small_flags

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
import show_batch  # noqa: E402

AUGMENTED = [
    "TRAIN.crop=multi_scale", "TRAIN.resize=keep", "TRAIN.color_jitter=0.4", "TRAIN.mixup=0.2", "TRAIN.cutmix=1.0",
]  # fmt: skip


def picture(small_set: Path, path: Path, *overrides: str) -> np.ndarray:
    flags = [part for one in overrides for part in ("-o", one)]
    show_batch.main([*small_flags(small_set), *flags, str(path)])
    return np.asarray(Image.open(path))


def test_each_clip_has_its_epochs_and_segments(small_set, tmp_path):
    plain = picture(small_set, tmp_path / "plain.png")
    cell, title = show_batch.CELL_PX, show_batch.TITLE_PX
    step = cell + show_batch.GAP_PX
    width = 3 * step + show_batch.TEXT_PX + 4 * show_batch.GAP_PX
    assert plain.shape == (2 * (title + 4 * step + 2 * show_batch.GAP_PX), 2 * width, 3)
    cells = [
        plain[title + row * step :, 2 * show_batch.GAP_PX + column * step :][:cell, :cell]
        for row in range(4)
        for column in range(3)
    ]
    assert len({one.tobytes() for one in cells}) == 12, "every epoch draws anew, every segment has another frame"
    assert not np.array_equal(picture(small_set, tmp_path / "augmented.png", *AUGMENTED), plain)
    assert np.array_equal(picture(small_set, tmp_path / "again.png"), plain)


def test_rows_say_what_was_drawn(small_set):
    parsed = show_batch.build_parser().parse_args([*small_flags(small_set), "x.png"])
    config = show_batch.load_config(parsed.config, [*parsed.overrides, *AUGMENTED])
    epochs = show_batch.read_batch(config, 0, ["red", "green", "blue"])
    assert [len(rows) for rows in epochs] == [4] * 4
    for rows in epochs:
        assert [row.name for row in rows] == [f"train/class {n % 3}/{n}.mp4" for n in (0, 4, 7, 11)]
        for row in rows:
            crop, *factors, mix = row.text[:5]
            assert crop.startswith("crop ") and mix.startswith(("mixup: ", "CutMix: "))
            assert [line.split()[0] for line in factors] == ["brightness", "contrast", "saturation"]


def test_a_clip_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "train.list").write_text("text.mp4 0\n")
    (tmp_path / "val.list").write_text("")
    with pytest.raises(ValueError, match="text.mp4: cannot be read, nor can those after it: damaged or no video"):
        picture(tmp_path, tmp_path / "x.png")
