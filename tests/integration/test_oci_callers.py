"""The command lines that conmon, podman, containerd's shim, Docker and CRI-O send, word for word.

tests/clients has the callers themselves. Here are also the lines that the versions of Debian 12 do not send.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from oci_bundle import Oci
from test_oci_exec import listening
from test_oci_fast import stopped
from world import PYCONTAIN_OCI, eventually


def is_gone(oci: Oci, name: str) -> bool:
    return "does not exist" in oci("state", name).stderr and not (oci.root / name).exists()


def process(oci: Oci, tmp_path: Path, *args: str, **more: Any) -> str:
    path = tmp_path / "process.json"
    path.write_text(json.dumps({**oci.spec["process"], "args": list(args), **more}))
    return str(path)


def wait_for(oci: Oci, name: str, status: str) -> None:
    # a detached exec is an orphan, which somebody has to reap before init can end
    assert eventually(lambda: stopped(oci, name) if status == "stopped" else oci.state(name)["status"] == status)


def test_conmon(oci: Oci, tmp_path: Path) -> None:
    """conmon, src/runtime_args.c: create and exec; the options that podman adds come before the verb."""
    oci.spec["process"].update(args=["sleep", "1000"], terminal=True)
    log = f"--log={tmp_path}/oci-log"
    with listening(tmp_path / "attach") as listener:
        oci.ok(
            *("--log-format=json", log, "create", "--bundle", str(oci.bundle), "--pid-file", str(tmp_path / "pid")),
            *("--no-new-keyring", "--console-socket", str(tmp_path / "attach"), "c"),
        )
        link, _ = listener.accept()
        _, fds, _, _ = socket.recv_fds(link, 4096, 4)
    assert len(fds) == 1 and os.isatty(fds[0])
    oci.ok("--log-format=json", log, "start", "c")
    assert int((tmp_path / "pid").read_text()) == oci.state("c")["pid"]
    # exec: without --systemd-cgroup, whatever create had
    file = process(oci, tmp_path, "sleep", "500", terminal=False)
    oci.ok("exec", "--pid-file", str(tmp_path / "pid2"), "--process", file, "--detach", "c")
    words = Path(f"/proc/{int((tmp_path / 'pid2').read_text())}/cmdline")
    assert eventually(lambda: b"500" in words.read_bytes())
    oci.spec["process"]["terminal"] = False
    oci.ok("--log-format=json", log, "kill", "--all", "c", "9")
    wait_for(oci, "c", "stopped")
    oci.ok("--log-format=json", log, "delete", "--force", "c")
    assert is_gone(oci, "c") and not (tmp_path / "oci-log").exists()
    for fd in fds:
        os.close(fd)


def test_podman(oci: Oci, tmp_path: Path) -> None:
    """podman, libpod/oci_conmon_common.go."""
    first = oci.ok("--version").splitlines()[0]
    assert first.split()[:2] == ["pycontain-oci", "version"]
    oci.spec["process"]["args"] = ["sh", "-c", "trap 'exit 3' TERM; >/ready; while :; do sleep 0.05; done"]
    oci.ok("create", "--bundle", str(oci.bundle), "--pid-file", str(tmp_path / "pid"), "c")
    oci.ok("start", "c")
    assert eventually((oci.bundle / "rootfs/ready").exists)
    oci.ok("pause", "c")
    wait_for(oci, "c", "paused")
    oci.ok("resume", "c")
    (tmp_path / "resources").write_text(json.dumps({"pids": None, "unified": {}}))
    oci.ok("update", "--resources", str(tmp_path / "resources"), "c")
    oci.ok("kill", "c", "15")
    wait_for(oci, "c", "stopped")
    done = oci("--log-format=json", f"--log={tmp_path}/log", "kill", "c", "9")
    entry = json.loads((tmp_path / "log").read_text())
    assert done.returncode == 1 and set(entry) == {"level", "msg", "time"} and "container not running" in entry["msg"]
    oci.ok("delete", "--force", "c")
    oci.ok("delete", "--force", "c")  # podman repeats it
    assert is_gone(oci, "c")


def test_containerd_and_docker(oci: Oci, tmp_path: Path) -> None:
    """containerd/go-runc, runc.go: the globals of every call, and --pidfd-socket of its newer releases."""
    oci.spec["process"]["args"] = ["sleep", "1000"]
    before = ("--debug", "--log", str(tmp_path / "log.json"), "--log-format", "json", "--systemd-cgroup=false")
    assert json.loads(oci.ok(*before, "features"))["ociVersionMax"].startswith("1.")
    with listening(tmp_path / "pidfd") as listener:
        oci.ok(
            *(*before, "create", "--bundle", str(oci.bundle), "--pid-file", str(tmp_path / "init.pid")),
            *("--pidfd-socket", str(tmp_path / "pidfd"), "--no-new-keyring", "c"),
        )
        link, _ = listener.accept()
        _, fds, _, _ = socket.recv_fds(link, 100, 4)
    oci.ok(*before, "start", "c")
    with listening(tmp_path / "pidfd2") as listener:
        file = process(oci, tmp_path, "sleep", "600")
        oci.ok(
            *(*before, "exec", "--process", file, "--detach", "--pid-file", str(tmp_path / "e.pid")),
            *("--pidfd-socket", str(tmp_path / "pidfd2"), "c"),
        )
        link, _ = listener.accept()
        _, more, _, _ = socket.recv_fds(link, 100, 4)
    pids = sorted(int((tmp_path / name).read_text()) for name in ("init.pid", "e.pid"))
    assert json.loads(oci.ok(*before, "ps", "--format", "json", "c")) == pids
    assert len(oci.ok(*before, "ps", "--format", "table", "c").splitlines()) == 3
    assert json.loads(oci.ok(*before, "list", "--format=json"))[0]["id"] == "c"
    assert json.loads(oci.ok(*before, "events", "--stats", "c"))["type"] == "stats"
    oci.ok(*before, "pause", "c")
    oci.ok(*before, "resume", "c")
    assert update(oci, *before, "update", "--resources=-", "c") == 0
    oci.ok(*before, "kill", "--all", "c", "9")
    wait_for(oci, "c", "stopped")
    oci.ok(*before, "delete", "c")
    assert "container does not exist: c" in oci(*before, "delete", "c").stderr
    oci.ok(*before, "delete", "--force", "c")
    for fd in (*fds, *more):
        os.close(fd)


def update(oci: Oci, *arguments: str) -> int:
    command = [PYCONTAIN_OCI, "--root", str(oci.root), *arguments]
    return subprocess.run(command, input=b'{"memory": {}, "cpu": {}, "devices": null}', check=False).returncode


def test_crio(oci: Oci, tmp_path: Path) -> None:
    """CRI-O, internal/oci/runtime_oci.go: numbers and names, -a, --resources with a blank."""
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.ok("create", "--bundle", str(oci.bundle), "--pid-file", str(tmp_path / "pid"), "c")
    oci.ok("start", "c")
    file = process(oci, tmp_path, "sh", "-c", "exit 4")
    assert oci("exec", "--process", file, "c").returncode == 4
    assert update(oci, "update", "--resources", "-", "c") == 0
    oci.ok("kill", "c", "SIGCONT")
    oci.ok("kill", "c", "18")
    oci.ok("kill", "c", "KILL")
    wait_for(oci, "c", "stopped")
    oci.ok("kill", "-a", "c", "KILL")
    oci.ok("delete", "--force", "c")
    assert is_gone(oci, "c")


def test_without_pivot_root(oci: Oci) -> None:
    """For hosts that run from their initramfs, where pivot_root(2) fails: the root is entered by chroot(2)."""
    oci.spec["process"]["args"] = ["sh", "-c", "ls /; readlink /proc/self/root; ls /proc/1/root | wc -l"]
    plain = oci.ok("run", "-b", str(oci.bundle), "c")
    assert oci.ok("run", "--no-pivot", "-b", str(oci.bundle), "c") == plain


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("flags", [(), ("--no-pivot",)])
def test_the_hosts_proc_is_not_among_the_mounts(oci: Oci, flags: tuple[str, ...], user: bool) -> None:
    """Where it is, a user namespace inside may mount a proc without masks: the kernel would see nothing new in it."""
    before = Path("/proc/self/mountinfo").read_text()
    inner = "mount -t proc none /proc && echo exposed"
    oci.spec["process"]["args"] = ["sh", "-c", f"echo begun; unshare -mrpf sh -c '{inner}'; echo end"]
    for name in ("bounding", "effective", "permitted"):
        oci.spec["process"]["capabilities"][name] = ["CAP_SETFCAP"]
    oci.spec["linux"]["maskedPaths"] = ["/proc/kcore", "/proc/keys"]
    if user:
        oci.spec["linux"]["namespaces"].append({"type": "user"})
        for key in ("uidMappings", "gidMappings"):
            oci.spec["linux"][key] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
        for path in (*oci.bundle.parents, oci.bundle):
            if path.is_relative_to("/tmp") and path != Path("/tmp"):
                path.chmod(0o755)
    done = oci("run", *flags, "-b", str(oci.bundle), "c")
    assert done.stdout == "begun\nend\n" and "permission denied (are you root?)" in done.stderr, done
    assert Path("/proc/self/mountinfo").read_text() == before


# --- runtime.md ----------------------------------------------------------------------------------------------------


def test_what_is_edited_after_create_is_of_no_effect(oci: Oci) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.spec["annotations"] = {"a": "first"}
    oci.ok("create", "-b", str(oci.bundle), "c")
    oci.spec["process"]["args"] = ["false"]
    oci.spec["annotations"] = {"a": "second"}
    oci.ok("start", "c")  # which writes config.json anew
    assert json.loads((oci.bundle / "config.json").read_text())["process"]["args"] == ["false"]
    state = oci.state("c")
    assert state["annotations"] == {"a": "first"}
    words = Path(f"/proc/{state['pid']}/cmdline")
    assert eventually(lambda: words.read_bytes() == b"sleep\x001000\x00")
    assert oci.ok("exec", "c", "hostname") == "oci\n"


def test_delete_removes_what_create_has_made_and_an_id_may_be_used_again(oci: Oci, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("kept")
    mount = {"destination": "/data", "type": "bind", "source": str(tmp_path / "data"), "options": ["bind"]}
    oci.spec["mounts"].append(mount)
    oci.spec["process"]["args"] = ["sh", "-c", "echo more > /data/new; echo x > /inside"]
    for _ in range(2):
        oci.ok("create", "-b", str(oci.bundle), "c")
        oci.ok("start", "c")
        wait_for(oci, "c", "stopped")
        oci.ok("delete", "c")
        assert is_gone(oci, "c")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["file", "new"]
    assert (oci.bundle / "rootfs/inside").read_text() == "x\n" and (oci.bundle / "config.json").exists()


@pytest.mark.parametrize("verb", ["start", "kill", "delete", "pause", "resume", "ps", "events", "update", "exec"])
def test_one_that_does_not_exist(oci: Oci, verb: str) -> None:
    more = {"update": ["--pids-limit", "5"], "exec": []}.get(verb, [])
    done = oci(verb, *more, "nobody", *(["true"] if verb == "exec" else []))
    assert done.returncode == (255 if verb == "exec" else 1), done
    assert "container does not exist: nobody" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("status", "verb"),
    [
        ("created", "delete"),
        ("running", "start"),
        ("running", "delete"),
        ("running", "resume"),
        ("stopped", "start"),
        ("stopped", "kill"),
        ("stopped", "pause"),
        ("stopped", "exec"),
    ],
)
def test_a_verb_at_the_wrong_time_changes_nothing(oci: Oci, status: str, verb: str) -> None:
    oci.spec["process"]["args"] = ["true"] if status == "stopped" else ["sleep", "1000"]
    oci.ok("create", "-b", str(oci.bundle), "c")
    if status != "created":
        oci.ok("start", "c")
    wait_for(oci, "c", status)
    before = oci.state("c")
    done = oci(verb, "c", *(["true"] if verb == "exec" else []))
    assert done.returncode in (1, 255) and done.stderr.count("\n") == 1, done
    assert oci.state("c") == before
