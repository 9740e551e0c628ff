"""Two ``linux.resources`` objects put together: what a container has, and what an update changes of it. Pure data."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Arrays whose items are one fact each, by their paths, with the members that say of what. The same name elsewhere is
#: an unknown property, of which nothing has been checked.
_DEVICE = ("major", "minor")
_KEYED = {
    "blockIO.weightDevice": _DEVICE,
    "blockIO.throttleReadBpsDevice": _DEVICE,
    "blockIO.throttleWriteBpsDevice": _DEVICE,
    "blockIO.throttleReadIOPSDevice": _DEVICE,
    "blockIO.throttleWriteIOPSDevice": _DEVICE,
    "hugepageLimits": ("pageSize",),
}


def merge(old: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """``old`` with what ``change`` says; neither is touched. null says nothing.

    Objects are merged member by member, limits of devices and page sizes one by one, a throttle of rate 0 takes its
    entry away. ``devices`` is a whole: the new list replaces the old one. Both must be what limits.compile takes.
    """
    return _object(old, change, "")


def _object(old: dict[str, Any], change: dict[str, Any], where: str) -> dict[str, Any]:
    result = dict(old)
    for key, value in change.items():
        if value is None:
            continue
        before, path = result.get(key), f"{where}{key}"
        if path in _KEYED:
            result[key] = _array(before or [], value, _KEYED[path])
        elif isinstance(value, dict):
            result[key] = _object(before if isinstance(before, dict) else {}, value, f"{path}.")
        else:
            result[key] = value
    return result


def _array(old: list[Any], change: list[Any], keys: tuple[str, ...]) -> list[Any]:
    found = {tuple(item.get(key) for key in keys): item for item in old}
    for item in change:
        found[tuple(item.get(key) for key in keys)] = item
    return [item for item in found.values() if "rate" not in item or item["rate"]]


def complete(old: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """``change`` with what cgroup v2 needs to know of ``old`` to carry it out.

    memory.swap is the limit of memory and swap together, and the kernel's file is that of swap alone: so it needs the
    limit that the container has.
    """
    memory = change.get("memory")
    if not isinstance(memory, dict) or not memory.get("swap") or memory.get("limit"):
        return change
    limit = (old.get("memory") or {}).get("limit")
    return {**change, "memory": {**memory, "limit": limit}} if limit else change


def kept_swap(old: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """``change`` with the ``memory.swap`` that is true after it, where it changes the limit and leaves swap alone.

    For the record only: the kernel's limit of swap stays as it is, so the sum moves by as much as the limit does.
    """
    memory, before = change.get("memory"), old.get("memory") or {}
    if not isinstance(memory, dict) or memory.get("swap") or not memory.get("limit"):
        return change
    limit, had, swap = memory["limit"], before.get("limit") or 0, before.get("swap") or 0
    if limit == -1:
        return {**change, "memory": {**memory, "swap": -1}}
    if swap <= 0 or had <= 0:
        return change
    return {**change, "memory": {**memory, "swap": swap - had + limit}}
