"""Seeded damage to the bytes of any file, and to JSON and CSV texts in particular."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

Mutation = Callable[[random.Random, bytes], bytes]

WORDS = (
    b"\0" * 4,
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\0\0\x80\x7f",
    b"\0\0\xc0\x7f",
    b"\xff\xfe\xff\xff",
)
HEAD = 2500  # bytes in which the headers of most formats lie


def place(rng: random.Random, content: bytes, head: bool) -> int:
    return rng.randrange(max(1, min(len(content), rng.choice((64, 400, HEAD))) if head else len(content)))


def truncated(rng: random.Random, content: bytes) -> bytes:
    length = rng.choice((0, 1, len(content) - 1, place(rng, content, True), place(rng, content, False)))
    return content[: max(0, length)]


def wrong_magic(rng: random.Random, content: bytes) -> bytes:
    length = rng.choice((1, 2, 4, 8, 132, 348))
    return rng.choice((b"\0" * length, rng.randbytes(length), b"PK\3\4", b"\x1f\x8b\x08", b"<?xml")) + content[length:]


def flipped(rng: random.Random, content: bytes, head: bool = True) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64)) if content else 0):
        damaged[place(rng, content, head)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def flipped_anywhere(rng: random.Random, content: bytes) -> bytes:
    return flipped(rng, content, head=False)


def overwritten(rng: random.Random, content: bytes, head: bool = True) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 2, 8, 32))):
        at, word = place(rng, content, head), rng.choice((*WORDS, rng.randbytes(4), rng.randbytes(1)))
        damaged[at : at + len(word)] = word
    return bytes(damaged)


def overwritten_anywhere(rng: random.Random, content: bytes) -> bytes:
    return overwritten(rng, content, head=False)


def chunk_removed(rng: random.Random, content: bytes) -> bytes:
    at, length = place(rng, content, rng.random() < 0.5), rng.choice((1, 2, 7, 100, 4096))
    return content[:at] + content[at + length :]


def chunk_doubled(rng: random.Random, content: bytes) -> bytes:
    at, length = place(rng, content, rng.random() < 0.5), rng.choice((1, 2, 7, 100, 4096))
    return content[: at + length] + content[at:]


def chunk_zeroed(rng: random.Random, content: bytes) -> bytes:
    at, length = place(rng, content, rng.random() < 0.5), rng.choice((8, 100, 4096, 65536))
    return content[:at] + bytes(min(length, len(content) - at)) + content[at + length :]


def appended(rng: random.Random, content: bytes) -> bytes:
    return content + rng.choice((b"\0", b"\0" * 5000, rng.randbytes(rng.randrange(1, 5000)), content))


def noise(rng: random.Random, content: bytes) -> bytes:
    return rng.randbytes(rng.choice((1, 200, 5000)))


ANY: tuple[Mutation, ...] = (
    truncated, truncated, wrong_magic, flipped, flipped, flipped_anywhere, overwritten, overwritten_anywhere,
    chunk_removed,
    chunk_doubled, chunk_zeroed, appended, noise,
)  # fmt: skip

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 255, 256, 10**9, 2**31, 2**63, 2**64, 10**400, -(10**30), 0.5, -0.0, 1e308, 1e-320,
    "", " ",
    ".", "..", "../../..", "../imagesTr", "/etc/hostname", "/dev/zero", "C:\\x", "a\0b", "a\nb", "\ud800", "\u202e",
    "x" * 300,
    "x" * 300_000, "nan", "1", "-1", "0", [], {}, [[]], [[], [[]]], {"": ""}, {"0": None}, [None], [0] * 1000,
    "\x1b[31m",
    float("nan"), float("inf"), -float("inf"),
)  # fmt: skip


def json_value_changed(rng: random.Random, content: bytes) -> bytes:
    """One to three values anywhere are replaced, removed, doubled, or moved elsewhere."""
    root = [json.loads(content)]
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder, key = _some_place(rng, root)
        how = rng.randrange(10)
        if how < 6:
            holder[key] = rng.choice(VALUES)
        elif how == 6 and holder is not root:
            del holder[key]
        elif how == 7:
            holder[key] = [holder[key]] * rng.choice((1, 2, 50))
        elif how == 8:
            other, other_key = _some_place(rng, root)
            holder[key] = json.loads(json.dumps(other[other_key]))
        elif isinstance(holder, dict):
            holder[str(rng.choice(VALUES))] = holder[key]
        else:
            holder.insert(0, holder[key])
    return json.dumps(root[0], ensure_ascii=rng.random() < 0.9).encode("utf-8", "surrogatepass")


def _some_place(rng: random.Random, root: list[Any]) -> tuple[Any, Any]:
    """A container and a key in it: walked down from the root, so that keys near it come as often as deep ones."""
    holder, key = root, 0
    while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.8:
        holder = holder[key]
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    return holder, key


def json_text_changed(rng: random.Random, content: bytes) -> bytes:
    """Texts that are no JSON, or are it in an odd way."""
    text = content.decode("utf-8")
    middle = rng.choice([i for i, letter in enumerate(text) if letter in ",:{["] or [0])
    odd = rng.choice((
        "[" * 100_000, '{"a":' * 100_000, "[" * 900 + "]" * 900, "9" * 5000, "1e999", "NaN", "-Infinity", '"\\ud800"',
        "//", ",",
        '"\\u0000"', "\0", "0x10", "'a'", "[[[", '{"a":1,"a":2}',
    ))  # fmt: skip
    doubled = text[:1] + ",".join(part for part in (text[1:-1].strip(), text[1:-1].strip()) if part) + text[-1:]
    return rng.choice((
        (text[: middle + 1] + odd + text[middle + 1 :]).encode(),
        odd.encode(),
        doubled.encode(),
        text.encode("utf-16"),
        text.encode("utf-32"),
        b"\xef\xbb\xbf" + content,
        content.replace(b"a", b"\xff", rng.choice((1, 1000))),
        content.replace(b'"', b"'"),
        content.replace(b"\n", b"\r"),
    ))  # fmt: skip


JSON: tuple[Mutation, ...] = (json_value_changed,) * 4 + (json_text_changed,)

CELLS = (
    "", "nan", "inf", "-inf", "1e999", "-1", "0", "1e-320", "١٢", "1,5", "x" * 200_000, '"', "a\nb", "\0", "\ud800",
    "L", "lr",
    "045Y", "Y", "MTR_001", "1", "../x", "\x1b[31m", "0x10", "1_000", " 20 ", "9" * 400,
)  # fmt: skip


def csv_cell_changed(rng: random.Random, content: bytes) -> bytes:
    rows = [line.split(",") for line in content.decode("utf-8").splitlines()]
    for _ in range(rng.choice((1, 1, 4))):
        row = rng.choice(rows)
        how = rng.randrange(8)
        if how < 5:
            row[rng.randrange(len(row))] = rng.choice(CELLS)
        elif how == 5:
            row.pop()
            row += [""] * (not row)
        elif how == 6:
            row += rng.choice((row, ["1"] * 5000))
        else:
            rows.insert(rng.randrange(len(rows)), list(row))
    separator = rng.choice((",", ",", ",", ";", "\t"))
    text = rng.choice(("\n", "\n", "\r\n", "\r")).join(separator.join(row) for row in rows)
    return text.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-16")), "surrogatepass")


CSV: tuple[Mutation, ...] = (csv_cell_changed,) * 3


def mutated(rng: random.Random, content: bytes, own: Sequence[Mutation]) -> tuple[bytes, str]:
    """One mutation, seldom two, half of them of the format's own kind; and their names."""
    names = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        mutation = rng.choice(own if own and rng.random() < 0.6 and not names else ANY)
        content = mutation(rng, content)
        names.append(mutation.__name__)
    return content, " + ".join(names)
