"""The pages for people: that they are up to date, short, and lead where they say."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config import SECTIONS

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import write_docs  # noqa: E402

READMES = ["README.md", "README_cn.md"]
LONGEST_README = 220  # lines
PAGES = sorted(path for pattern in ("*.md", "docs/*.md", "docs/cn/*.md", "dataset/*.md") for path in ROOT.glob(pattern))
FOLDERS = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]


@pytest.mark.parametrize("path", write_docs.PAGES, ids=lambda path: path.name)
def test_generated_pages_are_up_to_date(path):
    assert path.read_text(encoding="utf-8") == write_docs.PAGES[path](), "python scripts/write_docs.py writes them anew"


@pytest.mark.parametrize("name", READMES)
def test_the_readme_is_short_and_its_tree_names_every_room(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_README
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for path in map(Path, tracked.stdout.splitlines()):
        if path.parts[0].startswith(".") or len(path.parts) == 1:
            continue
        assert f"{path.parts[0]}/" in text, path


@pytest.mark.parametrize("name", READMES)
def test_the_readme_leads_to_every_page(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert f"{page.stem}.md" in text, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_config_keys_that_a_page_names_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"(?<![\w./-])((?:[a-z_0-9]+/)*[a-z_0-9]+\.py)\b", text):
        places = [ROOT / name, *(place for folder in FOLDERS for place in folder.rglob(name))]
        assert any(place.is_file() for place in places), name
    for section, key in re.findall(r"\b(MODEL|TRAIN|VALID|TEST|INFER)\.([a-z_0-9]+)\b", text):
        assert key in SECTIONS[section].__dataclass_fields__, f"{section}.{key}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_flags_in_a_pages_commands_are_known(page):
    """Each documented command is parsed by its verb's own parser, which refuses what it does not know."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for verb, flags in re.findall(r"python (train|test|infer|export)\.py((?: +[^\s#;,|`)]+)*)", text):
        known = importlib.import_module(verb).build_parser()._option_string_actions
        for flag in re.findall(r"(?<=\s)(--?[a-z][a-z_]*)", flags):
            assert flag in known, f"{verb}.py {flag}"
