"""What is tried inside the test host of update, stats, events and OOM kills. See test_host_update.py.

Run there as ``python guest_update.py``: prints one JSON object a scenario. Imported elsewhere it only gives the names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.host.scenarios import Scenarios

BIN = Path(sys.executable).parent
BASE = Path("/mnt")
MIB = 1 << 20
SCENARIOS = Scenarios()
CGROUPS = Path("/sys/fs/cgroup")


def pycontain(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "pycontain"), "--root", f"{BASE}/root", "--run-root", f"{BASE}/run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=90)


def ok(*arguments: str) -> str:
    done = pycontain(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.strip()


def refused(*arguments: str) -> str:
    done = pycontain(*arguments)
    assert done.returncode == 125 and done.stderr.startswith("pycontain: "), done
    return done.stderr


@contextmanager
def container(*flags: str, command: tuple[str, ...] = ("sleep", "1000")) -> Iterator[Path]:
    """A container "c"; gives its cgroup."""
    found = ok("run", "-d", "--name", "c", "--network", "none", *flags, "busybox", *command)
    try:
        yield CGROUPS / "pycontain" / found
    finally:
        ok("rm", "-f", "c")


def config() -> bytes:
    return next((BASE / "root/containers").glob("*/config.json")).read_bytes()


def eventually(condition: Callable[[], object]) -> None:
    """The kernel tells of an OOM kill at most once in 10 ms, and the monitor writes it down after that."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def loop_device() -> Iterator[tuple[str, str]]:
    """A disk of the guest's own: its path, and its numbers as the kernel writes them."""
    subprocess.run(["busybox", "modprobe", "loop"], check=False)
    image = Path("/tmp/image")
    image.write_bytes(bytes(MIB))
    run = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True)
    path = run.stdout.strip()
    number = os.stat(path).st_rdev
    try:
        yield path, f"{os.major(number)}:{os.minor(number)}"
    finally:
        subprocess.run(["losetup", "-d", path], check=True)
        image.unlink()


# --- each limit, both ways ----------------------------------------------------------------------------------------

#: Flags, then what the kernel's files say, one step after the other in one container that runs.
STEPS: list[tuple[str, dict[str, str]]] = [
    ("-m 64m", {"memory.max": str(64 * MIB), "memory.swap.max": str(64 * MIB)}),
    ("-m 128m", {"memory.max": str(128 * MIB), "memory.swap.max": "0"}),
    ("-m 32m", {"memory.max": str(32 * MIB), "memory.swap.max": str(96 * MIB)}),
    ("--memory-swap 256m", {"memory.max": str(32 * MIB), "memory.swap.max": str(224 * MIB)}),
    ("-m 512m --memory-swap -1", {"memory.max": str(512 * MIB), "memory.swap.max": "max"}),
    ("--memory-reservation 32m", {"memory.low": str(32 * MIB), "memory.max": str(512 * MIB)}),
    ("--memory-reservation 16m", {"memory.low": str(16 * MIB)}),
    ("--memory-reservation -1", {"memory.low": "0"}),
    ("-m -1", {"memory.max": "max", "memory.swap.max": "max"}),
    ("--cpus 0.5", {"cpu.max": "50000 100000"}),
    ("--cpus 2", {"cpu.max": "200000 100000"}),
    ("--cpu-quota 20000", {"cpu.max": "20000 100000"}),
    ("--cpu-period 50000", {"cpu.max": "20000 50000"}),
    ("--cpus -1", {"cpu.max": "max 100000"}),
    ("--cpu-shares 2048", {"cpu.weight": "174"}),
    ("--cpu-shares 2", {"cpu.weight": "1"}),
    ("--cpu-shares 1024", {"cpu.weight": "100"}),
    ("--pids-limit 20", {"pids.max": "20"}),
    ("--pids-limit 40", {"pids.max": "40"}),
    ("--pids-limit 10 -m 64m --cpus 1", {"pids.max": "10", "memory.max": str(64 * MIB), "cpu.max": "100000 100000"}),
    ("--pids-limit -1", {"pids.max": "max"}),
]


