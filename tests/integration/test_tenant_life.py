"""Tenants from create to destroy, on a template of busybox with a shell as init."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tenant_world import TEMPLATE, TenantWorld
from world import eventually


def test_a_life(tenants: TenantWorld) -> None:
    tenants.make("web1", "--description", "the first", "--hostname", "www.example")
    assert tenants("tenant", "status", "web1").returncode == 3
    assert tenants.settings("web1")["id"] == 101
    tenants.start("web1")
    status = tenants("tenant", "status", "web1")
    assert (status.returncode, status.stdout) == (0, "running\n")
    assert tenants.inside("web1", "hostname; cat /proc/1/comm; echo $container") == "www.example\nsh\npycontain"
    assert tenants.ok("tenant", "start", "101") == "101"  # it runs, which is no error
    first = tenants.pid(tenants.container("web1"))
    tenants.hears("web1")
    assert tenants.does("tenant", "restart", "web1") == "web1"
    assert tenants.pid(tenants.container("web1")) != first
    tenants.hears("web1")
    assert tenants.ok("tenant", "stop", "web1") == "web1"
    assert tenants.word("web1") == "stopped"
    assert tenants.ok("tenant", "stop", "web1") == "web1"
    assert tenants.ok("tenant", "destroy", "web1") == "web1"
    assert "no tenant 'web1'" in tenants.refused("tenant", "status", "web1", status=4)


def test_files_stay_over_restarts(tenants: TenantWorld) -> None:
    tenants.run("web1")
    tenants.inside("web1", "echo kept >/root-file; chown 5:6 /root-file")
    maps = tenants.inside("web1", "cat /proc/1/uid_map")
    for _ in range(2):
        tenants.does("tenant", "restart", "--fast", "web1")
        assert tenants.inside("web1", "cat /root-file; stat -c %u:%g /root-file") == "kept\n5:6"
        assert tenants.inside("web1", "cat /proc/1/uid_map") == maps


def test_exec_has_the_exit_status_of_its_command(tenants: TenantWorld) -> None:
    tenants.run("web1")
    assert tenants("tenant", "exec", "web1", "sh", "-c", "exit 42").returncode == 42
    assert tenants("tenant", "exec", "web1", "nope").returncode == 127
    assert tenants("tenant", "exec", "-u", "5", "web1", "id", "-u").stdout == "5\n"
    done = tenants("tenant", "enter", "web1", input="id -u; exit 7\n")
    assert (done.returncode, done.stdout) == (7, "0\n")
    tenants.ok("tenant", "suspend", "web1")
    assert "is suspended" in tenants.refused("tenant", "exec", "web1", "true")
    tenants.ok("tenant", "stop", "--fast", "web1")
    assert "is stopped: 'pycontain tenant start web1'" in tenants.refused("tenant", "exec", "web1", "true")


def test_suspended_it_stands_still(tenants: TenantWorld) -> None:
    tenants.run("web1")
    tenants.ok("tenant", "suspend", "web1")
    assert tenants.word("web1") == "suspended"
    group = Path((tenants.run_root / "containers" / tenants.container("web1") / "cgroup").read_text().strip())
    assert "frozen 1" in (group / "cgroup.events").read_text()
    tenants.ok("tenant", "suspend", "web1")
    tenants.ok("tenant", "resume", "web1")
    assert tenants.word("web1") == "running"
    assert "frozen 0" in (group / "cgroup.events").read_text()
    tenants.ok("tenant", "suspend", "web1")
    tenants.ok("tenant", "stop", "web1")  # it hears its signal
    assert tenants.word("web1") == "stopped"
    assert "does not run" in tenants.refused("tenant", "resume", "web1")


def test_words_for_its_end(tenants: TenantWorld) -> None:
    tenants.run("web1")
    os.kill(tenants.pid(tenants.container("web1")), signal.SIGKILL)
    assert eventually(lambda: tenants.word("web1") == "failed")
    verbose = tenants("tenant", "status", "-v", "web1")
    assert (verbose.returncode, verbose.stdout) == (1, "failed\nreason: its init ended by itself: signal 9\n")
    tenants.ok("tenant", "set", "web1", "--init", "/nowhere")
    assert "/nowhere" in tenants.refused("tenant", "start", "web1", status=127)
    assert "/nowhere" in tenants("tenant", "status", "-v", "web1").stdout
    tenants.ok("tenant", "set", "web1", "--init", "true")
    tenants("tenant", "start", "web1")
    assert eventually(lambda: tenants.word("web1") == "stopped")


def test_a_killed_monitor_is_a_failure(tenants: TenantWorld) -> None:
    tenants.run("web1")
    os.kill(tenants.monitor_pid(tenants.container("web1")), signal.SIGKILL)
    assert eventually(lambda: tenants.word("web1") == "failed")
    tenants.start("web1")
    assert tenants.word("web1") == "running"


REBOOT = "busybox reboot -f"
POWEROFF = "busybox poweroff -f"


def test_reboot_starts_it_in_place_and_poweroff_stops_it(tenants: TenantWorld) -> None:
    tenants.run("web1")
    container = tenants.container("web1")
    first = tenants.pid(container)
    tenants.ok("tenant", "set", "web1", "--hostname", "after")
    assert tenants.field("web1", "pending") == ["hostname"]
    tenants("tenant", "exec", "web1", "sh", "-c", REBOOT)

    def again() -> bool:
        try:
            return tenants.pid(container) != first and tenants.word("web1") == "running"
        except (OSError, IndexError):
            return False

    assert eventually(again)
    assert tenants.inside("web1", "hostname") == "after"
    assert tenants.field("web1", "pending") == []
    tenants("tenant", "exec", "web1", "sh", "-c", POWEROFF)
    assert eventually(lambda: tenants.word("web1") == "stopped")
    assert tenants("tenant", "status", "web1").returncode == 3


def test_a_reboot_with_damaged_settings(tenants: TenantWorld) -> None:
    """Nobody is locked out by an editor's mistake: it comes back as it was."""
    tenants.run("web1")
    container = tenants.container("web1")
    first = tenants.pid(container)
    text = tenants.file("web1").read_text()
    tenants.file("web1").write_text("nonsense")
    tenants("tenant", "exec", "web1", "sh", "-c", REBOOT)
    assert eventually(lambda: tenants.restarted(container, first))
    assert "is not TOML" in tenants.refused("tenant", "set", "web1", "--memory", "1G")
    tenants.ok("tenant", "stop", "--fast", "web1")
    assert "is not TOML" in tenants.refused("tenant", "start", "web1")
    tenants.file("web1").write_text(text)
    tenants.start("web1")


