"""Capabilities and no_new_privs: the five sets of /proc/PID/status, and what they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycontain.kernel import capability
from world import World

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
DEFAULT = capability.mask(capability.DEFAULT)


def sets(text: str) -> tuple[int, ...]:
    """Inheritable, permitted, effective, bounding, ambient, from the text of a status file."""
    found = {line.split(":")[0]: int(line.split()[1], 16) for line in text.splitlines() if line.startswith("Cap")}
    return tuple(found[name] for name in SETS)


def field(text: str, name: str) -> str:
    return next(line.split()[1] for line in text.splitlines() if line.startswith(name + ":"))


def granted(world: World, *flags: str) -> tuple[int, ...]:
    """The sets of a container's command, which host and container agree about."""
    identity = world.background("--network", "none", *flags, "busybox", "sleep", "1000")
    outside = sets(Path(f"/proc/{world.pid(identity)}/status").read_text())
    user = flags[flags.index("-u") + 1] if "-u" in flags else "0"
    inside = sets(world.ok("exec", "-u", user, identity, "cat", "/proc/1/status"))
    assert inside == outside
    # and an executed command is no stronger
    assert sets(world.ok("exec", identity, "cat", "/proc/self/status")) == outside
    return outside


def own() -> int:
    return sets(Path("/proc/self/status").read_text())[1]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), DEFAULT),
        (("--cap-add", "NET_ADMIN"), DEFAULT | capability.mask(["CAP_NET_ADMIN"])),
        (("--cap-add", "cap_sys_time", "--cap-add", "SYS_PTRACE"), DEFAULT | 1 << 25 | 1 << 19),
        (("--cap-drop", "CHOWN"), DEFAULT & ~1),
        (("--cap-drop", "chown", "--cap-drop", "CAP_KILL"), DEFAULT & ~1 & ~(1 << 5)),
        (("--cap-drop", "ALL"), 0),
        (("--cap-drop", "ALL", "--cap-add", "CHOWN"), 1),
        (("--cap-add", "CHOWN", "--cap-drop", "ALL"), 1),
    ],
    ids=str,
)
def test_root_has_permitted_and_effective_what_the_flags_say(
    world: World, flags: tuple[str, ...], expected: int
) -> None:
    assert granted(world, *flags) == (0, expected, expected, expected, 0)


def test_all_is_all_that_the_machine_has(world: World) -> None:
    everything = own()
    assert granted(world, *world.all_capabilities) == (0, everything, everything, everything, 0)


def test_all_but_some(world: World) -> None:
    expected = own() & ~capability.mask(["CAP_SYS_ADMIN", "CAP_SYS_RAWIO"])
    flags = (*world.all_capabilities, "--cap-drop", "SYS_ADMIN", "--cap-drop", "CAP_SYS_RAWIO")
    assert granted(world, *flags) == (0, expected, expected, expected, 0)


@pytest.mark.parametrize("flags", [(), ("--cap-add", "NET_ADMIN"), ("--security-opt", "no-new-privileges")], ids=str)
def test_a_user_has_none_but_the_bounding_set(world: World, flags: tuple[str, ...]) -> None:
    bounding = DEFAULT | (1 << 12 if "NET_ADMIN" in flags else 0)
    assert granted(world, "-u", "1000", *flags) == (0, 0, 0, bounding, 0)


@pytest.mark.usefixtures("host_users")
def test_a_capability_that_the_host_lacks_is_named(world: World) -> None:
    missing = [name for name in capability.NAMES if not own() >> (capability.number(name) or 0) & 1]
    if not missing:
        pytest.skip("this machine has them all")
    done = world("run", "--rm", "--network", "none", "--cap-add", missing[0], "busybox", "echo", "runs")
    assert (done.returncode, done.stdout) == (0, "runs\n")
    assert done.stderr == f"pycontain: warning: this host cannot grant {missing[0]}: the container does without\n"


