"""Resource limits, the OOM score, sysctls."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from world import World

#: The lines of /proc/PID/limits, in the words of --ulimit.
LIMITS = {
    "as": "Max address space",
    "core": "Max core file size",
    "cpu": "Max cpu time",
    "data": "Max data size",
    "fsize": "Max file size",
    "locks": "Max file locks",
    "memlock": "Max locked memory",
    "msgqueue": "Max msgqueue size",
    "nofile": "Max open files",
    "nproc": "Max processes",
    "rss": "Max resident set",
    "rttime": "Max realtime timeout",
    "sigpending": "Max pending signals",
    "stack": "Max stack size",
}


def limits(text: str) -> dict[str, tuple[str, str]]:
    """Soft and hard limit by word, of a limits file."""
    found = {}
    for word, name in LIMITS.items():
        line = next(line for line in text.splitlines() if line.startswith(name + " "))
        found[word] = (line[26:47].strip(), line[47:68].strip())
    return found


def seen(world: World, *flags: str) -> dict[str, tuple[str, str]]:
    return limits(world.inside("cat /proc/self/limits", *flags))


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("core", 0),
        ("cpu", 100),
        ("data", 1 << 30),
        ("fsize", 12345),
        ("locks", 7),
        ("memlock", 4096),
        ("msgqueue", 1000),
        ("nofile", 10),
        ("nproc", 100),
        ("rss", 1 << 20),
        ("rttime", 1000),
        ("sigpending", 50),
        ("stack", 1 << 20),
        ("as", 1 << 30),
    ],
)
def test_a_limit_is_lowered(world: World, word: str, value: int) -> None:
    assert seen(world, "--ulimit", f"{word}={value}")[word] == (str(value), str(value))


def test_soft_and_hard_and_unlimited(world: World) -> None:
    flags = ("--ulimit", "nofile=100:200", "--ulimit", "core=0:unlimited", "--ulimit", "stack=8388608:-1")
    found = seen(world, *flags)
    assert found["nofile"] == ("100", "200")
    assert found["core"] == ("0", "unlimited")
    assert found["stack"] == ("8388608", "unlimited")


def test_the_others_are_the_callers(world: World) -> None:
    before = limits(Path("/proc/self/limits").read_text())
    assert seen(world, "--ulimit", "core=0") == {**before, "core": ("0", "0")}


def test_inside_and_outside_and_executed(world: World) -> None:
    flags = ("--network", "none", "--ulimit", "nofile=20:30", "--init")
    identity = world.background(*flags, "busybox", "sleep", "1000")
    pid = world.pid(identity)
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert limits(Path(f"/proc/{child}/limits").read_text())["nofile"] == ("20", "30")
    assert limits(world.ok("exec", identity, "cat", "/proc/self/limits"))["nofile"] == ("20", "30")


@pytest.mark.parametrize(
    "flags",
    [
        ("--ulimit", "nofile=3"),
        ("--ulimit", "nofile=0"),
        ("--ulimit", "fsize=0"),
        ("--ulimit", "fsize=0", "--ulimit", "nofile=3", "--ulimit", "memlock=0", "--ulimit", "msgqueue=0"),
        ("--ulimit", "fsize=0", "--ulimit", "nofile=3", "--network", "bridge", "-p", "127.0.0.1:18081:80"),
        ("--ulimit", "fsize=0", "--ulimit", "nofile=3", "-t"),
        ("--ulimit", "fsize=0", "--ulimit", "nofile=3", "--init"),
        ("--ulimit", "fsize=0", "--ulimit", "nofile=3", "-u", "1000"),
        ("--ulimit", "fsize=0", "--ulimit", "nofile=3", "--security-opt", "no-new-privileges"),
        ("--ulimit", "core=0", "--ulimit", "as=16777216"),
        ("--ulimit", "nproc=1"),
    ],
    ids=" ".join,
)
def test_a_small_limit_does_not_hit_the_set_up(world: World, flags: tuple[str, ...]) -> None:
    """Nor the log, the terminal or the end, which are the monitor's."""
    assert world.inside("echo runs", *flags).strip() == "runs"


def test_a_limit_is_enforced(world: World) -> None:
    done = world(
        "run",
        "--rm",
        "--network",
        "none",
        "--ulimit",
        "fsize=4096",
        "busybox",
        "sh",
        "-c",
        "head -c 9999 /dev/zero > /x",
    )
    assert done.returncode != 0
    script = "exec 3</dev/null; exec 4</dev/null && echo no"
    done = world("run", "--rm", "--network", "none", "--ulimit", "nofile=4", "busybox", "sh", "-c", script)
    assert done.stdout == "" and done.returncode != 0


