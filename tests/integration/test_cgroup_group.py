"""Cgroups made, frozen, killed and removed in this machine's cgroup v2, in a group of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontain.cgroup import group as groups
from pycontain.cgroup import hierarchy as hierarchies
from pycontain.cgroup import limits, tree
from pycontain.cgroup.group import Group
from pycontain.cgroup.hierarchy import Hierarchy
from pycontain.kernel.errors import Error, InUse, NotFound, SpecError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes cgroups, which root may")


@pytest.fixture(scope="module")
def hierarchy() -> Hierarchy:
    return hierarchies.find()


@pytest.fixture
def top(hierarchy: Hierarchy, request: pytest.FixtureRequest) -> Iterator[str]:
    """The path of a group of the test's own; what is left in it is killed and removed."""
    path = f"/pycontain-test-{os.getpid()}-{abs(hash(request.node.name)) % 100000}"
    yield path
    try:
        left = groups.find(hierarchy, path)
    except NotFound:
        return
    with left:
        for fd in tree.each(left.fd):
            for name in ("cgroup.freeze",):
                handle = os.open(name, os.O_WRONLY, dir_fd=fd)
                os.write(handle, b"0")
                os.close(handle)
        left.kill()
        left.remove()


@pytest.fixture
def sleeper() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of the test; they are killed at the end."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def start(
    group: Group, started: list[subprocess.Popen[bytes]], *argv: str, stdin: int | None = None
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(argv or ("sleep", "1000"), stdin=stdin, start_new_session=True)
    started.append(process)
    # Popen returns when the descriptors are closed, which execve(2) does before it gives the process its new name.
    while Path(f"/proc/{process.pid}/comm").read_text().strip() != process.args[0]:  # type: ignore[index]
        os.sched_yield()
    group.add(process.pid)
    return process


def test_create_makes_parents_and_remove_takes_it_away(hierarchy: Hierarchy, top: str) -> None:
    with groups.create(hierarchy, f"{top}/a/b") as group:
        assert group.path == f"{top}/a/b"
        assert group.made == [hierarchy.directory(top + rest) for rest in ("", "/a", "/a/b")]
        assert os.path.samestat(os.fstat(group.fd), os.stat(group.directory))
        assert group.events() == {"populated": "0", "frozen": "0"}
        group.remove()
        assert not os.path.exists(group.directory)
        group.remove()
    with groups.find(hierarchy, top) as parent:
        parent.remove()


def test_the_descriptor_is_inherited_only_on_request(hierarchy: Hierarchy, top: str) -> None:
    with groups.create(hierarchy, top) as group:
        assert not os.get_inheritable(group.fd)
        assert group.inherit() == group.fd
        script = f"import os; print(os.path.exists('/proc/self/fd/{group.fd}/cgroup.procs'))"
        run = subprocess.run([sys.executable, "-c", script], close_fds=False, capture_output=True, check=True)
        assert run.stdout == b"True\n"


def test_undo_removes_what_was_made_and_only_that(hierarchy: Hierarchy, top: str) -> None:
    with groups.create(hierarchy, top):
        groups.create(hierarchy, f"{top}/a/b").undo()
        assert sorted(p.name for p in Path(hierarchy.directory(top)).iterdir() if p.is_dir()) == []


def test_an_existing_empty_group_is_taken_and_not_undone(hierarchy: Hierarchy, top: str) -> None:
    with groups.create(hierarchy, top):
        again = groups.create(hierarchy, top)
        assert again.made == []
        again.undo()
        assert os.path.exists(hierarchy.directory(top))


def test_a_group_with_processes_is_refused(
    hierarchy: Hierarchy, top: str, sleeper: list[subprocess.Popen[bytes]]
) -> None:
    with groups.create(hierarchy, f"{top}/a") as group:
        process = start(group, sleeper)
        with pytest.raises(InUse, match=rf"{top}/a: process {process.pid} \(sleep\) lives in it"):
            groups.create(hierarchy, f"{top}/a")
        # A process below counts as well.
        with pytest.raises(InUse, match=f"process {process.pid}"):
            groups.create(hierarchy, top)
        assert group.processes() == [process.pid]


def test_a_frozen_group_and_a_group_below_one_are_refused(hierarchy: Hierarchy, top: str) -> None:
    with groups.create(hierarchy, top) as group:
        group.freeze()
        for path in (top, f"{top}/a"):
            with pytest.raises(InUse, match=rf"is frozen.*echo 0 > {group.directory}/cgroup\.freeze"):
                groups.create(hierarchy, path)
        assert not os.path.exists(f"{group.directory}/a")
        group.thaw()
        groups.create(hierarchy, f"{top}/a").close()


