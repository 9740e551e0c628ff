"""Attacks that come through the CLI's containers, and those of a local user on what they leave on the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from world import World, eventually

NOBODY = 65534


def test_our_sockets_are_files_that_only_root_reaches(world: World) -> None:
    """CVE-2020-15257: an abstract socket is reached from every container that has the host's network."""
    identity = world.background("-i", "--network", "host", "busybox", "sleep", "1000")
    seen = world.ok("exec", identity, "cat", "/proc/net/unix")
    names = [line.split()[7] for line in seen.splitlines()[1:] if len(line.split()) > 7]
    assert not [name for name in names if name.startswith("@") and "pycontain" in name]
    ours = world.run_root / "containers" / identity
    path = ours / "attach"
    assert path.is_socket() and not ours.stat().st_mode & 0o066
    script = f"import os; os.stat({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", script], user=NOBODY, group=NOBODY, capture_output=True, text=True)
    assert "PermissionError" in done.stderr


def test_a_local_user_sees_nothing_of_a_container(world: World) -> None:
    """CVE-2024-25621, and set-user-ID programs of guests: all out of reach, whatever its mode."""
    identity = world.background(
        "--network", "none", "busybox", "sh", "-c", "cp /bin/busybox /own; chmod 4777 /own; sleep 99"
    )
    directory = world.root / "containers" / identity
    assert not directory.stat().st_mode & 0o077
    assert eventually(lambda: (directory / "upper/own").exists() or world.status(identity) != "running")
    script = "import os,sys; [print(os.path.exists(p)) for p in sys.argv[1:]]"
    paths = [directory / name for name in ("upper/own", "upper", "log", "config.json", "root")]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False"] * len(paths)
    # root sees them: it is the directory's mode that hides them
    assert all(path.exists() for path in paths[1:4])


def test_a_volume_is_filled_from_the_image_alone(world: World, tmp_path: Path) -> None:
    """CVE-2022-23648, CVE-2020-1726: what is copied into a new volume lies in the image, and only into a new one."""
    secret = tmp_path / "secret"
    secret.write_text("the host's\n")
    for text in (str(tmp_path), "../" * 20 + str(tmp_path).lstrip("/"), f"/proc/1/root{tmp_path}"):
        identity = world.ok("create", "--network", "none", "-v", "filled:/place", "busybox", "ls", "-A", "/place")
        (world.root / "containers" / identity / "upper" / "place").symlink_to(text)
        assert "secret" not in world("start", "-a", identity).stdout
        world.remove_all()
    world.inside("echo own >/etc/own", "-v", "kept:/etc")
    assert world.inside("rm -f /etc/passwd; cat /etc/own", "-v", "kept:/etc") == "own"
    assert world.inside("ls /etc", "-v", "kept:/etc").split().count("passwd") == 0


def test_a_flood_of_exec_is_not_kept(world: World) -> None:
    """CVE-2022-31030: output of exec without an end goes to who asked for it, and stays with nobody."""
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    command = [*world.command, "exec", identity, "yes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as flood:
        assert flood.stdout
        read = 0
        while read < 64 << 20:
            read += len(flood.stdout.read(1 << 20))
        for pid in (world.monitor_pid(identity), flood.pid):
            status = Path(f"/proc/{pid}/status").read_text()
            resident = int(status.split("VmRSS:")[1].split()[0])
            assert resident < 40 << 10, (pid, resident)
        flood.stdout.close()  # nobody reads any more
        flood.wait(timeout=60)
    logs = sum(path.stat().st_size for path in (world.root / "containers" / identity).glob("log*"))
    assert logs < 1 << 20


def test_top_starts_no_program_of_the_container(world: World) -> None:
    """CVE-2022-1227."""
    script = "for d in /bin /usr/bin; do mkdir -p $d; printf '#!/bin/sh\\ntouch /ran\\n' >$d/ps; chmod 755 $d/ps; done"
    identity = world.background("--network", "none", "busybox", "sh", "-c", f"{script}; echo ready; sleep 1000")
    assert eventually(lambda: "ready" in world("logs", identity).stdout)
    assert "sleep" in world.ok("top", identity)
    assert not (world.root / "containers" / identity / "upper" / "ran").exists()


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[2Jb", "a\rb", "..", "../x", "/x", "a/b", ".", "-x", "a\x7f"])
def test_a_name_is_no_path_and_no_line(world: World, text: str, tmp_path: Path) -> None:
    """CVE-2022-4318 and its like: names, host names and labels go into files and lists, a line each."""
    refused = world("create", "--network", "none", f"--name={text}", "busybox", "true")
    assert refused.returncode != 0 and "\x1b" not in refused.stderr and refused.stderr.count("\n") <= 2
    refused = world("create", "--network", "none", f"--hostname={text}", "busybox", "true")
    if refused.returncode == 0:
        assert text not in ("a\nb", "a\x1b[2Jb", "a\rb", "a/b", "a\x7f")


def test_an_added_host_is_one_line(world: World) -> None:
    for text in ("a\n6.6.6.6 evil:1.2.3.4", "a:1.2.3.4\n6.6.6.6 evil", "a 6.6.6.6:1.2.3.4\tx"):
        done = world("run", "--rm", "--network", "none", "--add-host", text, "busybox", "cat", "/etc/hosts")
        assert done.returncode != 0 or not [line for line in done.stdout.splitlines() if line.startswith("6.6.6.6")], (
            done
        )


def test_the_caller_is_not_led_by_its_environment(world: World, tmp_path: Path) -> None:
    """A caller's variables load nothing into our process: -I, and a static helper."""
    (tmp_path / "json.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "sitecustomize.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    hostile = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "json.py"),
        "LD_LIBRARY_PATH": str(tmp_path),
    }
    world.ok("run", "--rm", "--network", "none", "busybox", "true", env={**os.environ, **hostile}, cwd=tmp_path)
    assert not (tmp_path / "ran").exists()
