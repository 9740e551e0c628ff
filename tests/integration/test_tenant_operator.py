"""Tenants in the hands of one who comes from OpenVZ: what is typed wrong, half right, or by habit."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from client import Client, Terminal
from tenant_world import TenantWorld
from world import eventually

ROUTED = ("--network", "routed", "--ip", "10.88.7.1", "--ip", "fd00:0::7")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--save", "--memory", "64M"], "--save: set always saves"),
        (["--ram", "64M"], "--ram: it is called memory.limit"),
        (["--userpasswd", "root:x"], "'pycontain tenant passwd'"),
        (["--memory", "64M", "--swap", "none"], "--swap: 'none' is not a size: 0 is no swap at all"),
        (["--memory", "64M", "--swap", "unlimited"], "--swap: 'unlimited' is not a size"),
        (["--unset", "memory.limt"], "did you mean memory.limit"),
        (["template=other"], "'pycontain tenant reinstall --template other'"),
        (["--device", "/dev/nope"], "rights.devices.0: /dev/nope: No such file or directory"),
        (["--device", "/dev/shm"], "rights.devices.0: /dev/shm is not a device"),
        (["--mount", "/nope:/mnt"], "mounts.0.source: /nope: No such file or directory"),
        (["--sysctl", "kernel.panic=1"], "sysctls.kernel.panic: is not namespaced"),
        ([b"environment.A=\xff"], "a value is not UTF-8 text"),
        (["--rate", "10M"], "--rate: it has no network"),
        (["--ip-del", "10.0.0.1"], "--ip-del: 10.0.0.1 is not one of its addresses"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_what_set_refuses(tenants: TenantWorld, words: list[str], expected: str) -> None:
    tenants.make("a")
    before = tenants.file("a").read_bytes()
    assert expected in tenants.refused("tenant", "set", "a", *words)
    assert tenants.file("a").read_bytes() == before


def test_what_set_takes_as_vzctl_does(tenants: TenantWorld) -> None:
    tenants.make("a", "--processes", "50", "--cpulimit", "50%")
    tenants.ok("tenant", "set", "a", "--processes", "0", "--cpulimit", "0", "environment.A=true")
    found = tenants.settings("a")
    assert (found["processes"]["max"], found["cpu"]["limit"], found["environment"]) == (0, "", {"A": "true"})
    assert tenants.ok("tenant", "get", "a", "environment.A") == "true"
    # one without a network is given none by what takes something away
    tenants.ok("tenant", "set", "a", "--ip-del", "all", "--rate", "")
    assert tenants.settings("a")["network"] == []


def test_an_ipv6_address_is_itself_however_it_is_written(tenants: TenantWorld) -> None:
    tenants.make("a", *ROUTED)
    tenants.ok("tenant", "set", "a", "--ip-del", "fd00::7", "--ip-add", "10.88.7.1")
    assert tenants.field("a", "ip") == ["10.88.7.1"]


def test_a_restart_that_could_not_start_does_not_stop(tenants: TenantWorld, tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    tenants.run("a")
    tenants.ok("tenant", "set", "a", "--mount", f"{source}:/mnt")
    source.rmdir()
    assert "mounts.0.source" in tenants.refused("tenant", "restart", "a")
    assert tenants.word("a") == "running"
    done = tenants("tenant", "doctor")
    assert done.returncode == 1 and "tenant a: its next start fails: mounts.0.source" in done.stdout, done
    # and what is missing keeps nobody from changing something else
    tenants.ok("tenant", "set", "a", "--description", "x")


def test_a_damaged_tenant_harms_no_other_ones_number(tenants: TenantWorld) -> None:
    tenants.make("a")
    tenants.make("b")
    state = tenants.root / "tenants" / "a" / "state.json"
    good = state.read_text()
    state.write_text("{")
    try:
        assert tenants.ok("tenant", "get", "102", "id") == "102"
        assert tenants("tenant", "status", "102").stdout == "stopped\n"
    finally:
        state.write_text(good)


def test_what_an_editor_may_leave(tenants: TenantWorld) -> None:
    tenants.make("a")
    path = tenants.file("a")
    good = path.read_bytes()
    path.write_bytes(good.replace(b"\n", b"\r\n"))
    tenants.ok("tenant", "set", "a", "--description", "x")
    assert tenants.settings("a")["description"] == "x"
    path.write_bytes(b"\xef\xbb\xbf" + good)
    assert "begins with a byte order mark" in tenants.refused("tenant", "validate", "a", status=1)
    path.write_bytes(good)


def test_get_shows_nothing_that_a_terminal_would_act_upon(tenants: TenantWorld) -> None:
    tenants.make("a")
    with tenants.file("a").open("a") as stream:
        stream.write('[environment]\nA = "\\u001b[31m\\u009b31m"\n')
    for words in (
        ["get", "a"],
        ["get", "a", "environment"],
        ["get", "a", "environment.A"],
        ["list", "-o", "environment"],
    ):
        assert tenants.ok("tenant", *words).replace("\n", "").isprintable()


def test_what_is_no_password(tenants: TenantWorld) -> None:
    tenants.make("a")
    assert "is not UTF-8 text" in tenants.refused("tenant", "passwd", "a", input=b"\xff\n")


def test_a_directory_is_no_script(tenants: TenantWorld, tmp_path: Path) -> None:
    tenants.make("a")
    assert "Is a directory" in tenants.refused("tenant", "runscript", "a", str(tmp_path))


def test_errors_of_a_copy_name_the_tenant(tenants: TenantWorld, tmp_path: Path) -> None:
    tenants.make("a")
    for _ in range(2):
        done = tenants("tenant", "pull", "101", "/nope", str(tmp_path))
        assert done.returncode == 125 and "tenant-a:/nope: no such file or directory" in done.stderr, done
        tenants.start("a")


def test_no_password_is_typed(tenants: TenantWorld) -> None:
    tenants.make("a")
    with Terminal(tenants, "tenant", "passwd", "a") as terminal:
        terminal.expect("New password")
        terminal.send("\x04")
        assert terminal.finish() == 125
        assert "no password was typed" in terminal.expect("pycontain: ") and b"Traceback" not in terminal.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_script_that_is_ended_leaves_no_tenant_behind(
    tenants: TenantWorld, tmp_path: Path, number: signal.Signals
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho begun\nsleep 1000\n")
    tenants.make("a")
    with Client(tenants, "tenant", "runscript", "a", str(script)) as client:
        client.expect("begun\n", seconds=60)
        client.signal(number)
        assert client.process.wait(60) in (-number, 130)
    assert tenants.word("a") == "stopped"


def test_the_end_gives_back_what_set_has_given(tenants: TenantWorld) -> None:
    def told(*words: str) -> str:
        return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout

    def answered() -> list[str]:
        lines = told("neigh", "show", "proxy") + told("-6", "neigh", "show", "proxy")
        return sorted({line.split()[0] for line in lines.splitlines() if "lan9" in line})

    told("link", "add", "lan9", "type", "veth", "peer", "name", "lan9p")
    try:
        for words in ("link set lan9 up", "link set lan9p up", "addr add 192.0.2.1/24 dev lan9"):
            told(*words.split())
        told("addr", "add", "2001:db8:9::1/64", "dev", "lan9", "nodad")
        tenants.run("a", "--network", "routed", "--ip", "192.0.2.10")
        tenants.ok("tenant", "set", "a", "--ip-add", "192.0.2.11", "--ip-add", "2001:db8:9::11")
        assert answered() == ["192.0.2.10", "192.0.2.11", "2001:db8:9::11"]
        # its init ends by itself: no command of ours is there
        container = tenants.container("a")
        tenants("tenant", "exec", "a", "kill", "1")
        gone = tenants.run_root / "containers" / container
        assert eventually(lambda: not gone.exists())
        assert answered() == []
        assert not list((tenants.run_root / "network" / "leases").iterdir())
    finally:
        told("link", "del", "lan9")
