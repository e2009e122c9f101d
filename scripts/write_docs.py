"""Write docs/config.md and docs/flags.md from config.py and the verbs' parsers.

python scripts/write_docs.py            # after a key or a flag has changed; tests/test_docs.py says when that is due
"""

import argparse
import ast
import dataclasses
import importlib
import re
import sys
import typing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tabulate import tabulate  # noqa: E402

import common.startup  # noqa: E402, F401
from common.command_line import DEFAULT_CONFIG, OneLineParser  # noqa: E402
from common.config_files import describe_type  # noqa: E402
from config import SECTIONS, Config, load_config  # noqa: E402

VERBS = ("train", "test", "infer", "export", "serve")
CONFIG_HEAD = f"""[README](../README.md)

# Config

Every key of a config file, made by `scripts/write_docs.py` from [config.py](../config.py). A file is ini text (`.txt`)
or YAML, with the same sections and keys; values are literals, never evaluated as code; a key that is left out has its
default. `-o SECTION.key=value` overrides a key on the command line; `none` empties one that may be empty.

The last column is what [{DEFAULT_CONFIG}](../{DEFAULT_CONFIG}) sets, the original's recipe, where that is not the
default.
"""
FLAGS_HEAD = """[README](../README.md)

# Flags

Every flag of the five verbs, made by `scripts/write_docs.py` from their parsers. `python VERB.py --help` prints the
same.
"""


def config_page() -> str:
    tsn, parts = load_config(ROOT / DEFAULT_CONFIG), [CONFIG_HEAD]
    documented = field_docs((ROOT / "config.py").read_text(encoding="utf-8"))
    for name, section in SECTIONS.items():
        hints = typing.get_type_hints(section)
        rows = []
        for field in dataclasses.fields(section):
            meaning = next(documented[one.__name__, field.name] for one in section.__mro__ if is_documented(one, field))
            value = getattr(getattr(tsn, name.lower()), field.name)
            takes = describe_type(hints[field.name])
            rows.append([code(field.name), meaning, takes, shown(field.default), shown(value, field.default)])
        parts.append(f"\n## {name}\n\n{table(['key', 'meaning', 'takes', 'default', 'in tsn.txt'], rows)}\n")
    return "".join(parts)


def is_documented(owner: type, field: dataclasses.Field) -> bool:
    return field.name in vars(owner).get("__annotations__", {})


def field_docs(source: str) -> dict[tuple[str, str], str]:
    """{(class, field): the text beneath the field} of a module."""
    found = {}
    for owner in (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)):
        for field, text in zip(owner.body, owner.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and owner.name != Config.__name__:
                found[owner.name, field.target.id] = " ".join(ast.literal_eval(text.value).split())
    return found


def flags_page() -> str:
    parts = [FLAGS_HEAD]
    for verb in VERBS:
        parser: OneLineParser = importlib.import_module(verb).build_parser()
        rows = [
            [", ".join(map(code, action.option_strings)), " ".join((action.help % vars(action)).split())]
            for action in parser._actions
            if action.help is not argparse.SUPPRESS and "--help" not in action.option_strings
        ]
        purpose = parser.description.splitlines()[0]
        parts.append(f"\n## {verb}.py\n\n{purpose}\n\n{table(['flag', 'meaning'], rows)}\n")
    return "".join(parts)


def table(headings: list[str], rows: list[list[str]]) -> str:
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    text = tabulate(cells, headings, "github", disable_numparse=True)
    return re.sub(
        r"-{3,}", "---", re.sub(r" +\|", " |", text)
    )  # columns of no width, so that a change shows as one line


def code(text: str) -> str:
    return f"`{text}`"


def shown(value: object, default: object = ...) -> str:
    """A value as a config file has it; empty if it is the default."""
    if value == default:
        return ""
    return code("none" if value is None else str(list(value) if isinstance(value, tuple) else value))


PAGES = {ROOT / "docs" / "config.md": config_page, ROOT / "docs" / "flags.md": flags_page}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for path, page in PAGES.items():
        path.write_text(page(), encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
