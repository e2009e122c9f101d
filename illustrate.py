"""What infer.py draws: copies of videos with the answer on them, and heat maps of where it was seen."""

import logging
from collections.abc import Callable
from pathlib import Path

import paddle

from classification import Session
from datareader.overlay import copy_with_overlay
from datareader.video import VideoError
from engine.checkpoint import prepare_save_dir
from evaluation.pictures import draw_caption, heat_sheet
from evaluation.results import OutputNames, Prediction, best_classes, describe
from models.cam import class_maps
from models.classifier import EagerClassifier

CAPTION_CLASSES = 3

logger = logging.getLogger("infer")


class Illustrator:
    """Draws into one folder for overlays and one for heat maps; None: no such pictures.

    Raises:
        ValueError: heat maps are wanted of an exported model, which does not show its feature maps.
    """

    def __init__(self, session: Session, overlay_dir: str | None, cam_dir: str | None):
        if cam_dir and not isinstance(session.classifier, EagerClassifier):
            raise ValueError(
                f"{session.weights}: an exported model has no heat maps; give --cam the weights themselves"
            )
        self._session = session
        self._overlay_dir, self._cam_dir = (Path(folder) if folder else None for folder in (overlay_dir, cam_dir))
        for folder in (overlay_dir, cam_dir):
            if folder and session.ranks.rank == 0:
                prepare_save_dir(folder)
        self.names = OutputNames()

    def draw(self, path: str, prediction: Prediction, frames: paddle.Tensor) -> None:
        """A video's pictures.

        Args:
            frames: what the model saw, uint8 (T, 3, H, W); of several views the first.
        """
        self.overlay(path, prediction.video_id, lambda time_sec: prediction)
        if self._cam_dir:
            target = self._cam_dir / f"{self.names.name(prediction.video_id)}.png"
            maps = class_maps(self._session.classifier.model, frames.unsqueeze(0), prediction.class_ids[:1])[0].numpy()
            pictures = frames.numpy()[:: len(frames) // len(maps)].transpose(0, 2, 3, 1)
            caption = describe(prediction, self._session.class_names, CAPTION_CLASSES)
            heat_sheet(pictures, maps, caption).save(target)

    def overlay(self, path: str, video_id: str, prediction_at: Callable[[float], Prediction]) -> None:
        """A copy of a video with its best classes on it, those of the time that a frame is shown at."""
        if not self._overlay_dir:
            return

        def draw(picture, time_sec):
            best = best_classes(prediction_at(time_sec), self._session.class_names, CAPTION_CLASSES)
            return draw_caption(picture, [f"{name}  {probability:.1%}" for name, probability in best])

        target = self._overlay_dir / f"{self.names.name(video_id)}.mp4"
        try:
            copy_with_overlay(path, target, draw)
        except VideoError as error:
            logger.warning("[INFER] %s: no overlay: %s", path, error)
