"""pycontain-oci update and events: limits of the one controller that this kind of host has, and device rules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oci_bundle import Oci
from pycontain.cgroup import hierarchy
from pycontain.kernel import bpf
from world import PYCONTAIN_OCI, eventually

MAX = "hugetlb.2MB.max"
PAGE = 2 << 20
TUN = {"type": "c", "major": 10, "minor": 200, "access": "rwm"}
KMSG = {"type": "c", "major": 1, "minor": 11, "access": "r"}

needs_hugetlb = pytest.mark.skipif(
    "hugetlb" not in hierarchy.find().controllers or not Path("/sys/kernel/mm/hugepages/hugepages-2048kB").exists(),
    reason="cgroup v2 has no hugetlb controller for pages of 2 MB here",
)


@pytest.fixture
def running(oci: Oci) -> Oci:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.spec["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    oci.ok("create", "-b", str(oci.bundle), "c")
    oci.ok("start", "c")
    return oci


def group(oci: Oci) -> Path:
    return Path(json.loads((oci.root / "c/state.json").read_text())["cgroup"])


def update(oci: Oci, resources: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    path = oci.bundle / "resources.json"
    path.write_text(json.dumps(resources))
    return oci("update", "-r", str(path), "c")


def stored(oci: Oci) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((oci.root / "c/config.json").read_text())["linux"].get("resources", {})
    return found


def huge(pages: int) -> dict[str, Any]:
    return {"hugepageLimits": [{"pageSize": "2MB", "limit": pages * PAGE}]}


@needs_hugetlb
def test_a_limit_both_ways(running: Oci) -> None:
    for pages in (3, 5, 1):
        done = update(running, huge(pages))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert (group(running) / MAX).read_text() == f"{pages * PAGE}\n"
        assert stored(running)["hugepageLimits"] == huge(pages)["hugepageLimits"]
    assert stored(running)["devices"] == [{"allow": False, "access": "rwm"}]


@needs_hugetlb
def test_from_standard_input_while_created_and_frozen(oci: Oci) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.ok("create", "-b", str(oci.bundle), "c")
    command = [PYCONTAIN_OCI, "--root", str(oci.root), "update", "--resources", "-", "c"]
    for pages, frozen in ((2, "0"), (4, "1")):
        (group(oci) / "cgroup.freeze").write_text(frozen)
        subprocess.run(command, input=json.dumps(huge(pages)), text=True, check=True, timeout=60)
        assert (group(oci) / MAX).read_text() == f"{pages * PAGE}\n"
    (group(oci) / "cgroup.freeze").write_text("0")


@needs_hugetlb
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unified": {"cgroup.max.depth": "-5"}}, "cgroup.max.depth"),
        ({"unified": {"nosuch.file": "1"}}, "nosuch"),
        ({"cpu": {"quota": 5}}, "linux.resources.cpu.quota"),
        ({"devices": [{"allow": True, "access": "q"}]}, "linux.resources.devices[0].access"),
        ({"cpu": {"cpus": "0"}}, "cpuset controller"),
    ],
)
def test_a_refused_update_changes_nothing(running: Oci, change: dict[str, Any], words: str) -> None:
    assert update(running, huge(3)).returncode == 0
    before, programs = stored(running), filters(running)
    done = update(running, {**huge(7), **change})
    assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1, done
    assert (group(running) / MAX).read_text() == f"{3 * PAGE}\n"
    assert (stored(running), filters(running)) == (before, programs)


@needs_hugetlb
def test_a_full_disk_takes_all_of_it_back(running: Oci) -> None:
    assert update(running, huge(3)).returncode == 0
    programs = filters(running)
    subprocess.run(["mount", "--bind", running.root / "c", running.root / "c"], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", running.root / "c"], check=True)
        done = update(running, {**huge(7), "devices": [{"allow": True, **TUN}]})
    finally:
        subprocess.run(["umount", "-l", running.root / "c"], check=True)
    assert done.returncode == 1 and "Read-only file system" in done.stderr, done
    assert (group(running) / MAX).read_text() == f"{3 * PAGE}\n"
    assert filters(running) == programs


def test_flags_that_this_host_cannot_enforce(running: Oci) -> None:
    for flag, value, controller in (
        ("--memory", "512m", "memory"),
        ("--memory-reservation", "1GiB", "memory"),
        ("--cpu-share", "512", "cpu"),
        ("--cpu-quota", "20000", "cpu"),
        ("--cpu-burst", "100", "cpu"),
        ("--cpu-idle", "1", "cpu"),
        ("--cpuset-cpus", "0", "cpuset"),
        ("--pids-limit", "10", "pids"),
        ("--blkio-weight", "100", "io"),
    ):
        if controller in hierarchy.find().controllers:
            continue
        done = running("update", flag, value, "c")
        assert done.returncode == 1 and f"the {controller} controller is not available" in done.stderr, done
    assert "resources" in json.loads((running.root / "c/config.json").read_text())["linux"]
    assert running("update", "--memory", "-1", "--memory-swap", "-1", "--pids-limit", "-1", "c").returncode == 0
    assert stored(running)["pids"] == {"limit": -1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--memory", "64x", "c"), "'64x' is not a size"),
        (("--pids-limit", "many", "c"), "'many' is not a whole number"),
        (("--l3-cache-schema", "L3:0=f", "c"), "resctrl"),
        (("--mem-bw-schema", "MB:0=50", "c"), "resctrl"),
        (("--cpu-rt-runtime", "1000", "c"), "realtime"),
        (("--kernel-memory", "64m", "c"), "cgroup v2 has no limit of kernel memory alone"),
        (("--kernel-memory-tcp", "64m", "c"), "cgroup v2 has no limit of kernel memory alone"),
        (("-r", "/no/such", "c"), "/no/such: No such file or directory"),
        (("-r", "/dev/null", "c"), "not JSON"),
        (("--memory-swap", "1g", "c"), "needs memory.limit"),
        (("--memory", "1g", "d"), "does not exist"),
        (("--memory", "1g"), "exactly one container ID"),
    ],
)
def test_what_cannot_be(running: Oci, arguments: tuple[str, ...], words: str) -> None:
    done = running("update", *arguments)
    assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1, done


def test_one_that_has_ended(running: Oci) -> None:
    running.ok("kill", "c", "KILL")
    assert eventually(lambda: running.state("c")["status"] == "stopped")
    assert "it is stopped" in running("update", "--pids-limit", "-1", "c").stderr
    assert "is not running" in running("events", "--stats", "c").stderr


# --- devices ------------------------------------------------------------------------------------------------------


def filters(oci: Oci) -> list[int]:
    """The ids of the programs that are attached."""
    fd = os.open(group(oci), os.O_RDONLY)
    try:
        return bpf.attached(fd)
    finally:
        os.close(fd)


#: In the group: "PATH" a line on stdin, the answer is an errno. The second argument: a node to open again and again.
PROBE = """
import os, sys, threading
with open(sys.argv[1] + "/cgroup.procs", "w") as file: file.write("0")
def attempt(path):
    try:
        os.close(os.open(path, os.O_RDONLY))
        return 0
    except OSError as error:
        return error.errno
