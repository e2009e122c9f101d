"""Config files, ini text or YAML, and overrides -> sections of typed values. Knows no section and no key by name.

A section is a frozen dataclass; its annotations say which values a key takes. Values are literals, never evaluated as
code. All mistakes are reported at once, each with its file, section and key.
"""

import ast
import configparser
import difflib
import math
import reprlib
import textwrap
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

LARGEST_NUMBER = 10**18  # of what a library may take for an index or a length
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 80
MAX_SHOWN = 500  # characters of a stranger's text in a message
YAML_ERRORS = (
    yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError,
)  # fmt: skip
"""What PyYAML raises: its own errors, and those of Python where a value is not what its tag says."""
UNIONS = (types.UnionType, typing.Union)
"""What `A | B` is, and what it is where one of the two is a Literal."""
NUMBER_WORDS = {2: "two", 3: "three", 4: "four"}


class ConfigError(ValueError):
    """Everything that is wrong with a config; one line per mistake."""

    def __init__(self, mistakes: list[str]):
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Entry(NamedTuple):
    """A value that somebody has given."""

    origin: str
    """The file, or what on the command line."""
    section: str
    key: str
    value: Any


def read_entries(path: Path, text: str | None = None) -> list[Entry]:
    """The values in a config file, YAML when it ends in .yaml or .yml.

    Args:
        text: YAML to take instead of the file's content; `path` says where it comes from.

    Raises:
        ConfigError: it is no config file.
    """
    read = _read_ini if text is None and path.suffix not in (".yaml", ".yml") else _read_yaml
    return [Entry(str(path), *entry) for entry in read(path, _read_text(path) if text is None else text)]


def parse_override(override: str) -> Entry:
    """The value in "SECTION.key=value", as given to -o.

    Raises:
        ConfigError: it is written otherwise.
    """
    target, equals, text = override.partition("=")
    section, dot, key = target.strip().partition(".")
    if not (equals and dot):
        raise ConfigError([f"-o {override}: expected SECTION.key=value, for example -o TRAIN.batch_size=8"])
    return Entry("-o", section, key, _literal(text.strip()))


def build_sections(path: str, classes: dict[str, type], entries: list[Entry], mistakes: list[str]) -> dict[str, Any]:
    """The sections, filled with the values; a later value of a key wins.

    Args:
        path: the file, which is named for mistakes that no single value makes.
        classes: {section: its dataclass}, all of them.
        mistakes: what was found wrong before.

    Raises:
        ConfigError: there is a mistake in the values or before.
    """
    values: dict[str, dict[str, Any]] = {section: {} for section in classes}
    origins: dict[tuple[str, str], str] = {}
    unusable = set()  # sections with a value of the wrong type: their other checks would see a default in its place
    mistakes = list(mistakes)
    for origin, section, key, value in entries:
        if section not in classes:
            mistakes.append(f"{origin}: [{section}]: unknown section{_nearest(section, classes)}")
            continue
        hints = typing.get_type_hints(classes[section])
        where = f"{origin}: [{section}] {key}"
        if key not in hints:
            mistakes.append(f"{where}: unknown key{_nearest(key, hints)}")
            continue
        try:
            values[section][key] = _convert(value, hints[key])
            origins[section, key] = origin
        except TypeError as error:
            mistakes.append(f"{where}: expected {error}, got {shown(value)}")
            unusable.add(section)
    sections = {}
    for section in [name for name in classes if name not in unusable]:
        try:
            sections[section] = classes[section](**values[section])
        except ConfigError as error:
            for mistake in error.mistakes:
                origin = origins.get((section, mistake.split()[0]), path)
                mistakes.append(f"{origin}: [{section}] {mistake}")
    if mistakes:
        raise ConfigError(list(dict.fromkeys(mistakes)))
    return sections


def refuse(section: Any, *checks: tuple[str, bool, str]) -> None:
    """Raise ConfigError with a line, its key first, for each (key, is_wrong, what is right) that is wrong."""
    mistakes = [f"{key} is {shown(getattr(section, key))}; {what}" for key, is_wrong, what in checks if is_wrong]
    if mistakes:
        raise ConfigError(mistakes)


