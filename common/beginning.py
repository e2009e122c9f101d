"""A command's first import: Ctrl-C ends the process at once and without a word, unless somebody listens to it.

Python would raise a KeyboardInterrupt at any place. In an import it would end in some traceback, and in numpy's and
where Paddle's C++ calls Python in a crash. `distributed.signals` and `dataset.jobs` listen, for what has to be saved.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell switches it off for what it runs behind
    signal.signal(signal.SIGINT, signal.SIG_DFL)
