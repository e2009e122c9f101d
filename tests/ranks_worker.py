"""Runs verbs one after another, alone or in the same ranks; test_distributed.py starts it.

    python tests/ranks_worker.py jobs.json
    python -m paddle.distributed.launch --nproc_per_node=2 tests/ranks_worker.py jobs.json

jobs.json lists [verb, flags]; the scores of "test" go to the file scores.json beside it.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import infer  # noqa: E402
import test as test_verb  # noqa: E402
import train  # noqa: E402

VERBS = {"train": train.main, "test": test_verb.main, "infer": infer.main}


def main() -> None:
    path = Path(sys.argv[1])
    scores = []
    for verb, flags in json.loads(path.read_text()):
        result = VERBS[verb](flags)
        if verb == "test":
            scores.append({"num_videos": result.num_videos, "num_unreadable": result.num_unreadable, **result.scores})
    path.with_name("scores.json").write_text(json.dumps(scores))


if __name__ == "__main__":
    main()
