"""--security-opt and --privileged, read back from inside."""

from __future__ import annotations

import os

import pytest

from world import World

PLAIN = ("--network", "none")


def opt(*options: str) -> list[str]:
    return [word for option in options for word in ("--security-opt", option)]


def test_unmask_one_path(world: World) -> None:
    assert world.inside("head -c 1 /proc/interrupts | wc -c", *PLAIN, *opt("unmask=/proc/interrupts")) == "1"
    assert world.inside("wc -c < /proc/interrupts", *PLAIN) == "0"


def test_unmask_all_opens_proc_sys(world: World) -> None:
    script = "grep -c ' /proc/' /proc/self/mountinfo; true"
    assert world.inside(script, *PLAIN, *opt("unmask=ALL")) == "0"
    assert world.inside(script, *PLAIN, *opt("systempaths=unconfined")) == "0"


def test_mask_another_path(world: World) -> None:
    assert world.inside("wc -c < /proc/uptime", *PLAIN, *opt("mask=/proc/uptime")) == "0"


@pytest.mark.parametrize(("option", "module"), [("apparmor=mine", "AppArmor"), ("label=type:x_t", "SELinux")])
def test_a_module_that_is_not_there(world: World, option: str, module: str) -> None:
    if os.path.exists("/sys/fs/selinux/enforce") or os.path.exists("/sys/module/apparmor"):
        pytest.skip("this kernel has it")
    assert f"{module} is not enabled on this host" in world.refused(
        "run", "--rm", *PLAIN, *opt(option), "sparse", "true"
    )
    assert world.inside("echo fine", *PLAIN, *opt("apparmor=unconfined", "label=disable")) == "fine"


# --- privileged ---------------------------------------------------------------------------------------------------


def test_privileged_has_all_of_it(world: World) -> None:
    bounding = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("CapBnd"))
    inside = world.inside("grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status", *PLAIN, "--privileged")
    facts = dict(line.split() for line in inside.replace(":", "").splitlines())
    assert facts == {"CapEff": bounding, "CapBnd": bounding, "Seccomp": "0", "NoNewPrivs": "0"}


def test_privileged_sees_the_hosts_devices_and_may_open_them(world: World) -> None:
    extra = [name for name in os.listdir("/dev") if os.path.exists(f"/dev/{name}") and name in ("kmsg", "mem", "fuse")]
    if not extra:
        pytest.skip("no device beyond the default ones")
    name = extra[0]
    host = os.stat(f"/dev/{name}").st_rdev
    found = world.inside(f"stat -c '%t:%T' /dev/{name}", *PLAIN, "--privileged")
    assert found == f"{os.major(host):x}:{os.minor(host):x}"
    # any number, also of what is nowhere: the cgroup's program lets all through; the kernel has no such driver
    script = "mknod /tmp/x c 240 77; cat /tmp/x 2>&1; true"
    assert "No such device" in world.inside(script, *PLAIN, "--privileged")
    assert "Operation not permitted" in world.inside(script, *PLAIN, "--userns", "host")


def test_privileged_may_mount_and_write_sys(world: World) -> None:
    script = "mount -t tmpfs none /mnt && echo mounted; grep ' /sys ' /proc/self/mountinfo | cut -d' ' -f6"
    mounted, options = world.inside(script, *PLAIN, "--privileged").splitlines()
    assert mounted == "mounted"
    assert options.startswith("rw,")


def test_privileged_and_a_filter_of_ones_own(world: World) -> None:
    script = "grep ^Seccomp: /proc/self/status"
    assert world.inside(script, *PLAIN, "--privileged", *opt("seccomp=default")).split() == ["Seccomp:", "2"]


def test_inspect_says_so(world: World) -> None:
    name = world.background(*PLAIN, "--privileged", "busybox", "sleep", "1000")
    assert world.inspect(name)["HostConfig"]["Privileged"] is True
    plain = world.background(*PLAIN, "busybox", "sleep", "1000")
    assert world.inspect(plain)["HostConfig"]["Privileged"] is False


def test_exec_privileged(world: World) -> None:
    name = world.background(*PLAIN, "busybox", "sleep", "1000")
    script = "grep -E '^(CapEff|Seccomp):' /proc/self/status; mount -t tmpfs none /mnt && echo mounted"
    bounding = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("CapBnd"))
    lines = world.ok("exec", "--privileged", name, "sh", "-c", script).split()
    assert lines == ["CapEff:", bounding, "Seccomp:", "2", "mounted"]
    assert world("exec", name, "mount", "-t", "tmpfs", "none", "/mnt").returncode == 1


def test_privileged_is_in_the_hosts_user_namespace_unless_asked(world: World) -> None:
    script = "cat /proc/self/uid_map"
    assert world.inside(script, *PLAIN, "--privileged").split() == ["0", "0", "4294967295"]
    assert world.inside(script, *PLAIN, "--privileged", "--userns", "auto").split()[1] != "0"
