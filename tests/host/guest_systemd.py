"""The systemd cgroup driver against a real systemd. Runs in the test host: guest_systemd.py PYCONTAIN [SCENARIO...]

See test_host_drivers.py.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.host import guest_drivers
from tests.host.guest_drivers import MIB, QUIET, directory, pycontain
from tests.host.guest_limits import loop_device
from tests.host.scenarios import Scenarios

from pycontain.cgroup import hierarchy, limits, systemd, unit
from pycontain.cgroup import update as updates
from pycontain.kernel.errors import Error

SCENARIOS = Scenarios()
SPEC = {
    "ociVersion": "1.2.0",
    "process": {"args": ["/bin/sleep", "1000"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
    "root": {"path": "/tmp/rootfs"},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "linux": {"namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc", "uts", "network", "cgroup")]},
}


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def show(name: str, *properties: str) -> dict[str, str]:
    text = systemctl("show", *[f"--property={one}" for one in properties], name)
    return dict(line.split("=", 1) for line in text.splitlines())


def scopes(state: str = "") -> list[str]:
    """Units of containers that systemd knows, of one state or of any."""
    text = systemctl(
        "list-units", "--all", "--no-legend", "--plain", "--full", "*.scope", *([f"--state={state}"] if state else [])
    )
    return [line.split()[0] for line in text.splitlines() if line.startswith(("pycontain", "p-", "test-"))]


def gone(name: str) -> bool:
    """systemd takes a scope away when the kernel has told it of its emptiness."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if name not in scopes():
            return True
        time.sleep(0.05)
    return False


@contextmanager
def placed(resources: Any, name: str = "test:p:one", missing: str = "error") -> Iterator[systemd.Scope]:
    scope, _ = systemd.place(
        hierarchy.find(),
        unit.parse(name.replace("test:", "machine-test.slice:"), "x", "path"),
        limits.compile(resources),
        missing,
    )
    try:
        yield scope
    finally:
        scope.undo()
    assert gone(scope.unit.name), systemctl("status", scope.unit.name)


def error_of(resources: Any, name: str = "test:p:one") -> str:
    try:
        with placed(resources, name):
            pass
    except Error as error:
        assert "\n" not in error.message
        return error.message
    raise AssertionError("no error")


@SCENARIOS.add
def limits_survive_a_reload() -> None:
    flags = ("-m", "64m", "--memory-swap", "128m", "--cpus", "0.5", "--cpu-shares", "2048", "--pids-limit", "20")
    identity = pycontain("run", "-d", "--name", "one", *QUIET, *flags, "busybox", "sleep", "1000")
    group, name = directory(identity), f"pycontain-{identity}.scope"
    files = ("memory.max", "memory.swap.max", "cpu.max", "cpu.weight", "pids.max")
    before = {file: (group / file).read_text() for file in files}
    assert before["cpu.max"] == "50000 100000\n" and before["pids.max"] == "20\n", before
    assert show(name, "MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec", "CPUWeight", "TasksMax", "Slice") == {
        "MemoryMax": str(80 * MIB),
        "MemorySwapMax": str(80 * MIB),
        "CPUQuotaPerSecUSec": "500ms",
        "CPUWeight": "174",
        "TasksMax": "36",
        "Slice": "machine.slice",
    }
    # in the scope are the container's process and, beside it, its monitor, whose relay nothing has called yet
    assert (group / "cgroup.procs").read_text().count("\n") == 1
    beside = (group.parent / "keeper" / "cgroup.procs").read_text().split()
    assert sorted(Path(f"/proc/{pid}/comm").read_text() for pid in beside) == ["pycontain-mon\n"]
    systemctl("daemon-reload")
    assert {file: (group / file).read_text() for file in files} == before
    systemctl("set-property", "--runtime", name, "CPUWeight=50")
    assert {file: (group / file).read_text() for file in files} == before
    assert (group.parent / "cpu.weight").read_text() == "50\n"
    pycontain("rm", "-f", "one")
    assert gone(name)