def test_a_threaded_parent_is_named(hierarchy: Hierarchy, top: str) -> None:
    with groups.create(hierarchy, top), groups.create(hierarchy, f"{top}/threads") as child:
        child.write("cgroup.type", "threaded")
        with pytest.raises(Error, match=rf"'domain invalid', because cgroup {top}/?\S* is threaded"):
            groups.create(hierarchy, f"{top}/a/b")
        assert not os.path.exists(hierarchy.directory(f"{top}/a"))


def test_a_name_that_is_a_file_is_refused(hierarchy: Hierarchy, top: str) -> None:
    with groups.create(hierarchy, top):
        for name in ("cgroup.procs", "cgroup.procs/x"):
            with pytest.raises(Error, match="control file"):
                groups.create(hierarchy, f"{top}/{name}")


def test_the_limit_of_descendants_is_named(hierarchy: Hierarchy, top: str) -> None:
    with groups.create(hierarchy, top) as group:
        group.write("cgroup.max.descendants", "1")
        with pytest.raises(Error, match=r"cgroup\.max\.descendants"):
            groups.create(hierarchy, f"{top}/a/b")
        assert not os.path.exists(f"{group.directory}/a")


@pytest.mark.parametrize("path", ["", "/", "/a/../b", "x\n"])
def test_a_path_that_cannot_be(hierarchy: Hierarchy, path: str) -> None:
    with pytest.raises(SpecError):
        groups.create(hierarchy, path)


def test_find_what_is_not_there(hierarchy: Hierarchy, top: str) -> None:
    with pytest.raises(NotFound, match=top):
        groups.find(hierarchy, top)


def test_a_missing_controller_makes_nothing(hierarchy: Hierarchy, top: str) -> None:
    with pytest.raises(
        Error, match=rf"cgroup {top}: the nonsense controller is not available in cgroup v2 on this host"
    ):
        groups.create(hierarchy, top, {"nonsense"})
    assert not os.path.exists(hierarchy.directory(top))
    with groups.create(hierarchy, top, {"nonsense"}, missing="report") as group:
        assert list(group.missing) == ["nonsense"]


def test_ten_starts_at_once_in_one_parent(hierarchy: Hierarchy, top: str) -> None:
    """Every thread makes and undoes a group in parents that nobody keeps, so parents come and go all the time."""
    failures: list[BaseException] = []
    made = [0] * 10
    barrier = threading.Barrier(10)

    def work(number: int) -> None:
        try:
            barrier.wait()
            for round in range(40):
                group = groups.create(hierarchy, f"{top}/shared/{number}-{round}")
                assert group.events()["populated"] == "0"
                made[number] += 1
                group.undo()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert made == [40] * 10


def test_a_parent_that_is_taken_away_meanwhile_is_made_again(hierarchy: Hierarchy, top: str) -> None:
    """Another container's end removes the parent when it is empty, at any moment of our start."""
    with groups.create(hierarchy, top):
        parent = hierarchy.directory(f"{top}/shared")
        taker = os.fork()
        if not taker:
            try:
                while True:
                    try:
                        os.rmdir(parent)
                    except OSError:
                        pass
            finally:
                os._exit(1)
        try:
            for number in range(1500):
                groups.create(hierarchy, f"{top}/shared/{number}").undo()
        finally:
            os.kill(taker, signal.SIGKILL)
            os.waitpid(taker, 0)


def test_freeze_and_thaw_wait_for_the_event(
    hierarchy: Hierarchy, top: str, sleeper: list[subprocess.Popen[bytes]]
) -> None:
    with groups.create(hierarchy, f"{top}/a") as group:
        process = start(group, sleeper, "sh", "-c", "while :; do :; done")
        group.freeze()
        assert group.events()["frozen"] == "1"
        before = Path(f"/proc/{process.pid}/stat").read_text().split()[13:15]
        group.freeze()
        assert Path(f"/proc/{process.pid}/stat").read_text().split()[13:15] == before
        group.thaw()
        assert group.events()["frozen"] == "0"


def test_a_group_whose_path_another_one_has_is_gone(hierarchy: Hierarchy, top: str) -> None:
    """As when a container was started again meanwhile."""
    with groups.create(hierarchy, f"{top}/a") as group:
        os.rmdir(group.directory)
        os.mkdir(group.directory)
        for change in (group.freeze, group.thaw):
            with pytest.raises(NotFound, match="it does not exist any more"):
                change()
        group.kill()


