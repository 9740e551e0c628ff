"""Tenants that are suspended to the disk, by CRIU, and go on from there: `suspend --to-disk`, `start`, `boot.shutdown`.

CRIU is the tests' own (tests/host/criu.py).
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import Client
from steps import killed_at
from tenant_world import TenantWorld
from world import World, eventually

pytestmark = pytest.mark.timeout(300)

BUSYBOX = ("--template", "busybox-vps", "--network", "none")
#: Counts in memory; what it writes is a copy.
LOOP = "i=0; while :; do i=$((i+1)); echo $i >/run/new; mv /run/new /run/count; sleep 0.05; done"
COUNT = f"({LOOP}) </dev/null >/dev/null 2>&1 &"
#: What confines it, as /proc/1/status has it.
CONFINED = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/1/status; cat /proc/1/limits /proc/1/oom_score_adj"
#: Without what is numbered anew.
MOUNTS = "sed -E 's/^[0-9]+ [0-9]+ [0-9]+:[0-9]+ //; s/ - / /' /proc/1/mountinfo | sort"


@pytest.fixture
def vps(
    templates: World, tenants: TenantWorld, criu_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TenantWorld]:
    monkeypatch.setenv("PATH", f"{criu_programs}:{os.environ['PATH']}")
    yield tenants


def counting(world: TenantWorld, *flags: str) -> None:
    """A tenant in which something counts."""
    world.ok("tenant", "create", "bb", *(flags or BUSYBOX))
    world.does("tenant", "start", "--wait", "bb")
    world.inside("bb", COUNT)
    assert eventually(lambda: count(world) > 2)


def count(world: TenantWorld) -> int:
    done = world("tenant", "exec", "bb", "cat", "/run/count")
    return int(done.stdout or 0)


def goes_on_from(world: TenantWorld, number: int) -> bool:
    first = count(world)
    return first >= number and eventually(lambda: count(world) > first)


def group(world: TenantWorld) -> str:
    """Its cgroup."""
    return (world.run_root / "containers" / world.container("bb") / "cgroup").read_text().strip()


def members(directory: Path) -> list[str]:
    return [line for file in directory.rglob("cgroup.procs") for line in file.read_text().split()]


def dumps(world: TenantWorld) -> list[str]:
    return sorted(path.name for path in (world.root / "tenants" / "bb").glob("dump*"))


def test_it_goes_on_from_where_it_was(vps: TenantWorld, workdir: Path) -> None:
    # the host's, with their owners mapped, where the tenant's root does not come to by itself
    data = workdir / "closed" / "data"
    data.mkdir(parents=True)
    data.parent.chmod(0o700)
    for name, owner in (("one", 5), ("file", 0)):
        (data / name).write_text("the host's\n")
        os.chown(data / name, owner, owner)
    mounts = ("--mount", f"{data}:/data", "--mount", f"{data}/file:/file:ro")
    counting(vps, "--template", "busybox-vps", "--ip", "10.88.1.10", "--ip", "fd00:88::10", *mounts)
    container = vps.container("bb")
    before = [vps.inside("bb", script) for script in (CONFINED, MOUNTS, "ls -l /proc/1/fd | wc -l", "hostname")]
    addresses = "ip addr show eth0 | grep -o 'inet.* scope global'; ip route"
    had = vps.inside("bb", addresses)
    vps.inside("bb", "echo in memory >/run/fact; echo on disk >/fact")
    number, init = count(vps), vps.pid(container)
    directory = Path(group(vps))
    assert members(directory)

    assert vps.ok("tenant", "suspend", "--to-disk", "bb") == "bb"
    assert not directory.exists() and not Path(f"/proc/{init}").exists()
    assert vps.word("bb") == "suspended" and vps("tenant", "status", "bb").returncode == 0
    assert "on the disk, since" in vps.ok("tenant", "status", "-v", "bb")
    assert dumps(vps) == ["dump"]
    assert (vps.root / "tenants" / "bb" / "dump").stat().st_mode & 0o777 == 0o700
    assert vps("tenant", "suspend", "--to-disk", "bb").returncode == 0  # it is so already
    assert "is suspended" in vps.refused("tenant", "exec", "bb", "true")
    assert "suspended on the disk" in vps.refused("tenant", "rename", "bb", "cc")
    assert "suspended on the disk" in vps.refused("tenant", "start", "--rescue", "bb")
    assert "suspended on the disk" in vps.refused("tenant", "reinstall", "bb")
    assert "suspended on the disk" in vps.refused("tenant", "destroy", "bb")

    vps.does("tenant", "start", "bb")
    assert dumps(vps) == [] and vps.word("bb") == "running"
    assert goes_on_from(vps, number)
    assert vps.inside("bb", "cat /run/fact /fact; touch /writable") == "in memory\non disk"
    after = [vps.inside("bb", script) for script in (CONFINED, MOUNTS, "ls -l /proc/1/fd | wc -l", "hostname")]
    assert after == before
    assert vps.inside("bb", addresses) == had
    assert vps.inside("bb", "stat -c '%u %g' /data/one /file; cat /file; touch /file 2>&1 || true").splitlines() == [
        *("5 5", "0 0", "the host's", "touch: /file: Read-only file system")
    ]
    vps.inside("bb", "chown 7:7 /data/one")
    assert (data / "one").stat().st_uid == 7
    # its monitor: console, log, reboot in place, stop
    vps.inside("bb", "echo hello from the console >/dev/console")
    assert eventually(lambda: "hello from the console" in vps("logs", "tenant-bb").stdout)
    first = vps.pid(container)
    vps("tenant", "exec", "bb", "reboot")
    assert eventually(lambda: vps.restarted(container, first), 60)
    vps.does("tenant", "start", "--wait", "bb")  # until it is up: before its init may not hear a stop
    assert vps("tenant", "exec", "bb", "cat", "/run/fact").returncode == 1
    vps.ok("tenant", "stop", "bb")
    assert vps.word("bb") == "stopped"


def test_a_systemd_goes_on(vps: TenantWorld) -> None:
    vps.ok("tenant", "create", "bb", "--template", "debian-vps", "--ip", "10.88.1.10")
    vps.ok("tenant", "set", "bb", "boot.shutdown=suspend")
    vps.does("tenant", "start", "--wait", "bb")
    vps("tenant", "exec", "bb", "systemd-run", "--unit=counter", "sh", "-c", LOOP)
    state = "systemctl is-system-running --wait; systemctl is-active counter ssh cron; systemctl --failed --no-legend"
    before = vps("tenant", "exec", "bb", "sh", "-c", state).stdout
    assert before == "running\nactive\nactive\nactive\n"
    assert eventually(lambda: count(vps) > 2)
    # of the services that stay: others come and go by themselves
    groups = "cd /sys/fs/cgroup; ls -d init.scope system.slice/cron.service system.slice/ssh.service"
    groups += " system.slice/counter.service; tail -n 1 /proc/1/cgroup"
    number, tree = count(vps), vps.inside("bb", groups)
    vps.ok("tenant", "suspend", "--to-disk", "bb")
    vps.does("tenant", "start", "--wait", "bb")
    assert vps("tenant", "exec", "bb", "sh", "-c", state).stdout == before
    assert goes_on_from(vps, number)
    assert vps.inside("bb", groups) == tree
    # its init knows its services, its groups are its own
    vps.inside("bb", "systemctl restart cron && systemctl stop counter && systemctl is-active cron")
    assert vps("tenant", "exec", "bb", "systemctl", "is-active", "counter").stdout == "inactive\n"
    vps.ok("tenant", "stop", "bb")
    assert vps.word("bb") == "stopped"


def test_twice_and_by_resume(vps: TenantWorld) -> None:
    counting(vps)
    told: list[str] = []
    with Client(vps, "tenant", "monitor", "bb") as client:

        def hear(event: str) -> None:
            """Until it is told: of two at once it sees but what has come of them."""
            while event not in told[-1:]:
                assert client.process.stdout
                one = json.loads(client.process.stdout.readline())
                told.append(one["event"] + (" disk" if one.get("disk") else ""))

        hear("watching")
        for verb in ("resume", "start"):
            number = count(vps)
            vps.ok("tenant", "suspend", "--to-disk", "bb")
            hear("suspended disk")
            vps.does("tenant", verb, "bb")
            hear("resumed disk")
            assert goes_on_from(vps, number)
        vps.ok("tenant", "stop", "bb")
        hear("stopped")
    assert vps.word("bb") == "stopped"
    # CRIU freezes it for a moment, which may be seen
    told = [event for event in told if event not in ("suspended", "resumed")]
    assert told == ["watching", *["suspended disk", "resumed disk"] * 2, "stopped"]


def test_limits_and_ids_are_the_hosts(vps: TenantWorld) -> None:
    counting(vps)
    container = vps.container("bb")
    vps.ok("tenant", "suspend", "--to-disk", "bb")
    vps.does("tenant", "start", "bb")
    pid = vps.pid(container)
    first = vps.root / "containers" / container / "container.json"
    assert str(os.stat(f"/proc/{pid}").st_uid) in first.read_text()
    for name in ("user", "mnt", "pid", "net", "uts", "ipc", "cgroup"):
        assert os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
    directory = group(vps)
    assert str(pid) in members(Path(directory))
    # its cgroup, to which the guest has only what is given to each
    assert os.stat(f"{directory}/cgroup.procs").st_uid == os.stat(f"/proc/{pid}").st_uid
    assert os.stat(f"{directory}/cgroup.max.depth").st_uid == 0
    vps.ok("tenant", "suspend", "bb")
    assert vps.word("bb") == "suspended"
    vps.ok("tenant", "resume", "bb")


def test_it_dies_with_its_monitor(vps: TenantWorld) -> None:
    counting(vps)
    vps.ok("tenant", "suspend", "--to-disk", "bb")
    vps.does("tenant", "start", "bb")
    pid = vps.pid(vps.container("bb"))
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert "pycontain" in Path(f"/proc/{parent}/comm").read_text()
    os.kill(parent, signal.SIGKILL)
    assert eventually(lambda: not os.path.exists(f"/proc/{pid}/root/etc"))
    assert eventually(lambda: vps.word("bb") == "failed")
    vps.does("tenant", "start", "bb")
    assert vps.word("bb") == "running" and not Path(f"/proc/{pid}/root/run/count").exists()


def test_stop_gives_up_what_it_had_in_memory(vps: TenantWorld) -> None:
    counting(vps)
    vps.ok("tenant", "suspend", "--to-disk", "bb")
    vps.ok("tenant", "stop", "bb")
    assert vps.word("bb") == "stopped" and dumps(vps) == []
    vps.does("tenant", "start", "--wait", "bb")
    assert vps("tenant", "exec", "bb", "cat", "/run/count").returncode == 1


def test_a_dump_that_cannot_be_used_is_kept_aside(vps: TenantWorld) -> None:
    counting(vps)
    vps.ok("tenant", "suspend", "--to-disk", "bb")
    (vps.root / "tenants" / "bb" / "dump" / "pstree.img").write_bytes(b"nothing")
    done = vps("tenant", "start", "--wait", "bb")  # before it is up it may be in the middle of what CRIU cannot save
    assert done.returncode == 0, done
    assert "bb: it could not go on from where it was suspended, and is started anew: CRIU: " in done.stderr
    assert vps.word("bb") == "running" and dumps(vps) == ["dump.failed"]
    assert vps("tenant", "exec", "bb", "cat", "/run/count").returncode == 1
    # and what is left of it is no obstacle
    vps.ok("tenant", "suspend", "--to-disk", "bb")
    vps.does("tenant", "start", "bb")
    assert vps.word("bb") == "running" and dumps(vps) == []


def test_what_cannot_be_saved_goes_on(vps: TenantWorld) -> None:
    counting(vps)
    number, start = count(vps), "tenant bb cannot be suspended to the disk: "
    inside = ["nsenter", "-t", str(vps.pid(vps.container("bb"))), "-n"]

    subprocess.run([*inside, "ip", "link", "add", "own", "type", "veth", "peer", "name", "own2"], check=True)
    message = vps.refused("tenant", "suspend", "--to-disk", "bb")
    assert message == f"{start}it has made the network device own, which would be lost"
    subprocess.run([*inside, "ip", "link", "del", "own"], check=True)

    subprocess.run([*inside, "nft", "add", "table", "inet", "own"], check=True)
    message = vps.refused("tenant", "suspend", "--to-disk", "bb")
    assert message == f"{start}it has a firewall of its own (nftables), which would be lost"
    subprocess.run([*inside, "nft", "delete", "table", "inet", "own"], check=True)

    # as systemd makes one for a service with ProtectHostname=
    script = "unshare -u sleep 1000 </dev/null >/dev/null 2>&1 &"
    join = ["sh", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"', group(vps)]
    subprocess.run([*join, *inside, "-U", "-m", "-u", "-i", "-p", "sh", "-c", script], check=True)
    assert eventually(lambda: "sleep 1000" in vps.inside("bb", "ps"))
    message = vps.refused("tenant", "suspend", "--to-disk", "bb")
    assert message.startswith(f"{start}CRIU: Can't dump nested uts namespace") and "boot.shutdown=suspend" in message
    assert f"(its log: {vps.root}/tenants/bb/dump.log)" in message
    assert vps.word("bb") == "running" and dumps(vps) == ["dump.log"]
    assert goes_on_from(vps, number)
    vps.inside("bb", "kill $(pidof sleep) 2>/dev/null || true")  # the counter's may have ended by itself
    # a dead one whose session is the host's cannot be saved before init has waited for it
    assert eventually(lambda: "sleep 1000" not in (shown := vps.inside("bb", "ps")) and "[sleep]" not in shown)
    # what was begun from outside ends; the rest goes on
    with Client(vps, "tenant", "exec", "bb", "sleep", "1001") as client:
        assert eventually(lambda: "sleep 1001" in vps.inside("bb", "ps"))
        vps.ok("tenant", "suspend", "--to-disk", "bb")
        assert client.finish(30) != 0
    vps.does("tenant", "start", "bb")
    assert goes_on_from(vps, number) and "sleep 1001" not in vps.inside("bb", "ps")


def test_hooks_run_when_it_goes_and_comes(vps: TenantWorld, tmp_path: Path) -> None:
    counting(vps)
    log, refuses = tmp_path / "log", tmp_path / "refuses"
    for name in ("pre-start", "post-start", "pre-stop", "post-stop"):
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\necho {name} >>{log}\n[ {name} != pre-start ] || [ ! -e {refuses} ]\n")
        script.chmod(0o755)
        vps.ok("tenant", "set", "bb", f"hooks.{name}={script}")
    number = count(vps)
    vps.ok("tenant", "suspend", "--to-disk", "bb")
    refuses.touch()
    # who refuses its start has not refused what it has in memory
    assert vps("tenant", "start", "bb").returncode != 0
    assert vps.word("bb") == "suspended" and dumps(vps) == ["dump"]
    refuses.unlink()
    vps.does("tenant", "start", "bb")
    assert goes_on_from(vps, number)
    assert log.read_text().split() == ["pre-stop", "post-stop", "pre-start", "pre-start", "post-start"]


def test_a_signal_comes_when_it_is_done(vps: TenantWorld) -> None:
    counting(vps)
    number = count(vps)
    new = vps.root / "tenants" / "bb" / "dump.new"
    command = [*vps.command, "tenant", "suspend", "--to-disk", "bb"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as verb:
        assert eventually(lambda: (new / "dump.log").exists() or verb.poll() is not None)
        verb.send_signal(signal.SIGINT)
        verb.communicate(timeout=60)
    assert vps.word("bb") == "suspended" and dumps(vps) == ["dump"]
    vps.does("tenant", "start", "bb")
    assert goes_on_from(vps, number)


def test_without_criu(templates: World, tenants: TenantWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    counting(tenants)
    message = tenants.refused("tenant", "suspend", "--to-disk", "bb")
    assert message == (
        "tenant bb cannot be suspended to the disk: criu is not in PATH (/usr/bin:/bin): install CRIU 4.1 or newer"
    )
    assert tenants.word("bb") == "running" and dumps(tenants) == []
    # what the host's going down does then
    tenants.ok("tenant", "set", "bb", "boot.shutdown=suspend")
    done = tenants("tenant", "stop", "--all")
    assert done.returncode == 0 and "criu is not in PATH" in done.stderr and "; it is stopped" in done.stderr, done
    assert tenants.word("bb") == "stopped"


def test_all_go_down_with_the_host_and_come_back(vps: TenantWorld) -> None:
    counting(vps, *BUSYBOX, "--onboot", "as-before")
    vps.ok("tenant", "set", "bb", "boot.shutdown=suspend")
    vps.ok("tenant", "create", "cc", *BUSYBOX, "--onboot", "as-before")
    vps.does("tenant", "start", "--wait", "cc")
    number = count(vps)
    vps.ok("tenant", "stop", "--all")
    assert (vps.word("bb"), vps.word("cc")) == ("suspended", "stopped")
    vps.does("tenant", "start", "--all", "--onboot")
    assert (vps.word("bb"), vps.word("cc")) == ("running", "running")
    assert goes_on_from(vps, number)


def test_a_host_whose_root_may_not_ask_for_limits(
    vps: TenantWorld, criu_programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (criu_programs / "criu").read_text()
    if "--preload" not in text:
        pytest.skip("root has CAP_SYS_RESOURCE here")
    plain = text.replace('--preload "$here/../bin/limits.so" ', "").replace(
        '$(dirname "$(readlink -f "$0")")', str(criu_programs)
    )
    (tmp_path / "criu").write_text(plain)
    (tmp_path / "criu").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    counting(vps)
    message = vps.refused("tenant", "suspend", "--to-disk", "bb")
    assert "root has no CAP_SYS_RESOURCE on this host" in message
    assert goes_on_from(vps, count(vps))


def test_addresses_that_the_host_has_chosen_and_a_connection(vps: TenantWorld) -> None:
    counting(vps, "--template", "busybox-vps", "--network", "bridge")
    (address,) = vps.field("bb", "ip")
    vps.inside("bb", "nc -l -p 7 -e cat </dev/null >/dev/null 2>&1 &")
    assert eventually(lambda: ":7 " in vps.inside("bb", "netstat -ltn"))
    with socket.create_connection((address, 7), timeout=60) as link:
        link.sendall(b"one\n")
        assert link.recv(10) == b"one\n"
        vps.ok("tenant", "suspend", "--to-disk", "bb")
        # somebody else is there meanwhile
        vps.ok("tenant", "create", "cc", "--template", "busybox-vps", "--network", "bridge")
        vps.does("tenant", "start", "cc")
        vps.ok("tenant", "stop", "--fast", "cc")
        vps.does("tenant", "start", "bb")
        assert vps.field("bb", "ip") == [address]
        link.sendall(b"two\n")
        assert link.recv(10) == b"two\n"


def test_a_mount_that_the_guest_has_made_of_the_hosts(vps: TenantWorld, workdir: Path) -> None:
    """Whoever else writes there could have it mean another place of the host's when it goes on."""
    (workdir / "data" / "sub").mkdir(parents=True)
    counting(vps, *BUSYBOX, "--mount", f"{workdir}/data:/data")
    vps.inside("bb", "mkdir /mine; mount -o bind /data/sub /mine")
    message = vps.refused("tenant", "suspend", "--to-disk", "bb")
    assert "/mine: a mount from the host that its settings do not have" in message
    vps.inside("bb", "umount /mine; mkdir -p /own /own2; mount -t tmpfs none /own; mount -o bind /etc /own2")
    vps.ok("tenant", "suspend", "--to-disk", "bb")
    # nor is a list that was changed
    dump = vps.root / "tenants" / "bb" / "dump"
    mounts = json.loads((dump / "mounts.json").read_text())
    (dump / "mounts.json").write_text(json.dumps({**mounts, "/data": "/"}))
    vps.does("tenant", "start", "bb")
    assert vps.inside("bb", "ls /data; grep -c own /proc/mounts; ls /own2/passwd") == "sub\n2\n/own2/passwd"


