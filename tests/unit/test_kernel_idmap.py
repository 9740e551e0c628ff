"""Maps and ranges of IDs: what is read, what is refused, and that both directions agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontain.kernel.errors import UsageError
from pycontain.kernel.idmap import ALL, Maps, keep_id, overlap, parse, parse_ranges, to_inside, to_outside


@pytest.mark.parametrize(
    ("text", "extents"),
    [
        ("0:100000:65536", [(0, 100000, 65536)]),
        ("0:0:4294967295", [(0, 0, ALL)]),
        ("1000:5:1,0:100000:1000", [(0, 100000, 1000), (1000, 5, 1)]),
    ],
)
def test_maps(text: str, extents: list[tuple[int, int, int]]) -> None:
    assert parse(text) == extents


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", "'' is not UID:HOST:SIZE"),
        ("0:1", "'0:1' is not UID:HOST:SIZE"),
        ("0:1:2:3", "is not UID:HOST:SIZE"),
        ("0:-1:2", "is not UID:HOST:SIZE"),
        ("0:٣:2", "is not UID:HOST:SIZE"),
        ("0: 1:2", "is not UID:HOST:SIZE"),
        ("0:1:99999999999", "is not UID:HOST:SIZE"),
        ("0:1:0", "the size has to be 1 or more"),
        ("0:4294967294:2", "the last ID below 4294967295"),
        ("0:1:4294967295", "the last ID below 4294967295"),
        ("0:100:10,5:200:10", "'5:200:10' has IDs that another part has"),
        ("0:100:10,10:105:10", "'10:105:10' has IDs that another part has"),
        ("1:100:10", "no part has 0"),
        (",".join(f"{n}:{n + 1000}:1" for n in range(341)), "more than the 340"),
    ],
)
def test_maps_that_cannot_be(text: str, answer: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert answer in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "ranges"), [("5:1", [(5, 1)]), ("100:50,200:50", [(100, 50), (200, 50)]), ("1:4294967294", [(1, ALL - 1)])]
)
def test_ranges(text: str, ranges: list[tuple[int, int]]) -> None:
    assert parse_ranges(text) == ranges


@pytest.mark.parametrize("text", ["", "5", "0:5", "5:0", "5:x", "5:5,", "4294967294:2", "5:5,9:2", "5:5:5"])
def test_ranges_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError):
        parse_ranges(text)


@given(st.text(alphabet="0123456789:,-x", max_size=40))
def test_whatever_is_given_is_a_map_or_a_usage_error(text: str) -> None:
    try:
        extents = parse(text)
    except UsageError:
        return
    assert to_outside(extents, 0) >= 0
    for inside, outside, size in extents:
        for number in (0, size - 1):
            assert to_outside(extents, inside + number) == outside + number
            assert to_inside(extents, outside + number) == inside + number


@given(st.tuples(st.integers(0, 50), st.integers(1, 20)), st.tuples(st.integers(0, 50), st.integers(1, 20)))
def test_overlap_is_sharing_an_id(one: tuple[int, int], other: tuple[int, int]) -> None:
    shared = set(range(one[0], sum(one))) & set(range(other[0], sum(other)))
    assert overlap(one, other) == bool(shared)


def test_what_is_not_mapped() -> None:
    assert to_outside([(0, 100, 10)], 10) == to_inside([(0, 100, 10)], 99) == to_inside([(0, 100, 10)], 110) == -1


def test_maps_of_a_spec() -> None:
    maps = Maps([(0, 100, 10)], [(0, 200, 10)])
    assert maps.root == (100, 200) and not maps.identical
    assert maps.spec() == {
        "uidMappings": [{"containerID": 0, "hostID": 100, "size": 10}],
        "gidMappings": [{"containerID": 0, "hostID": 200, "size": 10}],
    }
    assert Maps([(0, 0, ALL)], [(0, 0, ALL)]).identical


@given(st.integers(0, 3000), st.integers(1, 2000))
def test_the_callers_own_id_is_kept(number: int, size: int) -> None:
    """Every ID of the lease is used once, the caller's own stays, and the kernel would take the map."""
    lease = Maps([(0, 100_000, size)], [(0, 200_000, size)])
    maps = keep_id(number, number, lease)
    assert to_outside(maps.uids, number) == to_outside(maps.gids, number) == number
    taken = sorted(outside + n for _, outside, part in maps.uids for n in range(part))
    assert taken == [number, *range(100_000, 100_000 + size)]
    inside = sorted(first + n for first, _, part in maps.uids for n in range(part))
    assert len(set(inside)) == len(inside) == size + 1
