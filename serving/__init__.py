"""Videos that come over HTTP -> answers: uploads, a bounded queue, decoders, micro-batches, interfaces, a page."""

import importlib.util
import sys

PACKAGES = ("fastapi", "fastapi_offline", "uvicorn", "python_multipart", "prometheus_client", "httpx")
INSTALL_SERVE = "pip install -r requirements-serve.txt"

missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
if missing:
    print(f"error: serve.py needs {', '.join(missing)}: {INSTALL_SERVE}", file=sys.stderr)
    sys.exit(2)