@pytest.mark.parametrize("flag", ["--cap-add", "--cap-drop"])
@pytest.mark.parametrize("name", ["NOTHING", "CAP_", "", "CHOWN,KILL"])
def test_what_is_no_capability_is_refused(world: World, flag: str, name: str) -> None:
    line = world.refused("run", flag, name, "busybox", "true")
    assert flag in line


# --- what they do -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("host_users")
@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("CHOWN", "touch /tmp/x; chown 5 /tmp/x"),
        ("MKNOD", "mknod /tmp/x c 1 3"),
        ("SYS_CHROOT", "chroot / true"),
        ("KILL", "sleep 9 & setuidgid nobody sh -c 'kill -0 1' ; kill -0 $!"),
    ],
)
def test_a_capability_does_something(world: World, name: str, script: str) -> None:
    """With it, it works; without it, it does not; KILL only has to leave one's own processes alone."""
    run = ("run", "--rm", "--network", "none")
    assert world(*run, "busybox", "sh", "-c", script).returncode == 0
    if name != "KILL":
        done = world(*run, "--cap-drop", name, "busybox", "sh", "-c", script)
        assert done.returncode != 0 and "Operation not permitted" in done.stderr


def test_the_host_is_out_of_reach_with_the_default_set(world: World) -> None:
    """None of what would change the host."""
    assert not DEFAULT & capability.mask(
        f"CAP_{name}"
        for name in (
            "SYS_ADMIN SYS_MODULE SYS_RAWIO SYS_PTRACE SYS_BOOT SYS_TIME SYSLOG BPF PERFMON NET_ADMIN MAC_ADMIN"
            " DAC_READ_SEARCH SYS_RESOURCE CHECKPOINT_RESTORE LINUX_IMMUTABLE"
        ).split()
    )
    script = "mount -t tmpfs x /mnt; hostname x; ip link set lo down; date -s 2000-01-01; dmesg; rmmod x"
    done = world(
        "run", "--rm", "--network", "none", "busybox", "sh", "-c", f"for i in 1; do {script}; done; ip link show lo"
    )
    assert done.stderr.count("not permitted") + done.stderr.count("denied") == 6
    assert "UP" in done.stdout


def test_an_immutable_file_cannot_be_made(world: World) -> None:
    """It could not be removed with the container."""
    answer = world.inside("touch /x; chattr +i /x 2>&1; rm /x && echo gone", image="sparse")
    assert "Operation not permitted" in answer and answer.endswith("gone")


# --- no_new_privs -------------------------------------------------------------------------------------------------

#: A program with the set-user-ID bit, executed by a user: who is it then?
SETUID = "cp /usr/bin/id /tmp/id && chmod 4755 /tmp/id && exec setpriv --reuid 1000 --clear-groups /tmp/id -u"


def test_privileges_can_be_gained_without_the_flag(world: World) -> None:
    assert world.inside(SETUID, image="sparse") == "0"
    assert field(world.inside("cat /proc/self/status"), "NoNewPrivs") == "0"


@pytest.mark.parametrize("word", ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"])
def test_privileges_cannot_be_gained_with_it(world: World, word: str) -> None:
    assert world.inside(SETUID, "--security-opt", word, image="sparse") == "1000"
    assert field(world.inside("cat /proc/self/status", "--security-opt", word), "NoNewPrivs") == "1"


def test_it_holds_for_executed_commands_and_under_an_init(world: World) -> None:
    flags = ("--network", "none", "--security-opt", "no-new-privileges", "--init")
    identity = world.background(*flags, "busybox", "sleep", "1000")
    assert field(world.ok("exec", identity, "cat", "/proc/self/status"), "NoNewPrivs") == "1"
    pid = world.pid(identity)
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for number in (pid, child):
        assert field(Path(f"/proc/{number}/status").read_text(), "NoNewPrivs") == "1"


def test_it_can_be_said_that_it_is_not_wanted(world: World) -> None:
    text = world.inside("cat /proc/self/status", "--security-opt", "no-new-privileges=false")
    assert field(text, "NoNewPrivs") == "0"
