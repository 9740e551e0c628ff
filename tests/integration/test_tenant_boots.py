"""Tenants that boot: their init, console, set-up at each start, rescue, root's password."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from client import Terminal
from pycontain.image import store
from pycontain.image.reference import parse
from tenant_world import TenantWorld
from world import World, eventually

BUSYBOX = ("--template", "busybox-vps", "--network", "none")


@pytest.fixture
def vps(templates: World, tenants: TenantWorld) -> Iterator[TenantWorld]:
    yield tenants


def started(world: TenantWorld, name: str, *flags: str) -> None:
    """Start and wait; warnings of controllers that this host does not have are no failure."""
    done = world("tenant", "start", "--wait", *flags, name)
    assert done.returncode == 0, done
    assert [line for line in done.stderr.splitlines() if "not enforced" not in line] == [], done


def console(world: TenantWorld, name: str) -> str:
    done = world("tenant", "console", "--once", name)
    assert done.returncode == 0, done
    return done.stdout


def asks_for_a_login(world: TenantWorld, name: str) -> bool:
    """That it is up does not say that its console is."""
    return eventually(lambda: f"{name} login:" in world("logs", f"tenant-{name}").stdout)


def test_it_boots_and_powers_off(vps: TenantWorld) -> None:
    vps.ok("tenant", "create", "bb", *BUSYBOX)
    started(vps, "bb")
    assert vps.word("bb") == "running"
    assert vps.inside("bb", "cat /etc/hostname; hostname; cat /proc/1/comm") == "bb\nbb\ninit"
    assert asks_for_a_login(vps, "bb")
    vps("tenant", "exec", "bb", "poweroff")  # its init may end it before it has ended itself
    assert eventually(lambda: vps.word("bb") == "stopped"), vps("tenant", "status", "-v", "bb")
    text = console(vps, "bb")
    assert "bb login:" in text and "Requesting system poweroff" in text


def test_a_reboot_starts_it_in_place(vps: TenantWorld) -> None:
    vps.ok("tenant", "create", "bb", *BUSYBOX)
    started(vps, "bb")
    first = vps.pid(vps.container("bb"))
    vps.inside("bb", "echo kept >/kept; echo gone >/tmp/gone")
    vps.ok("tenant", "set", "bb", "hostname=other")
    vps("tenant", "exec", "bb", "reboot")
    container = vps.container("bb")
    assert eventually(lambda: vps.restarted(container, first), 60)
    started(vps, "bb")  # until it is up: before its init may not hear a stop
    # by the settings as they are now
    assert vps.inside("bb", "cat /kept /etc/hostname; ls /tmp; hostname") == "kept\nother\nother"
    vps.ok("tenant", "stop", "bb")
    assert vps.word("bb") == "stopped"


def test_its_files_are_set_up_at_each_start(vps: TenantWorld) -> None:
    vps.ok("tenant", "create", "bb", *BUSYBOX, "--dns", "192.0.2.53", "--dns-search", "example")
    started(vps, "bb")
    assert "nameserver 192.0.2.53\nsearch example" in vps.inside("bb", "cat /etc/resolv.conf")
    vps.inside("bb", "echo 192.0.2.1 mine >>/etc/hosts; rm /etc/resolv.conf; grep /etc/ /proc/mounts || true")
    vps.ok("tenant", "set", "bb", "hostname=www.example")
    vps.ok("tenant", "stop", "--fast", "bb")
    started(vps, "bb")
    assert "127.0.1.1\twww.example www" in vps.inside("bb", "cat /etc/hosts")
    assert "192.0.2.1 mine" in vps.inside("bb", "cat /etc/hosts")
    assert "nameserver 192.0.2.53" in vps.inside("bb", "cat /etc/resolv.conf")


def test_a_root_that_leads_elsewhere(vps: TenantWorld, workdir: Path) -> None:
    """What the host writes for a guest stays in its root; one that cannot be written is no reason not to start it."""
    vps.ok("tenant", "create", "bb", *BUSYBOX)
    started(vps, "bb")
    outside = workdir / "outside"
    outside.mkdir()
    for name in ("hostname", "hosts", "resolv.conf", "interfaces", "shadow"):
        (outside / name).write_text("root:the host's:::::::\n")
    vps.inside(
        "bb",
        f"cp -a /etc /etc.real; rm -rf /etc/network; ln -s {outside} /etc/network; ln -sf {outside}/hosts /etc/hosts",
    )
    vps.ok("tenant", "stop", "--fast", "bb")
    started(vps, "bb")
    vps.inside("bb", f"mv /etc /etc.old; ln -s {outside} /etc")
    vps.ok("tenant", "stop", "--fast", "bb")
    done = vps("tenant", "start", "bb")
    assert done.returncode == 0 and "bb: its files could not be set up" in done.stderr, done
    done = vps("tenant", "passwd", "bb", input="secret\n")
    assert done.returncode and "Traceback" not in done.stderr, done
    assert {path.name: path.read_text() for path in outside.iterdir()} == dict.fromkeys(
        ("hostname", "hosts", "resolv.conf", "interfaces", "shadow"), "root:the host's:::::::\n"
    )


def test_roots_password(vps: TenantWorld) -> None:
    vps.ok("tenant", "create", "bb", *BUSYBOX)
    vps.ok("tenant", "passwd", "bb", input="first\n")
    started(vps, "bb")
    before = vps.inside("bb", "grep ^root: /etc/shadow; stat -c '%u %g %a' /etc/shadow")
    assert before.startswith("root:$6$") and before.endswith("\n0 0 600")
    vps.ok("tenant", "passwd", "bb", input="second\n")
    after = vps.inside("bb", "grep ^root: /etc/shadow; stat -c '%u %g %a' /etc/shadow")
    assert after.startswith("root:$6$") and after.endswith("\n0 0 600") and after != before
    assert "the password is empty" in vps.refused("tenant", "passwd", "bb", input="\n")
    # and it is the password: busybox makes the same hash of it
    hashed = after.split(":")[1]
    salt = hashed.split("$")[2]
    assert vps.inside("bb", f"mkpasswd -m sha512 -S {salt} second") == hashed


def test_keys_for_ssh(vps: TenantWorld, tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_text("# mine\nssh-ed25519 AAAA me@here\n")
    vps.ok("tenant", "create", "bb", *BUSYBOX, "--ssh-key", str(key))
    started(vps, "bb")
    assert vps.inside("bb", "cat /root/.ssh/authorized_keys; stat -c %a /root/.ssh") == "ssh-ed25519 AAAA me@here\n700"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    for text in (f"{tmp_path}/none", str(key)):
        message = vps.refused("tenant", "create", "other", *BUSYBOX, "--ssh-key", text)
        assert message.startswith(f"--ssh-key {text}: ")


def test_rescue(vps: TenantWorld) -> None:
    vps.ok("tenant", "create", "bb", *BUSYBOX)
    done = vps("tenant", "start", "--rescue", "--rescue-command", "sleep 1000", "bb")
    assert (done.returncode, done.stdout) == (0, "bb\n"), done
    assert vps.inside("bb", "cat /proc/1/comm; tr '\\0' ' ' </proc/1/cmdline") == "sleep\nsleep 1000 "
    assert vps.word("bb") == "running"
    assert "bb runs: stop it first" in vps.refused("tenant", "start", "--rescue", "bb")
    vps.ok("tenant", "stop", "bb")
    # its next start is as always
    started(vps, "bb")
    assert vps.inside("bb", "cat /proc/1/comm") == "init"


def test_the_console_waits_for_a_start_and_shows_what_was(vps: TenantWorld) -> None:
    vps.ok("tenant", "create", "bb", *BUSYBOX)
    assert console(vps, "bb") == ""
    command = [*vps.command, "tenant", "console", "bb"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as client:
        assert client.stdout
        try:
            assert b"bb does not run: waiting for its start" in client.stdout.readline()
            life_shown(vps, client.stdout, "its first life")
            vps.ok("tenant", "stop", "--fast", "bb")
            until_shown(client.stdout, b"does not run")  # the second time
            life_shown(vps, client.stdout, "hello from the console")
        finally:
            client.kill()
    # nobody says it any more
    command = [*vps.command, "tenant", "console", "-n", "100", "bb"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as client:
        assert client.stdout
        try:
            until_shown(client.stdout, b"hello from the console")
        finally:
            client.kill()


def life_shown(world: TenantWorld, shown: IO[bytes], words: str) -> None:
    """Start bb, and wait until the client is connected with it: what is written again and again is shown."""
    started(world, "bb")
    loop = f"(until [ -e /quiet ]; do echo {words}; sleep 0.1; done; rm /quiet) >/dev/console 2>&1 </dev/null &"
    world.inside("bb", loop)
    until_shown(shown, words.encode())
    world.inside("bb", "touch /quiet; while [ -e /quiet ]; do sleep 0.1; done")


def until_shown(shown: IO[bytes], text: bytes) -> None:
    seen = b""
    while text not in seen:
        line = shown.readline()
        assert line, seen
        seen += line


def template(world: World, name: str, init: str) -> None:
    """A template on the files of busybox whose init says when it is up, if it does."""
    root = str(world.root)
    base = store.lookup(root, "busybox")
    assert base
    said = {"": "1", ".init": init, ".stop-signal": "SIGKILL", ".ready": "notify"}
    labels = {f"io.pycontain.template{key}": value for key, value in said.items()}
    store.add(root, parse(name), {"Cmd": init.split(), "Labels": labels}, base.layers, [], size=0, history=[])


def test_a_person_at_the_console(vps: TenantWorld) -> None:
    vps.ok("tenant", "create", "bb", *BUSYBOX)
    with Terminal(vps, "tenant", "passwd", "bb") as terminal:
        terminal.expect("New password of root in bb: ")
        terminal.send("secret\n")
        terminal.expect("Again: ")
        terminal.send("secret\n")
        assert terminal.finish() == 0
        assert "secret" not in terminal.expect("Again")
    started(vps, "bb")
    with Terminal(vps, "tenant", "console", "bb") as terminal:
        terminal.expect("console of bb: ^P^Q leaves it")
        terminal.expect("bb login:")
        terminal.send("root\n")
        terminal.expect("Password:")
        terminal.send("secret\n")
        terminal.expect("bb:~#")
        # its shell has the console for its terminal, with job control
        terminal.send("tty; echo job $((40 + 2)); ps -o pid,tty,comm | grep '[s]h$'\n")
        terminal.expect("/dev/console")
        assert "job control turned off" not in terminal.expect("job 42")
        terminal.send("\x10\x11")
        assert terminal.finish() == 0
    assert vps.word("bb") == "running"


def test_two_passwords_that_differ(vps: TenantWorld) -> None:
    vps.ok("tenant", "create", "bb", *BUSYBOX)
    with Terminal(vps, "tenant", "passwd", "bb") as terminal:
        terminal.expect("New password")
        terminal.send("one\n")
        terminal.expect("Again: ")
        terminal.send("two\n")
        assert terminal.finish() == 125
        terminal.expect("the two passwords are not the same: nothing was changed")


def test_waiting_for_an_init(vps: TenantWorld) -> None:
    template(vps, "late-vps", "/bin/sleep 1000")
    template(vps, "failing-vps", "/bin/false")
    try:
        vps.ok("tenant", "create", "late", "--template", "late-vps", "--network", "none")
        message = vps.refused("tenant", "start", "--wait", "--timeout", "1", "late")
        assert message.startswith("tenant late: it runs, but READY=1 of its init did not come within 1 seconds")
        assert vps.word("late") == "starting"
        vps.ok("tenant", "stop", "late")
        # another init than the template's is not waited for
        vps.ok("tenant", "set", "late", "--init", "/bin/sleep 2000")
        started(vps, "late")
        assert vps.word("late") == "running"
        vps.ok("tenant", "create", "failing", "--template", "failing-vps", "--network", "none")
        message = vps.refused("tenant", "start", "--wait", "failing")
        assert "failing: its init has ended before it was up" in message
        assert vps.word("failing") == "failed"
    finally:
        vps.destroy_all()
        vps("image", "rm", "late-vps", "failing-vps")


# --- Debian -------------------------------------------------------------------------------------------------------


def test_a_debian(vps: TenantWorld, tmp_path: Path) -> None:
    """systemd as PID 1 in a user namespace of its own; ssh from the host; off from inside; the console shows it all."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    address = "10.88.1.10"
    flags = ("--template", "debian-vps", "--ip", address, "--ssh-key", f"{key}.pub")
    vps.ok("tenant", "create", "web1", *flags)
    started(vps, "web1", "--timeout", "60")
    assert vps.word("web1") == "running"
    assert Path(f"/proc/{vps.pid(vps.container('web1'))}").stat().st_uid != 0
    script = "systemctl is-system-running --wait; systemctl --failed --no-legend"
    assert vps.inside("web1", script) == "running"
    ssh = [
        *("ssh", "-i", str(key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"),
        *("-o", f"UserKnownHostsFile={tmp_path}/known", "-o", "LogLevel=ERROR", f"root@{address}"),
    ]
    done = subprocess.run(
        [*ssh, "hostname; systemd-detect-virt --container >/dev/null && id -u; cat /proc/self/cgroup | grep ^0::"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    host, user, group = done.stdout.split()
    assert (host, user) == ("web1", "0") and group.startswith("0::/user.slice/")
    # keys and machine-id are this tenant's own
    assert vps.inside("web1", "cat /etc/machine-id") == vps.container("web1")[:32]
    assert "ssh-ed25519" in (tmp_path / "known").read_text()
    assert asks_for_a_login(vps, "web1")
    subprocess.run([*ssh, "poweroff"], capture_output=True, timeout=60, check=False)
    assert eventually(lambda: vps.word("web1") == "stopped"), vps("tenant", "status", "-v", "web1")
    text = console(vps, "web1")
    assert "ssh.service" in text and "web1 login:" in text and "Powering off." in text


def test_a_debian_with_two_devices(vps: TenantWorld) -> None:
    """Its networkd leaves what the host has set, and puts back what a device has lost."""
    vps.ok("tenant", "create", "web1", "--template", "debian-vps", "--ip", "198.51.100.10")
    vps.ok("tenant", "set", "web1", "--netif-add", "eth1", "--network", "bridge", "--ip", "10.222.7.7")
    vps.ok("tenant", "set", "web1", "--netif-add", "eth2", "--ip", "198.51.100.20")
    started(vps, "web1", "--timeout", "60")
    assert vps.inside("web1", "systemctl is-system-running --wait") == "running"
    assert as_the_host_has_set_it(vps)
    vps.inside("web1", "systemctl restart systemd-networkd; ip link set eth2 down; ip link set eth2 up")
    assert eventually(lambda: as_the_host_has_set_it(vps)), vps.inside("web1", "ip rule; ip route; ip address")


def as_the_host_has_set_it(vps: TenantWorld) -> bool:
    """The three devices' addresses, a rule for each, and the last one's way out."""
    found = vps.inside(
        "web1", "ip -4 -o address show scope global; ip -4 rule; ip -4 route show table 102; ip -4 route"
    )
    wanted = ("198.51.100.10/32", "10.222.7.7/16", "198.51.100.20/32", "default via 169.254.1.1 dev eth2")
    rules = [line for line in found.splitlines() if "lookup 10" in line]
    return len(rules) == 3 and all(text in found for text in wanted) and "default via 169.254.1.1 dev eth0" in found


def test_a_busybox_with_two_devices(vps: TenantWorld) -> None:
    """What ifdown has taken away ifup brings back, in the device's own table as well."""
    vps.ok("tenant", "create", "bb", "--template", "busybox-vps", "--ip", "198.51.100.10")
    vps.ok("tenant", "set", "bb", "--netif-add", "eth1", "--ip", "198.51.100.20", "--ip", "2001:db8:88::20")
    started(vps, "bb")
    # busybox shows IPv6 routes of all tables: the one of table 101 is the one that says onlink
    state = "ip route show table 101; ip -6 route | grep onlink || true; ip -o addr show dev eth1 scope global"
    before = _words(vps.inside("bb", state))
    assert before == {"169.254.1.1", "fe80::1", "198.51.100.20/32", "2001:db8:88::20/128"}
    vps.inside("bb", "ifdown -f eth1; ip link set eth1 down; ip addr flush dev eth1")
    assert _words(vps.inside("bb", state)) == set()
    vps.inside("bb", "ifup -f eth1")
    assert _words(vps.inside("bb", state)) == before
    assert vps.inside("bb", "ping -c 2 -W 20 -I 198.51.100.20 169.254.1.1 >/dev/null && echo there") == "there"


def _words(text: str) -> set[str]:
    """Addresses."""
    return {word for word in text.split() if word[:4] in ("169.", "fe80", "198.", "2001")}
