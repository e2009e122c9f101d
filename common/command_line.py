"""What the commands share: common flags of the verbs, and how a mistake of the user's ends (one line, exit code 2)."""

import argparse
import difflib
import dis
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from common.console import printable_lines, silence

PROJECT = Path(__file__).resolve().parent.parent
DEFAULT_CONFIG = "configs/tsn.txt"
LONGEST_MESSAGE = 2000  # characters; what was typed may be a whole list, and a line of a damaged file a million
INTERRUPTED = 130  # the exit code of Ctrl-C, as shells know it
USE_GPU = {"auto": "auto", "true": True, "false": False}


class OneLineParser(argparse.ArgumentParser):
    """Answers a wrong command line with one line instead of the whole usage text, and names what was likely meant."""

    def __init__(self, description: str):
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )

    def parse_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        self._typed = sys.argv[1:] if args is None else args
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._nearest(unknown[0])}")
        return known

    def error(self, message: str):
        files = [typed for typed in self._typed if typed.startswith("-") and os.path.exists(typed)]
        hint = f"; write ./{files[0]} for the file of that name" if files else ""
        self.exit(2, f"{self.prog}: error: {_shortened(message)}{hint}; see {self.prog} --help\n")

    def _nearest(self, flag: str) -> str:
        written = flag.partition("=")[0]
        plain = written.replace("-", "_").replace("__", "--", 1)  # as every flag here is spelt
        nearest = difflib.get_close_matches(plain, self._option_string_actions, n=1)
        return f"; did you mean {nearest[0]}?" if written.startswith("-") and nearest else ""


def config_parser(description: str) -> OneLineParser:
    """The parser with the flags that lead to a config."""
    parser = OneLineParser(description)
    parser.add_argument("--model_name", help="model to run (default: MODEL.name of the config)")
    parser.add_argument(
        "--config", default=DEFAULT_CONFIG, help=f"config file, ini or YAML (default: {DEFAULT_CONFIG})"
    )
    parser.add_argument(
        "--use_gpu",
        type=_use_gpu,
        metavar="{auto,True,False}",
        help="run on a GPU: auto takes one if there is one, True insists (default: auto)",
    )
    parser.add_argument(
        "-o",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.key=value",
        help="override any config key, for example -o TRAIN.batch_size=8; may be repeated; none empties a key",
    )
    return parser


def add_weights(parser: OneLineParser) -> None:
    """The flag --weights, which may bring a config too."""
    parser.set_defaults(config=None)
    parser.add_argument(
        "--weights",
        help="weights of any known format, a run's folder (its best checkpoint), or what export.py wrote (default: the "
        "published ones, downloaded); without --config, a checkpoint or an export brings its own config, other weights "
        f"take {DEFAULT_CONFIG}",
    )


def add_reading(parser: OneLineParser, log_interval: int) -> None:
    """The flags of every verb that reads videos."""
    parser.add_argument(
        "--batch_size", type=positive_int, help="videos per step, over all ranks (default: the config's)"
    )
    parser.add_argument(
        "--log_interval", type=positive_int, default=log_interval, help="steps between log lines (default: %(default)s)"
    )


def whole_number(low: int, high: int = 10**9) -> Callable[[str], int]:
    """An argparse type: a whole number from low to high."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"invalid whole number: {text[:40]!r}") from None
        if not low <= number <= high:
            wrong = f"small; it must be at least {low}" if number < low else f"large; it must be at most {high}"
            raise argparse.ArgumentTypeError(f"{text[:40]} is too {wrong}")
        return number

    return parse


positive_int = whole_number(1)


def positive_float(text: str) -> float:
    """A number above 0, as an argparse type; up to a million, since it counts seconds."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid number: {text[:40]!r}") from None
    if not 0.001 <= number <= 1e6:
        raise argparse.ArgumentTypeError(f"{text[:40]} is out of range; it must be above 0, from 0.001 to 1000000")
    return number


def _use_gpu(text: str) -> bool | str:
    if text.lower() not in USE_GPU:
        raise argparse.ArgumentTypeError(f"{text!r} is none of auto, True, False")
    return USE_GPU[text.lower()]


def run(main: Callable[[], Any]) -> None:
    """Call a verb's main; print a user's mistake on stderr, a line each, and exit with 2.

    A user's mistake is a ValueError that this project's own code raises, or an error of the operating system. Any other
    error is a defect and keeps its traceback. What is printed may be names of files that are no text.
    """
    if sys.stdout:  # not if it is closed
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if not is_mistake(error):
            raise
        lack = what_is_short(error)
        text = f"{lack}; a smaller batch_size and fewer num_reader_threads need less" if lack else str(error)
        _print_to(sys.stderr, f"error: {printable_lines(_shortened(text))}\n")
        sys.exit(2)
    finally:
        for stream in (sys.stdout, sys.stderr):
            _print_to(stream, "")


def _print_to(stream: TextIO | None, text: str) -> None:
    """Print it, with all that was printed there before; what nobody reads any more changes no exit code."""
    if stream is None:
        return
    try:
        print(text, end="", file=stream, flush=True)
    except OSError:
        silence(stream.fileno())


def _shortened(message: str) -> str:
    """A message that a terminal can hold."""
    left_out = len(message) - LONGEST_MESSAGE
    return message if left_out <= 0 else f"{message[:LONGEST_MESSAGE]} ... ({left_out:,} more characters)"


def is_mistake(error: Exception) -> bool:
    """Whether it is no defect but a user's mistake, whose message says all, or too small a machine; see `run`."""
    if isinstance(error, (ValueError, OSError)):
        return _raised_here(error) or bool(getattr(error, "errno", None))
    return bool(what_is_short(error))


def what_is_short(error: Exception) -> str:
    """What the machine lacks, if that is what the error says; else nothing."""
    said = str(error) if isinstance(error, RuntimeError) else ""  # by Paddle, or by threading
    if isinstance(error, MemoryError) or os.strerror(errno.ENOMEM) in said:
        return "not enough memory"
    no_thread = "can't start new thread" in said or os.strerror(errno.EAGAIN) in said
    if no_thread or isinstance(error, BlockingIOError):  # the latter from a fork
        return "not enough memory, or too many processes and threads for this user or container (ulimit -u)"
    return ""


def _raised_here(error: BaseException) -> bool:
    """Whether a `raise` statement of this project raised it, and not a library that it called."""
    traceback = error.__traceback__
    while traceback.tb_next:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    is_ours = os.path.abspath(code.co_filename).startswith(f"{PROJECT}{os.sep}")
    return is_ours and dis.opname[code.co_code[traceback.tb_lasti]] == "RAISE_VARARGS"