def test_list(tenants: TenantWorld) -> None:
    tenants.make("b", "--boot-order", "5")
    tenants.make("a")
    tenants.start("a")
    assert tenants.ok("tenant", "list", "-H", "-o", "name,status,order") == "b   stopped   5\na   running   0"
    assert tenants.ok("tenant", "list", "-H", "-o", "name", "-s", "name") == "a\nb"
    assert tenants.ok("tenant", "list", "-H", "-o", "name", "-s", "-order") == "b\na"
    assert tenants.listed("id,boot.stop_timeout", "a") == [{"id": 102, "boot.stop_timeout": 120}]
    assert tenants.ok("tenant", "list").splitlines()[0].split() == [
        "ID",
        "NAME",
        "STATUS",
        "IP",
        "HOSTNAME",
        "TEMPLATE",
    ]
    assert "'nope' is not a field" in tenants.refused("tenant", "list", "-o", "nope")
    assert json.loads(tenants.ok("tenant", "get", "a", "boot", "--format", "json"))["onboot"] == "no"
    assert tenants.ok("tenant", "get", "b", "boot.order") == "5"
    assert "no such setting" in tenants.refused("tenant", "get", "b", "boot.nope")


def test_names_and_numbers(tenants: TenantWorld) -> None:
    tenants.make("a", "--id", "500")
    tenants.make("b")
    assert [row["id"] for row in tenants.listed("id")] == [500, 101]
    assert "exists already, with the number 500" in tenants.refused("tenant", "create", "a", *TEMPLATE)
    assert "the number 500 is tenant a's" in tenants.refused("tenant", "create", "c", "--id", "500", *TEMPLATE)
    for name in ("7", "a/b", "..", "-x", "a.toml", "ä"):
        assert "is not a name" in tenants.refused("tenant", "create", "--", name), name
    assert "which image" in tenants.refused("tenant", "create", "c")
    assert "is no template" in tenants.refused("tenant", "create", "c", "--template", "busybox")
    assert "does not exist" in tenants.refused("tenant", "create", "c", "--template", "nosuch")
    assert [row["name"] for row in tenants.listed("name")] == ["a", "b"]
    assert not tenants.file("c").exists()


