"""pycontain-oci delete --force: whatever is left of a container, it goes, and nobody else's."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from oci_bundle import Oci
from test_oci_exec import running as running
from world import cgroup_mount, eventually


def _truncated(directory: Path) -> None:
    os.truncate(directory / "state.json", 20)


def _emptied(directory: Path) -> None:
    for name in os.listdir(directory):
        if (directory / name).is_file():
            os.truncate(directory / name, 0)


def _gone(*names: str) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        for name in names:
            (directory / name).unlink()

    return damage


def _kill_init(directory: Path) -> None:
    pid = int((directory / "pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)


def _group_gone(directory: Path) -> None:
    _kill_init(directory)
    group = Path((directory / "cgroup").read_text().strip())
    assert eventually(lambda: "populated 0" in (group / "cgroup.events").read_text())
    group.rmdir()


def _garbage(directory: Path) -> None:
    (directory / "state.json").write_bytes(b"\xff\x00[")
    (directory / "pid").write_text("x y")


DAMAGE = [
    _truncated,
    _emptied,
    _gone("state.json"),
    _gone("state.json", "config.json"),
    _gone("pid"),
    _gone("config.json", "plan", "head", "tail"),
    _kill_init,
    _group_gone,
    _garbage,
]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("started", [True, False])
def test_it_goes(oci: Oci, damage: Callable[[Path], None], started: bool) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    oci.ok("create", "-b", str(oci.bundle), "c")
    pid = oci.state("c")["pid"]
    if started:
        oci.ok("start", "c")
    damage(oci.root / "c")
    oci.ok("delete", "--force", "c")
    assert not (oci.root / "c").exists() and not (cgroup_mount() / "pycontain-oci/c").exists()
    # a cgroup is empty before its last process is a zombie
    stat = Path(f"/proc/{pid}/stat")
    assert eventually(lambda: not stat.exists() or " Z " in stat.read_text())
    oci.ok("delete", "--force", "c")


@pytest.mark.parametrize("damage", [_truncated, _garbage, _emptied])
def test_other_verbs_say_that_it_is_damaged(running: Oci, damage: Callable[[Path], None]) -> None:
    kept = running.root.parent / "kept"
    shutil.copytree(running.root / "c", kept, ignore=lambda _, names: [n for n in names if n == "start"])
    damage(running.root / "c")
    for arguments in (["state", "c"], ["start", "c"], ["kill", "c", "9"], ["delete", "c"], ["exec", "c", "true"],
                      ["pause", "c"], ["update", "--memory", "1g", "c"], ["events", "--stats", "c"]):  # fmt: skip
        done = running(*arguments)
        assert done.returncode in (1, 255) and done.stderr.count("\n") == 1 and "damaged" in done.stderr, done
    assert running.ok("list", "-q") == ""
    for name in os.listdir(kept):
        shutil.copy(kept / name, running.root / "c" / name)


def test_verbs_that_need_the_cgroup_say_that_it_is_not_known(running: Oci) -> None:
    file = running.root / "c/cgroup"
    text = file.read_text()
    for content in ("", text[:20]):
        file.write_text(content)
        for arguments in (["exec", "c", "true"], ["ps", "c"], ["pause", "c"], ["kill", "--all", "c", "TERM"],
                          ["update", "--pids-limit", "9", "c"], ["events", "--stats", "c"]):  # fmt: skip
            done = running(*arguments)
            assert done.returncode in (1, 255) and done.stderr.count("\n") == 1 and "is damaged (cgroup)" in done.stderr
    file.write_text(text)


def test_an_unrecorded_group_with_processes_is_somebody_elses(running: Oci) -> None:
    """A create that was killed before it wrote where its cgroup is: what config.json names may have another owner."""
    group = json.loads((running.root / "c/state.json").read_text())["cgroup"]
    other = running.root / "half"
    other.mkdir()
    path = "/" + os.path.relpath(group, cgroup_mount())
    (other / "config.json").write_text(json.dumps({"linux": {"cgroupsPath": path}}))
    running.ok("delete", "--force", "half")
    assert not other.exists() and running.state("c")["status"] == "running"


def test_a_half_made_container_takes_its_empty_group_with_it(oci: Oci) -> None:
    (oci.root / "half").mkdir(parents=True)
    group = cgroup_mount() / "pycontain-oci/half"
    group.mkdir(parents=True)
    (oci.root / "half/config.json").write_text("{}")
    oci.ok("delete", "--force", "half")
    assert not group.exists() and not (oci.root / "half").exists()


def test_another_process_with_the_number_of_init_is_left_alone(running: Oci) -> None:
    """What the file names has another start time: the number was given again."""
    path = running.root / "c/pid"
    init = path.read_text()
    path.write_text(f"{os.getpid()} 1\n")
    assert running.state("c")["status"] == "stopped"
    assert "container not running" in running("kill", "c", "KILL").stderr
    path.write_text(init)