def test_several_devices(vps: TenantWorld) -> None:
    vps.ok("tenant", "create", "bb", "--template", "busybox-vps", "--ip", "198.51.100.10")
    vps.ok("tenant", "set", "bb", "--netif-add", "eth1", "--network", "bridge")
    vps.does("tenant", "start", "--wait", "bb")
    vps.inside("bb", COUNT)
    assert eventually(lambda: count(vps) > 2)
    script = "ip addr show | grep -o 'inet.* scope global.*'; ip route; ip rule"
    number, had = count(vps), vps.inside("bb", script)
    assert "eth0" in had and "eth1" in had
    vps.ok("tenant", "suspend", "--to-disk", "bb")
    # who takes the next free address takes that of nobody who comes back
    vps.ok("tenant", "create", "cc", "--template", "busybox-vps", "--network", "bridge")
    vps.does("tenant", "start", "cc")
    vps.ok("tenant", "stop", "--fast", "cc")
    vps.does("tenant", "start", "bb")
    assert goes_on_from(vps, number) and vps.inside("bb", script) == had


def test_what_its_unit_runs_becomes_its_monitor(vps: TenantWorld, tmp_path: Path) -> None:
    """The main process of pycontain-tenant@NAME.service: from the dump, and anew where that cannot be."""
    counting(vps)
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(60)
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    for damaged in (False, True):
        number = count(vps)
        vps.ok("tenant", "suspend", "--to-disk", "bb")
        if damaged:
            (vps.root / "tenants" / "bb" / "dump" / "pstree.img").write_bytes(b"nothing")
        log = tmp_path / "log"
        command = [*vps.command, "tenant", "service", "run", "bb"]
        with log.open("w") as stream:
            main = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        assert notify.recv(4096) == b"READY=1"
        assert vps.monitor_pid(vps.container("bb")) == main.pid and vps.word("bb") == "running"
        if damaged:
            assert "is started anew: " in log.read_text() and dumps(vps) == ["dump.failed"]
            vps.does("tenant", "start", "--wait", "bb")  # before it is up its init may not hear a stop
        else:
            assert log.read_text() == ""
            assert goes_on_from(vps, number)
        vps.ok("tenant", "stop", "bb")
        assert main.wait(timeout=30) == 0
        if not damaged:
            vps.does("tenant", "start", "--wait", "bb")
            vps.inside("bb", COUNT)
            assert eventually(lambda: count(vps) > 2)
    notify.close()


