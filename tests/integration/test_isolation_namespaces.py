"""Namespaces: each is the container's own, seen from inside and from the host's /proc, unless a flag says "host"."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from world import World

OWN = ("mnt", "pid", "net", "uts", "ipc", "cgroup")
SHARED = ("user", "time")


def inode(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def waiting(world: World, *flags: str, image: str = "busybox") -> int:
    """The host's PID of the init of a new container that waits."""
    network = () if any(flag.startswith("--network") for flag in flags) else ("--network", "none")
    return world.pid(world.background(*network, *flags, image, "sleep", "1000"))


def test_the_sentence_of_the_readme(world: World) -> None:
    """Own namespaces, as a person sees them."""
    script = "id -u; hostname; ps -e -o pid,comm; ip -o addr; cat /proc/self/mountinfo; cat /proc/self/cgroup"
    lines = world.inside(script, "--hostname", "own", "--network", "bridge", image="sparse").splitlines()
    assert lines[:2] == ["0", "own"]
    processes = [line.split() for line in lines if line.endswith((" sh", " ps"))]
    assert [words[0] for words in processes if words[1] == "sh"] == ["1"]
    assert {line.split()[1] for line in lines if " inet" in line} == {"lo", "eth0"}
    mounts = [line for line in lines if " - " in line]
    assert sum(" / / " in line for line in mounts) == 1
    assert not any(str(world.run_root) in line for line in mounts)
    assert lines[-1] == "0::/"


@pytest.mark.parametrize("kind", OWN)
def test_a_container_has_its_own(world: World, kind: str) -> None:
    pid = waiting(world)
    assert inode(pid, kind) != inode("self", kind)
    # the monitor stays outside
    monitor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert inode(monitor, kind) == inode("self", kind)


def test_inside_and_outside_are_of_one_mind(world: World) -> None:
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    names = [*OWN, *SHARED]
    seen = world.ok("exec", identity, "sh", "-c", "".join(f"readlink /proc/1/ns/{name};" for name in names)).split()
    assert seen == [inode(world.pid(identity), name) for name in names]


def test_two_containers_share_none(world: World) -> None:
    one, other = waiting(world), waiting(world)
    assert [kind for kind in OWN if inode(one, kind) == inode(other, kind)] == []


@pytest.mark.usefixtures("host_users")
@pytest.mark.parametrize("kind", SHARED)
def test_the_user_and_time_namespaces_are_the_hosts(world: World, kind: str) -> None:
    assert inode(waiting(world), kind) == inode("self", kind)


@pytest.mark.parametrize(
    ("flags", "kinds"),
    [
        (("--pid", "host"), {"pid"}),
        (("--ipc", "host"), {"ipc"}),
        (("--uts", "host"), {"uts"}),
        (("--network", "host"), {"net"}),
        (("--pid", "host", "--ipc", "host", "--uts", "host", "--network", "host"), {"pid", "ipc", "uts", "net"}),
    ],
    ids=" ".join,
)
def test_a_flag_gives_the_hosts(world: World, flags: tuple[str, ...], kinds: set[str]) -> None:
    pid = waiting(world, *flags)
    assert {kind for kind in OWN if inode(pid, kind) == inode("self", kind)} == kinds


def test_the_network_of_another_container(world: World) -> None:
    world.ok("run", "-d", "--name", "first", "--network", "none", "busybox", "sleep", "1000")
    first = world.pid(world.inspect("first")["Id"])
    second = waiting(world, "--network", "container:first")
    assert {kind for kind in OWN if inode(first, kind) == inode(second, kind)} == {"net"}


