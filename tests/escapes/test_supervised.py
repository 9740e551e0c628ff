"""Races against the supervisor of system calls: what it is told changes while it looks. docs/supervised-calls.md."""

from __future__ import annotations

import os

import pytest

from supervised_calls import ALL, python
from world import World

#: Seconds for all rounds of one race.
TIMEOUT = 1800
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(TIMEOUT),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64"),
]

#: A second thread changes path, type and data as fast as it can; what is allowed of both is one of each.
RACE = """
import time
os.mkdir("/m"), os.mkdir("/d")
kind = ctypes.create_string_buffer(b"tmpfs", 16)
target = ctypes.create_string_buffer(b"/m", 64)
path = ctypes.create_string_buffer(b"/d/x", 64)
stop = False
def swap():
    while not stop:
        kind.value, target.value, path.value = b"proc", b"/proc/sys", b"/proc/x"
        kind.value, target.value, path.value = b"tmpfs", b"/m", b"/d/x"
        kind.value, target.value, path.value = b"sysfs", b"/sys/firmware", b"/dev/x"
        kind.value, target.value, path.value = b"tmpfs", b"/m", b"/d/x"
thread = threading.Thread(target=swap)
def table():
    return sorted(line.split(" - ")[1].split()[0] + line.split()[4] for line in open("/proc/self/mountinfo"))
sys.setswitchinterval(1e-6)
before = table()
thread.start()
seen, wrong = {}, []
for round in range(ROUNDS):
    answer = call(libc.mount, b"race", target, kind, ctypes.c_ulong(0), None)
    seen[answer] = seen.get(answer, 0) + 1
    extra = [line for line in table() if line not in before]
    if extra not in ([], ["tmpfs/m"]) or (answer == "done") != bool(extra):
        wrong.append((answer, extra))
    if extra:
        assert umount("/m") == "done"
    answer = call(libc.mknod, path, CHAR, ctypes.c_ulong(os.makedev(1, 3)))
    if os.path.lexists("/d/x"):
        os.unlink("/d/x")
    elif answer == "done":
        wrong.append("a device elsewhere")
stop = True
thread.join()
print(sum(seen.values()), sorted(seen), wrong, table() == before)
"""


def test_memory_that_changes_during_the_call(world: World, rounds: int) -> None:
    (line,) = python(world, RACE.replace("ROUNDS", str(rounds)), *ALL, timeout=TIMEOUT)
    count, rest = line.split(" ", 1)
    assert int(count) == rounds and "'done'" in rest and "'EPERM'" in rest and rest.endswith("[] True"), line


#: A link in the way of the target, swapped with a directory.
LINKS = """
import time
os.makedirs("/a/m"), os.makedirs("/b"), os.symlink("/proc/sys", "/b/m"), os.mkdir("/l")
os.symlink("/a", "/way")
stop = False
def swap():
    while not stop:
        for to in ("/b", "/a", "/sys", "/a", "/dev", "/a"):
            os.symlink(to, "/new"), os.rename("/new", "/way")
thread = threading.Thread(target=swap)
def table():
    return sorted(line.split()[4] for line in open("/proc/self/mountinfo"))
before = table()
thread.start()
seen, wrong = {}, []
for round in range(ROUNDS):
    answer = mount("race", "/way/m", "tmpfs")
    over = mount("o", "/l", "overlay", 1, "lowerdir=/way/m:/way")
    if over == "done":
        shown = os.listdir("/l")
        if {"kernel", "firmware", "null", "net"} & set(shown):
            wrong.append(shown)
        assert umount("/l") == "done"
    extra = [line for line in table() if line not in before]
    if extra not in ([], ["/a/m"]):
        wrong.append(extra)
    if extra and umount("/a/m") != "done":
        wrong.append("stays")
    umount("/way/m", 2)
    seen[answer] = seen.get(answer, 0) + 1
stop = True
thread.join()
print(sum(seen.values()), sorted(seen), wrong, table() == before)
"""


def test_a_path_that_changes_during_the_call(world: World, rounds: int) -> None:
    (line,) = python(world, LINKS.replace("ROUNDS", str(rounds)), *ALL, timeout=TIMEOUT)
    count, rest = line.split(" ", 1)
    assert int(count) == rounds and "'done'" in rest and rest.endswith("[] True"), line
