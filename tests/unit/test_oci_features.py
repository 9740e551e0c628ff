"""features and spec: every claim against what does it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from pycontain import __version__
from pycontain.cgroup import dbus, limits, systemd, unit
from pycontain.kernel import capability, rootless
from pycontain.kernel.errors import Error, SpecError
from pycontain.launch import labels, mounts, netdevices
from pycontain.launch.compile import Surroundings, compile_spec
from pycontain.launch.hooks import Identity, compile_hooks, version
from pycontain.launch.namespaces import compile_namespaces
from pycontain.launch.plan import encode
from pycontain.launch.process import compile_process
from pycontain.launch.schedule import memory_policy
from pycontain.launch.seccomp import compile_filter, filter_flags
from pycontain.launch.seccomp_rules import ARCHITECTURES
from pycontain.oci import create, features, listener, main, resctrl, state, template

DOCUMENT = features.document("x86_64", "/no/such/criu")
LINUX = DOCUMENT["linux"]
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


@pytest.mark.parametrize("key", ["ociVersionMin", "ociVersionMax"])
def test_versions_are_taken(key: str) -> None:
    assert version({"ociVersion": DOCUMENT[key]}) == DOCUMENT[key]
    with pytest.raises(SpecError):
        version({"ociVersion": "2.0.0"})


def test_hooks_of_every_kind_are_compiled() -> None:
    for kind in HOOKS:
        assert len(compile_hooks({"hooks": {kind: [{"path": "/bin/true"}]}})[kind]) == 1
    assert tuple(DOCUMENT["hooks"]) == HOOKS


@pytest.mark.parametrize("option", features._OPTIONS)
def test_mount_options(option: str) -> None:
    found = mounts.parse_options([option])
    assert not found.data or option in features.SUPER
    assert option in DOCUMENT["mountOptions"]


def test_all_options_of_the_tables_are_claimed() -> None:
    known = {
        *mounts.ATTRIBUTES,
        *mounts.PROPAGATION,
        *mounts._NOTHING,
        *mounts._MAPPED,
        "bind",
        "rbind",
        "tmpcopyup",
        "copy-symlink",
    }
    assert known <= set(DOCUMENT["mountOptions"])
    assert not features.understood("moon") and not features.understood("size=1k")


def test_namespaces() -> None:
    for kind in LINUX["namespaces"]:
        compile_namespaces({"namespaces": [{"type": kind, "path": "/x"}]})
    assert set(LINUX["namespaces"]) == {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"}


def test_capabilities() -> None:
    assert all(capability.number(name) is not None for name in LINUX["capabilities"])


@pytest.mark.parametrize(
    ("key", "name"), [("apparmorProfile", "AppArmor is not enabled"), ("selinuxLabel", "SELinux is not enabled")]
)
def test_security_modules_are_asked_of_the_host(key: str, name: str) -> None:
    """Whether it is enabled is whether this program knows it: the host need not have it."""
    there = labels.apparmor_enabled() if key == "apparmorProfile" else labels.selinux_enabled()
    process = {"args": ["x"], "cwd": "/", key: "label"}
    if there:
        compile_process(process)
    else:
        with pytest.raises(SpecError, match=name):
            compile_process(process)
    assert LINUX["apparmor"]["enabled"] and LINUX["selinux"]["enabled"]


def seccomp(**more: Any) -> dict[str, Any]:
    rule = {"names": ["getpid"], "action": "SCMP_ACT_ERRNO"}
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], **more}


@pytest.mark.parametrize("action", LINUX["seccomp"]["actions"])
def test_seccomp_actions(action: str) -> None:
    section = seccomp(syscalls=[{"names": ["getpid"], "action": action}])
    who = Identity("c", "/", "1.0.0", {})
    section["listenerPath"] = "/x"
    if action != "SCMP_ACT_NOTIFY":
        del section["listenerPath"]
    assert listener.compile_filter({"linux": {"seccomp": section}}, who, "created", "/no/cache", connected=False)


@pytest.mark.parametrize("operator", LINUX["seccomp"]["operators"])
def test_seccomp_operators(operator: str) -> None:
    argument = {"index": 0, "value": 1, "valueTwo": 1, "op": operator}
    section = seccomp(syscalls=[{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "args": [argument]}])
    assert compile_filter(section, "x86_64")


@pytest.mark.parametrize("machine", features.ARCHITECTURES)
def test_seccomp_architectures_change_the_program(machine: str) -> None:
    """What the compiler has no table for leaves no trace in the program."""
    # write(2) has another number everywhere, and no machine's own architecture is left out
    section = seccomp(syscalls=[{"names": ["write"], "action": "SCMP_ACT_ERRNO"}])
    plain = compile_filter(section, machine)
    own = features.ARCHITECTURES[machine][0]
    changing = {a for a in ARCHITECTURES if compile_filter({**section, "architectures": [a]}, machine) != plain}
    assert changing | {own} == set(features.document(machine)["linux"]["seccomp"]["archs"])


def test_seccomp_flags() -> None:
    known, supported = LINUX["seccomp"]["knownFlags"], LINUX["seccomp"]["supportedFlags"]
    notify = {"names": ["getpid"], "action": "SCMP_ACT_NOTIFY"}
    for flag in known:
        assert filter_flags(seccomp(flags=[flag], syscalls=[notify]))
    assert set(supported) <= set(known)
    if os.uname().machine == "x86_64":
        assert "SECCOMP_FILTER_FLAG_LOG" in supported and not features._kernel_has(1 << 30, "x86_64")


def test_id_mapped_mounts_and_network_devices() -> None:
    assert LINUX["mountExtensions"]["idmap"]["enabled"] and mounts.parse_options(["idmap"]).data == []
    spaces = compile_namespaces({"namespaces": [{"type": "network"}]})
    assert LINUX["netDevices"]["enabled"] and netdevices.compile_devices({"netDevices": {"lo": {"name": "x"}}}, spaces)


def test_memory_policies_and_resctrl() -> None:
    for mode in LINUX["memoryPolicy"]["modes"]:
        nodes = "" if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else "0"
        assert memory_policy({"memoryPolicy": {"mode": mode, "nodes": nodes}})
    for flag in LINUX["memoryPolicy"]["flags"]:
        assert memory_policy({"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}})
    wanted = resctrl.compile({"intelRdt": {"schemata": ["L3:0=f"], "enableMonitoring": True}}, "c")
    assert wanted is not None and wanted.lines == ["L3:0=f"] and wanted.monitoring
    assert LINUX["intelRdt"] == {"enabled": True, "schemata": True, "monitoring": True}


@pytest.mark.parametrize("rootless", [False, True])
def test_the_template_is_runcs_and_can_be_compiled(tmp_path: Path, rootless: bool) -> None:
    document = template.document(rootless=rootless)
    compile_spec(document, Surroundings(str(tmp_path)))
    runc = shutil.which("runc")
    assert runc is not None, "runc is missing: scripts/need-packages test"
    subprocess.run([runc, "spec", "-b", str(tmp_path), *(["--rootless"] if rootless else [])], check=True)
    theirs = json.loads((tmp_path / "config.json").read_text())
    for one in (theirs, document):
        del one["hostname"], one["ociVersion"]
        one["process"]["capabilities"] = {k: sorted(v) for k, v in one["process"]["capabilities"].items()}
    # newer releases of runc leave "ambient" out
    theirs["process"]["capabilities"].pop("ambient", None)
    # runc wants the whole host on cgroup v2 for it
    if {"type": "cgroup"} not in theirs["linux"]["namespaces"]:
        document["linux"]["namespaces"].remove({"type": "cgroup"})
    assert document == theirs


def test_the_template_spares_a_file_that_is_there(tmp_path: Path) -> None:
    from pycontain.oci.arguments import parse
    from pycontain.oci.options import GLOBAL, VERBS

    call = parse(["spec", "-b", str(tmp_path)], GLOBAL, VERBS)
    assert template.write("", call) == 0
    assert json.loads((tmp_path / "config.json").read_text())["ociVersion"] == state.SPEC_VERSION
    with pytest.raises(Error, match="exists"):
        template.write("", call)


def test_cgroup_drivers_and_rdma() -> None:
    assert LINUX["cgroup"] == {"v1": False, "v2": True, "systemd": True, "systemdUser": True, "rdma": True}
    writes = limits.compile({"rdma": {"mlx5_1": {"hcaHandles": 3}}})
    assert [write.file for write in writes] == ["rdma.max"]
    # network's controllers are v1's alone
    with pytest.raises(SpecError, match=r"linux\.resources\.network"):
        limits.compile({"network": {"classID": 5}})
    assert create.systemd_wanted({"systemd-cgroup": ""}, "cgroupfs")
    assert unit.parse("", "c", "x", user=False).name == "pycontain-c.scope"
    assert unit.parse("", "c", "x", user=True).slice == "user.slice"


def test_the_users_own_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """systemdUser: who is asked, and where. host/test_host_rootless.py::test_podman asks it."""
    monkeypatch.delenv(rootless.VARIABLE, raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(rootless, "inside", lambda: False)
    assert not systemd.ordinary()
    assert dbus.addresses(False) == ([], "/run/dbus/system_bus_socket", "/run/systemd/private")
    monkeypatch.setattr(rootless, "inside", lambda: True)
    monkeypatch.setattr(rootless, "mapped", lambda: [(1, 100000, 65536), (0, 1000, 1)])
    monkeypatch.setattr(systemd, "SYSTEM", str(tmp_path))
    assert not systemd.ordinary()  # the namespace's root has booted it
    os.chown(tmp_path, 65534, 65534)
    assert systemd.ordinary()
    monkeypatch.setattr(systemd, "SYSTEM", str(tmp_path / "none"))
    assert systemd.ordinary()
    for name in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    assert dbus.addresses(True) == ([], "/run/user/1000/bus", "/run/user/1000/systemd/private")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/r")
    given = "unix:path=/r/bus;unix:path=/a%20b,guid=1;tcp:host=x;unix:abstract=c;nonsense;"
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", given)
    assert dbus.addresses(True) == (["/a b", "\0c"], "/r/bus", "/r/systemd/private")


@pytest.mark.parametrize("answers", [[b"OK 1\r\n"], [b"DATA\r\n", b"OK 1\r\n"]], ids=["at once", "asked again"])
def test_the_bus_takes_the_kernels_word(tmp_path: Path, answers: list[bytes]) -> None:
    """What a systemd and a dbus-daemon answer to a name that is left out."""
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "bus"))
        door.listen()

        def serve() -> None:
            link, _ = door.accept()
            with link:
                for answer in answers:
                    heard.append(link.recv(100))
                    link.sendall(answer)
                heard.append(link.recv(100))

        server = threading.Thread(target=serve)
        server.start()
        dbus._authenticated(str(tmp_path / "bus")).close()
        server.join()
    assert heard == [b"\0AUTH EXTERNAL\r\n", *[b"DATA\r\n" for _ in answers[1:]], b"BEGIN\r\n"]


def test_who_is_root_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main.main(["state", "c"]) == 1
    assert capfd.readouterr().err == "pycontain-oci: pycontain-oci needs to be root\n"


#: Of crun and of CRI-O: with us they change nothing, so that whoever may write annotations gains nothing by it.
UNSAFE = (
    *("run.oci.hooks.stdout", "run.oci.hooks.stderr", "run.oci.seccomp_bpf_data", "run.oci.keep_original_groups"),
    *("run.oci.systemd.subgroup", "run.oci.delegate-cgroup", "run.oci.pidfd_receiver", "run.oci.mount_context_type"),
    *("org.criu.config", "io.kubernetes.cri-o.UnifiedCgroup.x", "org.systemd.property.RuntimeMaxUSec"),
)


def test_no_annotation_changes_a_plan() -> None:
    assert DOCUMENT["potentiallyUnsafeConfigAnnotations"] == ["org.criu.config"]  # of checkpoint and restore
    # hooks have the state with its annotations on their standard input
    spec = {**template.document(rootless=False), "annotations": {}}
    plain = encode(create.plan_of(spec, "/bundle"))
    spec["annotations"] = dict.fromkeys(UNSAFE, "1")
    assert encode(create.plan_of(spec, "/bundle")) == plain


def test_nothing_is_claimed_that_no_test_is_about() -> None:
    assert set(DOCUMENT) == {
        *("ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux", "annotations"),
        "potentiallyUnsafeConfigAnnotations",
    }
    assert set(LINUX) == {
        *("namespaces", "capabilities", "cgroup", "seccomp", "apparmor", "selinux", "intelRdt", "memoryPolicy"),
        *("mountExtensions", "netDevices"),
    }
    assert set(LINUX["mountExtensions"]) == {"idmap"}
    assert set(LINUX["seccomp"]) == {"enabled", "actions", "operators", "archs", "knownFlags", "supportedFlags"}
    # the last one is held by integration/test_oci_checkpoint_wrong.py
    assert DOCUMENT["annotations"] == {
        "pycontain.version": __version__,
        "org.opencontainers.runc.checkpoint.enabled": "false",
    }
