"""What infer.py draws: copies of videos with the answer on them, and heat maps of where it was seen."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import paddle

from common.whole_file import prepare_save_dir
from datareader.video import VideoError
from evaluation.files import OutputNames
from evaluation.predictions import Prediction, describe
from inference.cam import class_maps
from inference.overlay import copy_with_overlay
from inference.pictures import draw_caption, heat_sheet
from inference.session import Session

CAPTION_CLASSES = 3
HEAT_CELL_PX = 32  # of the frame for each cell of a heat map

logger = logging.getLogger("infer")


class Illustrator:
    """Draws into one folder for overlays and one for heat maps; None: no such pictures.

    Args:
        video_ids: the videos, if they are known beforehand; outputs are called after them.
    """

    def __init__(self, session: Session, overlay_dir: str | None, cam_dir: str | None, video_ids: Iterable[str] = ()):
        self._session = session
        self._overlay_dir, self._cam_dir = (Path(folder) if folder else None for folder in (overlay_dir, cam_dir))
        for folder in (overlay_dir, cam_dir):
            if folder and session.ranks.rank == 0:
                prepare_save_dir(folder)
        self.names = OutputNames(video_ids)
        side = getattr(session.config, session.mode).target_size
        if cam_dir and side <= HEAT_CELL_PX:
            logger.warning(
                "[INFER] a heat map has a cell per %d pixels, so frames of %d px get one flat tint each",
                HEAT_CELL_PX,
                side,
            )

    def draw(self, path: str, prediction: Prediction, frames: paddle.Tensor) -> None:
        """Draw a video's pictures.

        Args:
            frames: what the model saw, uint8 (T, 3, H, W); of several views the first.
        """
        self.overlay(path, prediction.video_id, lambda time_sec: prediction)
        if self._cam_dir:
            target = self._cam_dir / f"{self.names.name(prediction.video_id)}.png"
            best = [int(prediction.class_ids[0])]
            maps = class_maps(self._session.engine.model, frames.unsqueeze(0), best)[0].numpy()
            pictures = frames.numpy()[:: len(frames) // len(maps)].transpose(0, 2, 3, 1)
            caption = describe(prediction, self._session.class_names, CAPTION_CLASSES)
            heat_sheet(pictures, maps, caption).save(target)

    def overlay(self, path: str, video_id: str, prediction_at: Callable[[float], Prediction]) -> None:
        """Copy a video with its best classes on it, those of the time that a frame is shown at."""
        if not self._overlay_dir:
            return

        def draw(picture: np.ndarray, time_sec: float) -> np.ndarray:
            best = self._session.best(prediction_at(time_sec), CAPTION_CLASSES)
            return draw_caption(picture, [f"{name}  {probability:.1%}" for name, probability in best])

        target = self._overlay_dir / f"{self.names.name(video_id)}.mp4"
        try:
            copy_with_overlay(path, target, draw)
        except VideoError as error:
            logger.warning("[INFER] %s: no overlay: %s", path, error)
