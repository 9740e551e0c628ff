"""An ordinary user's containers where a systemd of the user's own delegates: real limits. Runs in the test host, as
root: guest_rootless.py PYCONTAIN [SCENARIO...]; see test_host_rootless.py."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.host.debian import USER, USER_ID
from tests.host.scenarios import Scenarios

SCENARIOS = Scenarios()
QUIET = ("--network", "none")
HOME = f"/home/{USER}"
RUNTIME = f"/run/user/{USER_ID}"
SLICE = Path(f"/sys/fs/cgroup/user.slice/user-{USER_ID}.slice/user@{USER_ID}.service/user.slice")
COMMAND: list[str] = []


def person(*command: str) -> list[str]:
    who = ["setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--init-groups"]
    return [*who, "env", f"HOME={HOME}", f"XDG_RUNTIME_DIR={RUNTIME}", *command]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """pycontain as the user, in the cgroup of this program, which is the system's."""
    done = subprocess.run(
        person(*COMMAND, *words), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, cwd="/"
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def pycontain(*words: str, status: int = 0) -> str:
    done = run(*words)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout.strip()


def prepare() -> None:
    """A home that can hold upper directories, the user's systemd, an image."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", HOME], check=True)
    os.chown(HOME, USER_ID, USER_ID)
    subprocess.run(["systemctl", "start", f"user@{USER_ID}.service"], check=True)
    pycontain("image", "build", "-q", "busybox")


def scopes() -> list[str]:
    try:
        return [name for name in os.listdir(SLICE) if name.startswith("pycontain-")]
    except OSError:  # the slice may go with its last scope
        return []


def eventually_no_scopes() -> None:
    end = time.monotonic() + 60
    while scopes():
        assert time.monotonic() < end, scopes()
        time.sleep(0.05)


@SCENARIOS.add
def limits_are_in_the_kernel() -> None:
    script = "cd /sys/fs/cgroup; cat memory.max pids.max"
    assert pycontain("run", "--rm", *QUIET, "-m", "64m", "--pids-limit", "20", "busybox", "sh", "-c", script) == (
        "67108864\n20"
    )
    eventually_no_scopes()


@SCENARIOS.add
def the_pids_limit_holds() -> None:
    script = "i=0; while [ $i -lt 30 ]; do sleep 1 & i=$((i+1)); echo $i; done"
    done = run("run", "--rm", *QUIET, "--pids-limit", "10", "busybox", "sh", "-c", script)
    assert "can't fork" in done.stderr and "10" not in done.stdout.split(), done


@SCENARIOS.add
def too_much_memory_is_an_oom_kill_of_the_container_alone() -> None:
    pycontain(
        "run", "--name", "oom", *QUIET, "-m", "32m", "--memory-swap", "32m", "busybox", "tail", "/dev/zero", status=137
    )
    assert '"OOMKilled": true' in pycontain("inspect", "oom")
    pycontain("rm", "oom")
    eventually_no_scopes()


@SCENARIOS.add
def pause_exec_and_figures() -> None:
    identity = pycontain("run", "-d", "--name", "p", *QUIET, "busybox", "sleep", "1000")
    assert scopes() == [f"pycontain-{identity}.scope"]
    pycontain("pause", "p")
    assert '"State":"paused"' in pycontain("ps", "--format", "json")
    pycontain("unpause", "p")
    assert pycontain("exec", "p", "cat", "/proc/self/cgroup") == "0::/"
    assert "KiB" in run("stats", "--no-stream", "p").stdout
    pycontain("update", "-m", "48m", "--memory-swap", "48m", "p")
    assert (SLICE / f"pycontain-{identity}.scope/container/memory.max").read_text() == "50331648\n"
    pycontain("rm", "-f", "p")
    eventually_no_scopes()


@SCENARIOS.add
def out_of_the_users_own_units_as_well() -> None:
    command = ["systemd-run", "--user", "--scope", "--quiet", *COMMAND]
    flags = ["run", "--rm", *QUIET, "-m", "64m", "busybox", "cat", "/sys/fs/cgroup/memory.max"]
    for manager in ("systemd", "cgroupfs"):
        done = subprocess.run(
            person(*command, "--cgroup-manager", manager, *flags), capture_output=True, text=True, check=False, cwd="/"
        )
        assert (done.returncode, done.stdout) == (0, "67108864\n"), (manager, done)
    eventually_no_scopes()


@SCENARIOS.add
def a_controller_that_is_not_delegated_is_named() -> None:
    done = run("run", "--rm", *QUIET, "--cpuset-cpus", "0", "busybox", "true")
    assert done.returncode == 125 and "cpuset" in done.stderr, done


@SCENARIOS.add
def root_inside_is_the_user_outside() -> None:
    pycontain("run", "-d", "--name", "who", *QUIET, "-u", "1000", "busybox", "sleep", "1234")
    lines = subprocess.run(["ps", "-eo", "uid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[0] for line in lines if "sleep 1234" in line] == ["100999"], lines
    pycontain("rm", "-f", "who")
    end = time.monotonic() + 60
    while Path(f"{RUNTIME}/pycontain/userns").exists():
        assert time.monotonic() < end
        time.sleep(0.05)


if __name__ == "__main__":
    COMMAND = [sys.argv[1]]
    prepare()
    SCENARIOS.main(sys.argv[2:])