def test_an_executed_command_is_in_all_of_them(world: World) -> None:
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    child = subprocess.Popen(
        [*world.command, "exec", "-i", identity, "sh", "-c", "echo; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin and child.stdout
    child.stdout.readline()
    pid = world.pid(identity)
    (inside,) = [int(word) for word in Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()]
    assert {kind for kind in [*OWN, *SHARED] if inode(inside, kind) != inode(pid, kind)} == set()
    assert Path(f"/proc/{inside}/cgroup").read_text() == Path(f"/proc/{pid}/cgroup").read_text()
    assert Path(f"/proc/{inside}/root").stat().st_dev == Path(f"/proc/{pid}/root").stat().st_dev
    child.stdin.close()
    child.wait()


# --- what they show -----------------------------------------------------------------------------------------------


def test_the_command_is_pid_1_and_sees_nobody_else(world: World) -> None:
    listed = world.inside("ls /proc; echo $$").split()
    assert listed[-1] == "1"
    assert sum(name.isdigit() for name in listed[:-1]) == 2  # sh, ls
    own = set(world.inside("cd /proc; echo [0-9]*").split())
    assert own == {"1"}


def test_the_host_sees_its_number_in_both(world: World) -> None:
    status = Path(f"/proc/{waiting(world)}/status").read_text()
    (numbers,) = [line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")]
    assert numbers[-1] == "1" and len(numbers) == len(own_numbers()) + 1


def own_numbers() -> list[str]:
    status = Path("/proc/self/status").read_text()
    return next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))


def test_pid_host_shows_the_hosts_processes(world: World) -> None:
    assert (
        world.inside(f"tr '\\0' ' ' < /proc/{os.getpid()}/comm", "--pid", "host")
        == Path("/proc/self/comm").read_text().strip()
    )


@pytest.mark.usefixtures("host_users")
def test_hostname_and_domainname(world: World) -> None:
    host = os.uname()
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    assert world.ok("exec", identity, "hostname") == identity[:12]
    assert world.inside("hostname; cat /etc/hostname; echo $HOSTNAME", "--hostname", "web-1") == "web-1\nweb-1\nweb-1"
    assert world.inside("cat /proc/sys/kernel/domainname", "--sysctl", "kernel.domainname=home.arpa") == "home.arpa"
    assert os.uname() == host


def test_uts_host_keeps_the_hosts_name(world: World) -> None:
    assert world.inside("hostname", "--uts", "host") == os.uname().nodename


def test_a_new_name_inside_stays_inside(world: World) -> None:
    host = os.uname().nodename
    assert (
        world.inside("hostname changed; hostname", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
        == "changed"
    )
    assert os.uname().nodename == host


def test_a_network_of_none_is_lo_alone_and_up(world: World) -> None:
    lines = world.inside("ip -o link; ip route; ping -c1 -W30 127.0.0.1 >/dev/null && echo up").splitlines()
    assert [line.split(":")[1].strip() for line in lines if "link/" in line] == ["lo"]
    assert lines[-1] == "up" and not any("default" in line for line in lines)


MESSAGES = """
import ctypes
assert ctypes.CDLL(None).msgget(7777, 0o1666) >= 0
print(open("/proc/sysvipc/msg").read().count("7777"))
"""
QUEUE = """
import ctypes, os
assert ctypes.CDLL(None).mq_open(b"/queue", os.O_CREAT | os.O_RDWR, 0o600, None) >= 0
print(os.listdir("/dev/mqueue"))
"""


def test_ipc_objects_are_the_containers_own(world: World) -> None:
    before = Path("/proc/sysvipc/msg").read_text()
    assert world.python(MESSAGES) == "1"
    assert Path("/proc/sysvipc/msg").read_text() == before


def test_a_message_queue_shows_in_dev_mqueue_and_not_elsewhere(world: World) -> None:
    assert world.python(QUEUE) == "['queue']"
    assert world.python("import os; print(os.listdir('/dev/mqueue'))") == "[]"


def test_ipc_host_has_the_hosts_shared_memory(world: World) -> None:
    mark = Path("/dev/shm") / f"pycontain-test-{os.getpid()}"
    mark.write_text("host")
    try:
        assert world.inside(f"cat {mark}", "--ipc", "host") == "host"
        assert world.inside(f"ls {mark} 2>/dev/null || echo none") == "none"
    finally:
        mark.unlink()


def test_the_cgroup_of_the_container_is_the_root_of_its_own(world: World) -> None:
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    assert world.ok("exec", identity, "cat", "/proc/1/cgroup").splitlines()[-1] == "0::/"
    outside = Path(f"/proc/{world.pid(identity)}/cgroup").read_text()
    assert f"0::/pycontain/{identity}\n" in outside
    # and its files, read-only
    inside = world.ok("exec", identity, "cat", "/sys/fs/cgroup/cgroup.procs").split()
    assert "1" in inside
    assert "ro," in world.ok("exec", identity, "grep", " /sys/fs/cgroup ", "/proc/self/mountinfo")
