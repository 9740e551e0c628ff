"""tenant edit, runscript, push, pull, pid, top, stats, beancounters, wait, validate, schema, doctor."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from client import Client
from tenant_world import TenantWorld
from world import eventually


def editor(tmp_path: Path, script: str) -> dict[str, str]:
    """An environment whose editor is a shell script."""
    path = tmp_path / "editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {**os.environ, "EDITOR": str(path), "VISUAL": ""}


def test_edit(tenants: TenantWorld, tmp_path: Path) -> None:
    tenants.run("a")
    sed = 'sed -i \'s/^id = 101/id = 101\\nhostname = "b"  # mine/\' "$1"'
    env = editor(tmp_path, sed)
    assert tenants.ok("tenant", "edit", "a", env=env) == "waits for a restart: hostname"
    assert 'hostname = "b"  # mine' in tenants.file("a").read_text()
    assert tenants.ok("tenant", "edit", "a", env=editor(tmp_path, "true")) == ""


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ('echo nonsense >"$1"', "is not TOML"),
        ("echo 'version = 1\nnope = 3' >\"$1\"", "nope: is not a setting"),
        ("echo 'x = 1' >>\"$1\"; exit 3", "has failed (exit status 3): nothing was changed"),
        ('rm "$1"', "No such file or directory"),
    ],
)
def test_an_edit_that_is_not_right_changes_nothing(
    tenants: TenantWorld, tmp_path: Path, script: str, expected: str
) -> None:
    tenants.make("a")
    before = tenants.file("a").read_bytes()
    assert expected in tenants.refused("tenant", "edit", "a", env=editor(tmp_path, script))
    assert tenants.file("a").read_bytes() == before
    assert list(tenants.directory.iterdir()) == [tenants.file("a")]


def test_two_edits(tenants: TenantWorld, tmp_path: Path) -> None:
    tenants.make("a")
    other = f"{' '.join(tenants.command)} tenant set a --hostname other"
    env = editor(tmp_path, f"echo '# mine' >>\"$1\"; {other}")
    assert "changed by somebody else meanwhile" in tenants.refused("tenant", "edit", "a", env=env)
    assert tenants.settings("a")["hostname"] == "other"


def test_runscript(tenants: TenantWorld, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('#!/bin/sh\nread -r line\necho "$(hostname) $1 $2 [$line]"\nexit 5\n')
    tenants.run("a")
    done = tenants("tenant", "runscript", "a", str(script), "one", "two words", input="not for it\n")
    assert (done.returncode, done.stdout) == (5, "a one two words []\n")
    assert tenants.inside("a", "ls /tmp") == ""
    done = tenants("tenant", "runscript", "a", "-", input="#!/bin/sh\necho $0 | cut -c1-4\n")
    assert (done.returncode, done.stdout) == (0, "/tmp\n")
    tenants.ok("tenant", "stop", "--fast", "a")
    done = tenants("tenant", "runscript", "a", str(script), "1", "2")
    assert (done.returncode, done.stdout) == (5, "a 1 2 []\n")
    assert tenants.word("a") == "stopped"
    assert "No such file" in tenants.refused("tenant", "runscript", "a", "/nope")


def test_push_and_pull(tenants: TenantWorld, workdir: Path) -> None:
    (workdir / "tree").mkdir()
    (workdir / "tree" / "file").write_text("content\n")
    tenants.make("a")
    tenants.ok("tenant", "push", "a", str(workdir / "tree"), "/srv")
    tenants.start("a")
    assert tenants.inside("a", "find /srv -name file | xargs cat; stat -c %u $(find /srv -name file)") == "content\n0"
    tenants.inside("a", "echo back >/root/back")
    tenants.ok("tenant", "pull", "a", "/root/back", str(workdir))
    assert (workdir / "back").read_text() == "back\n"


def test_pid(tenants: TenantWorld) -> None:
    tenants.run("a")
    assert tenants.ok("tenant", "pid", str(tenants.pid(tenants.container("a")))) == "a"
    assert "is in no tenant" in tenants.refused("tenant", "pid", str(os.getpid()), status=4)
    assert "is in no tenant" in tenants.refused(
        "tenant", "pid", str(tenants.monitor_pid(tenants.container("a"))), status=4
    )
    other = tenants.background("--network", "none", "busybox", "sleep", "1000")
    assert "is in no tenant" in tenants.refused("tenant", "pid", str(tenants.pid(other)), status=4)
    assert "there is no process" in tenants.refused("tenant", "pid", "2147483647")
    assert "not a whole number" in tenants.refused("tenant", "pid", "x")


def test_figures(tenants: TenantWorld) -> None:
    assert "no tenant runs" in tenants.refused("tenant", "stats", "--no-stream")
    tenants.run("a")
    tenants.make("b")

    def commands() -> list[str]:
        return [row["Command"] for row in json.loads(tenants.ok("tenant", "top", "a", "--format", "json"))]

    # its init begins with it
    assert eventually(lambda: "sleep 1000" in commands()), commands()
    done = tenants("tenant", "stats", "--no-stream", "--format", "json")
    assert [row["Name"] for row in json.loads(done.stdout)] == ["tenant-a"]
    done = tenants("tenant", "beancounters", "a")
    assert done.returncode == 0 and "failcnt" in done.stdout
    assert "tenant-a" in done.stdout + done.stderr


def watches(pid: int) -> bool:
    """Whether a process has files to watch by inotify(7)."""
    found = False
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            found |= "inotify wd:" in entry.read_text()
        except FileNotFoundError:  # closed since
            pass
    return found


def test_wait(tenants: TenantWorld) -> None:
    tenants.make("a")
    assert tenants.ok("tenant", "wait", "a") == "stopped"
    with Client(tenants, "tenant", "wait", "a", "--for", "running") as waiting:
        tenants.start("a")
        assert (waiting.finish(), waiting.output) == (0, b"running\n")
    assert "is running still" in tenants.refused("tenant", "wait", "a", "-t", "1", status=1)
    with Client(tenants, "tenant", "wait", "a") as waiting:
        tenants.ok("tenant", "stop", "--fast", "a")
        assert (waiting.finish(), waiting.output) == (0, b"stopped\n")
    with Client(tenants, "tenant", "wait", "a", "--for", "suspended") as waiting:
        assert eventually(lambda: watches(waiting.pid))
        tenants.ok("tenant", "destroy", "a")
        assert (waiting.finish(), waiting.output) == (0, b"destroyed\n")


def test_validate_and_schema(tenants: TenantWorld, tmp_path: Path) -> None:
    tenants.make("a")
    assert tenants.ok("tenant", "validate", "a") == ""
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("version = 1\n[memory]\nlimit = 'x'\n")
    done = tenants("tenant", "validate", "a", str(wrong))
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"pycontain: {wrong}: memory.limit: 'x' is not a size: give a number with K, M, G or T, such as 512M\n"
    )
    assert tenants("tenant", "validate", "nope").returncode == 1
    assert json.loads(tenants.ok("tenant", "schema"))["title"] == "pycontain tenant settings"


def faults(tenants: TenantWorld) -> list[str]:
    done = tenants("tenant", "doctor")
    lines = [line for line in done.stdout.splitlines() if not line.startswith("note: ")]
    assert done.returncode == (1 if lines else 0), done
    assert done.stderr == ""
    return lines


def test_doctor(tenants: TenantWorld) -> None:
    assert faults(tenants) == []
    tenants.run("a", "--memory", "64M")
    tenants.make("b")
    assert faults(tenants) == []
    text = tenants.file("b").read_text()
    tenants.file("b").write_text(text + "\nnope = 1\n")
    assert any("tenant b: " in line and "is not a setting" in line for line in faults(tenants))
    tenants.file("b").write_text(text.replace("id = 102", "id = 500"))
    assert faults(tenants) == ["tenant b: its settings say number 500, and it has 102: 'pycontain tenant set b id=102'"]
    tenants.ok("tenant", "set", "b", "id=102")
    tenants.file("c").write_text('version = 1\ntemplate = "gone"\n')
    assert faults(tenants) == ["tenant c: it has settings and no state: 'pycontain tenant create c' makes it from them"]
    tenants.ok("tenant", "destroy", "c")
    tenants.file("b").unlink()
    assert len(faults(tenants)) == 1 and "b.toml is gone" in faults(tenants)[0]
    assert tenants.word("b") == "damaged"
    tenants.ok("tenant", "destroy", "b")
    assert faults(tenants) == []


def test_doctor_finds_a_container_that_is_gone(tenants: TenantWorld) -> None:
    tenants.make("a")
    subprocess.run(["rm", "-r", tenants.root / "containers" / tenants.container("a")], check=True)
    assert faults(tenants) == ["tenant a: its container is gone, and its files with it: 'pycontain tenant destroy a'"]
    assert tenants.word("a") == "damaged"
    assert "doctor" in tenants.refused("tenant", "start", "a")
    tenants.ok("tenant", "destroy", "a")
    # what was removed behind pycontain's back is found by its holds: the image's, the range's
    tenants("rm", "-f", "--all")
    for path in [*(tenants.root / "images").glob("*/used/*"), *(tenants.root / "names").iterdir()]:
        path.unlink()
    assert eventually(lambda: not faults(tenants))
