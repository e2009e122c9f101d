"""The steps of a pickle, made harmless: a small machine of its own in place of the standard library's unpickler.

It knows the steps (opcodes) that plain data needs and refuses every other one. Names stand for themselves or for
stand-ins; nothing is imported. It never takes more bytes than the file has, and neither hashes, compares nor prints
what the file holds. Its time and its memory grow with the file, up to MAX_STEPS.
"""

import collections
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

from common.pickle_reader import PickleReader, Refused

MAX_STEPS = 4_000_000
"""A network takes ten thousand; a step takes about a microsecond, and up to 250 bytes besides the file's own."""
MAX_OPEN_MARKS = 100
MAX_KEY = 1 << 60
"""Larger integers share their hashes; a dictionary of those would take for ever."""
CALLS_SHARE = 4
"""Calls get at most so many times the file's length as arguments; else they could copy one text again and again."""
STEPS_BETWEEN_CHECKS = 1000
KEY_TYPES = (str, bytes, int, float, bool, type(None))


class Name(NamedTuple):
    """A function or class that a pickle names."""

    module: str
    name: str


class StandIn:
    """In place of an object: it is made by a call, and the file may give it a state afterwards."""

    def __init__(self):
        self.memo_indices: list[int] = []

    def filled(self, state: Any) -> Any:
        """What takes its place then. This one is for what nobody needs, and passes over it."""
        return self