def test_like(tenants: TenantWorld) -> None:
    tenants.make("a", "--memory", "64M", "--hostname", "x")
    text = tenants.file("a").read_text()
    tenants.file("a").write_text(text.replace('limit = "64M"', 'limit = "64M"  # enough'))
    tenants.create("b", "--like", "a", "--processes", "30")
    found = tenants.settings("b")
    assert (found["id"], found["memory"]["limit"], found["processes"]["max"]) == (102, "64M", 30)
    assert "hostname" not in found
    assert "# enough" in tenants.file("b").read_text()


def test_a_settings_file_that_is_there_is_used(tenants: TenantWorld) -> None:
    tenants.file("a").write_text('# mine\nversion = 1\ntemplate = "busybox"\n[boot]\ninit = ["sleep", "1000"]\n')
    assert tenants.word("a") == "damaged"
    assert tenants("tenant", "status", "a").returncode == 5
    assert "'pycontain tenant create a' makes it" in tenants.refused("tenant", "start", "a", status=4)
    tenants.create("a", "--network", "none")
    assert tenants.file("a").read_text().startswith("# mine\n")
    tenants.start("a")


def test_addresses_are_on_one_tenant_only(tenants: TenantWorld) -> None:
    bridge = ("--template", "busybox", "--init", "sleep 1000", "--network", "bridge")
    tenants.create("a", *bridge, "--ip", "10.222.9.9")
    assert "10.222.9.9 is tenant a's" in tenants.refused("tenant", "create", "b", *bridge, "--ip", "10.222.9.9")
    tenants.create("b", *bridge)
    assert "10.222.9.9 is tenant a's" in tenants.refused("tenant", "set", "b", "--ip", "10.222.9.9")
    tenants.start("a", "b")
    assert tenants.inside("a", "ip -4 -o addr show eth0 | awk '{print $4}'") == "10.222.9.9/16"
    assert tenants.field("a", "ip") == ["10.222.9.9"]
    assert tenants.inside("b", "ping -c 1 -W 20 10.222.9.9 >/dev/null && echo there") == "there"


def test_rename(tenants: TenantWorld) -> None:
    tenants.run("a")
    assert "stop it first" in tenants.refused("tenant", "rename", "a", "b")
    tenants.ok("tenant", "stop", "--fast", "a")
    tenants.make("c")
    assert "exists already" in tenants.refused("tenant", "rename", "a", "c")
    tenants.ok("tenant", "rename", "101", "b")
    assert [row["name"] for row in tenants.listed("name")] == ["b", "c"]
    assert tenants.inspect("tenant-b")["Name"].strip("/") == "tenant-b"
    tenants.start("b")
    assert tenants.inside("b", "hostname") == "b"


@pytest.mark.parametrize(
    "verb",
    [("rm", "-f"), ("rename",), ("update", "--restart", "no"), ("start",), ("restart",)],
    ids=lambda verb: verb[0],
)
def test_the_container_is_the_tenants(tenants: TenantWorld, verb: tuple[str, ...]) -> None:
    tenants.make("a")
    more = ["x"] if verb == ("rename",) else []
    words = tenants.refused(*verb, "tenant-a", *more)
    assert "is tenant a's: 'pycontain tenant " in words
    tenants.ok("rm", "-f", "--all")
    assert tenants.inspect("tenant-a")["State"]["Status"] == "created"


def test_hooks(tenants: TenantWorld, tmp_path: Path) -> None:
    log = tmp_path / "log"
    say = f'echo "$PYCONTAIN_HOOK $PYCONTAIN_TENANT $PYCONTAIN_TENANT_ID ${{PYCONTAIN_PID:+running}}" >>{log}'
    hooks = [
        word for kind in ("pre-start", "post-start", "pre-stop", "post-stop") for word in ("--hook", f"{kind}={say}")
    ]
    tenants.make("a", *hooks)
    tenants.start("a")
    tenants.hears("a")
    tenants.ok("tenant", "stop", "a")
    expected = ["pre-start a 101", "post-start a 101 running", "pre-stop a 101 running", "post-stop a 101"]
    assert [line.strip() for line in log.read_text().splitlines()] == expected
    tenants.ok("tenant", "set", "a", "--hook", "pre-start=exit 3")
    words = tenants.refused("tenant", "start", "a")
    assert words == "tenant a: hooks.pre-start: 'exit 3' has failed (exit status 3)"
    assert tenants.word("a") == "failed"
    tenants.ok("tenant", "set", "a", "--hook", "pre-start=", "--hook", "post-start=false")
    done = tenants("tenant", "start", "a")
    assert done.returncode == 0 and "warning: tenant a: hooks.post-start" in done.stderr
    assert tenants.word("a") == "running"


