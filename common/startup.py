"""What has to happen before and while Paddle is imported. Whoever uses Paddle imports this first."""

import importlib.util
import os
import signal
import sys
import threading
import warnings
import zlib  # noqa: F401  Paddle 2.6 exports a zlib of its own; Python's, and with it PyAV, fails or hangs if loaded later
from pathlib import Path

import common.processes  # noqa: F401  remembers the user's OMP_NUM_THREADS, which is set below

if importlib.util.find_spec("paddle") is None:
    print(
        "error: this Python has no PaddlePaddle; run 'source .venv/bin/activate', or 'pip install -r requirements.txt'",
        file=sys.stderr,
    )
    sys.exit(2)

warnings.filterwarnings("ignore", message="No ccache found")  # Paddle 3 says so at every start; it asks nothing of us
warnings.filterwarnings("ignore", message="When training, we now always track global mean and variance")
warnings.filterwarnings("ignore", message="Tensor do not have 'place' interface")  # its own zeros_like, in an export
warnings.filterwarnings("ignore", message="You are using GPU version Paddle, but your CUDA")  # ranks.py says it


def be_quiet_about_missing_cuda() -> None:
    """Paddle for GPUs lists the CUDA libraries that it misses, also where no GPU could use them.

    Where there is none, its C++ part says errors only. A GLOG_minloglevel that the user set stays.
    """
    if not any(Path("/dev").glob("nvidia*")):
        os.environ.setdefault("GLOG_minloglevel", "2")


def let_mkl_use_avx2_on_amd() -> None:
    """Paddle's CPU build brings an Intel MKL that takes its slowest path on other makers' processors.

    MKL_DEBUG_CPU_TYPE=5 has it use AVX2 there: training is 2 to 3 times as fast. A value that the user set stays.
    """
    try:
        processor = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not a Linux machine
        return
    if "AuthenticAMD" in processor and " avx2 " in processor:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")


be_quiet_about_missing_cuda()
let_mkl_use_avx2_on_amd()
# A second thread makes a training step 1.1 to 1.3 times as fast, a second process twice: cores are for processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def import_paddle() -> None:
    """Import Paddle, which takes seconds, and leave the signals to those who had them.

    Ctrl-C in the midst of it would end in some traceback, so it ends the process at once. SIGTERM waits for the end:
    Paddle's own handler prints a traceback of C++.
    """
    if threading.current_thread() is not threading.main_thread():  # no other may change handlers
        import paddle  # noqa: F401

        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if hasattr(sys.modules["__main__"], "__file__"):  # a notebook outlives its Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        import paddle  # noqa: F401
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


import_paddle()
