"""serve.py with less patience, so that a campaign need not wait for what is slow on purpose; flags as serve.py's."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import common.beginning  # noqa: E402, F401  isort: skip

import serve  # noqa: E402
from common import command_line  # noqa: E402
from serving import decoders, server, uploads  # noqa: E402

PATIENCE_SEC = 3.0

server.HEAD_SEC = server.TAKE_SEC = uploads.SILENCE_SEC = PATIENCE_SEC
decoders.GRACE_SEC = 1.0

command_line.run(serve.main)
