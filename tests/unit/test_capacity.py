"""Which limit bites at how many guests, and what raises it: decided on a /proc of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycontain.engine import capacity
from pycontain.kernel.errors import Error

SYSCTLS = {"kernel.pid_max": 4000, "kernel.pty.max": 4096, "net.ipv4.neigh.default.gc_thresh3": 1024}


@pytest.fixture
def proc(tmp_path: Path) -> str:
    for name, value in SYSCTLS.items():
        path = Path(capacity.path(name, str(tmp_path)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:    7000000 kB\n")
    return str(tmp_path)


def test_the_first_to_bite_comes_first(proc: str) -> None:
    found = capacity.limits(proc, 5000)
    assert [(one.name, one.guests) for one in found] == [
        ("net.ipv4.neigh.default.gc_thresh3", 768),
        ("kernel.pid_max", 992),
        ("ports of a bridge", 1023),
        ("kernel.pty.max", 4032),
        ("ranges of IDs", 5000),
        ("available memory, KiB", 10000),
    ]


def test_what_is_enough_stays_and_nothing_is_lowered(proc: str) -> None:
    found = capacity.limits(proc, 5000)
    changes = capacity.plan(found, 1000)
    assert [(one.name, one.old, one.new) for one in changes] == [
        ("kernel.pid_max", 4000, 8192),
        ("net.ipv4.neigh.default.gc_thresh3", 1024, 4096),
    ]
    assert capacity.plan(found, 700) == []
    for guests in (1, 900, 1000, 5000, 100_000):
        assert all(one.new > one.old for one in capacity.plan(found, guests))


def test_after_it_there_is_room_for_so_many(proc: str) -> None:
    for guests in (800, 1000, 3000, 50_000):
        capacity.apply(capacity.plan(capacity.limits(proc, 5000), guests), proc)
        raised = [one for one in capacity.limits(proc, 5000) if one.need is not None]
        assert all(one.guests >= guests for one in raised), guests


def test_the_kernels_own_end_is_kept_to(proc: str) -> None:
    found = capacity.limits(proc, 5000)
    (pid,) = [one for one in capacity.plan(found, 3_000_000) if one.name == "kernel.pid_max"]
    assert pid.new == 1 << 22
    assert "# at most 4194304: kernel.pid_max is enough for" in capacity.text([pid], found, 3_000_000)


def test_the_text_is_of_sysctl_d(proc: str) -> None:
    found = capacity.limits(proc, 1500)
    text = capacity.text(capacity.plan(found, 2000), found, 2000)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == ["kernel.pid_max = 16384", "net.ipv4.neigh.default.gc_thresh3 = 8192"]
    assert "# was 4000: enough for 992 guests" in text
    assert "ports of a bridge 1023: enough for 1023 guests: --network routed" in text
    assert "# not a sysctl: ranges of IDs 1500" in text


def test_all_are_set_or_none(proc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = capacity._write

    def refusing(name: str, value: int, where: str) -> None:
        if name.startswith("net."):
            raise PermissionError(1, "Operation not permitted")
        write(name, value, where)

    monkeypatch.setattr(capacity, "_write", refusing)
    changes = capacity.plan(capacity.limits(proc, 5000), 1000)
    with pytest.raises(Error, match=r"cannot set sysctl net.ipv4.neigh.default.gc_thresh3 to 4096: Operation not perm"):
        capacity.apply(changes, proc)
    assert Path(capacity.path("kernel.pid_max", proc)).read_text() == "4000\n"


def test_it_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "sysctl.d" / "90-pycontain.conf"
    capacity.save("a = 1\n", str(target))
    capacity.save("b = 2\n", str(target))
    assert [(path.name, path.read_text()) for path in target.parent.iterdir()] == [("90-pycontain.conf", "b = 2\n")]
    (tmp_path / "file").write_text("")
    with pytest.raises(Error, match="cannot write"):
        capacity.save("a = 1\n", str(tmp_path / "file" / "x.conf"))


def test_a_host_without_any_of_them_still_has_some(tmp_path: Path) -> None:
    assert [one.name for one in capacity.limits(str(tmp_path), -1)] == ["ports of a bridge"]
