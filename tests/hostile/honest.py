"""Honest clients: they send known clips all the time, and know what has to come back."""

import json
import threading
import time
import traceback
import uuid
from collections import Counter
from random import Random
from typing import Any

import numpy as np

from conftest import SIDE
from hostile.table import INFER, PADDLEX
from hostile.videos import Videos
from hostile.wire import MULTIPART, Address, Answer, ask, multipart, paddlex

TOLERANCE = 1e-5  # of a score: sums over other batches have other last bits
MOST_REPEATS = 100
LONGEST_REST_SEC = 2.0
TIMELINE = "application/x-ndjson"
Request = tuple[str, bytes, dict[str, str]]


class Expected:
    """What each request has to say; told by the server itself while it has nothing else to do."""

    def __init__(self, address: Address, videos: Videos):
        rng = np.random.default_rng(5)
        self.requests: list[Request] = []
        for clip in videos.good:
            self.requests += [
                ("/classify?topk=3", clip, {}),
                ("/classify?topk=3", multipart(clip), {"content_type": MULTIPART}),
                (PADDLEX, paddlex(clip, topk=3), {"content_type": "application/json"}),
            ]
        self.requests.append(("/classify?topk=3&window_sec=0.5&stride_sec=0.5", videos.long, {}))
        for _ in range(3):
            frames = rng.integers(0, 256, (1, 3, 3, SIDE, SIDE)).astype(np.uint8)
            tensor = {
                "name": "frames",
                "datatype": "UINT8",
                "shape": list(frames.shape),
                "data": frames.ravel().tolist(),
            }
            self.requests.append((INFER, json.dumps({"inputs": [tensor]}).encode(), {}))
        self.answers = [said(ask(address, path, body, **headers)) for path, body, headers in self.requests]
        self._check_differences(len(videos.good))

    def _check_differences(self, num_clips: int) -> None:
        """One clip's answer must not pass for another's; however it is sent, it is the same."""
        by_clip = [self.answers[3 * number : 3 * number + 3] for number in range(num_clips)]
        for several in by_clip:
            assert all(same(several[0], other) for other in several), several
        firsts = [several[0] for several in by_clip] + self.answers[3 * num_clips :]
        for number, one in enumerate(firsts):
            assert not any(same(one, other) for other in firsts[:number]), "two clips look alike"


def status_of(answer: Answer) -> int:
    """The status; that of a timeline which has begun is in its last line."""
    if answer.headers.get("content-type") != TIMELINE:
        assert answer.status not in (429, 503) or "retry-after" in answer.headers, answer
        return answer.status
    return json.loads(answer.body.splitlines()[-1]).get("status", answer.status)


def said(answer: Answer) -> list[tuple[int, float]]:
    """What counts of an answer: classes and scores, those of all windows one after the other."""
    assert answer.status == 200, answer
    if answer.headers["content-type"] == TIMELINE:
        *windows, last = map(json.loads, answer.body.splitlines())
        assert last["is_complete"], last
        return [pair for window in windows for pair in _pairs(window["categories"])]
    content = answer.content
    if "outputs" in content:
        return list(enumerate(content["outputs"][0]["data"]))
    return _pairs((content.get("result") or content)["categories"])


def _pairs(categories: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(one["id"], one["score"]) for one in categories]


def same(one: list[tuple[int, float]], other: list[tuple[int, float]]) -> bool:
    if [class_id for class_id, _ in one] != [class_id for class_id, _ in other]:
        return False
    return all(abs(a - b) <= TOLERANCE for (_, a), (_, b) in zip(one, other, strict=True))


class HonestClient(threading.Thread):
    """Sends one known request after the other until it is told to stop.

    Args:
        seed: of the order in which it sends them.
        pause_sec: after each.
    """

    def __init__(self, address: Address, expected: Expected, seed: int, pause_sec: float = 0.0):
        super().__init__(name=f"honest {seed}", daemon=True)
        self._expected = expected
        self._address = address
        self._rng = Random(seed)
        self._pause_sec = pause_sec
        self.is_over = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.problems: list[str] = []

    def run(self) -> None:
        while not self.is_over.wait(self._pause_sec):
            number = self._rng.randrange(len(self._expected.requests))
            try:
                self._ask_until_answered(number)
            except Exception:
                self.problems.append(traceback.format_exc())

    def _ask_until_answered(self, number: int) -> None:
        path, body, headers = self._expected.requests[number]
        for _ in range(MOST_REPEATS):
            answer = ask(self._address, path, body, **headers, x_request_id=uuid.uuid4().hex)
            status = status_of(answer)
            self.statuses[status] += 1
            if status not in (429, 503):
                break
            time.sleep(min(int(answer.headers.get("retry-after", 1)), LONGEST_REST_SEC))
        if status != 200:
            self.problems.append(f"{path}: {answer.status} {answer.body[:300]!r}")
        elif not same(said(answer), self._expected.answers[number]):
            self.problems.append(f"{path}: another's answer: {answer.body[:300]!r}")
