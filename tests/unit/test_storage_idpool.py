"""Ranges of IDs: where the pool is from, that no two containers share an ID, and that a range comes back."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pycontain.kernel.errors import Error
from pycontain.kernel.idmap import Maps
from pycontain.storage import idpool
from pycontain.storage.idpool import SLOT, Pool

SETTINGS = {"id_pool": "", "id_user": "pycontain"}


def ids(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def etc(tmp_path: Path) -> tuple[str, str]:
    return str(tmp_path / "subuid"), str(tmp_path / "subgid")


# --- the pool -----------------------------------------------------------------------------------------------------


def test_a_host_without_entries_has_the_default(etc: tuple[str, str]) -> None:
    pool = idpool.find(SETTINGS, etc)
    assert pool.parts == [(0x30000000, 0x30000000, 16384)] and pool.size == 16384
    assert pool.slot(16383) == (0x6FFF0000, 0x6FFF0000, 1)


def test_the_default_leaves_out_what_others_were_given(etc: tuple[str, str]) -> None:
    Path(etc[0]).write_text(f"ann:100000:65536\nben:{0x30000000 + SLOT}:65537\n")
    Path(etc[1]).write_text(f"cat:{0x6FFFFFFF}:1\n")
    pool = idpool.find(SETTINGS, etc)
    assert pool.parts == [
        (0x30000000, 0x30000000, 1),
        (0x30000000 + 3 * SLOT, 0x30000000 + 3 * SLOT, 16384 - 4),
    ]


def test_entries_of_the_user_are_the_pool(etc: tuple[str, str]) -> None:
    Path(etc[0]).write_text("# ours\npycontain:200000:131072\nother:1:2\nbroken\npycontain:900000:65536\n")
    Path(etc[1]).write_text("pycontain:300000:131072\npycontain:800000:65535\n")
    pool = idpool.find(SETTINGS, etc)
    assert pool.parts == [(200000, 300000, 2)]
    assert pool.source == f"the entries of pycontain in {etc[0]} and {etc[1]}"
    assert idpool.find({**SETTINGS, "id_user": "x"}, etc).source == "pycontain's own default"


def test_the_configuration_file_wins(etc: tuple[str, str]) -> None:
    Path(etc[0]).write_text("pycontain:200000:131072\n")
    pool = idpool.find({**SETTINGS, "id_pool": "500000:65536,900000:200000"}, etc)
    assert pool.parts == [(500000, 500000, 1), (900000, 900000, 3)]
    assert [pool.slot(index)[0] for index in range(4)] == [500000, 900000, 900000 + SLOT, 900000 + 2 * SLOT]
    with pytest.raises(IndexError):
        pool.slot(4)


@pytest.mark.parametrize(
    "files", [("pycontain:200000:65535\n", "pycontain:200000:65535\n"), ("pycontain:1:65536\n", "")]
)
def test_a_pool_without_a_range_is_refused(etc: tuple[str, str], files: tuple[str, str]) -> None:
    for path, text in zip(etc, files, strict=True):
        Path(path).write_text(text)
    with pytest.raises(Error, match="there is no range of 65536 user and group IDs"):
        idpool.find(SETTINGS, etc)


# --- leases -------------------------------------------------------------------------------------------------------


def small(count: int = 3, first: int = 100_000) -> Pool:
    return Pool([(first, first + 7, count)], "the test")


def test_ranges_one_after_the_other_and_back(tmp_path: Path) -> None:
    root, pool = str(tmp_path), small()
    maps, leases = idpool.acquire(root, pool, ids(1))
    assert (maps.uids, maps.gids) == ([(0, 100_000, SLOT)], [(0, 100_007, SLOT)])
    assert leases == ["100000-100007"] and os.readlink(idpool.path(root, leases[0])) == ids(1)
    assert idpool.acquire(root, pool, ids(2))[0].uids == [(0, 100_000 + SLOT, SLOT)]
    idpool.release(root, ids(1))
    # one that was given back is not used again at once
    assert idpool.acquire(root, pool, ids(3))[0].uids == [(0, 100_000 + 2 * SLOT, SLOT)]
    assert idpool.acquire(root, pool, ids(4))[0].uids == [(0, 100_000, SLOT)]
    with pytest.raises(Error) as caught:
        idpool.acquire(root, pool, ids(5))
    assert caught.value.message == (
        "no range of 65536 IDs is free: 3 of 3 are taken (the test): remove containers, give a larger id_pool in the"
        " configuration file, or use --userns host"
    )
    assert sorted(idpool.leases(root).values()) == [ids(2), ids(3), ids(4)]


def test_a_container_that_is_no_more_loses_its_range_when_none_is_left(tmp_path: Path) -> None:
    root, pool = str(tmp_path), small(2)
    idpool.acquire(root, pool, ids(1))
    idpool.acquire(root, pool, ids(2))
    maps, _ = idpool.acquire(root, pool, ids(3), gone=lambda other: other == ids(1))
    assert maps.uids == [(0, 100_000, SLOT)]
    assert sorted(idpool.leases(root).values()) == [ids(2), ids(3)]


def test_sizes(tmp_path: Path) -> None:
    root, pool = str(tmp_path), small(4)
    assert idpool.acquire(root, pool, ids(1), 1000)[0].uids == [(0, 100_000, 1000)]
    maps, leases = idpool.acquire(root, pool, ids(2), SLOT + 1)
    assert maps.uids == [(0, 100_000 + SLOT, SLOT + 1)] and len(leases) == 2
    with pytest.raises(Error, match="no 2 free ranges of 65536 IDs in a row: 3 of 4 are taken"):
        idpool.acquire(root, pool, ids(3), 2 * SLOT)
    idpool.release(root, ids(2))
    assert list(idpool.leases(root).values()) == [ids(1)]


def test_a_range_in_pieces_is_no_range(tmp_path: Path) -> None:
    pool = Pool([(100_000, 100_000, 1), (900_000, 900_000, 1)], "the test")
    with pytest.raises(Error, match="no 2 free ranges"):
        idpool.acquire(str(tmp_path), pool, ids(1), 2 * SLOT)


def test_the_first_pool_again_does_not_cut_into_what_another_one_gave(tmp_path: Path) -> None:
    root, moved = str(tmp_path), small(3, 100_000 + SLOT // 2)
    idpool.acquire(root, small(4), ids(1))
    assert idpool.acquire(root, moved, ids(2))[0].uids[0][1] == 100_000 + SLOT + SLOT // 2
    assert idpool.acquire(root, small(4), ids(3))[0].uids[0][1] == 100_000 + 3 * SLOT


def test_another_pool_does_not_cut_into_what_was_given(tmp_path: Path) -> None:
    """The second pool lies across the slots of the first."""
    root = str(tmp_path)
    idpool.acquire(root, small(2), ids(1))
    moved = small(3, 100_000 + SLOT // 2)
    assert idpool.acquire(root, moved, ids(2))[0].uids[0][1] == 100_000 + SLOT + SLOT // 2
    assert idpool.acquire(root, moved, ids(3))[0].uids[0][1] == 100_000 + 2 * SLOT + SLOT // 2
    with pytest.raises(Error, match="3 of 3 are taken"):
        idpool.acquire(root, moved, ids(4))
    idpool.release(root, ids(1))
    assert idpool.acquire(root, moved, ids(4))[0].uids[0][1] == 100_000 + SLOT // 2


@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "give"]), st.integers(0, 5), st.integers(1, 2 * SLOT), st.integers(0, 2)),
        max_size=30,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_two_containers_ever_share_an_id(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int, int]]
) -> None:
    root = str(tmp_path_factory.mktemp("ids"))
    pools = [small(4), small(5, 100_000 + 1000), Pool([(90_000, 400_000, 2), (300_000, 100_000, 2)], "the test")]
    held: dict[int, Maps] = {}
    for what, number, size, which in steps:
        if what == "give":
            idpool.release(root, ids(number))
            held.pop(number, None)
        elif number not in held:
            try:
                held[number] = idpool.acquire(root, pools[which], ids(number), size)[0]
            except Error:
                pass
        for extents in ([maps.uids[0] for maps in held.values()], [maps.gids[0] for maps in held.values()]):
            ranges = sorted((outside, outside + size) for _, outside, size in extents)
            assert all(one[1] <= other[0] for one, other in itertools.pairwise(ranges))
        assert set(idpool.leases(root).values()) == {ids(number) for number in held}


def _worker(root: str, first: int, count: int) -> None:
    for number in range(first, first + count):
        idpool.acquire(root, small(100), ids(number))


def test_many_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_worker, args=(str(tmp_path), 1 + 25 * n, 25)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    found = idpool.leases(str(tmp_path))
    assert len(found) == 100 and len(set(found.values())) == 100


def test_what_is_no_lease_is_left_alone(tmp_path: Path) -> None:
    root = str(tmp_path)
    idpool.acquire(root, small(), ids(1))
    for name in ("x", "1-x", "1", "5-5-5"):
        (tmp_path / "ids" / name).write_text("")
    assert list(idpool.leases(root).values()) == [ids(1)]
    (tmp_path / "ids" / "next").write_text("damaged")
    assert idpool.acquire(root, small(), ids(2))[0].uids[0][1] == 100_000 + SLOT


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("")
    with pytest.raises(Error, match=f"cannot lock {tmp_path}/ids/next: Not a directory"):
        idpool.acquire(str(tmp_path), small(), ids(1))
