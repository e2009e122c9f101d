"""The same inputs, chosen by what they reach in the code: with atheris (pip install atheris), which counts coverage."""

import importlib.util
import multiprocessing
import random
import sys
import tempfile
import warnings
from pathlib import Path

from fuzz.mutate import mutate
from fuzz.run import CPU_SEC, judge
from fuzz.targets import TARGETS


def fuzz(names: list[str], num_runs: int, seconds: float, seed: int, save_dir: Path) -> int:
    """Fuzz each parser in a process of its own; atheris prints how far it is. Returns the exit code."""
    if importlib.util.find_spec("atheris") is None:
        sys.exit("--guided needs atheris: pip install atheris")
    save_dir.mkdir(parents=True, exist_ok=True)
    num_failed = 0
    for name in names:
        process = multiprocessing.get_context("fork").Process(
            target=_fuzz_one, args=(name, num_runs, seconds, seed, save_dir)
        )
        process.start()
        process.join()
        num_failed += process.exitcode != 0
    return int(num_failed > 0)


def _fuzz_one(name: str, num_runs: int, seconds: float, seed: int, save_dir: Path) -> None:
    import atheris

    target, seeds = TARGETS[name], TARGETS[name].seeds()
    warnings.simplefilter("ignore")
    for module in [module for module in list(sys.modules.values()) if _is_ours(module)]:
        for function in [value for value in vars(module).values() if callable(value) and _is_ours(value)]:
            for part in [function, *vars(function).values()] if isinstance(function, type) else [function]:
                if hasattr(part, "__code__"):
                    atheris.instrument_func(part)

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as corpus:
        for number, content in enumerate(seeds):
            Path(corpus, str(number)).write_bytes(content)

        def test_one(content: bytes) -> None:
            _, problem = judge(target, Path(folder), target.pack(content))
            if problem:
                raise AssertionError(problem)

        def change(content: bytes, max_size: int, number: int) -> bytes:
            rng = random.Random(number)
            return mutate(content, seeds, rng, target.tokens, target.is_pickle)[:max_size]

        limits = [f"-seed={seed + 1}", f"-timeout={CPU_SEC}", f"-rss_limit_mb={4096}", "-max_len=65536"]
        limits += [f"-runs={num_runs}"] if num_runs < 10**12 else []
        limits += [f"-max_total_time={int(seconds)}"] if seconds < float("inf") else []
        finding = save_dir / f"{name.replace(' ', '_')}-guided-"
        arguments = [sys.argv[0], *limits, f"-artifact_prefix={finding}", corpus]
        atheris.Setup(arguments, test_one, custom_mutator=change)
        atheris.Fuzz()


def _is_ours(thing: object) -> bool:
    """Whether a module, function or class belongs to the code that reads files."""
    module = getattr(thing, "__module__", None) or getattr(thing, "__name__", "")
    return str(module).split(".")[0] in ("common", "models", "datareader", "config")
