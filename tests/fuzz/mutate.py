"""Damaged versions of a file: at random places, and at those that a parser of it looks at."""

import pickletools
import random
import re
import struct
from functools import lru_cache

MAX_MUTATIONS = 4
LARGEST = 1 << 18
"""Bytes that a damaged file may grow to."""
INTEGERS = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40)
INTEGERS += ((1 << 61) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
NUMBERS = (
    b"0",
    b"-1",
    b"1e999",
    b"nan",
    b"4294967296",
    b"9223372036854775808",
    b"1" * 400,
    b"1" * 5000,
    b"0.5",
    b"\xef\xbc\x91",
)
PICKLE_STEPS = [bytes([ord(code.code)]) for code in pickletools.opcodes]
PICKLE_NAMES = [
    b"c" + module + b"\n" + name + b"\n"
    for module, name in (
        (b"numpy", b"dtype"), (b"numpy", b"ndarray"), (b"numpy.core.multiarray", b"_reconstruct"),
        (b"numpy.core.multiarray", b"scalar"), (b"numpy.core.numeric", b"_frombuffer"), (b"_codecs", b"encode"),
        (b"collections", b"OrderedDict"), (b"builtins", b"tuple"), (b"torch._utils", b"_rebuild_tensor_v2"),
        (b"torch", b"FloatStorage"), (b"torch", b"Size"), (b"argparse", b"Namespace"), (b"os", b"system"),
    )
]  # fmt: skip


def mutate(
    content: bytes, others: list[bytes], rng: random.Random, tokens: tuple[bytes, ...], is_pickle: bool
) -> bytes:
    """A damaged version.

    Args:
        others: files of the same kind, to take parts of.
        tokens: what may stand in such a file.
        is_pickle: damage steps of the pickle too.
    """
    ways = (*WAYS, *PICKLE_WAYS) if is_pickle else WAYS
    for number in range(rng.randint(1, MAX_MUTATIONS)):
        way = rng.choice(PICKLE_WAYS if is_pickle and number == 0 and rng.random() < 0.5 else ways)
        content = way(content, others, rng, tokens)[:LARGEST]
    return content


def _place(content: bytes, rng: random.Random) -> int:
    """Somewhere, often in the first bytes, where headers are."""
    return rng.randrange(min(len(content), rng.choice((16, 128, 1024, LARGEST))) + 1)


def _block(content: bytes, rng: random.Random) -> tuple[int, int]:
    begin = _place(content, rng)
    return begin, min(len(content), begin + rng.choice((1, 2, 4, 8, 16, 100, 1000)))


def _flip_bits(content: bytes, others: list[bytes], rng: random.Random, tokens: tuple[bytes, ...]) -> bytes:
    damaged = bytearray(content or b"\0")
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        damaged[min(_place(content, rng), len(damaged) - 1)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _put_integer(content: bytes, others: list[bytes], rng: random.Random, tokens: tuple[bytes, ...]) -> bytes:
    size, begin = rng.choice((1, 2, 4, 8)), _place(content, rng)
    integer = (rng.choice(INTEGERS) & ((1 << 8 * size) - 1)).to_bytes(size, rng.choice(("little", "big")))
    return content[:begin] + integer + content[begin + size :]


def _cut(content: bytes, others: list[bytes], rng: random.Random, tokens: tuple[bytes, ...]) -> bytes:
    return content[: _place(content, rng)]


def _delete(content: bytes, others: list[bytes], rng: random.Random, tokens: tuple[bytes, ...]) -> bytes:
    begin, end = _block(content, rng)
    return content[:begin] + content[end:]


def _repeat(content: bytes, others: list[bytes], rng: random.Random, tokens: tuple[bytes, ...]) -> bytes:
    begin, end = _block(content, rng)
    return content[:end] + content[begin:end] * rng.choice((1, 2, 10, 500)) + content[end:]


def _splice(content: bytes, others: list[bytes], rng: random.Random, tokens: tuple[bytes, ...]) -> bytes:
    other = rng.choice(others)
    begin, end = _block(other, rng)
    place = _place(content, rng)
    return rng.choice((content[:place] + other[begin:], content[:place] + other[begin:end] + content[place:]))


def _put_token(content: bytes, others: list[bytes], rng: random.Random, tokens: tuple[bytes, ...]) -> bytes:
    if not tokens:
        return _flip_bits(content, others, rng, tokens)
    begin, token = _place(content, rng), rng.choice(tokens)
    return content[:begin] + token + content[begin + rng.choice((0, len(token))) :]


def _put_number(content: bytes, others: list[bytes], rng: random.Random, tokens: tuple[bytes, ...]) -> bytes:
    """Another number in place of one that is written in digits."""
    found = list(re.finditer(rb"\d+", content[:4096]))
    if not found:
        return _put_integer(content, others, rng, tokens)
    begin, end = rng.choice(found).span()
    return content[:begin] + rng.choice(NUMBERS) + content[end:]


WAYS = (_flip_bits, _put_integer, _cut, _delete, _repeat, _splice, _put_token, _put_number)


@lru_cache(maxsize=1000)
def _steps(content: bytes) -> list[tuple[int, int]]:
    """Where each step of a pickle begins and ends, as far as it can be read."""
    begins = []
    try:
        for _, _, position in pickletools.genops(content):
            begins.append(position)
    except (ValueError, IndexError, OverflowError, struct.error):
        pass  # damaged from there on
    return list(zip(begins, [*begins[1:], len(content)], strict=False))


def _step_of(content: bytes, rng: random.Random) -> tuple[int, int]:
    return rng.choice(_steps(content) or [(0, len(content))])


def _move_step(content: bytes, others: list[bytes], rng: random.Random, tokens: tuple[bytes, ...]) -> bytes:
    """A step of this file or of another one, put somewhere else, perhaps many times."""
    source = rng.choice((content, *others))
    begin, end = _step_of(source, rng)
    place, _ = _step_of(content, rng)
    return content[:place] + source[begin:end] * rng.choice((1, 1, 1, 2, 50)) + content[place:]


def _drop_step(content: bytes, others: list[bytes], rng: random.Random, tokens: tuple[bytes, ...]) -> bytes:
    begin, end = _step_of(content, rng)
    return content[:begin] + content[end:]


def _swap_step(content: bytes, others: list[bytes], rng: random.Random, tokens: tuple[bytes, ...]) -> bytes:
    begin, _ = _step_of(content, rng)
    return content[:begin] + rng.choice(PICKLE_STEPS) + content[begin + 1 :]


def _new_step(content: bytes, others: list[bytes], rng: random.Random, tokens: tuple[bytes, ...]) -> bytes:
    place, _ = _step_of(content, rng)
    size = rng.choice((0, 0, 0, 1, 2, 4, 8))
    argument = (rng.choice(INTEGERS) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    new = rng.choice((rng.choice(PICKLE_STEPS) + argument, rng.choice(PICKLE_NAMES)))
    return content[:place] + new + content[place:]


PICKLE_WAYS = (_move_step, _drop_step, _swap_step, _new_step)
