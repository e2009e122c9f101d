"""Models by name, with their published weights. A model's own arguments are those of its class."""

import inspect
from typing import NamedTuple

from paddle import nn

from models.tsm import TSM
from models.tsn import TSN
from models.weights.download import TSM_KINETICS, TSN_KINETICS, Published


class Entry(NamedTuple):
    """What the toolkit has to know of a model."""

    network: type[nn.Layer]
    """Its class; see models/tsn.py for what is asked of it."""
    published: Published | None
    """What is downloaded when no weights are given; None: nothing was published."""


MODELS = {
    "TSN": Entry(TSN, TSN_KINETICS),
    "TSM": Entry(TSM, TSM_KINETICS),
}


def model_entry(name: str) -> Entry:
    """The entry of a model.

    Raises:
        ValueError: no such model; the message lists the known ones.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known models: {', '.join(sorted(MODELS))}")
    return MODELS[name]


def arguments_of(name: str) -> list[str]:
    """The names of a model's arguments; those that are keys of MODEL in the config are filled from there.

    A model that is a kind of another takes its arguments too.
    """
    classes = inspect.getmro(model_entry(name).network)
    kinds = classes[: classes.index(nn.Layer)]
    own = [argument for kind in kinds for argument in inspect.signature(kind).parameters.values()]
    return list(dict.fromkeys(argument.name for argument in own if argument.kind is not argument.VAR_KEYWORD))


def create_model(name: str, **arguments) -> nn.Layer:
    """The model registered under a name, built with its own arguments."""
    return model_entry(name).network(**arguments)