class PickleMachine:
    """Runs one pickle.

    What comes out may lie in itself and may be as deep as the file is long: never walk, compare or print it as a whole.

    Args:
        reader: stands where the pickle begins; afterwards, where it has ended.
        check: called now and then, to raise when time is up.
    """

    allowed: dict[tuple[str, str], Callable[..., Any] | None] = {}
    """(module, name) -> what is called in place of it; None: it may only be named."""

    def __init__(self, reader: PickleReader, check: Callable[[], None] = lambda: None):
        self.read = reader
        self._check = check
        self._stack: list[Any] = []
        self._marks = [0]
        self._memo: dict[int, Any] = {}
        self._left_for_calls = CALLS_SHARE * reader.num_bytes

    def load(self) -> Any:
        """The value. Raises Refused, and what `check` raises."""
        for step in range(MAX_STEPS):
            if step % STEPS_BETWEEN_CHECKS == 0:
                self._check()
            code = self.read.count(1)
            if code == pickle.STOP[0]:
                return self.pop()
            if code not in STEPS:
                known = pickletools.code2op.get(chr(code))
                raise Refused(f"it has the step {known.name if known else code}, which plain data never needs")
            STEPS[code](self)
        raise Refused(f"it takes more than {MAX_STEPS:,} steps, which plain data never needs")

    def persistent(self, reference: Any) -> Any:
        """What stands for a reference to something outside of the pickle."""
        raise Refused("it refers to something outside of it")

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def top(self) -> Any:
        if len(self._stack) <= self._marks[-1]:
            raise Refused("it takes something from where nothing is")
        return self._stack[-1]

    def pop(self) -> Any:
        value = self.top()
        self._stack.pop()
        return value

    def pop_some(self, count: int) -> list[Any]:
        return [self.pop() for _ in range(count)][::-1]

    def mark(self) -> None:
        if len(self._marks) > MAX_OPEN_MARKS:
            raise Refused(f"it is nested more than {MAX_OPEN_MARKS} times")
        self._marks.append(len(self._stack))

    def pop_marked(self) -> list[Any]:
        """What lies above the last mark."""
        if len(self._marks) == 1:
            raise Refused("it has the end of a container without its beginning")
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def discard(self) -> None:
        if len(self._marks) > 1 and len(self._stack) == self._marks[-1]:
            self._marks.pop()
        else:
            self.pop()

    def container(self, kind: type) -> Any:
        """The list, dictionary or set on top of the stack."""
        container = self.top()
        if not isinstance(container, kind):
            raise Refused("it puts something into what is no container for it")
        return container

    def put_pairs(self, items: list[Any], target: dict | None = None) -> dict:
        target = self.container(dict) if target is None else target
        if len(items) % 2:
            raise Refused("it has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value
        return target

    def memoize(self, index: int) -> None:
        value = self._memo[index] = self.top()
        if isinstance(value, StandIn):
            value.memo_indices.append(index)

    def recall(self, index: int) -> None:
        if index not in self._memo:
            raise Refused("it refers to something that it does not have")
        self.push(self._memo[index])

    def name(self, module: Any, name: Any) -> None:
        found = Name(module, name) if isinstance(module, str) and isinstance(name, str) else None
        if found not in self.allowed:
            wanted = ".".join(part[:100] for part in found) if found else "something without a name"
            raise Refused(f"it wants to use {wanted}, which plain data never needs")
        self.push(found)

    def call(self) -> None:
        name, arguments = self.pop_some(2)
        function = self.allowed[name] if isinstance(name, Name) else None
        if function is None or type(arguments) is not tuple:
            raise Refused("it calls something that is no function")
        self._left_for_calls -= sum(len(one) for one in arguments if isinstance(one, str | bytes | tuple | list))
        if self._left_for_calls < 0:
            raise Refused("it copies its content more often than plain data needs")
        try:
            self.push(function(*arguments))
        except (TypeError, ValueError) as error:  # TypeError: other arguments than the function has
            raise Refused(f"it calls {'.'.join(name)} in no known way: {error}") from error

    def build(self) -> None:
        """Give an object its state."""
        state, target = self.pop(), self.top()
        if isinstance(target, StandIn):
            try:
                self._stack[-1] = target.filled(state)
            except ValueError as error:
                raise Refused(f"it holds what is no array: it {error}") from error
            for index in target.memo_indices:
                self._memo[index] = self._stack[-1]
        elif not isinstance(target, collections.OrderedDict):  # PyTorch's carry notes, which nobody needs
            raise Refused("it gives a state to something that has none")


def checked_key(key: Any) -> Any:
    """A key of a dictionary, if it is one whose hash costs nothing."""
    if type(key) not in KEY_TYPES or (type(key) is int and abs(key) > MAX_KEY):
        raise Refused("it has a key that is neither a text nor a small number")
    return key


def _append(machine: PickleMachine, items: list[Any]) -> None:
    machine.container(list).extend(items)


def _add(machine: PickleMachine, items: list[Any]) -> None:
    machine.container(set).update(map(checked_key, items))


STEPS: dict[int, Callable[[PickleMachine], Any]] = {
    step[0]: handler
    for step, handler in {
        pickle.PROTO: lambda m: m.read.protocol(),
        pickle.FRAME: lambda m: m.read.frame(),
        # constants and numbers
        pickle.NONE: lambda m: m.push(None),
        pickle.NEWTRUE: lambda m: m.push(True),
        pickle.NEWFALSE: lambda m: m.push(False),
        pickle.INT: lambda m: m.push(m.read.integer_line()),
        pickle.LONG: lambda m: m.push(m.read.integer_line()),
        pickle.BININT: lambda m: m.push(m.read.integer(4)),
        pickle.BININT1: lambda m: m.push(m.read.count(1)),
        pickle.BININT2: lambda m: m.push(m.read.count(2)),
        pickle.LONG1: lambda m: m.push(m.read.integer(m.read.count(1))),
        pickle.LONG4: lambda m: m.push(m.read.integer(m.read.count(4))),
        pickle.FLOAT: lambda m: m.push(m.read.float_line()),
        pickle.BINFLOAT: lambda m: m.push(m.read.double()),
        # texts and bytes
        pickle.STRING: lambda m: m.push(m.read.quoted_line()),
        pickle.BINSTRING: lambda m: m.push(m.read.string(4)),
        pickle.SHORT_BINSTRING: lambda m: m.push(m.read.string(1)),
        pickle.UNICODE: lambda m: m.push(m.read.text_line("raw-unicode-escape")),
        pickle.SHORT_BINUNICODE: lambda m: m.push(m.read.text(1)),
        pickle.BINUNICODE: lambda m: m.push(m.read.text(4)),
        pickle.BINUNICODE8: lambda m: m.push(m.read.text(8)),
        pickle.SHORT_BINBYTES: lambda m: m.push(m.read.sized(1)),
        pickle.BINBYTES: lambda m: m.push(m.read.sized(4)),
        pickle.BINBYTES8: lambda m: m.push(m.read.sized(8)),
        pickle.BYTEARRAY8: lambda m: m.push(m.read.sized(8)),
        # containers
        pickle.EMPTY_TUPLE: lambda m: m.push(()),
        pickle.TUPLE1: lambda m: m.push(tuple(m.pop_some(1))),
        pickle.TUPLE2: lambda m: m.push(tuple(m.pop_some(2))),
        pickle.TUPLE3: lambda m: m.push(tuple(m.pop_some(3))),
        pickle.TUPLE: lambda m: m.push(tuple(m.pop_marked())),
        pickle.EMPTY_LIST: lambda m: m.push([]),
        pickle.LIST: lambda m: m.push(m.pop_marked()),
        pickle.APPEND: lambda m: _append(m, m.pop_some(1)),
        pickle.APPENDS: lambda m: _append(m, m.pop_marked()),
        pickle.EMPTY_DICT: lambda m: m.push({}),
        pickle.DICT: lambda m: m.push(m.put_pairs(m.pop_marked(), {})),
        pickle.SETITEM: lambda m: m.put_pairs(m.pop_some(2)),
        pickle.SETITEMS: lambda m: m.put_pairs(m.pop_marked()),
        pickle.EMPTY_SET: lambda m: m.push(set()),
        pickle.FROZENSET: lambda m: m.push(frozenset(map(checked_key, m.pop_marked()))),
        pickle.ADDITEMS: lambda m: _add(m, m.pop_marked()),
        # the stack and the memo
        pickle.MARK: lambda m: m.mark(),
        pickle.POP: lambda m: m.discard(),
        pickle.POP_MARK: lambda m: m.pop_marked(),
        pickle.DUP: lambda m: m.push(m.top()),
        pickle.PUT: lambda m: m.memoize(m.read.index_line()),
        pickle.BINPUT: lambda m: m.memoize(m.read.count(1)),
        pickle.LONG_BINPUT: lambda m: m.memoize(m.read.count(4)),
        pickle.MEMOIZE: lambda m: m.memoize(len(m._memo)),
        pickle.GET: lambda m: m.recall(m.read.index_line()),
        pickle.BINGET: lambda m: m.recall(m.read.count(1)),
        pickle.LONG_BINGET: lambda m: m.recall(m.read.count(4)),
        # names and objects
        pickle.GLOBAL: lambda m: m.name(m.read.text_line("utf-8"), m.read.text_line("utf-8")),
        pickle.STACK_GLOBAL: lambda m: m.name(*m.pop_some(2)),
        pickle.REDUCE: lambda m: m.call(),
        pickle.NEWOBJ: lambda m: m.call(),
        pickle.BUILD: lambda m: m.build(),
        pickle.BINPERSID: lambda m: m.push(m.persistent(m.pop())),
    }.items()
}