seen = set()
def hammer():
    while True:
        seen.add((attempt(sys.argv[2] + "/never"), attempt(sys.argv[2] + "/always")))
threading.Thread(target=hammer, daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    print(sorted(seen) if line == "seen\\n" else attempt(line.strip()), flush=True)
os._exit(0)
"""


@pytest.fixture
def nodes() -> Iterator[Path]:
    directory = Path(f"/dev/shm/pycontain-test-update-{os.getpid()}")
    directory.mkdir()
    for name, (major, minor) in {"tun": (10, 200), "never": (1, 11), "always": (1, 3)}.items():
        os.mknod(directory / name, 0o20600, os.makedev(major, minor))
    yield directory
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


def test_device_rules_are_replaced_and_never_away(running: Oci, nodes: Path) -> None:
    command = [sys.executable, "-c", PROBE, str(group(running)), str(nodes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as probe:
        assert probe.stdin and probe.stdout

        def ask(what: str) -> str:
            assert probe.stdin and probe.stdout
            probe.stdin.write(f"{what}\n")
            probe.stdin.flush()
            return probe.stdout.readline().strip()

        assert probe.stdout.readline() == "ready\n"
        assert ask(f"{nodes}/tun") == "1"
        for turn in range(10):
            allow = turn % 2 == 0
            assert update(running, {"devices": [{"allow": allow, **TUN}]}).returncode == 0
            assert (ask(f"{nodes}/tun") == "1") is not allow
            assert len(filters(running)) == 1
        assert ask("seen") == "[(1, 0)]", "what is never allowed, and what always is, while rules are replaced"
        probe.stdin.close()
    assert stored(running)["devices"] == [{"allow": False, **TUN}]


def test_rules_of_another_are_left_alone(running: Oci) -> None:
    """As systemd has its own program for DeviceAllow=."""
    foreign = load_foreign()
    fd = os.open(group(running), os.O_RDONLY)
    try:
        bpf.attach_device(fd, foreign)
        before = set(bpf.attached(fd))
        assert update(running, {"devices": [{"allow": True, **KMSG}]}).returncode == 0
        after = set(bpf.attached(fd))
        assert len(after) == 2 and len(before & after) == 1
    finally:
        bpf.detach_device(fd, foreign)
        os.close(fd)
        os.close(foreign)


def load_foreign() -> int:
    from pycontain.cgroup import devices

    name, bpf.NAME = bpf.NAME, b"somebody"
    try:
        return bpf.load_device_program(devices.default_program())
    finally:
        bpf.NAME = name


# --- events -------------------------------------------------------------------------------------------------------


def test_stats_once(running: Oci) -> None:
    event = json.loads(running.ok("events", "--stats", "c"))
    assert (event["type"], event["id"]) == ("stats", "c")
    assert set(event["data"]) >= {"cpu", "memory", "pids", "blkio", "hugetlb"}
    assert event["data"]["cpu"]["usage"]["total"] > 0


def test_the_stream_ends_with_the_container(running: Oci) -> None:
    command = [PYCONTAIN_OCI, "--root", str(running.root), "events", "--interval", "50ms", "c"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stream:
        assert stream.stdout
        for _ in range(2):
            assert json.loads(stream.stdout.readline())["type"] == "stats"
        running.ok("kill", "c", "KILL")
        rest = stream.stdout.read()
        assert stream.wait(20) == 0
    assert all(json.loads(line)["type"] == "stats" for line in rest.splitlines())


def test_nothing_is_done_between_the_intervals(running: Oci) -> None:
    """It sleeps in poll(2) until the kernel says something."""
    command = [PYCONTAIN_OCI, "--root", str(running.root), "events", "--interval", "9999999h", "c"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stream:
        wchan = Path(f"/proc/{stream.pid}/wchan")
        stat = Path(f"/proc/{stream.pid}/stat")
        assert eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S" and "poll" in wchan.read_text())
        switches = [line for line in Path(f"/proc/{stream.pid}/status").read_text().splitlines() if "ctxt" in line]
        assert running.state("c")["status"] == "running"
        again = [line for line in Path(f"/proc/{stream.pid}/status").read_text().splitlines() if "ctxt" in line]
        assert switches == again
        running.ok("kill", "c", "KILL")
        assert stream.wait(20) == 0
        assert stream.stdout and stream.stdout.read() == ""


@pytest.mark.parametrize("interval", ["0s", "5", "x", "-1s", "1.2.3s", ""])
def test_intervals_that_are_none(running: Oci, interval: str) -> None:
    done = running("events", f"--interval={interval}", "c")
    assert done.returncode == 1 and "is not a duration" in done.stderr