def outside(section: Any, key: str, low: float, high: float) -> tuple[str, bool, str]:
    """The check for `refuse` that a key's value lies from low to high; none may pass."""
    value = getattr(section, key)
    if value is not None and value < low:
        return key, True, f"it must be at least {low:,}"
    return key, value is not None and value > high, f"it must be at most {high:,}"


def shown(value: Any) -> str:
    """A value as a message names it, whatever its size."""
    try:
        return SHORT.repr(value)
    except ValueError:  # Python does not write whole numbers of more than 4300 digits
        return "a number of thousands of digits"


def describe_type(hint: Any) -> str:
    """What a key takes, in words."""
    names = {int: "a whole number", float: "a number", bool: "True or False", str: "text", types.NoneType: "none"}
    if typing.get_origin(hint) is tuple:
        length = len(typing.get_args(hint))
        if ... in typing.get_args(hint):
            return "a list of numbers"
        return f"a list of {NUMBER_WORDS.get(length, length)} numbers"
    if typing.get_origin(hint) is typing.Literal:
        return f"one of {join(typing.get_args(hint))}"
    if typing.get_origin(hint) in UNIONS:
        return " or ".join(describe_type(member) for member in typing.get_args(hint))
    return names[hint]


def join(items: Iterable[Any]) -> str:
    return ", ".join(str(item) for item in items)


def _read_ini(path: Path, text: str) -> list[tuple[str, str, Any]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # keys keep their case
    try:
        parser.read_string(text, source=str(path))
    except configparser.Error as error:
        raise ConfigError([f"{path}: not a valid ini file: {_one_line(error)}"]) from error
    return [(section, key, _literal(value)) for section in parser.sections() for key, value in parser[section].items()]


def _read_yaml(path: Path, text: str) -> list[tuple[str, str, Any]]:
    try:
        content = yaml.safe_load(text)
    except YAML_ERRORS as error:
        raise ConfigError([f"{path}: not a valid YAML file: {_one_line(error)}"]) from error
    if not isinstance(content, dict) or not all(isinstance(keys, dict) for keys in content.values()):
        raise ConfigError([f"{path}: expected sections, such as TRAIN, each with keys and values"])
    return [(str(section), str(key), value) for section, keys in content.items() for key, value in keys.items()]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not a text file in UTF-8: {error}"]) from error


def _literal(text: str) -> Any:
    """A Python literal (number, quoted text, list, True, None) if the text is one, else the text itself."""
    if text.lower() in ("none", "null", ""):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _convert(value: Any, hint: Any) -> Any:
    """The value as the type that the field's annotation asks for; TypeError("<what was expected>") if it is none."""
    if typing.get_origin(hint) in UNIONS:
        for member in typing.get_args(hint):
            try:
                return _convert(value, member)
            except TypeError:
                continue
        raise TypeError(describe_type(hint))
    if typing.get_origin(hint) is tuple:
        members = typing.get_args(hint)
        if ... in members and isinstance(value, list | tuple):
            members = members[:1] * len(value)
        if not isinstance(value, list | tuple) or len(value) != len(members):
            raise TypeError(describe_type(hint))
        return tuple(_convert(item, member) for item, member in zip(value, members, strict=True))
    if typing.get_origin(hint) is typing.Literal:
        value = "off" if value is False and "off" in typing.get_args(hint) else value  # YAML reads a bare off so
        if not any(value == choice and type(value) is type(choice) for choice in typing.get_args(hint)):
            raise TypeError(describe_type(hint))
        return value
    if hint is float:  # PyYAML reads 1e-4 as text
        return _finite(value)
    if type(value) is not hint:  # type() and not isinstance(): True is no number here
        raise TypeError(describe_type(hint))
    if hint is int and abs(value) > LARGEST_NUMBER:
        raise TypeError("a whole number of at most 18 digits")
    if hint is str and "\0" in value:
        raise TypeError("text without a null character, which no path may have")
    return value


def _finite(value: Any) -> float:
    try:
        number = float(value) if type(value) in (int, float, str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise TypeError(describe_type(float))
    return number


def _one_line(error: Exception) -> str:
    return textwrap.shorten(str(error), MAX_SHOWN)


def _nearest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1) or difflib.get_close_matches(name.upper(), known, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else f"; known: {join(known)}"