def check(group: Path, expected: dict[str, str], step: str) -> None:
    for file, value in expected.items():
        text = (group / file).read_text().strip()
        assert text == value, f"{step}: {file} is {text}, not {value}"


@SCENARIOS.add
def each_limit_both_ways() -> None:
    with container() as group:
        for flags, expected in STEPS:
            assert ok("update", *flags.split(), "c") == "c"
            check(group, expected, flags)


@SCENARIOS.add
def disks_both_ways() -> None:
    with loop_device() as (path, numbers), container() as group:

        def limits() -> str:
            found = [line for line in (group / "io.max").read_text().splitlines() if line.startswith(f"{numbers} ")]
            return found[0].partition(" ")[2] if found else ""

        ok("update", "--device-read-bps", f"{path}:1m", "--device-write-iops", f"{path}:100", "c")
        assert limits() == f"rbps={MIB} wbps=max riops=max wiops=100", limits()
        ok("update", "--device-write-bps", f"{path}:2m", "--device-read-iops", f"{path}:50", "c")
        assert limits() == f"rbps={MIB} wbps={2 * MIB} riops=50 wiops=100", limits()
        ok("update", "--device-read-bps", f"{path}:3m", "--device-write-iops", f"{path}:0", "c")
        assert limits() == f"rbps={3 * MIB} wbps={2 * MIB} riops=50 wiops=max", limits()
        inspected = json.loads(ok("inspect", "c"))[0]["HostConfig"]
        assert inspected["BlkioDeviceReadBps"] == [{"Path": f"/dev/block/{numbers}", "Rate": 3 * MIB}]
        assert inspected["BlkioDeviceWriteIOps"] == []
        (row,) = json.loads(pycontain("stats", "--no-stream", "--format", "json", "c").stdout)
        assert {"rbps": 3 * MIB, "wbps": 2 * MIB, "riops": 50} in [disk["Limits"] for disk in row["Io"]], row["Io"]


@SCENARIOS.add
def run_takes_the_same_flags() -> None:
    with loop_device() as (path, numbers):
        flags = f"-m 64m --memory-reservation 32m --cpu-quota 30000 --cpu-period 60000 --device-read-bps {path}:1m"
        with container(*flags.split()) as group:
            check(group, {"memory.low": str(32 * MIB), "cpu.max": "30000 60000"}, flags)
            assert f"{numbers} rbps={MIB} wbps=max riops=max wiops=max" in (group / "io.max").read_text()


@SCENARIOS.add
def the_next_start_has_them() -> None:
    with container("-m", "64m") as group:
        ok("update", "-m", "96m", "--pids-limit", "30", "c")
        ok("stop", "-t", "0", "c")
        assert not group.exists()
        ok("update", "--cpus", "0.3", "--memory-swap", "128m", "c")
        assert not group.exists(), "what was tried is gone"
        ok("start", "c")
        expected = {
            "memory.max": str(96 * MIB),
            "memory.swap.max": str(32 * MIB),
            "pids.max": "30",
            "cpu.max": "30000 100000",
        }
        check(group, expected, "start")
        ok("update", "--pids-limit", "15", "c")
        ok("pause", "c")
        ok("update", "--pids-limit", "25", "c")
        check(group, {"pids.max": "25"}, "paused")
        ok("unpause", "c")


FILES = ("memory.max", "memory.swap.max", "memory.low", "cpu.max", "cpu.weight", "pids.max", "io.max")


def all_files(group: Path) -> dict[str, str]:
    return {name: (group / name).read_text() for name in FILES if (group / name).exists()}


@SCENARIOS.add
def a_refused_update_changes_none() -> None:
    with container("-m", "64m", "--pids-limit", "20", "--cpus", "0.5") as group:
        before, kept = all_files(group), config()
        for flags, words in (
            ("-m 256m --pids-limit 5", "--memory-swap as well"),
            ("-m 32m --blkio-weight 100 --pids-limit 5", "io weight"),
            ("-m 32m --cpuset-cpus 0", "cpuset"),
            ("--cpus 0.2 --device-read-bps /dev/null:1m", "is not a disk"),
        ):
            text = refused("update", *flags.split(), "c")
            assert words in text, text
            assert (all_files(group), config()) == (before, kept), flags
        ok("stop", "-t", "0", "c")
        text = refused("update", "--pids-limit", "5", "--blkio-weight", "100", "c")
        assert "io weight" in text and config() == kept, text


