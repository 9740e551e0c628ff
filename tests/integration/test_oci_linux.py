"""config.json ``linux``: network devices, sysctls, namespaces by path; and bad documents through the command."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oci_bundle import Oci, output, refused


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def devices() -> set[str]:
    return {line.split(": ")[1].partition("@")[0] for line in ip("-o", "link").splitlines()}


@pytest.fixture
def pair() -> Iterator[None]:
    """pcnd0, with addresses and up, and its peer pcnd1 here."""
    ip("link", "add", "pcnd0", "type", "veth", "peer", "name", "pcnd1")
    ip("address", "add", "192.0.2.7/24", "dev", "pcnd0")
    ip("address", "add", "2001:db8::7/64", "dev", "pcnd0", "nodad")
    ip("address", "add", "192.0.2.8/24", "dev", "pcnd0", "valid_lft", "1000", "preferred_lft", "1000")
    ip("link", "set", "pcnd0", "up")
    yield
    subprocess.run(["ip", "link", "delete", "pcnd1"], check=False, capture_output=True)


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize(("entry", "name"), [({"name": "eth7"}, "eth7"), ({}, "pcnd0"), ({"name": "net%d"}, "net0")])
def test_a_device_moves_with_its_permanent_addresses(oci: Oci, entry: dict[str, Any], name: str) -> None:
    script = f"ip -o address show dev {name}; ip -o link show dev {name}"
    said = output(oci, script, netDevices={"pcnd0": entry})
    assert "192.0.2.7/24" in said and "2001:db8::7/64" in said and "192.0.2.8" not in said, said
    assert ",UP" in said.splitlines()[-1] or "<UP" in said.splitlines()[-1], said


@pytest.mark.usefixtures("pair")
def test_a_name_that_is_taken_inside(oci: Oci) -> None:
    oci.spec["linux"]["netDevices"] = {"pcnd0": {"name": "lo"}}
    refused(oci, "cannot name a network device lo in the container: file exists")
    assert "pcnd0" in devices()


def test_a_device_that_is_not_there(oci: Oci) -> None:
    oci.spec["linux"]["netDevices"] = {"moon0": {}}
    refused(oci, "linux.netDevices.moon0: the host has no such device")


def test_devices_need_a_network_namespace(oci: Oci) -> None:
    oci.spec["linux"]["namespaces"] = [one for one in oci.spec["linux"]["namespaces"] if one["type"] != "network"]
    oci.spec["linux"]["netDevices"] = {"lo": {}}
    refused(oci, "linux.netDevices: the container has no network namespace of its own")


def test_sysctls_of_a_user_namespace(oci: Oci) -> None:
    from test_oci_mounts import userns

    oci.spec["linux"]["sysctl"] = {"user.max_user_namespaces": "7"}
    refused(oci, "linux.sysctl.user.max_user_namespaces: the container has no user namespace of its own")
    userns(oci)
    assert output(oci, "cat /proc/sys/user/max_user_namespaces") == "7\n"


def test_namespaces_by_path(oci: Oci) -> None:
    own = os.readlink("/proc/self/ns/uts")
    oci.spec["linux"]["namespaces"] = [
        {"type": kind} if kind != "uts" else {"type": "uts", "path": "/proc/self/ns/uts"}
        for kind in ("pid", "mount", "uts")
    ]
    del oci.spec["hostname"]
    assert output(oci, "readlink /proc/self/ns/uts") == own + "\n"


def test_intel_rdt_without_resctrl(oci: Oci) -> None:
    if "resctrl" in Path("/proc/self/mounts").read_text():
        pytest.skip("this host has resctrl")
    oci.spec["linux"]["intelRdt"] = {"closID": "x"}
    refused(oci, "linux.intelRdt: this host has no resctrl file system mounted")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"linux": []}, "linux: expected an object, found an array"),
        ({"process": 5}, "process: expected an object, found a number"),
        ({"annotations": {"a": 5}}, "annotations.a: expected a string, found a number"),
        ({"mounts": [None]}, "mounts[0]: expected an object, found null"),
        ({"hooks": {"poststop": [5]}}, "hooks.poststop[0]: expected an object, found a number"),
        ({"ociVersion": "0.9.0"}, "ociVersion: '0.9.0' is not a version 1.x.y"),
    ],
)
def test_a_bad_document_is_one_line(oci: Oci, change: dict[str, Any], words: str) -> None:
    oci.spec.update(change)
    refused(oci, f"pycontain-oci: {words}")


# --- seccomp --------------------------------------------------------------------------------------------------------


def under(oci: Oci, rule: dict[str, Any], script: str, **section: Any) -> tuple[int, str]:
    """Status and output of a script under a filter that allows all but one rule."""
    oci.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], **section}
    oci.spec["process"]["args"] = ["sh", "-c", script]
    done = oci("run", "-b", str(oci.bundle), "filtered")
    return done.returncode, done.stdout + done.stderr


SIGSYS = 31


@pytest.mark.parametrize(
    ("action", "more", "status", "words"),
    [
        ("SCMP_ACT_ALLOW", {}, 0, "made"),
        ("SCMP_ACT_LOG", {}, 0, "made"),
        ("SCMP_ACT_ERRNO", {}, 1, "not permitted"),
        ("SCMP_ACT_ERRNO", {"errnoRet": 18}, 1, "ross-device link"),
        ("SCMP_ACT_TRACE", {"errnoRet": 5}, 1, "not implemented"),
        ("SCMP_ACT_TRAP", {}, 128 + SIGSYS, ""),
        ("SCMP_ACT_KILL", {}, 128 + SIGSYS, ""),
        ("SCMP_ACT_KILL_THREAD", {}, 128 + SIGSYS, ""),
        ("SCMP_ACT_KILL_PROCESS", {}, 128 + SIGSYS, ""),
    ],
)
def test_seccomp_actions(oci: Oci, action: str, more: dict[str, int], status: int, words: str) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": action, **more}
    # another shell, so that the status is the signal's and not that of PID 1
    found, said = under(oci, rule, "(exec mkdir /made) && echo made")
    assert found == status and words in said, said


def test_seccomp_default_errno(oci: Oci) -> None:
    names = [
        "execve",
        "exit_group",
        "write",
        "writev",
        "brk",
        "mmap",
        "munmap",
        "mprotect",
        "arch_prctl",
        "read",
        "open",
    ]
    names += ["set_tid_address", "set_robust_list", "rt_sigaction", "rt_sigprocmask", "fstat", "stat", "openat2"]
    oci.spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 18,
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    }
    oci.spec["process"]["args"] = ["mkdir", "/made"]
    done = oci("run", "-b", str(oci.bundle), "filtered")
    assert "ross-device link" in done.stderr, done


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_filter_that_forbids_even_to_end_is_no_hang(oci: Oci, no_new_privileges: bool) -> None:
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_ALLOW"}
    oci.spec["process"]["noNewPrivileges"] = no_new_privileges
    oci.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}
    done = oci("run", "-b", str(oci.bundle), "filtered")
    assert done.returncode == 1 and "container filtered: cannot" in done.stderr, done


@pytest.mark.parametrize(
    ("op", "value", "second", "killed"),
    [
        ("SCMP_CMP_NE", 5, None, {4, 6}),
        ("SCMP_CMP_LT", 5, None, {4}),
        ("SCMP_CMP_LE", 5, None, {4, 5}),
        ("SCMP_CMP_EQ", 5, None, {5}),
        ("SCMP_CMP_GE", 5, None, {5, 6}),
        ("SCMP_CMP_GT", 5, None, {6}),
        ("SCMP_CMP_MASKED_EQ", 2, 2, {6}),
    ],
)
def test_seccomp_operators(oci: Oci, op: str, value: int, second: int | None, killed: set[int]) -> None:
    argument = {"index": 0, "op": op, "value": value, **({} if second is None else {"valueTwo": second})}
    rule = {"names": ["umask"], "action": "SCMP_ACT_ERRNO", "args": [argument]}
    # umask(2) never fails: a mask that is refused is not set, and its old value is -1's
    script = "for n in 4 5 6; do umask 7; umask $n; echo $n $(grep ^Umask: /proc/self/status | cut -f2); done"
    status, said = under(oci, rule, script)
    assert status == 0, said
    changed = {int(line.split()[0]) for line in said.splitlines() if int(line.split()[1], 8) == int(line.split()[0])}
    assert {4, 5, 6} - changed == killed, said


@pytest.mark.parametrize("flag", ["TSYNC", "LOG", "SPEC_ALLOW"])
def test_seccomp_flags(oci: Oci, flag: str) -> None:
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}
    script = "grep -E '^(Seccomp|Speculation_Store_Bypass):' /proc/self/status"
    status, said = under(oci, rule, script, flags=[f"SECCOMP_FILTER_FLAG_{flag}"])
    assert status == 0 and "Seccomp:\t2" in said
    if flag == "SPEC_ALLOW":
        assert "force mitigated" not in said
