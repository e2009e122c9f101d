"""Models by name."""

import paddle

from models.tsn import TSN

MODELS = {"TSN": TSN}


def create_model(name: str, **arguments) -> paddle.nn.Layer:
    """The model registered under a name, built with its own arguments.

    Raises:
        ValueError: no such model; the message lists the known ones.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known models: {', '.join(sorted(MODELS))}")
    return MODELS[name](**arguments)
