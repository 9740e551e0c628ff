"""What crun has besides runc's command line, and what a shared PID namespace asks of kill."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from oci_bundle import Oci, output, refused
from world import eventually


def sleepers(oci: Oci, *names: str) -> None:
    oci.spec["process"]["args"] = ["sleep", "1000"]
    for name in names:
        oci.ok("run", "-d", "-b", str(oci.bundle), name)


def test_another_name_of_the_config(oci: Oci, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(
        json.dumps({**oci.spec, "hostname": "other", "process": {**oci.spec["process"], "args": ["hostname"]}})
    )
    assert oci.ok("run", "-b", str(oci.bundle), "--config", str(other), "c") == "other\n"
    assert oci.ok("run", "-b", str(oci.bundle), "-f", "other.json", "c", cwd=tmp_path) == "other\n"
    done = oci("create", "-b", str(oci.bundle), "--config", "/no/such", "c")
    assert (done.returncode, done.stderr) == (1, "pycontain-oci: cannot read /no/such: No such file or directory\n")


def test_regular_expressions(oci: Oci) -> None:
    sleepers(oci, "web-1", "web-2", "db-1")
    oci.ok("kill", "--regex", "^web-[0-9]+$", "KILL")
    assert eventually(lambda: all(oci.state(name)["status"] == "stopped" for name in ("web-1", "web-2")))
    assert oci.state("db-1")["status"] == "running"
    # the one that runs is not deleted, and hinders no other
    done = oci("delete", "-r", "1")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "db-1 that is not stopped" in done.stderr, done
    assert oci.ok("list", "-q") == "db-1\nweb-2\n"
    oci.ok("delete", "--force", "--regex", ".")
    oci.ok("delete", "--force", "--regex", "no such")
    assert oci.ok("list", "-q") == ""
    for verb in ("kill", "delete"):
        done = oci(verb, "--regex", "(")
        assert done.returncode == 1 and "is not a regular expression" in done.stderr and done.stderr.count("\n") == 1


def test_copy_symlink(oci: Oci, tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "file"
    os.symlink("to/nothing", link)
    file.write_text("content\n")
    for name, source in (("a", link), ("b", file)):
        entry = {"destination": f"/new/{name}", "type": "bind", "source": str(source)}
        oci.spec["mounts"].append({**entry, "options": ["bind", "copy-symlink"]})
    assert output(oci, "readlink /new/a; cat /new/b") == "to/nothing\ncontent\n"


@pytest.mark.parametrize("option", ["src-nofollow", "dest-nofollow"])
def test_links_at_the_ends_of_a_bind_are_followed(oci: Oci, option: str) -> None:
    oci.spec["mounts"].append({"destination": "/x", "source": "/etc", "options": ["bind", option]})
    refused(oci, "mounts[3].options", option)


def test_backends_of_the_log(oci: Oci, tmp_path: Path) -> None:
    oci("--log", f"file:{tmp_path}/log", "--log-format=json", "state", "nobody")
    assert json.loads((tmp_path / "log").read_text())["msg"] == "container does not exist: nobody"
    done = oci("--log=journald:x", "state", "nobody")
    assert (done.returncode, done.stderr) == (1, "pycontain-oci: --log: journald is not supported: give a file\n")


@pytest.mark.parametrize("shared", ["host", "joined"])
@pytest.mark.parametrize("python", ["", "1"])
def test_kill_means_all_where_init_is_not_pid_1(oci: Oci, shared: str, python: str) -> None:
    """runc's kill: without a PID namespace of its own, the death of its init would leave the others."""
    environment = {**os.environ, **({"PYCONTAIN_OCI_PYTHON": python} if python else {})}
    spaces = oci.spec["linux"]["namespaces"]
    spaces.remove({"type": "pid"})
    if shared == "joined":
        sleepers(oci, "pod")
        spaces.append({"type": "pid", "path": f"/proc/{oci.state('pod')['pid']}/ns/pid"})
    oci.spec["process"]["args"] = ["sh", "-c", "sleep 1001 & sleep 1002 & wait"]
    oci.ok("run", "-d", "-b", str(oci.bundle), "c")
    assert eventually(lambda: len(json.loads(oci.ok("ps", "-f", "json", "c"))) == 3)
    oci.ok("kill", "c", "USR1", env=environment)  # to init alone, which it ends
    assert eventually(lambda: oci.state("c")["status"] == "stopped")
    assert len(json.loads(oci.ok("ps", "-f", "json", "c"))) == 2
    oci.ok("kill", "c", "KILL", env=environment)
    assert eventually(lambda: json.loads(oci.ok("ps", "-f", "json", "c")) is None)
    done = oci("kill", "c", "KILL", env=environment)
    assert done.returncode == 1 and "container not running" in done.stderr
    oci.ok("kill", "--all", "c", "KILL", env=environment)
    if shared == "joined":
        assert oci.state("pod")["status"] == "running"
    oci.ok("delete", "c")


def test_kill_in_a_namespace_of_its_own_is_inits(oci: Oci) -> None:
    sleepers(oci, "c")
    assert not (oci.root / "c/shared").exists()
    oci.ok("kill", "c", "KILL")
    assert eventually(lambda: oci.state("c")["status"] == "stopped")
    assert "container not running" in oci("kill", "c", "KILL").stderr