# --- figures ------------------------------------------------------------------------------------------------------


def row() -> dict[str, Any]:
    (found,) = json.loads(ok("stats", "--no-stream", "--format", "json", "c"))
    assert isinstance(found, dict)
    return found


def seconds_of(text: str) -> float:
    import datetime

    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def monitor_ticks() -> int:
    """Processor time of the monitor so far, in 10 ms."""
    pid = json.loads(ok("inspect", "c"))[0]["State"]["Pid"]
    monitor = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    fields = Path(f"/proc/{monitor}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@SCENARIOS.add
def an_inner_oom_kill_is_told_with_its_time() -> None:
    with container("-m", "32m", "--memory-swap", "32m"):
        state = json.loads(ok("inspect", "c"))[0]["State"]
        assert (state["OOMKilled"], state["OOMKills"], row()["OomKills"]) == (False, [], [])
        began = time.time()
        assert pycontain("exec", "c", "tail", "/dev/zero").returncode == 137
        eventually(lambda: json.loads(ok("inspect", "c"))[0]["State"]["OOMKills"])
        ended = time.time()
        state = json.loads(ok("inspect", "c"))[0]["State"]
        assert (state["Status"], state["OOMKilled"]) == ("running", True), state
        (kill,) = state["OOMKills"]
        assert kill["Count"] == 1 and began - 0.1 <= seconds_of(kill["Time"]) <= ended + 0.1, (began, kill, ended)
        assert row()["OomKills"] == [kill]
        assert row()["Memory"]["Events"]["oom_kill"] == 1
        before = monitor_ticks()
        for _ in range(5):
            row()
        assert monitor_ticks() - before <= 2, "it sleeps again when it has seen the event"
        # its end is that of init, and remembers; the next life has not seen one, but the list has
        ok("restart", "-t", "0", "c")
        state = json.loads(ok("inspect", "c"))[0]["State"]
        assert (state["OOMKilled"], state["OOMKills"]) == (False, [kill]), state


@SCENARIOS.add
def the_record_of_kills_is_bounded() -> None:
    with container("-m", "32m", "--memory-swap", "32m"):
        directory = next((BASE / "root/containers").iterdir())
        line = "1700000000.000000000 1\n"
        (directory / "oom").write_text(line * (8192 // len(line)))
        assert pycontain("exec", "c", "tail", "/dev/zero").returncode == 137
        eventually((directory / "oom.1").exists)
        assert not (directory / "oom").exists()
        assert pycontain("exec", "c", "tail", "/dev/zero").returncode == 137
        eventually((directory / "oom").exists)
        found = json.loads(ok("inspect", "c"))[0]["State"]["OOMKills"]
        assert len(found) == 8192 // len(line) + 2


@SCENARIOS.add
def init_killed_is_in_the_list() -> None:
    with container("-m", "32m", "--memory-swap", "32m", command=("tail", "/dev/zero")):
        assert ok("wait", "c") == "137"
        state = json.loads(ok("inspect", "c"))[0]["State"]
        assert state["OOMKilled"] is True and [kill["Count"] for kill in state["OOMKills"]] == [1], state


@SCENARIOS.add
def stats_have_limits_throttling_and_peaks() -> None:
    loop = ("sh", "-c", "while :; do :; done")
    with container("-m", "64m", "--cpus", "0.2", "--pids-limit", "20", command=loop):
        eventually(lambda: (row()["CpuTime"]["ThrottledPeriods"] or 0) > 3)
        found = row()
        assert (found["CpuTime"]["Quota"], found["CpuTime"]["Period"]) == (20000, 100000)
        assert found["CpuTime"]["ThrottledTime"] > 0
        assert (found["Memory"]["Max"], found["PidsLimit"]["Max"]) == (64 * MIB, 20)
        assert 0 < found["Memory"]["Current"] <= found["Memory"]["Peak"]
        assert found["PidsLimit"]["Peak"] in (None, 1)


@SCENARIOS.add
def beancounters_count() -> None:
    with container("-m", "64m", "--memory-swap", "64m", "--memory-reservation", "16m", "--pids-limit", "10"):
        fill = "dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null && rm /dev/shm/x"
        ok("exec", "c", "sh", "-c", fill)
        script = "i=0; while [ $i -lt 20 ]; do sleep 100 & i=$((i+1)); done"
        assert pycontain("exec", "c", "sh", "-c", script).returncode != 0
        lines = ok("stats", "--beancounters", "c").splitlines()
        assert lines[0].split() == ["uid", "resource", "held", "maxheld", "barrier", "limit", "failcnt"]
        assert lines[1].split()[0] == "c:"
        rows = {line.split()[-6]: line.split()[-5:] for line in lines[1:]}
        held, _, barrier, limit, failures = rows["numproc"]
        # the shell itself has ended
        assert (held, barrier, limit) == ("9", "10", "10") and int(failures) > 0, rows
        page = os.sysconf("SC_PAGE_SIZE")
        _, most, _, limit, _ = rows["physpages"]
        assert int(most) * page > 20 * MIB and int(limit) * page == 64 * MIB, rows
        assert int(rows["oomguarpages"][2]) * page == 16 * MIB
        assert rows["kmemsize"][1] == "-", rows
        (found,) = json.loads(ok("stats", "--beancounters", "--format", "json", "c"))
        counters = {one["Resource"]: one for one in found["Beancounters"]}
        assert (found["Name"], counters["numproc"]["Failcnt"]) == ("c", int(failures))
        assert counters["kmemsize"]["Maxheld"] is None


# --- the OCI runtime ----------------------------------------------------------------------------------------------


def oci_run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "pycontain-oci"), "--root", f"{BASE}/oci", *arguments]
    out, err = BASE / "out", BASE / "err"
    with out.open("w") as stdout, err.open("w") as stderr:
        done = subprocess.run(command, input=stdin, text=True, stdout=stdout, stderr=stderr, check=False, timeout=60)
    return subprocess.CompletedProcess(command, done.returncode, out.read_text(), err.read_text())


@contextmanager
def oci_container(script: str, resources: dict[str, Any]) -> Iterator[Path]:
    bundle = BASE / "bundle"
    (bundle / "rootfs/bin").mkdir(parents=True, exist_ok=True)
    if not (bundle / "rootfs/bin/busybox").exists():
        busybox = Path("/bin/busybox").read_bytes()
        (bundle / "rootfs/bin/busybox").write_bytes(busybox)
        (bundle / "rootfs/bin/busybox").chmod(0o755)
        for name in ("sh", "tail", "sleep"):
            (bundle / "rootfs/bin" / name).symlink_to("busybox")
    spec = {
        "ociVersion": "1.2.0",
        "process": {"args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "resources": resources,
        },
    }
    (bundle / "config.json").write_text(json.dumps(spec))
    done = oci_run("create", "-b", str(bundle), "o")
    assert done.returncode == 0, done
    try:
        yield CGROUPS / "pycontain-oci/o"
    finally:
        assert oci_run("delete", "--force", "o").returncode == 0


@SCENARIOS.add
def oci_limits_both_ways() -> None:
    with oci_container("sleep 1000", {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}) as group:
        assert oci_run("start", "o").returncode == 0
        for flags, expected in (
            ("--memory 128m", {"memory.max": str(128 * MIB), "memory.swap.max": str(32 * MIB)}),
            ("--memory-swap 256MiB", {"memory.max": str(128 * MIB), "memory.swap.max": str(128 * MIB)}),
            ("--memory 67108864 --memory-swap 67108864", {"memory.max": str(64 * MIB), "memory.swap.max": "0"}),
            ("--memory-reservation 1.5m", {"memory.low": str(3 * MIB // 2)}),
            ("--memory -1", {"memory.max": "max", "memory.swap.max": "max"}),
            ("--cpu-quota 40000 --cpu-period 80000", {"cpu.max": "40000 80000"}),
            ("--cpu-burst 10000", {"cpu.max.burst": "10000"}),
            ("--cpu-burst 0 --cpu-quota 8000", {"cpu.max.burst": "0", "cpu.max": "8000 80000"}),
            ("--cpu-quota -1", {"cpu.max": "max 80000"}),
            ("--cpu-share 1024", {"cpu.weight": "100"}),
            ("--cpu-idle 1", {"cpu.idle": "1"}),
            ("--cpu-idle 0 --cpu-share 2", {"cpu.idle": "0", "cpu.weight": "1"}),
            ("--pids-limit 33", {"pids.max": "33"}),
            ("--pids-limit -1", {"pids.max": "max"}),
        ):
            done = oci_run("update", *flags.split(), "o")
            assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), (flags, done)
            check(group, expected, flags)
        stored = json.loads((BASE / "oci/o/config.json").read_text())["linux"]["resources"]
        assert stored["memory"] == {"limit": -1, "swap": -1, "reservation": 3 * MIB // 2}, stored
        assert (stored["cpu"]["quota"], stored["cpu"]["period"], stored["pids"]["limit"]) == (-1, 80000, -1)


@SCENARIOS.add
def oci_what_the_kernel_refuses_is_taken_back() -> None:
    limits = {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}, "pids": {"limit": 20}, "cpu": {"quota": 50000}}
    with oci_container("sleep 1000", limits) as group:
        before, kept = all_files(group), (BASE / "oci/o/config.json").read_bytes()
        change = {"memory": {"limit": 32 * MIB}, "pids": {"limit": 5}, "cpu": {"quota": 20000, "shares": 2}}
        for last in ({"memory.high": "much"}, {"cpu.max.burst": "30000"}, {"pids.max": "-7"}, {"no.such": "1"}):
            done = oci_run("update", "-r", "-", "o", stdin=json.dumps({**change, "unified": last}))
            assert done.returncode == 1 and next(iter(last)).partition(".")[0] in done.stderr, done
            assert all_files(group) == before, last
            assert (BASE / "oci/o/config.json").read_bytes() == kept
        check_first = {"memory": {"limit": 4096, "checkBeforeUpdate": True}}
        done = oci_run("update", "-r", "-", "o", stdin=json.dumps(check_first))
        assert done.returncode == 1 and "checkBeforeUpdate" in done.stderr and all_files(group) == before, done


@SCENARIOS.add
def oci_events_tell_of_a_kill_and_end() -> None:
    script = "tail /dev/zero; tail /dev/zero; sleep 1000"
    with oci_container(script, {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}, "pids": {"limit": 20}}):
        command = [str(BIN / "pycontain-oci"), "--root", f"{BASE}/oci", "events", "--interval", "500ms", "o"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stream:
            try:
                assert stream.stdout
                events = [json.loads(stream.stdout.readline())]  # from now on it misses none
                assert oci_run("start", "o").returncode == 0
                while [event["type"] for event in events].count("oom") < 2:
                    events.append(json.loads(stream.stdout.readline()))
                assert oci_run("kill", "o", "KILL").returncode == 0
                events += [json.loads(line) for line in stream.stdout]
                assert stream.wait(20) == 0
            finally:
                stream.kill()
        kinds = [event["type"] for event in events]
        assert kinds.count("oom") == 2 and "stats" in kinds, kinds
        assert {"type": "oom", "id": "o"} in events
        data = next(event["data"] for event in events if event["type"] == "stats")
        assert data["memory"]["usage"]["limit"] == 32 * MIB and data["memory"]["swap"]["limit"] == 32 * MIB, data
        assert data["pids"]["limit"] == 20 and data["memory"]["raw"]["anon"] >= 0
        assert set(data) >= {"cpu", "memory", "pids", "blkio", "hugetlb"}


def main(names: list[str]) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", BASE], check=True)
    ok("image", "build", "-q", "busybox")
    SCENARIOS.main(names)


if __name__ == "__main__":
    main(sys.argv[1:])
