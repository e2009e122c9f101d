"""The house rules that a program can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from config import SECTIONS, load_config
from models.registry import MODELS, arguments_of

ROOT = Path(__file__).resolve().parent.parent
VERBS = ("train", "test", "infer", "export", "serve")
LEVELS = (
    VERBS,
    ("serving",),
    ("training", "inference"),
    ("datareader", "evaluation", "models", "distributed"),
    ("config", "common"),
)
"""From the top down: who may import whom."""
FLOWING = {
    "datareader.loader": {"Batch", "Loader"},
    "datareader.reader": {"ClipReader"},
    "datareader.records": {"Record"},
    "distributed.ranks": {"Ranks"},
    "evaluation.predictions": {"Prediction"},
}
"""Types that flow through the project: a wing may name another's in its signatures."""
WINGS = [name for level in LEVELS[1:] for name in level if (ROOT / name).is_dir()]
MODULES = [path for wing in WINGS for path in (ROOT / wing).rglob("*.py")] + list(ROOT.glob("*.py"))
COMMANDS = [path for folder in ("scripts", "dataset", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
LONGEST_FILE, LONGEST_FUNCTION = 320, 50  # lines
LONGER_FILES = {"config.py": 420}  # a table of all keys


def imports(path: Path) -> dict[str, set[str]]:
    """{module: the names that a file imports from it, empty if the module itself}, wherever in the file."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.setdefault(alias.name, set())
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found.setdefault(node.module, set()).update(alias.name for alias in node.names)
    return found


def level_of(name: str) -> int | None:
    """The level that a module is on, 0 for the verbs; None if it is not the project's."""
    first = name.split(".")[0]
    return next((number for number, names in enumerate(LEVELS) if first in names), None)


def test_at_the_top_are_only_the_verbs_and_the_config():
    assert {path.stem for path in ROOT.glob("*.py")} == {*VERBS, "config"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    wing, level = own.split(".")[0], level_of(own)
    for module, names in imports(path).items():
        other = level_of(module)
        if other is None or module.split(".")[0] == wing or module == "common.startup":
            continue
        assert other != 0, f"{own} imports the verb {module}"
        assert other >= level, f"{own} imports upwards: {module}"
        if other == level < len(LEVELS) - 1:
            assert names <= FLOWING.get(module, set()) and names, f"{own} imports {module} of the wing beside it"
        if module == "config" and level > 0:
            assert path.name in ("build.py", "session.py", "resume.py"), f"{own}: only build.py reads the config"


def test_no_import_goes_in_a_circle():
    graph = {}
    for path in MODULES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found = imports(path)
        graph[name] = {module for module in found if level_of(module) is not None}
        graph[name] |= {f"{module}.{one}" for module, names in found.items() for one in names}
    graph = {name: found & graph.keys() - {name} for name, found in graph.items()}
    while leaves := {name for name, found in graph.items() if not found}:
        graph = {name: found - leaves for name, found in graph.items() if name not in leaves}
    assert not graph, "these import each other"


@pytest.mark.parametrize("path", [*MODULES, *COMMANDS], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGER_FILES.get(str(path.relative_to(ROOT)), LONGEST_FILE)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def loaded_with(name: str) -> set[str]:
    """The modules that are loaded when a module of the project is: its imports and theirs, those in functions aside."""
    found, waiting = set(), [name]
    while waiting:
        module = waiting.pop()
        path = ROOT / (module.replace(".", "/") + ".py")
        if module in found or not path.is_file():
            found.add(module)
            continue
        found.add(module)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


FOREIGN = {
    "train": ("inference", "evaluation.report", "evaluation.plots", "matplotlib", "onnxruntime", "jinja2"),
    "test": ("training", "inference.drawing", "inference.windows", "onnxruntime", "matplotlib"),
    "infer": ("training", "evaluation.report", "onnxruntime", "jinja2", "matplotlib"),
    "export": ("training", "evaluation.report", "onnxruntime", "matplotlib"),
    "serve": ("training", "evaluation.report", "inference.windows", "onnxruntime", "matplotlib"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_loads_only_what_it_uses(verb):
    loaded = loaded_with(verb)
    assert "paddle" in loaded and "datareader.video" in loaded, "the imports are followed"
    for foreign in FOREIGN[verb]:
        assert not any(module == foreign or module.startswith(f"{foreign}.") for module in loaded), foreign


DATASET_COMMANDS = [ROOT / "dataset" / "demo" / "make_demo.py", ROOT / "dataset" / "own" / "make_dataset.py"] + [
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


@pytest.mark.parametrize("path", [*MODULES, *COMMANDS], ids=lambda path: path.name)
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
    assert load_config(path).model.name == path.stem.partition("_")[0].upper()


def test_every_argument_of_a_model_comes_from_the_config_or_the_training():
    """An argument that is no key would silently keep its default."""
    for name in MODELS:
        keys = SECTIONS["MODEL"].__dataclass_fields__.keys() | {"channels_last"}
        assert set(arguments_of(name)) <= keys, name


def test_quickstart_takes_the_last_checkpoint():
    last = load_config(ROOT / "configs" / "tsn_demo.txt").train.epoch - 1
    assert f"last=checkpoints/demo/TSN_epoch{last} " in (ROOT / "scripts" / "quickstart.sh").read_text()
