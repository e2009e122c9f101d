"""Reading ahead where no worker process reads: the next item is made in a thread while the one before it is used."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
END = object()


def read_ahead(items: Iterable[Item], depth: int = 1) -> Iterator[Item]:
    """The items in their order, each as soon as it is there; an error comes where its item would have come.

    The thread ends with the items, at an error, or when this generator is closed: then once its item is made.

    Args:
        items: made in the thread, one after the other.
        depth: how many may be made besides the one that is used.
    """
    iterator = iter(items)
    thread = ThreadPoolExecutor(1, "read ahead")
    try:
        waiting = deque(thread.submit(next, iterator, END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not END:
            waiting.append(thread.submit(next, iterator, END))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