# --- kill -9 between any two steps ----------------------------------------------------------------------------------

#: Every fourth step, from one of the first four on; with PYCONTAIN_EVERY_STEP each of them.
STRIDE = 1 if os.environ.get("PYCONTAIN_EVERY_STEP") else 4


def settled(world: TenantWorld) -> str:
    """The word of status, which has to fit what there is; doctor finds no more than what was interrupted."""
    while True:
        word = world.word("bb")
        alive = world("tenant", "exec", "bb", "true").returncode == 0
        if world.word("bb") == word:  # what the killed one has begun may have come to its end between the two
            break
    assert alive == (word == "running"), word
    found = [line for line in world("tenant", "doctor").stdout.splitlines() if not line.startswith("note: ")]
    assert all("interrupted" in line for line in found), found
    return word


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_suspend_that_was_killed(vps: TenantWorld) -> None:
    counting(vps)
    step, where = random.randint(1, STRIDE), "begin"
    print("first step:", step)
    while where:
        number = count(vps)
        where = killed_at(vps, step, "tenant", "suspend", "--to-disk", "bb")
        what = f"step {step}: {where or 'not killed'}"
        assert settled(vps) in ("running", "suspended"), what
        vps.does("tenant", "suspend", "--to-disk", "bb")
        assert settled(vps) == "suspended", what
        vps.does("tenant", "start", "bb")
        assert goes_on_from(vps, number), what
        assert dumps(vps) == [], what
        step += STRIDE
    assert step > 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_start_from_the_disk_that_was_killed(vps: TenantWorld) -> None:
    counting(vps)
    step, where = random.randint(1, STRIDE), "begin"
    print("first step:", step)
    while where:
        number = count(vps)
        vps.does("tenant", "suspend", "--to-disk", "bb")
        where = killed_at(vps, step, "tenant", "start", "bb")
        what = f"step {step}: {where or 'not killed'}"
        assert eventually(lambda: vps.word("bb") != "starting"), what
        word = settled(vps)
        vps.does("tenant", "start", "bb")
        assert settled(vps) == "running", what
        if vps("tenant", "exec", "bb", "cat", "/run/count").returncode:
            # killed when it was about to go on: nobody goes on from there a second time
            assert word in ("stopped", "failed"), what
            vps.inside("bb", COUNT)
            assert eventually(lambda: count(vps) > 2)
        else:
            assert goes_on_from(vps, number), what
        step += STRIDE
    assert step > 20