@SCENARIOS.add
def every_property_is_what_the_file_says() -> None:
    resources = {
        "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 8 * MIB},
        "cpu": {"shares": 512, "quota": 12345, "period": 50000, "burst": 1000},
        "pids": {"limit": 17},
        "unified": {"memory.high": str(32 * MIB), "memory.min": str(MIB)},
    }
    files = ("memory.max", "memory.swap.max", "memory.low", "memory.high", "memory.min", "cpu.weight", "pids.max")
    with placed(resources) as scope:
        before = {file: scope.read(file).strip() for file in files}
        assert before == {
            "memory.max": str(64 * MIB), "memory.swap.max": str(32 * MIB), "memory.low": str(8 * MIB),
            "memory.high": str(32 * MIB), "memory.min": str(MIB), "cpu.weight": "59", "pids.max": "17",
        }, before  # fmt: skip
        assert scope.read("cpu.max") == "12345 50000\n" and scope.read("cpu.max.burst") == "1000\n"
        systemctl("daemon-reload")
        assert {file: scope.read(file).strip() for file in files} == before
        assert scope.read("cpu.max") == "12345 50000\n" and scope.read("cpu.max.burst") == "1000\n"
        # systemd keeps whole percents: rounded up, never below what was asked for
        quota, period = map(int, scope.read("../cpu.max").split())
        assert period == 50000 and 12345 <= quota <= 12500, (quota, period)
        assert scope.read("../cpu.weight") == "59\n" and scope.read("../memory.low") == f"{8 * MIB}\n"
        assert scope.path == "/machine.slice/machine-test.slice/p-one.scope/container"


@SCENARIOS.add
def io_limits_survive_a_reload() -> None:
    with loop_device(MIB) as (_, major, minor):
        device = {"major": major, "minor": minor}
        block = {
            "throttleReadBpsDevice": [{**device, "rate": MIB}],
            "throttleWriteIOPSDevice": [{**device, "rate": 40}],
        }
        with placed({"blockIO": block}) as scope:
            wanted = f"{major}:{minor} rbps={MIB} wbps=max riops=max wiops=40\n"
            assert scope.read("io.max") == wanted
            systemctl("daemon-reload")
            assert scope.read("io.max") == wanted


