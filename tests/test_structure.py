"""The house rules that a program can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from config import SECTIONS, load_config

ROOT = Path(__file__).resolve().parent.parent
WINGS = ("models", "datareader", "engine", "evaluation")
VERBS = ("train", "test", "infer", "export")
MODULES = [path for wing in WINGS for path in (ROOT / wing).rglob("*.py")] + list(ROOT.glob("*.py"))


def imports(path: Path) -> set[str]:
    """First names of all that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dependencies_point_one_way(path):
    found = imports(path)
    assert not found & set(VERBS), "nothing imports a verb"
    wing = path.relative_to(ROOT).parts[0]
    if wing in WINGS:
        assert not found & (set(WINGS) - {wing}), "wings do not import one another"
        assert not found & {"config", "builders", "command_line"}, "a wing knows no config"
    if path.name in ("config.py", "safe_pickle.py", "command_line.py"):
        assert not found & {"paddle", "builders", *WINGS}


DATASET_COMMANDS = [ROOT / "dataset" / "demo" / "make_demo.py"] + [
    ROOT / "dataset" / "kinetics" / f"{name}.py" for name in ("make_lists", "check_videos", "transcode", "video2pkl")
]


@pytest.mark.parametrize("path", DATASET_COMMANDS, ids=lambda path: path.name)
def test_data_set_commands_run_without_paddle(path):
    """On the many machines that prepare a data set, PyAV is enough."""
    code = "import runpy, sys; sys.modules['paddle'] = None; sys.argv[1:] = ['--help']; "
    code += f"runpy.run_path({str(path)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"python {path.relative_to(ROOT)}" in done.stdout


UNSAFE_LOADERS = {"paddle.load", "pickle.load", "pickle.loads", "numpy.load", "np.load", "torch.load"}


@pytest.mark.parametrize(
    "path",
    [*MODULES, *(path for folder in ("scripts", "dataset", "benchmarks") for path in (ROOT / folder).rglob("*.py"))],
    ids=lambda path: path.name,
)
def test_no_file_is_read_by_a_loader_that_runs_pickles(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    calls = [call for call in calls if "allow_pickle=False" not in map(ast.unparse, call.keywords)]
    assert not UNSAFE_LOADERS & {ast.unparse(call.func) for call in calls}


def test_ruff_finds_nothing():
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "configs").iterdir()), ids=lambda path: path.name)
def test_every_config_loads(path):
    assert load_config(path).model.name == "TSN"


@pytest.mark.parametrize("readme", ["README.md", "README_cn.md"])
def test_readme_names_every_config_key_and_every_file(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    for section_class in SECTIONS.values():
        for key in section_class.__dataclass_fields__:
            assert f"`{key}`" in text, key
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for path in map(Path, tracked.stdout.splitlines()):
        if path.suffix == ".py" and path.parts[0] != "tests":
            assert path.name in text, path


def test_quickstart_takes_the_last_checkpoint():
    last = load_config(ROOT / "configs" / "tsn_demo.txt").train.epoch - 1
    assert f"last=checkpoints/demo/TSN_epoch{last} " in (ROOT / "scripts" / "quickstart.sh").read_text()
