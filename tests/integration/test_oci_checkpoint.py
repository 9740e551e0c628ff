"""checkpoint and restore: what a container did, it goes on doing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from oci_saved import COUNT, Saved
from world import PYCONTAIN_OCI, cgroup_mount, eventually


def test_a_counter_goes_on(saved: Saved, tmp_path: Path) -> None:
    """The images may be moved meanwhile; the container is one as any other."""
    saved.start()
    assert eventually(lambda: saved.count() > 3)
    before, group = saved.count(), Path(f"/proc/{saved.pid()}/cgroup").read_text()
    saved.checkpoint()
    assert saved.oci.state("c")["status"] == "stopped"
    saved.ok("delete", "c")
    saved.images = saved.images.rename(tmp_path / "elsewhere")
    saved.restore("--pid-file", str(tmp_path / "pid"))
    assert saved.goes_on_from(before)
    pid = saved.pid()
    assert (tmp_path / "pid").read_text() == str(pid)
    assert saved.oci.state("c")["status"] == "running"
    assert Path(f"/proc/{pid}/cgroup").read_text() == group
    # it has come to whoever adopts what the runtime leaves
    assert f"PPid:\t{os.getpid()}\n" in Path(f"/proc/{pid}/status").read_text()
    assert saved.ok("exec", "c", "sh", "-c", "echo $$; readlink /proc/1/exe").split()[1] == "/bin/busybox"


def test_every_verb_takes_a_restored_container(saved: Saved) -> None:
    saved.start()
    saved.checkpoint()
    saved.restore()
    done = saved("start", "c")
    assert (done.returncode, "cannot start an already running container" in done.stderr) == (1, True)
    saved.ok("pause", "c")
    assert saved.oci.state("c")["status"] == "paused"
    saved.ok("resume", "c")
    assert saved.goes_on_from(1)
    assert json.loads(saved.ok("list", "-f", "json"))[0]["id"] == "c"
    assert str(saved.pid()) in saved.ok("ps", "-f", "json", "c")
    # init of a PID namespace without a handler takes KILL alone
    saved.ok("kill", "c", "KILL")
    assert eventually(lambda: saved.oci.state("c")["status"] == "stopped")
    saved.ok("delete", "c")
    assert not (cgroup_mount() / "pycontain-oci" / "c").exists()


def test_a_restored_container_is_confined_as_before(saved: Saved) -> None:
    saved.oci.spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 500, "soft": 400}]
    saved.oci.spec["linux"]["maskedPaths"] = ["/proc/keys", "/proc/acpi"]
    saved.oci.spec["linux"]["readonlyPaths"] = ["/proc/sys"]
    saved.oci.spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"}],
    }
    saved.oci.spec["process"]["oomScoreAdj"] = 77
    saved.start()
    before = _confinement(saved.pid())
    saved.checkpoint()
    saved.restore()
    assert _confinement(saved.pid()) == before
    # and by its groups: no node may be made, as in every container
    assert saved("exec", "c", "sh", "-c", "echo >/proc/sys/kernel/hostname").returncode == 1
    assert saved.ok("exec", "c", "hostname") == "oci\n"


def _confinement(pid: int) -> dict[str, Any]:
    process = Path(f"/proc/{pid}")
    words = ("Cap", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups")
    status = [line for line in (process / "status").read_text().splitlines() if line.startswith(words)]
    mounts = []
    for line in (process / "mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        mounts.append((fields[4], fields[5], right.split()[0], fields[6:]))
    ours = {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
    # CRIU gives every container a time namespace
    own = sorted(
        name for name, link in ours.items() if "time" not in name and os.readlink(process / "ns" / name) != link
    )
    return {
        "status": status,
        "mounts": sorted(mounts),
        "limits": (process / "limits").read_text(),
        "oom": (process / "oom_score_adj").read_text(),
        "namespaces": own,
    }


def test_leave_running_makes_a_twin(saved: Saved) -> None:
    saved.start()
    assert eventually(lambda: saved.count() > 3)
    saved.checkpoint("--leave-running")
    assert saved.oci.state("c")["status"] == "running"
    assert saved.goes_on_from(3)
    saved.restore(name="twin")
    assert saved.goes_on_from(3, "twin")
    assert saved.goes_on_from(3)
    assert Path(f"/proc/{saved.pid('twin')}/cgroup").read_text().endswith("/pycontain-oci/twin\n")


def test_a_paused_container(saved: Saved) -> None:
    """containerd pauses before it saves."""
    saved.start()
    saved.ok("pause", "c")
    saved.checkpoint("--leave-running")
    assert saved.oci.state("c")["status"] == "paused"
    saved.ok("resume", "c")
    before = saved.count()
    saved.ok("pause", "c")
    saved.checkpoint()
    assert saved.oci.state("c")["status"] == "stopped"
    saved.restore()
    assert saved.goes_on_from(before)


def test_one_that_has_stopped_makes_room(saved: Saved) -> None:
    saved.start()
    saved.checkpoint()
    saved.restore()  # checkpoint has left a container of the name
    saved.checkpoint()  # what was restored can be saved again
    saved.restore()
    done = saved(*saved.restore_line(), "c")
    assert (done.returncode, done.stderr) == (1, "pycontain-oci: container with given ID already exists: c\n")
    assert saved.goes_on_from(1)


def test_a_tree_of_processes(saved: Saved) -> None:
    saved.start("trap 'echo caught >/count/trap' USR1; sleep 1000 & echo $! >/count/child; " + COUNT)
    assert eventually(lambda: saved.count() > 1)
    saved.checkpoint()
    saved.restore()
    child = saved.inside("count/child").strip()
    assert f"{child} " in saved.ok("exec", "c", "ps", "-o", "pid,args")
    saved.ok("kill", "c", "USR1")
    assert eventually(lambda: Path(f"/proc/{saved.pid()}/root/count/trap").exists())


def test_in_the_foreground_it_ends_with_its_status(saved: Saved) -> None:
    saved.start("trap 'exit 7' TERM; " + COUNT)
    assert eventually(lambda: saved.count() > 1)
    saved.checkpoint()
    command = [PYCONTAIN_OCI, "--root", str(saved.oci.root), *saved.restore_line(), "--detach=false", "c"]
    process = subprocess.Popen(command, env=saved.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert eventually(lambda: saved.oci("state", "c").stdout.find('"running"') > 0 and saved.count() > 0)
    process.terminate()  # goes to init
    assert process.wait(timeout=30) == 7
    assert not (saved.oci.root / "c").exists()


def test_hooks(saved: Saved, workdir: Path) -> None:
    log = workdir / "hooks"
    write = f'echo "$1 $(grep -o "\\"status\\": *\\"[a-z]*\\"" | tr -d " ")" >>{log}'
    saved.oci.spec["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", write, "sh", kind]}]
        for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    }
    del saved.oci.spec["hooks"]["createContainer"], saved.oci.spec["hooks"]["startContainer"]
    saved.start()
    saved.checkpoint()
    saved.ok("delete", "c")
    assert log.read_text().split()[-2:] == ["poststop", '"status":"stopped"']
    log.unlink()
    saved.restore()
    assert log.read_text().splitlines() == ['prestart "status":"creating"', 'createRuntime "status":"creating"']
    saved.oci.spec["hooks"]["prestart"][0]["args"][2] = "echo not today >&2; exit 3"
    saved.checkpoint()
    saved.ok("delete", "c")
    log.unlink()
    done = saved(*saved.restore_line(), "c")
    assert done.returncode == 1 and "hooks.prestart[0]: /bin/sh: it ended with status 3: not today" in done.stderr
    assert log.read_text() == 'poststop "status":"stopped"\n'
    _nothing_is_left(saved)


def _nothing_is_left(saved: Saved) -> None:
    assert not (saved.oci.root / "c").exists()
    assert not (cgroup_mount() / "pycontain-oci" / "c").exists()


def test_binds_come_from_where_the_bundle_says_today(saved: Saved, workdir: Path) -> None:
    old, new = workdir / "old", workdir / "new"
    old.mkdir()
    (old / "word").write_text("old")
    (old / "file").write_text("a file")
    binds = [
        {"destination": "/data", "type": "bind", "source": str(old), "options": ["bind"]},
        {"destination": "/etc/one", "type": "bind", "source": str(old / "file"), "options": ["bind", "ro"]},
    ]
    saved.oci.spec["mounts"] += binds
    saved.start()
    saved.checkpoint()
    saved.ok("delete", "c")
    shutil.copytree(old, new)
    (new / "word").write_text("new")
    shutil.rmtree(old)
    binds[0]["source"], binds[1]["source"] = str(new), str(new / "file")
    # the root is another too, without the mount points that create has made
    shutil.rmtree(saved.oci.bundle / "rootfs" / "data")
    (saved.oci.bundle / "rootfs" / "etc" / "one").unlink()
    saved.restore()
    assert saved.ok("exec", "c", "cat", "/data/word", "/etc/one") == "newa file"
    assert saved("exec", "c", "sh", "-c", "echo >/etc/one").returncode == 1
    saved.ok("exec", "c", "sh", "-c", "echo more >/data/word")
    assert (new / "word").read_text() == "more\n"


def test_a_link_in_the_root_leads_nowhere_outside(saved: Saved, workdir: Path) -> None:
    """Mount points are made below the root, whatever a link in it says."""
    saved.start()
    saved.checkpoint()
    saved.ok("delete", "c")
    (saved.oci.bundle / "rootfs" / "trap").symlink_to(workdir)
    saved.oci.spec["mounts"].append({"destination": "/trap/made", "type": "tmpfs", "source": "tmpfs"})
    saved(*saved.restore_line(), "c")
    assert not (workdir / "made").exists()
