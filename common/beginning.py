"""A command's first import: until `command_line.run`, when nothing has begun, Ctrl-C ends the process without a word.

An import that a KeyboardInterrupt breaks off would end in some traceback, and numpy's in a crash.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell switches it off for what it runs behind
    signal.signal(signal.SIGINT, signal.SIG_DFL)
