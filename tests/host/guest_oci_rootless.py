"""pycontain-oci with scopes in a user namespace that others have made, as podman does. Runs in the test host, as root:
guest_oci_rootless.py PYCONTAIN-OCI [SCENARIO...]; see test_host_rootless.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.host.debian import USER, USER_ID
from tests.host.scenarios import Scenarios

SCENARIOS = Scenarios()
HOME = f"/home/{USER}"
RUNTIME = f"/run/user/{USER_ID}"
SERVICE = f"/user.slice/user-{USER_ID}.slice/user@{USER_ID}.service"
SLICE = Path(f"/sys/fs/cgroup{SERVICE}/user.slice")
#: The runtime's program.
COMMAND: list[str] = []
#: The process that keeps the user namespace, like podman's pause process.
KEEPER: list[subprocess.Popen[str]] = []
MIB = 1 << 20


def person(*command: str, **environment: str) -> list[str]:
    who = ["setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--init-groups"]
    given = {"HOME": HOME, "XDG_RUNTIME_DIR": RUNTIME, "PATH": os.environ["PATH"], **environment}
    return [*who, "env", "-i", *[f"{name}={value}" for name, value in given.items()], *command]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As root of the user namespace, in the cgroup of this program, which is the system's."""
    done = subprocess.run(
        person("nsenter", "-t", str(KEEPER[0].pid), "-U", "-m", *command, **environment),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=HOME,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def oci(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(*COMMAND, "--systemd-cgroup", *words, **environment)


def ok(*words: str) -> str:
    done = oci(*words)
    assert done.returncode == 0, (words, done)
    return done.stdout


def bundle(name: str, resources: dict[str, Any] | None = None, *args: str, path: str = "") -> str:
    """A bundle of the user's; cgroupsPath is podman's."""
    directory = Path(HOME, name)
    (directory / "rootfs/bin").mkdir(parents=True, exist_ok=True)
    (directory / "rootfs/bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (directory / "rootfs/bin/busybox").chmod(0o755)
    for place in ("proc", "sys", "dev"):
        (directory / "rootfs" / place).mkdir(exist_ok=True)
    kinds = ("mount", "pid", "ipc", "uts", "network", "cgroup")
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
    ]
    spec = {
        "ociVersion": "1.2.0",
        "process": {"args": ["/bin/busybox", *(args or ("sleep", "1000"))], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": kind} for kind in kinds],
            "cgroupsPath": path or f"user.slice:libpod:{name}",
            "resources": resources or {},
        },
    }
    (directory / "config.json").write_text(json.dumps(spec))
    subprocess.run(["chown", "-R", f"{USER_ID}:{USER_ID}", str(directory)], check=True)
    return str(directory)


def started(name: str, resources: dict[str, Any] | None = None) -> Path:
    """Create and start; the directory of its cgroup. Its standard output is no pipe of ours."""
    quietly(name, "create", "-b", bundle(name, resources), name)
    ok("start", name)
    return SLICE / f"libpod-{name}.scope/container"


def quietly(name: str, *words: str) -> None:
    """With a file of the user's for its streams, which are the container's, too: a pipe of ours would have no end."""
    log = Path(HOME, f"{name}.log")
    done = run("sh", "-c", f'exec "$@" >{log} 2>&1', "sh", *COMMAND, "--systemd-cgroup", *words)
    assert done.returncode == 0, log.read_text()


def systemctl(*words: str) -> str:
    """Of the user's own systemd."""
    command = person("systemctl", "--user", *words)
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def eventually_nothing() -> None:
    """No scope, of containers or of commands, and no state."""
    end = time.monotonic() + 60
    state = Path(RUNTIME, "pycontain-oci")

    def left() -> list[str]:
        scopes = [name for _, names, _ in os.walk(SLICE.parent) for name in names if name.endswith(".scope")]
        there = os.listdir(state) if state.is_dir() else []
        return [name for name in scopes if name != "init.scope"] + there

    while found := left():
        assert time.monotonic() < end, found
        time.sleep(0.05)


def prepare() -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", HOME], check=True)
    os.chown(HOME, USER_ID, USER_ID)
    subprocess.run(["systemctl", "start", f"user@{USER_ID}.service"], check=True)
    command = person("unshare", "-U", "--map-root-user", "--map-auto", "-m", "sh", "-c", "echo there; exec cat")
    KEEPER.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"))
    assert KEEPER[0].stdout and KEEPER[0].stdout.readline() == "there\n"


@SCENARIOS.add
def the_life_of_a_container_in_a_scope_of_the_users() -> None:
    group = started("life", {"memory": {"limit": 64 * MIB}, "pids": {"limit": 20}})
    assert (group / "memory.max").read_text() == f"{64 * MIB}\n"
    assert (group / "pids.max").read_text() == "20\n"
    assert systemctl("show", "--value", "-p", "MemoryMax", "libpod-life.scope") == str(80 * MIB)
    found = json.loads(ok("state", "life"))
    assert found["status"] == "running"
    assert Path(f"/proc/{found['pid']}/cgroup").read_text() == f"0::{SERVICE}/user.slice/libpod-life.scope/container\n"
    assert ok("exec", "life", "/bin/busybox", "cat", "/sys/fs/cgroup/memory.max") == f"{64 * MIB}\n"
    ok("update", "--memory", str(32 * MIB), "--memory-swap", str(32 * MIB), "life")
    assert (group / "memory.max").read_text() == f"{32 * MIB}\n"
    assert systemctl("show", "--value", "-p", "MemoryMax", "libpod-life.scope") == str(48 * MIB)
    ok("pause", "life")
    assert json.loads(ok("state", "life"))["status"] == "paused"
    ok("resume", "life")
    figures = json.loads(ok("events", "--stats", "life"))["data"]
    assert figures["memory"]["usage"]["limit"] == 32 * MIB and figures["pids"]["limit"] == 20
    assert len(json.loads(ok("ps", "--format", "json", "life"))) == 1
    ok("delete", "--force", "life")
    eventually_nothing()
    assert "libpod-life" not in systemctl("list-units", "--all")


@SCENARIOS.add
def limits_hold() -> None:
    script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; tail /dev/zero"
    words = ("sh", "-c", script)
    directory = bundle("oom", {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}, "pids": {"limit": 9}}, *words)
    done = oci("run", "-b", directory, "oom")
    assert done.returncode in (1, 137) and done.stdout == f"{32 * MIB}\n9\n", done
    eventually_nothing()


@SCENARIOS.add
def a_controller_that_is_not_delegated_is_named() -> None:
    done = oci("run", "-b", bundle("disk", {"blockIO": {"weight": 100}}), "disk")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done
    assert "the io controller is not delegated to the user's own systemd" in done.stderr, done
    eventually_nothing()


@SCENARIOS.add
def the_default_slice_is_the_users() -> None:
    quietly("where", "run", "-d", "-b", bundle("where", path=":p:where"), "w")
    assert (SLICE / "p-where.scope/container").is_dir()
    ok("delete", "-f", "w")
    eventually_nothing()


@SCENARIOS.add
def the_bus_that_the_environment_names() -> None:
    directory = bundle("bus", None, "true")
    given = {"XDG_RUNTIME_DIR": "/nowhere", "DBUS_SESSION_BUS_ADDRESS": f"unix:path={RUNTIME}/bus"}
    root = ("--root", f"{RUNTIME}/pycontain-oci")
    done = oci(*root, "--rootless=false", "run", "-b", directory, "bus", **given)
    assert done.returncode == 0, done
    given["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=/nowhere/else"
    done = oci(*root, "--rootless=false", "run", "-b", directory, "bus", **given)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done
    assert "/nowhere/else" in done.stderr and "loginctl enable-linger" in done.stderr, done
    eventually_nothing()


@SCENARIOS.add
def a_bus_without_systemd_is_passed_over() -> None:
    root = ("--root", f"{RUNTIME}/pycontain-oci")
    command = ("dbus-run-session", "--", *COMMAND, *root, "--systemd-cgroup", "--rootless=false")
    done = run(*command, "run", "-b", bundle("session", {"pids": {"limit": 7}}, "cat", "/sys/fs/cgroup/pids.max"), "s")
    assert (done.returncode, done.stdout) == (0, "7\n"), done
    # and where there is no other
    done = run(*command, "run", "-b", bundle("session", None, "true"), "s", XDG_RUNTIME_DIR="/nowhere")
    assert done.returncode == 1 and "a bus without systemd" in done.stderr, done
    eventually_nothing()


@SCENARIOS.add
def another_user_namespace_is_told() -> None:
    started("far")
    others = ("unshare", "-U", "--map-root-user", *COMMAND, "--root", f"{RUNTIME}/pycontain-oci")
    command = person(*others, "exec", "far", "/bin/busybox", "true")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 255 and "is in another user namespace than this command" in done.stderr, done
    ok("delete", "--force", "far")
    eventually_nothing()


@SCENARIOS.add
def without_a_systemd_of_the_users() -> None:
    """The system's is never asked."""
    nobody = {"XDG_RUNTIME_DIR": "/nowhere"}
    root = ("--root", f"{RUNTIME}/pycontain-oci")
    done = oci(*root, "run", "-b", bundle("none", None, "cat", "/proc/self/cgroup"), "none", **nobody)
    assert done.returncode == 0 and "libpod" not in done.stdout, done
    limited = bundle("limited", {"pids": {"limit": 5}}, "true")
    done = oci(*root, "run", "-b", limited, "limited", **nobody)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done
    assert "pids limit: the pids controller is not available: cannot reach the user's own systemd" in done.stderr, done
    done = oci(*root, "--missing-controllers=warn", "run", "-b", limited, "limited", **nobody)
    assert done.returncode == 0 and "pids limit: not kept" in done.stderr, done
    done = oci(*root, "--rootless=false", "run", "-b", bundle("none"), "none", **nobody)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done
    assert "cannot reach the user's own systemd" in done.stderr, done
    eventually_nothing()


if __name__ == "__main__":
    COMMAND = [sys.argv[1]]
    prepare()
    SCENARIOS.main(sys.argv[2:])
    KEEPER[0].communicate()
    subprocess.run(["umount", "-l", HOME], check=True)