@SCENARIOS.add
def limits_change_live_and_survive_a_reload() -> None:
    with placed({"memory": {"limit": 64 * MIB}, "pids": {"limit": 17}}) as scope:
        for size in (32 * MIB, 128 * MIB):
            change = {"memory": {"limit": size}, "cpu": {"quota": size // MIB * 1000}, "pids": {"limit": size // MIB}}
            assert updates.update(scope.hierarchy, scope.path, change, unit=scope.unit.name) == []
            files = ("memory.max", "cpu.max", "pids.max")
            values = [scope.read(file).strip() for file in files]
            assert values == [str(size), f"{size // MIB * 1000} 100000", str(size // MIB)], values
            assert show(scope.unit.name, "MemoryMax", "TasksMax") == {
                "MemoryMax": str(size + 16 * MIB),
                "TasksMax": str(size // MIB + 16),
            }
            systemctl("daemon-reload")
            assert [scope.read(file).strip() for file in files] == values

        def unwritten() -> None:
            raise Error("the disk is full")

        known = show(scope.unit.name, "TasksMax", "CPUQuotaPerSecUSec")
        assert known["TasksMax"] == "144"
        refusals: list[tuple[dict[str, Any], Callable[[], None] | None]] = [
            ({"pids": {"limit": 5}, "unified": {"memory.high": "nonsense"}}, None),
            ({"pids": {"limit": 5}, "cpu": {"quota": 1000}}, unwritten),
        ]
        for refused, commit in refusals:
            try:
                updates.update(scope.hierarchy, scope.path, refused, "error", commit, scope.unit.name)
            except Error as error:
                assert "nonsense" in error.message or "the disk is full" in error.message
            else:
                raise AssertionError("not refused")
            assert [scope.read(file).strip() for file in files] == values
            assert show(scope.unit.name, "TasksMax", "CPUQuotaPerSecUSec") == known


@SCENARIOS.add
def a_whole_update() -> None:
    flags = ("-m", "64m", "--memory-swap", "64m", "--pids-limit", "20")
    identity = pycontain("run", "-d", "--name", "one", *QUIET, *flags, "busybox", "sleep", "1000")
    group, name = directory(identity), f"pycontain-{identity}.scope"
    pycontain("update", "--pids-limit", "30", "--cpus", "0.3", "one")
    assert (group / "pids.max").read_text() == "30\n" and (group / "cpu.max").read_text() == "30000 100000\n"
    systemctl("daemon-reload")
    assert (group / "pids.max").read_text() == "30\n" and (group / "cpu.max").read_text() == "30000 100000\n"
    assert show(name, "TasksMax") == {"TasksMax": "46"}
    pycontain("stop", "-t", "0", "one")
    pycontain("update", "--pids-limit", "40", "one")
    assert gone(name)
    pycontain("start", "one")
    assert (directory(identity) / "pids.max").read_text() == "40\n"
    pycontain("rm", "-f", "one")
    assert gone(name)


@SCENARIOS.add
def what_is_given_in_another_form_is_kept_as_well() -> None:
    unified = {"memory.max": "64M", "memory.high": "0x2000000", "pids.max": " 50"}
    with placed({"unified": unified}) as scope:
        files = ("memory.max", "memory.high", "pids.max")
        before = [scope.read(file).strip() for file in files]
        assert before == [str(64 * MIB), str(32 * MIB), "50"], before
        systemctl("daemon-reload")
        assert [scope.read(file).strip() for file in files] == before
        updates.update(scope.hierarchy, scope.path, {"unified": {"memory.max": "48M"}}, unit=scope.unit.name)
        systemctl("daemon-reload")
        assert scope.read("memory.max").strip() == str(48 * MIB)


@SCENARIOS.add
def an_update_leaves_a_quota_exact() -> None:
    with placed({"cpu": {"quota": 12345}}) as scope:
        assert scope.read("cpu.max") == "12345 100000\n"
        for change in ({"memory": {"limit": 64 * MIB}}, {"cpu": {"shares": 512}}, {"cpu": {"quota": 12346}}):
            updates.update(scope.hierarchy, scope.path, change, unit=scope.unit.name)
            assert scope.read("cpu.max") in ("12345 100000\n", "12346 100000\n"), scope.read("cpu.max")
        assert scope.read("cpu.max") == "12346 100000\n"


@SCENARIOS.add
def idle_comes_and_goes() -> None:
    with placed({"cpu": {"idle": 1}}) as scope:
        for idle in (1, 0, 1, 0):
            updates.update(scope.hierarchy, scope.path, {"cpu": {"idle": idle}}, unit=scope.unit.name)
            systemctl("daemon-reload")
            assert scope.read("cpu.idle") == f"{idle}\n"


@SCENARIOS.add
def one_process_is_one_process() -> None:
    assert pycontain("run", "--rm", *QUIET, "--pids-limit", "1", "busybox", "cat", "/sys/fs/cgroup/pids.max") == "1"


@SCENARIOS.add
def what_outlives_its_init_goes_with_the_container() -> None:
    """Without a PID namespace of the container's own only its cgroup knows who belongs to it."""
    script = "sleep 777 >/dev/null 2>&1 & sleep 0.2; exit 3"
    for _ in range(2):
        pycontain("run", "--rm", "--name", "one", "--pid", "host", *QUIET, "busybox", "sh", "-c", script, status=3)
        deadline = time.monotonic() + 60
        while "sleep 777" in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout:
            assert time.monotonic() < deadline, "it lives on"
            time.sleep(0.05)


@SCENARIOS.add
def values_that_cannot_be_are_one_line() -> None:
    for unified in (
        {"cpu.max": "abc"},
        {"cpu.max": "50000 0"},
        {"io.weight": "abc"},
        {"memory.high": "x"},
        {"cpu.weight": "100000"},
    ):
        text = error_of({"unified": unified})
        assert "cannot write" in text or "has no io.weight" in text, text
    with placed({"unified": {"memory.max": "99999999999999999999999"}}) as scope:
        assert scope.read("memory.max").strip().isalnum()


@SCENARIOS.add
def a_refused_value_leaves_no_unit() -> None:
    text = error_of({"pids": {"limit": 5}, "unified": {"memory.high": "nonsense"}})
    assert "cannot write 'nonsense' to memory.high" in text, text
    assert gone("p-one.scope")
    text = error_of({"cpu": {"cpus": "0"}})
    assert "cpuset controller is not available" in text, text
    assert gone("p-one.scope")


@SCENARIOS.add
def a_failed_leftover_of_the_name_is_reset() -> None:
    subprocess.run(
        ["systemd-run", "--scope", "--quiet", "--unit=p-one.scope", "-p", "RuntimeMaxSec=100ms", "sleep", "100"],
        check=False, capture_output=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while show("p-one.scope", "ActiveState") != {"ActiveState": "failed"}:
        assert time.monotonic() < deadline, systemctl("status", "p-one.scope")
        time.sleep(0.05)
    with placed({"pids": {"limit": 9}}) as scope:
        assert show(scope.unit.name, "ActiveState", "TasksMax") == {"ActiveState": "active", "TasksMax": "25"}


@SCENARIOS.add
def a_unit_that_lives_is_left_alone() -> None:
    with placed({"pids": {"limit": 9}}) as scope:
        text = error_of({})
        assert text.startswith("systemd unit p-one.scope exists and is active: choose another name"), text
        assert show(scope.unit.name, "ActiveState") == {"ActiveState": "active"}
        assert scope.read("../keeper/cgroup.procs").count("\n") == 1


@SCENARIOS.add
def a_killed_start_leaves_no_scope() -> None:
    """Whoever dies before the container is there takes its scope along: the process that keeps it hears of it."""
    pid = os.fork()
    if pid == 0:
        systemd.place(hierarchy.find(), unit.parse("machine.slice:p:dies", "x", "path"), [])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert gone("p-dies.scope"), systemctl("status", "p-dies.scope")


def _more_in_the_scope(oci: list[str], path: str, init: str) -> None:
    """What exec starts is in the scope, under its limits, and stops and ends with it."""
    command = [*oci, "exec", "-d", "--pid-file", "/tmp/pid", "c1", "/bin/sleep", "1000"]
    with open("/tmp/said", "w") as said:
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    assert done.returncode == 0, Path("/tmp/said").read_text()
    pid = Path("/tmp/pid").read_text()
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::{path}\n"
    assert Path(f"/sys/fs/cgroup{path}/pids.current").read_text() == "2\n"
    found = subprocess.run([*oci, "ps", "-f", "json", "c1"], check=True, stdout=subprocess.PIPE).stdout
    assert json.loads(found) == sorted([int(init), int(pid)])
    for verb, frozen in (("pause", "1"), ("resume", "0")):
        subprocess.run([*oci, verb, "c1"], check=True)
        assert f"frozen {frozen}\n" in Path(f"/sys/fs/cgroup{path}/cgroup.events").read_text()


@SCENARIOS.add
def the_oci_face() -> None:
    oci = str(Path(guest_drivers.COMMAND[0]).with_name("pycontain-oci"))
    bundle = Path("/tmp/bundle")
    bundle.mkdir()
    (bundle.parent / "rootfs" / "bin").mkdir(parents=True)
    subprocess.run(["cp", "/bin/busybox", "/tmp/rootfs/bin/sleep"], check=True)
    spec = json.loads(json.dumps(SPEC))
    spec["linux"]["cgroupsPath"] = "machine-test.slice:cri:abc"
    spec["linux"]["resources"] = {"memory": {"limit": 48 * MIB}, "pids": {"limit": 7}}
    (bundle / "config.json").write_text(json.dumps(spec))
    root = ["--root", "/tmp/oci"]
    create = [oci, *root, "--systemd-cgroup", "create", "-b", str(bundle), "--pid-file", "/tmp/pid", "c1"]
    subprocess.run(create, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    pid = Path("/tmp/pid").read_text()
    path = "/machine.slice/machine-test.slice/cri-abc.scope/container"
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::{path}\n"
    subprocess.run([oci, *root, "start", "c1"], check=True)
    assert Path(f"/sys/fs/cgroup{path}/memory.max").read_text() == f"{48 * MIB}\n"
    systemctl("daemon-reload")
    assert Path(f"/sys/fs/cgroup{path}/pids.max").read_text() == "7\n"
    _more_in_the_scope([oci, *root], path, pid)
    subprocess.run([oci, *root, "delete", "--force", "c1"], check=True)
    assert gone("cri-abc.scope")
    spec["linux"]["cgroupsPath"] = "/plain/path"
    (bundle / "config.json").write_text(json.dumps(spec))
    done = subprocess.run(
        [oci, *root, "--systemd-cgroup", "run", "-b", str(bundle), "c2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and 'of format "slice:prefix:name"' in done.stderr, done
    assert not Path("/tmp/oci/c2").exists()


#: As the user: a scope of its own manager, with what is delegated and with what is not.
AS_A_USER = """
import os, sys
from pycontain.cgroup import hierarchy, limits, systemd, unit
from pycontain.kernel.errors import Error
tree, where = hierarchy.find(), unit.parse(":p:mine", "x", "path", user=True)
scope, _ = systemd.place(tree, where, limits.compile({"memory": {"limit": 64 << 20}, "pids": {"limit": 9}}))
print(scope.path, scope.read("memory.max").strip(), scope.read("pids.max").strip(), os.stat(scope.directory).st_uid)
scope.undo()
try:
    systemd.place(tree, where, limits.compile({"unified": {"io.max": "7:0 rbps=1000"}}))
except Error as error:
    print(error.message)
scope, (warning,) = systemd.place(tree, where, limits.compile({"unified": {"io.max": "7:0 rbps=1000"}}), "warn")
print(warning)
scope.undo()
"""


@SCENARIOS.add
def a_users_own_systemd() -> None:
    systemctl("start", "user@1000.service")
    command = ["setpriv", "--reuid=1000", "--regid=1000", "--init-groups", sys.executable, "-c", AS_A_USER]
    environment = {**os.environ, "XDG_RUNTIME_DIR": "/run/user/1000"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done
    placed, refused, warned = done.stdout.splitlines()
    assert placed.startswith("/user.slice/user-1000.slice/user@1000.service/"), placed
    assert placed.endswith(f"/p-mine.scope/container {64 * MIB} 9 1000"), placed
    reason = "the io controller is not delegated to the user's own systemd: as root 'systemctl edit user@.service'"
    assert refused.startswith(f"io.max: {reason}") and "Delegate=cpu cpuset io memory pids" in refused, refused
    assert warned.startswith(f"io.max: not enforced: {reason}"), warned
    systemctl("stop", "user@1000.service")


@SCENARIOS.add
def a_hundred_starts_and_twenty_kills_leave_no_failed_scope() -> None:
    command = [*guest_drivers.COMMAND, "run", "--rm", *QUIET, "busybox", "true"]
    for _ in range(10):
        running = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(10)
        ]
        answers = [(process.communicate()[1], process.returncode) for process in running]
        assert answers == [("", 0)] * 10, answers
    made = [pycontain("run", "-d", *QUIET, "busybox", "sleep", "1000") for _ in range(10)]
    for identity in made[:5]:
        pycontain("kill", identity)
    for identity in made[5:]:
        os.kill(int(Path(f"/run/pycontain/containers/{identity}/pid").read_text().split()[0]), signal.SIGKILL)
    killed = [
        *guest_drivers.COMMAND,
        "run",
        *QUIET,
        "-m",
        "24m",
        "--memory-swap",
        "24m",
        "busybox",
        "tail",
        "/dev/zero",
    ]
    for _ in range(10):
        process = subprocess.Popen(killed, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert process.wait() == 137
    pycontain("rm", "-f", "--all")
    deadline = time.monotonic() + 60
    while scopes():
        assert time.monotonic() < deadline, scopes()
        time.sleep(0.1)
    assert not re.search("pycontain", systemctl("--failed", "--no-legend", "--plain"))


def main(command: str, names: list[str]) -> None:
    guest_drivers.SYSTEMD = True
    guest_drivers.COMMAND[:] = [command, "--cgroup-manager", "systemd"]
    SCENARIOS.main(names)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
