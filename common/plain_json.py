"""What a file of JSON holds, and whether that is what an annotation says."""

import json
import types
import typing
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """What it says. Raises ValueError: it is no JSON, no UTF-8, or nested without an end."""
    try:
        return json.loads(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(str(error)) from error


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotation's type: numbers, text, None, lists and dictionaries of them, `|`, Any."""
    if hint is Any:
        return True
    if isinstance(hint, types.UnionType):
        return any(fits(value, member) for member in typing.get_args(hint))
    kind, members = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind is float:
        return type(value) in (int, float)
    if type(value) is not kind:  # type() and not isinstance(): True is no number here
        return False
    if kind is list and members:
        return all(fits(item, members[0]) for item in value)
    if kind is dict and members:
        return all(fits(key, members[0]) and fits(item, members[1]) for key, item in value.items())
    return True
