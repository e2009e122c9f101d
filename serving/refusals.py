"""Why a request gets no answer: one type, from wherever it is noticed to the interface that words it."""


class Refusal(Exception):
    """A request that is not answered, for a reason that its sender is told.

    Args:
        status: the HTTP status; docs/serving.md lists them all.
        reason: one line for people, without names of this machine's files.
        retry_after_sec: when it is worth trying again; None: it is not, as it is.
    """

    def __init__(self, status: int, reason: str, retry_after_sec: int | None = None):
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after_sec = retry_after_sec
