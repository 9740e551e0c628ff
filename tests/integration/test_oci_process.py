"""config.json ``process`` and what belongs to it, proved by the kernel's answer inside the container."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oci_bundle import Oci, output, refused
from world import eventually

pytestmark = pytest.mark.usefixtures("oci")


def created(oci: Oci, **process: Any) -> int:
    """A container that waits at its gate, with these changes of ``process``; its process ID on this side."""
    oci.spec["process"].update(process)
    oci.ok("create", "-b", str(oci.bundle), "made")
    pid: int = oci.state("made")["pid"]
    return pid


def ioprio(pid: int) -> int:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall({"x86_64": 252, "aarch64": 31}[os.uname().machine], 1, pid))


@pytest.mark.parametrize(
    ("section", "policy", "priority"),
    [
        ({"policy": "SCHED_BATCH"}, os.SCHED_BATCH, 0),
        ({"policy": "SCHED_IDLE"}, os.SCHED_IDLE, 0),
        ({"policy": "SCHED_FIFO", "priority": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, os.SCHED_FIFO, 7),
        ({"policy": "SCHED_RR", "priority": 3}, os.SCHED_RR, 3),
    ],
)
def test_scheduler(oci: Oci, section: dict[str, Any], policy: int, priority: int) -> None:
    pid = created(oci, scheduler=section)
    flags = os.SCHED_RESET_ON_FORK if "flags" in section else 0
    assert os.sched_getscheduler(pid) == policy | flags
    assert os.sched_getparam(pid).sched_priority == priority


def test_nice(oci: Oci) -> None:
    pid = created(oci, scheduler={"policy": "SCHED_OTHER", "nice": 11})
    assert os.getpriority(os.PRIO_PROCESS, pid) == 11


def test_a_scheduler_that_the_kernel_refuses(oci: Oci) -> None:
    oci.spec["process"]["scheduler"] = {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 1, "period": 1}
    refused(oci, "cannot set the scheduling policy to number 6: invalid argument")


@pytest.mark.parametrize(("name", "number"), [("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_IDLE", 3)])
def test_io_priority(oci: Oci, name: str, number: int) -> None:
    pid = created(oci, ioPriority={"class": name, "priority": 5})
    assert ioprio(pid) == number << 13 | 5


def test_memory_policy(oci: Oci) -> None:
    script = "cat /proc/self/numa_maps | head -1"
    said = output(oci, script, memoryPolicy={"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]})
    assert said.split()[1] == "bind=static:0"
    assert output(oci, script, memoryPolicy={"mode": "MPOL_INTERLEAVE", "nodes": "0-0"}).split()[1] == "interleave:0"
    assert output(oci, script, memoryPolicy={"mode": "MPOL_DEFAULT"}).split()[1] == "default"


def test_a_memory_policy_for_a_node_that_is_not_there(oci: Oci) -> None:
    oci.spec["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "1000"}
    refused(oci, "cannot set the memory policy to mode 2: invalid argument")


def test_personality_comes_before_a_filter_that_forbids_it(oci: Oci) -> None:
    filter_ = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_KILL_PROCESS"}],
    }
    assert output(oci, "uname -m", personality={"domain": "LINUX32"}, seccomp=filter_).strip() in ("i686", "armv8l")


def test_umask_and_groups(oci: Oci) -> None:
    oci.spec["process"]["user"] = {"uid": 5, "gid": 6, "umask": 0o137, "additionalGids": [8, 9]}
    assert output(oci, "umask; id -u; id -G") == "0137\n5\n6 8 9\n"


def test_what_other_systems_have_is_ignored(oci: Oci) -> None:
    oci.spec["process"]["commandLine"] = "cmd.exe"
    oci.spec["process"]["user"] = {"uid": 0, "gid": 0, "username": "containeradmin"}
    for name in ("windows", "solaris", "vm", "zos", "freebsd"):
        oci.spec[name] = {"anything": [1, None]}
    assert output(oci, "echo here") == "here\n"


def test_a_capability_that_cannot_be_granted_is_a_warning(oci: Oci) -> None:
    for name in ("bounding", "effective", "permitted"):
        oci.spec["process"]["capabilities"][name] = ["CAP_KILL", "CAP_MOON"]
    done = oci("run", "-b", str(oci.bundle), "probe")
    assert done.returncode == 5 and "CAP_MOON" in done.stderr and "process.capabilities" in done.stderr


def test_console_size(oci: Oci, tmp_path: Path) -> None:
    import socket

    oci.spec["process"].update(terminal=True, args=["stty", "size"], consoleSize={"height": 33, "width": 101})
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(20)
        oci.ok("create", "-b", str(oci.bundle), "--console-socket", path, "tty")
        link, _ = listener.accept()
        _, (master, *_), _, _ = socket.recv_fds(link, 100, 4)
    oci.ok("start", "tty")
    assert os.read(master, 100).strip() == b"33 101"
    os.close(master)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("apparmorProfile", "process.apparmorProfile: AppArmor is not enabled on this host"),
        ("selinuxLabel", "process.selinuxLabel: SELinux is not enabled on this host"),
    ],
)
def test_labels_need_their_module(oci: Oci, key: str, words: str) -> None:
    from pycontain.launch import labels

    enabled = labels.apparmor_enabled() if key == "apparmorProfile" else labels.selinux_enabled()
    if enabled:
        pytest.skip("this host has the module")
    oci.spec["process"][key] = "a_label"
    refused(oci, words)


def test_unconfined_needs_no_module(oci: Oci) -> None:
    oci.spec["process"]["apparmorProfile"] = "unconfined"
    assert output(oci, "echo here") == "here\n"


def test_time_offsets(oci: Oci) -> None:
    oci.spec["linux"]["namespaces"].append({"type": "time"})
    said = output(oci, "cat /proc/uptime", timeOffsets={"boottime": {"secs": 1_000_000}})
    assert float(said.split()[0]) > 1_000_000


def test_state_of_a_container_has_its_annotations(oci: Oci) -> None:
    oci.spec["annotations"] = {"org.opencontainers.image.os": "linux"}
    created(oci)
    assert oci.state("made")["annotations"] == {"org.opencontainers.image.os": "linux"}
    oci.ok("start", "made")
    assert eventually(lambda: oci.state("made")["status"] == "stopped")


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0-rc.1", "1.2.1", "1.3.0", "1.3.0+build"])
def test_versions(oci: Oci, version: str) -> None:
    oci.spec["ociVersion"] = version
    assert output(oci, "echo here") == "here\n"


#: Becomes the helper with the plan of one more process in the container. Arguments: process ID of its init.
EXECUTE = """
import json, os, sys
from pycontain.launch import start
from pycontain.launch.compile import Surroundings, compile_exec
from pycontain.launch.ops import (
    HOST,
    Wait,
)
section, spec = json.load(sys.stdin)
pidfd = os.pidfd_open(int(sys.argv[1]))
os.set_inheritable(pidfd, True)
around = Surroundings()
around.stdio = (-1, -1, -1)
records, _ = compile_exec(section, spec, pidfd, around)
records.append((HOST, Wait(False, b"")))
start.launch(records)
"""


def test_exec_cpu_affinity(oci: Oci) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU is no choice")
    pid = created(oci, args=["sleep", "1000"], execCPUAffinity={"initial": str(cpus[1]), "final": str(cpus[1])})
    oci.ok("start", "made")
    # of exec alone: init keeps what it had
    assert os.sched_getaffinity(pid) == set(cpus)
    section = {**oci.spec["process"], "args": ["grep", "Cpus_allowed_list", "/proc/self/status"]}
    for affinity, expected in (
        ({"initial": str(cpus[0])}, {str(cpus[0])}),
        ({"initial": str(cpus[0]), "final": str(cpus[1])}, {str(cpus[1])}),
    ):
        section["execCPUAffinity"] = affinity
        command = [sys.executable, "-I", "-c", EXECUTE, str(pid)]
        text = json.dumps([section, oci.spec])
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60)
        assert {done.stdout.split()[1]} == expected, done


def test_a_read_only_root(oci: Oci) -> None:
    oci.spec["root"]["readonly"] = True
    assert "ead-only" in output(oci, "touch /x 2>&1 || :; touch /dev/x")


def test_the_working_directory_is_made_and_taken(oci: Oci) -> None:
    oci.spec["process"]["cwd"] = "/srv/deep"
    assert output(oci, "pwd") == "/srv/deep\n"
