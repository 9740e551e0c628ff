"""Changes of JSON documents and archives that stay what they are: flipped bytes seldom get past the parser."""

from __future__ import annotations

import json
import random
from typing import Any

#: Values at the edges of what properties may be, and words that open other branches.
POOL: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 4095, 4096, 65535, 65536, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1),
    *(1 << 63, (1 << 64) - 1, 1 << 64, -(1 << 63), 1 << 200, 0.5, 1e308, [], {}, [[]], [{}], [None]),
    *("", "/", ".", "..", "x", "a" * 300, "/proc/self/ns/net", "\n", "\u2028", "\ud800", "\0", "%d", "0-3", "3-0", ":"),
    *("a=b", "=", "1.0.0", "bind", "rbind", "idmap", "remount", "tmpcopyup", "ro", "size=1k", "user", "network", "max"),
    *("MPOL_BIND", "SCHED_DEADLINE", "SCMP_ACT_NOTIFY", "SCMP_ACT_ERRNO", "SCMP_CMP_MASKED_EQ", "a:b:c", "x.slice:a:b"),
    *("SCMP_ARCH_X86", "SCMP_ARCH_X32", "socket", "socketcall", "*", "c", "rwm", "CAP_SYS_ADMIN", "RLIMIT_NOFILE"),
]

Slot = tuple[Any, Any]


def slots(value: Any, found: list[Slot] | None = None) -> list[Slot]:
    """Every place of a document: the object or array that has it, and its key."""
    found = [] if found is None else found
    if isinstance(value, dict):
        for key in value:
            found.append((value, key))
            slots(value[key], found)
    elif isinstance(value, list):
        for key in range(len(value)):
            found.append((value, key))
            slots(value[key], found)
    return found


def change(document: Any, rng: random.Random) -> Any:
    """The document with one change; it may be another object."""
    places = slots(document)
    if not places:
        return rng.choice(POOL)
    holder, key = rng.choice(places)
    kind = rng.randrange(7)
    if kind == 0:
        holder[key] = rng.choice(POOL)
    elif kind == 1:
        other, at = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[at]))
    elif kind == 2:
        del holder[key]
    elif kind == 3 and isinstance(holder, list):
        holder.insert(key, json.loads(json.dumps(rng.choice([*holder, *POOL]))))
    elif kind == 3:
        holder[rng.choice(["type", "path", "options", "value", "x\n", ""])] = rng.choice(POOL)
    elif kind == 4:
        holder[key] = near(holder[key], rng)
    elif kind == 5:
        holder[key] = [holder[key]] if rng.random() < 0.5 else {"type": holder[key]}
    elif isinstance(holder, dict):
        name = rng.choice(list(holder))
        holder[name] = holder.pop(key)
    else:
        rng.shuffle(holder)
    return document


def near(value: Any, rng: random.Random) -> Any:
    """A value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([value + 1, value - 1, -value, value << 8, value ^ (1 << rng.randrange(64))])
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        piece = rng.choice([*(word for word in POOL if isinstance(word, str)), chr(rng.randrange(0x250))])
        return value[:at] + piece + value[at + rng.randrange(3) :]
    return rng.choice(POOL)


def mutate(data: bytes, most: int, seed: int) -> bytes | None:
    """Another document near to ``data``, at most so long; None where that is no JSON."""
    rng = random.Random(seed)
    try:
        document = json.loads(data)
        for _ in range(rng.choice([1, 1, 2, 5])):
            document = change(document, rng)
        text = json.dumps(document).encode()
    except (ValueError, RecursionError):
        return None
    return text if len(text) <= most else None


_BLOCK = 512
_SIZE = slice(124, 136)
_CHECKSUM = slice(148, 156)


def with_checksums(data: bytes) -> bytes:
    """A tar archive with the checksums that its headers should have: nobody reads on behind a wrong one."""
    result = bytearray(data)
    at = 0
    while at + _BLOCK <= len(result):
        header = result[at : at + _BLOCK]
        if any(header):
            header[_CHECKSUM] = b" " * 8
            header[_CHECKSUM] = b"%06o\0 " % sum(header)
            result[at : at + _BLOCK] = header
        size = bytes(header[_SIZE]).strip(b"\0 ")
        content = int(size, 8) if size and not size.strip(b"01234567") else 0
        at += _BLOCK + (content + _BLOCK - 1) // _BLOCK * _BLOCK
    return bytes(result)
