"""--systemd: what a system that boots in a container has, and what it cannot do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from world import World, eventually

#: A program in the place of an init: it waits.
WAIT = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"
#: Without a network of its own nothing in these tests needs one.
BOOT = ("--systemd", "always", "--network", "none")


def booted(world: World, *flags: str, script: str = WAIT) -> str:
    return world.background(*BOOT, *flags, "busybox", "sh", "-c", script)


def inside(world: World, identity: str, script: str) -> str:
    return world.ok("exec", identity, "sh", "-c", script)


def test_an_init_is_known_by_its_name(templates: World, world: World) -> None:
    identity = world.background("-it", "--network", "none", "busybox-vps")
    assert eventually(lambda: "login:" in world.ok("logs", identity)), world("logs", identity)
    assert inside(world, identity, "echo $container; cat /proc/1/comm") == "pycontain\ninit"
    # its own reboot(2): the kernel ends init by a signal that says which it was
    world("exec", identity, "poweroff")  # its init may end it before it has ended itself
    assert world.ok("wait", identity) == "130"
    assert "Requesting system poweroff" in world.ok("logs", identity)


def test_a_reboot_is_another_end(templates: World, world: World) -> None:
    identity = world.background("-it", "--network", "none", "busybox-vps")
    assert eventually(lambda: "login:" in world.ok("logs", identity))
    world("exec", identity, "reboot")
    assert world.ok("wait", identity) == "129"


def test_its_console_is_nobodys_terminal(templates: World, world: World) -> None:
    """Else a login there could not have job control."""
    identity = world.background("-it", "--network", "none", "busybox-vps")
    assert eventually(lambda: "login:" in world.ok("logs", identity))
    fields = Path(f"/proc/{world.pid(identity)}/stat").read_text().rpartition(")")[2].split()
    assert fields[4] == "0", "init has a controlling terminal"
    # the getty there has one
    script = "for pid in /proc/[0-9]*; do echo $(cat $pid/comm $pid/stat 2>/dev/null); done"  # one may end meanwhile
    lines = inside(world, identity, script).splitlines()
    getty = next(line for line in lines if line.startswith("getty"))
    assert getty.rpartition(")")[2].split()[4] != "0"


def test_its_cgroup_is_its_own(world: World) -> None:
    identity = booted(world, "--cap-add", "DAC_OVERRIDE")
    script = """
        cd /sys/fs/cgroup
        mkdir one one/two && echo 1 >one/two/cgroup.procs && cat /proc/1/cgroup | grep ^0::
        for file in cgroup.freeze cgroup.kill cgroup.max.descendants cgroup.max.depth; do
            echo 1 2>/dev/null >$file && echo "$file can be written"
        done
        rmdir /sys/fs/cgroup/../one 2>/dev/null
        ls -d ../*.scope 2>/dev/null
        true
    """
    assert inside(world, identity, script) == "0::/one/two"
    # a command goes where init is, since no process can be in a group that is divided
    assert "0::/one/two" in inside(world, identity, "cat /proc/self/cgroup")


def test_the_host_keeps_its_limits(world: World) -> None:
    identity = booted(world)
    directory = Path((world.run_root / "containers" / identity / "cgroup").read_text().strip())
    owner = Path(f"/proc/{world.pid(identity)}").stat().st_uid
    mine = {path.name for path in directory.iterdir() if path.stat().st_uid == owner}
    delegated = set(Path("/sys/kernel/cgroup/delegate").read_text().split())
    assert {"cgroup.procs", "cgroup.subtree_control"} <= mine <= delegated


def test_the_kernels_settings(world: World) -> None:
    identity = booted(world, "--cap-add", "NET_ADMIN", "--cap-add", "SYS_ADMIN")
    script = """
        for file in kernel/hostname kernel/core_pattern vm/drop_caches fs/file-max; do
            echo 1 2>/dev/null >/proc/sys/$file && echo "$file can be written"
        done
        echo b 2>/dev/null >/proc/sysrq-trigger && echo "sysrq can be written"
        echo 1 >/proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward
        touch /sys/x 2>/dev/null && echo "sys can be written"
        ls /dev/kmsg /dev/mem 2>/dev/null
        true
    """
    forward = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    assert inside(world, identity, script) == "1"
    # the kernel refuses most of it already: there is a wall behind that, too
    read_only = inside(world, identity, "grep ' ro,' /proc/mounts | cut -d' ' -f2").split()
    assert {"/proc/sys/kernel", "/proc/sys/fs", "/proc/sys/vm", "/sys"} <= set(read_only)
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == forward
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


def test_its_directories_in_memory(world: World) -> None:
    identity = booted(world, "--tmpfs", "/run/lock:size=1m")
    lines = inside(world, identity, "grep -E ' (/run|/tmp|/run/lock) ' /proc/mounts").splitlines()
    assert {line.split()[1]: line.split()[2] for line in lines} == dict.fromkeys(("/run", "/tmp", "/run/lock"), "tmpfs")
    assert "size=1024k" in next(line for line in lines if " /run/lock " in line)
    assert inside(world, identity, "cat /proc/1/environ | tr '\\0' '\\n' | grep container_uuid") == (
        f"container_uuid={identity[:8]}-{identity[8:12]}-{identity[12:16]}-{identity[16:20]}-{identity[20:32]}"
    )
    assert world.inspect(identity)["Config"]["StopSignal"] in ("SIGRTMIN+3", "37", 37)


READY = """
import os, socket, time
link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
to = os.environ["NOTIFY_SOCKET"]
for text in (b"", b"STATUS=far from it", b"NOTREADY=1", b"READY=10", b"x" * 60000, bytes(range(256))):
    link.sendto(text, to)
print("said", flush=True)
while not os.path.exists("/run/go"):
    time.sleep(0.01)
for _ in range(1000):
    link.sendto(b"STATUS=there\\nREADY=1\\nMAINPID=1", to)
print("ready", flush=True)
time.sleep(1000)
"""


def test_it_says_that_it_is_up(world: World) -> None:
    """And nothing else that it says counts; it never waits for somebody to read it."""
    identity = world.background(*BOOT, "sparse", "/usr/bin/python3", "-I", "-S", "-c", READY)
    ready = world.run_root / "containers" / identity / "ready"
    assert eventually(lambda: "said" in world.ok("logs", identity))
    assert not ready.exists()
    inside(world, identity, "touch /run/go")
    assert eventually(lambda: "ready" in world.ok("logs", identity).split())
    assert eventually(ready.exists)
    assert os.stat(ready).st_uid == 0 and ready.read_text() == ""
    # its next life has not said it yet
    world.ok("restart", "-t", "0", identity)
    assert not ready.exists()
    # nobody but init has the socket's name
    assert inside(world, identity, "echo $NOTIFY_SOCKET") == ""


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--init",), "--systemd always cannot be with --init: pycontain's own init would be PID 1"),
        (("--pid", "host"), "--systemd always cannot be with --pid host: its init would not be PID 1"),
        (("--userns", "host"), "--systemd always cannot be with --userns: a system that boots needs a user namespace"),
    ],
)
def test_what_it_cannot_be_with(world: World, flags: tuple[str, ...], words: str) -> None:
    assert words in world.refused("run", "--rm", *BOOT, *flags, "busybox", "true")


def test_it_can_be_switched_off(templates: World, world: World) -> None:
    identity = world.background("-it", "--systemd", "false", "--network", "none", "busybox-vps")
    assert (
        inside(
            world, identity, "echo $container; touch /proc/sys/net/x 2>/dev/null; grep -c ' /run ' /proc/mounts || true"
        )
        == "\n0"
    )


def test_its_own_figures(lxcfs_there: Path, world: World) -> None:
    identity = booted(world)
    shown = inside(world, identity, "grep -c ' /proc/.* fuse.lxcfs ' /proc/mounts; cut -d. -f1 /proc/uptime")
    files, seconds = shown.split()
    assert int(files) == 7
    # its own time, not that of the machine
    assert int(seconds) < 60 < float(Path("/proc/uptime").read_text().split()[0])
    assert "MemTotal:" in inside(world, identity, "cat /proc/meminfo")
    assert inside(world, identity, "echo 1 2>/dev/null >/proc/uptime; echo $?") != "0"
    # another container has the kernel's
    assert world.inside("grep -c lxcfs /proc/mounts || true") == "0"