def test_a_limit_above_the_callers_is_refused_in_one_line(world: World) -> None:
    """Without CAP_SYS_RESOURCE, as on this machine; with it, it is raised."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    capable = int(Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0], 16) >> 24 & 1
    arguments = ("run", "--rm", "--network", "none", "--ulimit", f"nofile={hard + 1}", "busybox", "true")
    if capable:
        world.ok(*arguments)
    else:
        line = world.refused(*arguments)
        assert f"cannot set resource limit RLIMIT_NOFILE to {hard + 1} (soft) and {hard + 1} (hard)" in line
        assert line.endswith("the hard limit can be raised with CAP_SYS_RESOURCE only")


@pytest.mark.parametrize(
    "value", ["nofile", "nofile=", "nofile=x", "nofile=5:4", "what=1", "nofile=-2", "nofile=1:2:3"]
)
def test_what_is_no_limit_is_refused_in_one_line(world: World, value: str) -> None:
    assert "--ulimit" in world.refused("run", "--ulimit", value, "busybox", "true")


# --- the OOM score ------------------------------------------------------------------------------------------------


def score(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_the_oom_score(world: World) -> None:
    assert world.inside("cat /proc/self/oom_score_adj", "--oom-score-adj", "500") == "500"
    before = score("self")
    identity = world.background("--network", "none", "--oom-score-adj", "900", "busybox", "sleep", "1000")
    assert score(world.pid(identity)) == 900
    assert score(world.monitor_pid(identity)) == before
    assert world.ok("exec", identity, "cat", "/proc/self/oom_score_adj") == "900"


@pytest.mark.parametrize("value", ["1001", "-1001", "x", "", "5.5"])
def test_an_oom_score_out_of_range_is_refused_in_one_line(world: World, value: str) -> None:
    assert "--oom-score-adj" in world.refused("run", "--oom-score-adj", value, "busybox", "true")


# --- sysctls ------------------------------------------------------------------------------------------------------


def setting(name: str) -> str:
    return Path(f"/proc/sys/{name.replace('.', '/')}").read_text().split("\n")[0]


@pytest.mark.usefixtures("host_users")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.core.somaxconn", "77"),
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.ip_local_port_range", "2000 3000"),
        ("net.ipv4.conf.all.rp_filter", "2"),
        ("net/ipv4/conf/lo/rp_filter", "2"),
        ("kernel.shmmax", "4096"),
        ("kernel.msgmax", "4096"),
        ("kernel.sem", "10 20 30 40"),
        ("fs.mqueue.msg_max", "7"),
        ("kernel.domainname", "example"),
    ],
)
def test_a_setting_of_a_namespace(world: World, name: str, value: str) -> None:
    before = setting(name)
    path = name.replace(".", "/")
    assert world.inside(f"tr '\\t' ' ' < /proc/sys/{path}", "--sysctl", f"{name}={value}").strip() == value
    assert setting(name) == before


@pytest.mark.usefixtures("host_users")
def test_what_ordinary_users_may_do_in_a_network_of_their_own(world: World) -> None:
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; tr '\\t' ' ' < /proc/sys/net/ipv4/ping_group_range"
    assert world.inside(script) == "0\n0 2147483647"
    assert world.inside(script, "--sysctl", "net.ipv4.ip_unprivileged_port_start=1024").split()[0] == "1024"
    # by number: protocol ICMP as a datagram, a port that is root's elsewhere
    sockets = "from _socket import socket; socket(2, 2, 1); socket(2, 1).bind(('', 80)); print('can')"
    assert world.python(sockets, "-u", "1000") == "can"


@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern",
        "vm.overcommit_memory",
        "kernel.modprobe",
        "fs.protected_symlinks",
        "kernel.hostname",
        "dev.cdrom.lock",
    ],
)
def test_a_setting_of_the_host_is_refused_in_one_line(world: World, name: str) -> None:
    line = world.refused("run", "--rm", "--network", "none", "--sysctl", f"{name}=1", "busybox", "true")
    assert name in line


@pytest.mark.parametrize(
    ("flags", "name", "words"),
    [
        (("--network", "host"), "net.core.somaxconn", "no net namespace"),
        (("--network", "none", "--ipc", "host"), "kernel.shmmax", "no ipc namespace"),
        (("--network", "none", "--uts", "host"), "kernel.domainname", "no uts namespace"),
    ],
)
def test_a_setting_of_a_namespace_that_is_shared_is_refused(
    world: World, flags: tuple[str, ...], name: str, words: str
) -> None:
    before = setting(name)
    line = world.refused("run", "--rm", *flags, "--sysctl", f"{name}=1", "busybox", "true")
    assert name in line and words in line
    assert setting(name) == before


@pytest.mark.parametrize(
    "text",
    [
        # CVE-2022-0811, and what leads out of /proc/sys
        "net.ipv4.x=1+kernel.core_pattern=|/x",
        "net/../kernel/core_pattern=x",
        "net..core=1",
        "net.core.somaxconn",
        "=1",
        "net.core.somaxconn=1\n2",
        "net.core.somaxconn=x",
        "net.nothing.here=1",
    ],
)
def test_what_is_no_setting_is_refused_in_one_line(world: World, text: str) -> None:
    before = setting("kernel.core_pattern")
    world.refused("run", "--rm", "--network", "none", "--sysctl", text, "busybox", "true")
    assert setting("kernel.core_pattern") == before
