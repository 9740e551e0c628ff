"""Hooks: their order, where each runs, what it is given, and what becomes of one that fails."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from oci_bundle import Oci, refused
from world import eventually, run_processes

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
SH = "/bin/sh"


def hook(script: str, **more: Any) -> dict[str, Any]:
    return {"path": SH, "args": ["sh", "-c", script], **more}


def log_hook(directory: Path, kind: str) -> dict[str, Any]:
    """Notes its turn, its state, and the namespaces that it finds itself in."""
    to = directory if kind != "startContainer" else Path("/log")
    script = (
        f"echo {kind} >>{to}/order; cat >{to}/{kind}.json; readlink /proc/self/ns/net >{to}/{kind}.net;"
        f"readlink /proc/self/ns/mnt >{to}/{kind}.mnt; pwd >{to}/{kind}.cwd; env >{to}/{kind}.env"
    )
    return hook(script, env=["A=b"])


@pytest.fixture
def log(oci: Oci, tmp_path: Path) -> Path:
    directory = tmp_path / "log"
    directory.mkdir()
    oci.spec["mounts"].append({"destination": "/log", "type": "bind", "source": str(directory), "options": ["bind"]})
    oci.spec["process"]["args"] = ["sh", "-c", "echo program >>/log/order; exec sleep 1000"]
    oci.spec["process"]["capabilities"] = {
        name: ["CAP_KILL", "CAP_DAC_OVERRIDE"] for name in ("bounding", "effective", "permitted")
    }
    return directory


def state_of(log: Path, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((log / f"{kind}.json").read_text())
    return found


def test_all_kinds_in_their_order_and_places(oci: Oci, log: Path) -> None:
    oci.spec["hooks"] = {kind: [log_hook(log, kind)] for kind in KINDS}
    oci.spec["annotations"] = {"com.example.key": "välue \x01"}
    oci.ok("create", "-b", str(oci.bundle), "hooked")
    order = log / "order"
    assert order.read_text().split() == ["prestart", "createRuntime", "createContainer"]
    pid = oci.state("hooked")["pid"]
    net, mnt = (os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "mnt"))
    oci.ok("start", "hooked")
    assert eventually(lambda: "program" in order.read_text())
    assert set(order.read_text().split()[3:]) == {"startContainer", "program", "poststart"}
    assert order.read_text().split()[3] == "startContainer"
    oci.ok("kill", "hooked", "KILL")
    assert eventually(lambda: oci.state("hooked")["status"] == "stopped")
    assert "poststop" not in order.read_text()
    oci.ok("delete", "hooked")
    assert order.read_text().split()[-1] == "poststop"
    own = os.readlink("/proc/self/ns/net")
    for kind in KINDS:
        inside = kind in ("createContainer", "startContainer")
        assert (log / f"{kind}.net").read_text().strip() == (net if inside else own), kind
        assert ((log / f"{kind}.mnt").read_text().strip() == mnt) is inside, kind
        state = state_of(log, kind)
        assert state["id"] == "hooked" and state["bundle"] == str(oci.bundle) and state["ociVersion"] == "1.2.0"
        assert state["annotations"] == {"com.example.key": "välue \x01"}
        assert state["pid"] == (0 if kind == "poststop" else 1 if inside else pid), kind
        assert (log / f"{kind}.cwd").read_text().strip() == ("/" if kind == "startContainer" else str(oci.bundle))
        # the rest is what a shell adds by itself
        names = {line.partition("=")[0] for line in (log / f"{kind}.env").read_text().splitlines()}
        assert "A" in names and names <= {"A", "PATH", "PWD", "OLDPWD", "SHLVL", "_"}, names
    statuses = [state_of(log, kind)["status"] for kind in KINDS]
    assert statuses == ["creating", "creating", "creating", "created", "running", "stopped"]


def test_run_has_all_of_them_too(oci: Oci, log: Path) -> None:
    oci.spec["hooks"] = {kind: [log_hook(log, kind)] for kind in KINDS}
    oci.spec["process"]["args"] = [
        "sh",
        "-c",
        "while ! [ -e /log/poststart.env ]; do :; done; echo program >>/log/order",
    ]
    assert oci("run", "-b", str(oci.bundle), "hooked").returncode == 0
    assert (log / "order").read_text().split() == [*KINDS[:5], "program", "poststop"]


def test_createcontainer_sees_the_mounts_and_the_hosts_root(oci: Oci, log: Path) -> None:
    script = f"test -d {log} && test -d /proc/1 && grep ' {oci.bundle}/rootfs/log ' /proc/self/mountinfo >{log}/mounts"
    oci.spec["hooks"] = {"createContainer": [hook(script)]}
    oci.ok("create", "-b", str(oci.bundle), "hooked")
    assert (log / "mounts").read_text()


def test_createruntime_comes_before_sysctls_and_may_bring_a_device(oci: Oci, log: Path) -> None:
    script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); ip link add hk0 type veth peer name hk1 netns $pid"
    oci.spec["hooks"] = {"createRuntime": [hook(script, env=["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])]}
    oci.spec["linux"]["sysctl"] = {"net.ipv4.conf.hk1.forwarding": "1"}
    oci.spec["process"]["args"] = ["cat", "/proc/sys/net/ipv4/conf/hk1/forwarding"]
    done = oci("run", "-b", str(oci.bundle), "hooked")
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.parametrize("kind", KINDS[:3])
def test_a_failing_hook_ends_create(oci: Oci, log: Path, kind: str) -> None:
    oci.spec["hooks"] = {
        kind: [
            hook(f"echo first >>{log}/order"),
            hook("echo a reason >&2; exit 3"),
            hook(f"echo third >>{log}/order"),
        ],
        "poststop": [hook(f"echo poststop >>{log}/order")],
    }
    refused(oci, f"cannot run the {kind} hook /bin/sh", "it ended with status 3: a reason")
    assert (log / "order").read_text().split() == ["first", "poststop"]


def test_a_failing_startcontainer_hook_ends_start(oci: Oci, log: Path) -> None:
    oci.spec["hooks"] = {"startContainer": [hook("echo a reason; kill -9 $$")]}
    oci.ok("create", "-b", str(oci.bundle), "hooked")
    done = oci("start", "hooked")
    assert done.returncode == 1 and "startContainer hook /bin/sh: it was killed by signal 9: a reason" in done.stderr
    assert not (log / "order").exists()
    assert eventually(lambda: oci.state("hooked")["status"] == "stopped")


def test_a_failing_poststart_hook_kills_the_container(oci: Oci, log: Path) -> None:
    oci.spec["hooks"] = {"poststart": [hook("echo a reason; exit 4")]}
    oci.ok("create", "-b", str(oci.bundle), "hooked")
    done = oci("start", "hooked")
    assert done.returncode == 1 and "hooks.poststart[0]: /bin/sh: it ended with status 4: a reason" in done.stderr
    assert eventually(lambda: oci.state("hooked")["status"] == "stopped")
    oci.ok("delete", "hooked")
    done = oci("run", "-b", str(oci.bundle), "hooked")
    assert done.returncode == 1 and "cannot run the poststart hook /bin/sh: it ended with status 4" in done.stderr


def test_a_failing_poststop_hook_is_a_warning(oci: Oci, log: Path) -> None:
    oci.spec["process"]["args"] = ["true"]
    oci.spec["hooks"] = {"poststop": [hook("echo a reason; exit 4"), hook(f"echo second >>{log}/order")]}
    oci.ok("create", "-b", str(oci.bundle), "hooked")
    oci.ok("start", "hooked")
    assert eventually(lambda: oci.state("hooked")["status"] == "stopped")
    done = oci("delete", "hooked")
    assert done.returncode == 0 and "it ended with status 4: a reason" in done.stderr
    assert (log / "order").read_text() == "second\n"
    done = oci("run", "-b", str(oci.bundle), "hooked")
    assert done.returncode == 0 and "it ended with status 4: a reason" in done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_timeout_kills_the_hook_and_what_it_started(oci: Oci, log: Path, kind: str) -> None:
    to = "/log" if kind == "startContainer" else log
    script = f"echo $$ >{to}/{kind}; sleep 1000 & sleep 1000; echo late >>{to}/order"
    # seconds enough for what comes before the shell's sleep
    oci.spec["hooks"] = {kind: [hook(script, timeout=4, env=["PATH=/usr/bin:/bin"])]}
    before = time.monotonic()
    done = oci("create", "-b", str(oci.bundle), "hooked")
    if done.returncode == 0:
        done = oci("start", "hooked")
    if kind == "poststop":
        oci.ok("kill", "hooked", "KILL")
        assert eventually(lambda: oci.state("hooked")["status"] == "stopped")
        done = oci("delete", "hooked")
    assert "timeout of 4 s" in done.stderr and (log / kind).exists(), done
    assert time.monotonic() - before < 60
    if kind not in ("createContainer", "startContainer"):
        group = int((log / kind).read_text())
        assert eventually(lambda: not alive(group))
    assert "late" not in ((log / "order").read_text() if (log / "order").exists() else "")


def alive(group: int) -> bool:
    """Whether a process of this process group lives, zombies aside."""
    for directory in run_processes():
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            return True
    return False


def test_a_hook_that_does_not_exist(oci: Oci, log: Path) -> None:
    oci.spec["hooks"] = {"createRuntime": [{"path": "/no/such/hook"}]}
    refused(oci, "cannot run the createRuntime hook /no/such/hook: no such file or directory")


def test_much_output_and_no_reader_stop_nobody(oci: Oci, log: Path) -> None:
    oci.spec["annotations"] = {"big": "x" * 200_000}
    script = "head -c 300000 /dev/zero; exit 0"
    oci.spec["hooks"] = {kind: [hook(script, env=["PATH=/usr/bin:/bin"])] for kind in KINDS}
    oci.ok("create", "-b", str(oci.bundle), "hooked")
    oci.ok("start", "hooked")
    oci.ok("delete", "--force", "hooked")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "hooks: expected an object, found an array"),
        ({"prestart": {}}, "hooks.prestart: expected an array, found an object"),
        ({"createRuntime": ["x"]}, "hooks.createRuntime[0]: expected an object, found a string"),
        ({"createContainer": [{}]}, "hooks.createContainer[0].path: is required"),
        ({"startContainer": [{"path": "sh"}]}, "hooks.startContainer[0].path: 'sh' is not an absolute path"),
        ({"poststart": [{"path": SH, "timeout": 0}]}, "hooks.poststart[0].timeout: 0 is out of range"),
        ({"poststop": [{"path": SH, "env": ["A"]}]}, "hooks.poststop[0].env[0]: 'A' is not NAME=VALUE"),
        ({"poststop": [{"path": SH, "args": [1]}]}, "hooks.poststop[0].args[0]: expected a string, found a number"),
    ],
)
def test_invalid_hooks_give_their_path(oci: Oci, value: object, words: str) -> None:
    oci.spec["hooks"] = value
    refused(oci, words)