def test_settings_reach_the_guest(tenants: TenantWorld, workdir: Path) -> None:
    (workdir / "hello").write_text("hello\n")
    tenants.run(
        "a",
        *("--mount", f"{workdir}:/data:ro", "--sysctl", "kernel.shmmni=123", "--env", "COLOUR=blue"),
        *("--capability", "mknod:off", "--dns", "9.9.9.9", "--dns-search", "example"),
    )
    assert tenants.inside("a", "cat /data/hello; touch /data/x 2>/dev/null || echo no") == "hello\nno"
    assert tenants.inside("a", "cat /proc/sys/kernel/shmmni; tr '\\0' '\\n' </proc/1/environ | grep COLOUR") == (
        "123\nCOLOUR=blue"
    )
    resolver = tenants.inside("a", "cat /etc/resolv.conf").splitlines()
    assert [line for line in resolver if not line.startswith("#")] == ["nameserver 9.9.9.9", "search example"]
    bounding = int(tenants.inside("a", "grep CapBnd /proc/1/status").split()[1], 16)
    assert not bounding >> 27 & 1  # CAP_MKNOD
    assert bounding >> 21 & 1  # CAP_SYS_ADMIN


def test_two_commands_at_once(tenants: TenantWorld) -> None:
    """One after the other, whichever comes first."""
    # a restart may meet an init that has just begun, and hears nothing yet
    tenants.make("a", "--stop-timeout", "1")
    commands = [[*tenants.command, "tenant", verb, "a"] for verb in ("start", "restart", "start", "restart")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for command in commands]
    for process in running:
        output, complaints = process.communicate(timeout=120)
        assert process.returncode == 0, (output, complaints)
    assert tenants.word("a") == "running"


def test_many_are_made_at_once(tenants: TenantWorld) -> None:
    names = [f"t{number}" for number in range(6)]
    commands = [[*tenants.command, "tenant", "create", name, *TEMPLATE] for name in names]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for command in commands]
    for process in running:
        output, complaints = process.communicate(timeout=120)
        assert process.returncode == 0, (output, complaints)
    assert sorted(row["id"] for row in tenants.listed("id")) == list(range(101, 107))


def test_features(tenants: TenantWorld) -> None:
    """What is off is not there; what is on is, after a restart."""
    look = "for one in /dev/fuse /dev/net/tun; do test -c $one && echo $one; done; true"
    proc = "unshare --user --map-root-user --mount --pid --fork --mount-proc true 2>/dev/null && echo mounted; true"
    tenants.run("a")
    assert tenants.inside("a", look) == ""
    assert tenants.inside("a", proc) == ""
    waits = tenants.does(
        "tenant", "set", "a", *("--features", "fuse:on", "--features", "tun:on", "--features", "nesting:on")
    )
    assert waits == "waits for a restart: features.nesting, features.fuse, features.tun"
    tenants.does("tenant", "restart", "--fast", "a")
    assert tenants.inside("a", look) == "/dev/fuse\n/dev/net/tun"
    assert tenants.inside("a", proc) == "mounted"


def test_a_tenant_without_a_user_namespace(tenants: TenantWorld) -> None:
    tenants.run("a", "--privileged-ids", "yes")
    assert tenants.inside("a", "cat /proc/1/uid_map").split() == ["0", "0", "4294967295"]
    tenants.inside("a", "echo kept >/file; chown 5 /file")
    tenants.does("tenant", "set", "a", "--privileged-ids", "no")
    tenants.does("tenant", "restart", "--fast", "a")
    assert tenants.inside("a", "cat /proc/1/uid_map").split()[1] != "0"
    assert tenants.inside("a", "cat /file; stat -c %u /file") == "kept\n5"
    tenants.does("tenant", "set", "a", "--privileged-ids", "yes")
    tenants.does("tenant", "restart", "--fast", "a")
    assert tenants.inside("a", "stat -c %u /file") == "5"
    assert [path.name for path in (tenants.root / "ids").iterdir()] == ["next"]


def test_a_lost_state_does_not_take_the_root_with_it(tenants: TenantWorld) -> None:
    tenants.make("web1")
    container = tenants.container("web1")
    place, aside = tenants.root / "tenants" / "web1", tenants.root / "aside"
    place.rename(aside)
    for words in (["create", "web1", *TEMPLATE], ["start", "web1"]):
        done = tenants("tenant", *words)
        assert done.returncode != 0, done
        assert (tenants.root / "containers" / container).is_dir(), done
    assert "its state is lost" in tenants("tenant", "create", "web1", *TEMPLATE).stderr
    if place.is_dir():
        place.rmdir()
    aside.rename(place)
    assert tenants.word("web1") == "stopped"