def test_thaw_below_a_frozen_group_says_so(
    hierarchy: Hierarchy, top: str, sleeper: list[subprocess.Popen[bytes]]
) -> None:
    with groups.create(hierarchy, top) as parent, groups.create(hierarchy, f"{top}/a") as group:
        start(group, sleeper)
        parent.freeze()
        with pytest.raises(Error, match=f"stays frozen, because {parent.directory} above it is"):
            group.thaw()
        parent.thaw()


FROZEN_WRITER = """
import os, subprocess, sys
image, point = sys.argv[1:]
subprocess.run(["truncate", "-s", "8M", image], check=True)
subprocess.run(["mke2fs", "-q", "-F", image], check=True)
os.makedirs(point)
subprocess.run(["mount", "-o", "loop", image, point], check=True)
subprocess.run(["fsfreeze", "-f", point], check=True)
pid = os.fork()
if not pid:
    open(point + "/file", "w").write("x")
    os._exit(0)
print(pid, flush=True)
sys.stdin.readline()
subprocess.run(["fsfreeze", "-u", point], check=True)
os.waitpid(pid, 0)
subprocess.run(["umount", point], check=True)
"""


def test_freeze_names_the_process_that_does_not_stop_and_thaws(hierarchy: Hierarchy, top: str, tmp_path: Path) -> None:
    """A write to a frozen file system waits uninterruptibly in the kernel."""
    run = subprocess.Popen(
        [
            "unshare",
            "-m",
            "--propagation",
            "private",
            sys.executable,
            "-c",
            FROZEN_WRITER,
            tmp_path / "i",
            tmp_path / "p",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert run.stdin
    assert run.stdout
    try:
        line = run.stdout.readline()
        if not line:
            pytest.skip("no loop device or fsfreeze here")
        pid = int(line)
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] != "D":
            os.sched_yield()
        with groups.create(hierarchy, top) as group:
            group.add(pid)
            with pytest.raises(Error, match=rf"not frozen after 0\.2 s.*uninterruptible: process {pid} \(python"):
                group.freeze(timeout=0.2)
            assert group.read("cgroup.freeze") == "0\n"
            run.stdin.write(b"\n")
            run.stdin.close()
            assert run.wait(30) == 0
            group.remove()
    finally:
        if run.poll() is None:
            run.stdin.close()
            run.wait(30)


#: Waits for a line: what it began before it is in the group would stay out of it.
FORKER = "read go; for i in 1 2 3 4 5; do sleep 1000 & done; wait"


@pytest.mark.parametrize("how", ["kill", "_kill_each"])
def test_kill_ends_everybody_below_and_remove_waits_for_it(
    hierarchy: Hierarchy, top: str, sleeper: list[subprocess.Popen[bytes]], how: str
) -> None:
    with groups.create(hierarchy, top) as group, groups.create(hierarchy, f"{top}/a/b") as inner:
        shell = start(inner, sleeper, "sh", "-c", FORKER, stdin=subprocess.PIPE)
        other = start(inner, sleeper)
        assert shell.stdin
        shell.stdin.write(b"go\n")
        shell.stdin.close()
        while len(inner.processes()) < 3:  # and it goes on with it
            os.sched_yield()
        if how == "kill":
            group.kill()
        else:
            group._kill_each(60)
        assert shell.wait(60) == -signal.SIGKILL
        assert other.wait(60) == -signal.SIGKILL
        group.remove()
        assert not os.path.exists(group.directory)
        group.kill()


def test_kill_ends_what_is_frozen(hierarchy: Hierarchy, top: str, sleeper: list[subprocess.Popen[bytes]]) -> None:
    with groups.create(hierarchy, top) as group:
        process = start(group, sleeper)
        group.freeze()
        group.kill()
        assert process.wait(60) == -signal.SIGKILL


def test_remove_waits_as_long_as_it_must_and_no_longer(
    hierarchy: Hierarchy, top: str, sleeper: list[subprocess.Popen[bytes]]
) -> None:
    with groups.create(hierarchy, top) as group:
        process = start(group, sleeper, "cat", stdin=subprocess.PIPE)
        assert process.stdin
        input, told = process.stdin, threading.Event()

        def end() -> None:
            told.set()
            input.close()

        timer = threading.Timer(0.5, end)
        began, busy = time.monotonic(), time.process_time()
        timer.start()
        group.remove(timeout=120)
        assert told.is_set()
        assert time.monotonic() - began < 60
        assert time.process_time() - busy < 0.1
        assert process.wait() == 0


def test_remove_gives_up_and_names_who_is_there(
    hierarchy: Hierarchy, top: str, sleeper: list[subprocess.Popen[bytes]]
) -> None:
    with groups.create(hierarchy, top) as group:
        process = start(group, sleeper)
        with pytest.raises(InUse, match=rf"not removed after 0\.1 s: process {process.pid} \(sleep\)"):
            group.remove(timeout=0.1)


def test_a_tree_deeper_than_path_max_is_removed(hierarchy: Hierarchy, top: str) -> None:
    """What a guest with a cgroup of its own can leave behind."""
    with groups.create(hierarchy, top) as group:
        current = os.dup(group.fd)
        for _ in range(60):
            os.mkdir("x" * 100, dir_fd=current)
            below = os.open("x" * 100, os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
            os.close(current)
            current = below
        os.mkdir("leaf", dir_fd=current)
        os.close(current)
        os.mkdir("sibling", dir_fd=group.fd)
        assert len(list(tree.each(group.fd))) == 63
        group.remove()
        assert not os.path.exists(group.directory)


def test_one_walk_removes_all(hierarchy: Hierarchy, top: str) -> None:
    with groups.create(hierarchy, top) as group:
        for name in ("a/b/c", "a/d", "e/f/g/h", "i"):
            os.makedirs(f"{group.directory}/{name}")
        assert len(list(tree.each(group.fd))) == 10
        assert tree.remove_below(group.fd)
        assert len(list(tree.each(group.fd))) == 1


def test_a_walk_leaves_what_is_busy_and_says_so(
    hierarchy: Hierarchy, top: str, sleeper: list[subprocess.Popen[bytes]]
) -> None:
    with groups.create(hierarchy, top) as group, groups.create(hierarchy, f"{top}/a/busy") as inner:
        os.makedirs(f"{group.directory}/a/idle/x")
        start(inner, sleeper)
        assert not tree.remove_below(group.fd)
        assert os.listdir(f"{group.directory}/a").count("busy") == 1
        assert not os.path.exists(f"{group.directory}/a/idle")


def test_remove_takes_groups_that_vanish_meanwhile(hierarchy: Hierarchy, top: str) -> None:
    with groups.create(hierarchy, top) as group:
        stop = threading.Event()

        def churn() -> None:
            while not stop.is_set():
                try:
                    os.makedirs(f"{group.directory}/a/b/c")
                    os.rmdir(f"{group.directory}/a/b/c")
                    os.rmdir(f"{group.directory}/a/b")
                    os.rmdir(f"{group.directory}/a")
                except OSError:
                    pass

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for _ in range(300):
                tree.remove_below(group.fd)
                assert sum(1 for _ in tree.each(group.fd)) >= 1
        finally:
            stop.set()
            thread.join()
        group.remove()


def test_delegate_gives_what_the_kernel_lists_and_no_limit(hierarchy: Hierarchy, top: str) -> None:
    listed = set(Path("/sys/kernel/cgroup/delegate").read_text().split())
    with groups.create(hierarchy, top) as group:
        group.delegate(12345, 12346)
        directory = Path(group.directory)
        assert (directory.stat().st_uid, directory.stat().st_gid) == (12345, 12346)
        given = {path.name for path in directory.iterdir() if path.is_file() and path.stat().st_uid == 12345}
        assert given == {name for name in listed if (directory / name).exists()}
        assert "cgroup.procs" in given
        assert "cgroup.max.depth" not in given


AS_USER = """
import os, sys
from pycontain.cgroup import group, hierarchy
from pycontain.kernel.errors import Error
os.setgroups([]); os.setgid(12345); os.setuid(12345)
try:
    group.create(hierarchy.find(), sys.argv[1], set(sys.argv[2:])).close()
    print("made")
except Error as error:
    print(error)
"""


def as_user(*argv: str) -> str:
    source = str(Path(groups.__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-c", AS_USER, *argv],
        env={"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


def test_a_user_without_delegation_reads_who_can_give_it(hierarchy: Hierarchy, top: str) -> None:
    with groups.create(hierarchy, top) as group:
        text = as_user(f"{top}/a")
        assert text == (
            f"cgroup {top}/a: cannot make it: Permission denied in cgroup {top}; run as root, "
            "or choose a parent that is delegated to you"
        )
        group.delegate(12345, 12345)
        assert as_user(f"{top}/a/b") == "made"


def test_a_limit_that_cgroup_v1_has_is_refused_with_the_remedy(hierarchy: Hierarchy, top: str) -> None:
    if "memory" in hierarchy.controllers or "memory" not in hierarchy.bound():
        pytest.skip("the memory controller is not bound to cgroup v1 here")
    wanted = limits.compile({"pids": {"limit": -1}, "memory": {"limit": 1 << 20}})
    text = (
        "memory limit: the memory controller is not available in cgroup v2 on this host: it is bound to cgroup v1 "
        "(hybrid layout); boot with systemd.unified_cgroup_hierarchy=1 or cgroup_no_v1=all"
    )
    with pytest.raises(Error) as caught:
        limits.place(hierarchy, top, wanted)
    assert caught.value.message == text
    assert not os.path.exists(hierarchy.directory(top))
    group, warnings = limits.place(hierarchy, top, wanted, "warn")
    with group:
        assert warnings == ["memory limit: not enforced: " + text.removeprefix("memory limit: ")]
        with pytest.raises(Error) as caught:
            limits.apply(group, wanted)
        assert caught.value.message == text


# --- controllers: hugetlb is the one that this machine's kernel gives to cgroup v2 -------------------------------


@pytest.fixture
def hugetlb(hierarchy: Hierarchy, top: str) -> Iterator[str]:
    """A parent group with room for hugetlb; the root's subtree_control is put back."""
    if "hugetlb" not in hierarchy.controllers:
        pytest.skip("cgroup v2 has no hugetlb controller here")
    control = Path(hierarchy.mount, "cgroup.subtree_control")
    had = "hugetlb" in control.read_text().split()
    yield top
    if not had:
        try:
            with groups.find(hierarchy, top) as left:
                left.kill()
                left.remove()
        except NotFound:
            pass
        control.write_text("-hugetlb")


def test_controllers_are_enabled_down_the_tree(hierarchy: Hierarchy, hugetlb: str) -> None:
    with groups.create(hierarchy, f"{hugetlb}/a/b", {"hugetlb"}) as group:
        assert "hugetlb" in group.controllers()
        assert group.missing == {}
        assert not Path(group.directory, "cgroup.subtree_control").read_text().strip()
        group.remove()


def test_a_controller_below_processes_is_explained(
    hierarchy: Hierarchy, hugetlb: str, sleeper: list[subprocess.Popen[bytes]]
) -> None:
    with groups.create(hierarchy, hugetlb) as parent:
        process = start(parent, sleeper)
        with pytest.raises(Error) as caught:
            groups.create(hierarchy, f"{hugetlb}/a", {"hugetlb"})
        text = caught.value.message
        assert f"cannot be enabled below cgroup {hugetlb}: process {process.pid} (sleep) lives in it" in text
        assert "no internal processes" in text
        assert not os.path.exists(f"{parent.directory}/a")


def test_huge_page_limits(hierarchy: Hierarchy, hugetlb: str) -> None:
    sizes = [name.split("-")[1] for name in os.listdir("/sys/kernel/mm/hugepages")]
    if "2048kB" not in sizes:
        pytest.skip("no huge pages of 2 MB")
    wanted = limits.compile({"hugepageLimits": [{"pageSize": "2MB", "limit": 6 << 20}]})
    group, _ = limits.place(hierarchy, f"{hugetlb}/a", wanted)
    with group:
        assert group.read("hugetlb.2MB.max") == group.read("hugetlb.2MB.rsvd.max") == f"{6 << 20}\n"
        odd = limits.compile({"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]})
        with pytest.raises(Error, match=r"huge page limit \(3MB\): .* has no hugetlb\.3MB\.max: huge pages have .*2MB"):
            limits.apply(group, odd)


def test_a_group_that_divides_a_controller_is_refused(hierarchy: Hierarchy, hugetlb: str) -> None:
    with groups.create(hierarchy, f"{hugetlb}/a", {"hugetlb"}) as inner:
        inner.remove()
        with pytest.raises(InUse, match="divides hugetlb among children"):
            groups.create(hierarchy, hugetlb)


def test_a_user_cannot_enable_what_is_not_delegated(hierarchy: Hierarchy, hugetlb: str) -> None:
    with groups.create(hierarchy, hugetlb) as parent:
        os.chown(parent.fd, 12345, 12345)
        os.chown(f"{parent.directory}/cgroup.procs", 12345, 12345)
        text = as_user(f"{hugetlb}/a", "hugetlb")
        assert "the hugetlb controller cannot be enabled below cgroup /" in text
        assert "Permission denied on its cgroup.subtree_control" in text
        assert "Delegate=" in text
        assert not os.path.exists(f"{parent.directory}/a")


def test_ten_starts_at_once_that_need_a_controller(hierarchy: Hierarchy, hugetlb: str) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(10)

    def work(number: int) -> None:
        try:
            barrier.wait()
            for round in range(10):
                group = groups.create(hierarchy, f"{hugetlb}/shared/{number}-{round}", {"hugetlb"})
                assert "hugetlb" in group.controllers()
                group.undo()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
