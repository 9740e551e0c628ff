"""Containers of ordinary users: pycontain without root, without a daemon, without a set-user-ID program of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from ordinary import HOST, Host, User, eventually
from world import isolated


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    if os.geteuid() != 0 or not isolated():
        pytest.exit("the integration tests need root and namespaces of their own: scripts/isolated pytest …", 2)
    with Host() as found:
        for user in found.people.values():
            user.ok("image", "build", "-q", "busybox", timeout=300) if user.first else None
        found.connect()
        yield found


@pytest.fixture
def ann(host: Host) -> Iterator[User]:
    """A user with ranges of ids; afterwards nothing of anybody's is left."""
    yield host.people["ann"]
    for user in host.people.values():
        user("rm", "-f", "--all")
    assert eventually(lambda: not host.processes()), host.processes()
    for user in host.people.values():
        left = host.root(f"cd {user.run_directory} && find . -path '*/containers/*' -o -name userns").split()
        assert not left, left


def inside(user: User, script: str, *flags: str) -> str:
    network = () if any(flag.startswith(("--network", "-p")) for flag in flags) else ("--network", "none")
    return user.ok("run", "--rm", *network, *flags, "busybox", "sh", "-c", script)


def fetch(user: User, port: int) -> str:
    """What a server on the host's loopback answers, "" for nothing."""
    return user.do("busybox", "wget", "-qO-", f"http://127.0.0.1:{port}/word").stdout


# --- who is who ---------------------------------------------------------------------------------------------------


def test_root_inside_is_the_user_outside(ann: User) -> None:
    assert inside(ann, "id -u; id -g") == "0\n0"
    (ann.home / "shared").mkdir()
    os.chown(ann.home / "shared", ann.uid, ann.uid)
    inside(ann, "touch /h/root /h/other; chown 1000:33 /h/other", "-v", f"{ann.home}/shared:/h")
    root, other = (os.stat(ann.home / "shared" / name) for name in ("root", "other"))
    assert (root.st_uid, root.st_gid) == (ann.uid, ann.uid)
    assert (other.st_uid, other.st_gid) == (ann.first + 999, ann.first + 32)


def test_an_ordinary_user_inside_is_one_of_the_range(ann: User) -> None:
    ann.ok("run", "-d", "--name", "one", "--network", "none", "-u", "1000:1000", "busybox", "sleep", "60")
    assert "one" in ann.ok("ps")
    assert ann.host.root("ps -eo uid,args --no-headers | grep '[s]leep 60'").split()[0] == str(ann.first + 999)
    assert ann.ok("exec", "one", "id", "-u") == "1000"


def test_ranges_of_a_containers_own_need_root(ann: User) -> None:
    assert "leave --userns out" in ann.refused("run", "--rm", "--userns", "auto", "busybox", "true")
    assert inside(ann, "id -u", "--userns", "host") == "0"


def test_what_containers_may_not_read_on_the_host(ann: User) -> None:
    secret = ann.host.base / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    script = "cat /h/secret || echo refused; mknod /n c 1 3 || echo refused"
    done = ann("run", "--rm", "--network", "none", "-v", f"{ann.host.base}:/h", "busybox", "sh", "-c", script)
    assert done.stdout == "refused\nrefused\n", done


def test_devices_are_the_hosts_own_nodes(ann: User) -> None:
    script = 'for d in null zero full random urandom tty; do test -c /dev/$d && echo -n "$d "; done; echo x >/dev/null'
    assert inside(ann, script) == "null zero full random urandom tty "


# --- the life of a container --------------------------------------------------------------------------------------


def test_the_life_of_a_container(ann: User) -> None:
    ann.ok("run", "-d", "--name", "life", "busybox", "sh", "-c", "trap 'exit 7' TERM; echo begun; sleep 60 & wait")
    assert eventually(lambda: ann.ok("logs", "life") == "begun")
    assert ann.status("life") == "running"
    assert ann.ok("exec", "life", "sh", "-c", "echo more; hostname") == f"more\n{ann.inspect('life')['Id'][:12]}"
    ann.ok("stop", "life")
    assert ann.inspect("life")["State"]["ExitCode"] == 7
    ann.ok("start", "life")
    assert ann.status("life") == "running"
    assert "running" in ann.refused("rm", "life")
    ann.ok("rm", "-f", "life")
    assert ann.status("life") == "gone"


def test_exit_status_and_errors_are_as_roots(ann: User) -> None:
    assert ann("run", "--rm", "--network", "none", "busybox", "sh", "-c", "exit 42").returncode == 42
    assert ann("run", "--rm", "--network", "none", "busybox", "/nothing").returncode == 127
    assert "no container" in ann.refused("exec", "nobody", "true")


def test_what_stays_has_given_up_everything(ann: User) -> None:
    """Monitor, relay, who keeps the namespace, and who keeps the network's program (docs/monitor-sandbox.md)."""
    ann.ok("run", "-d", "--name", "kept", "busybox", "sh", "-c", "echo begun; exec sleep 60")
    assert eventually(lambda: ann.ok("logs", "kept") == "begun")
    script = """for pid in $(ps -eo pid --no-headers); do
        sed -nE 's/^(Name|CapEff|CapBnd|NoNewPrivs|Seccomp):.//p' /proc/$pid/status 2>/dev/null | tr '\\n' ' '
        echo
    done"""
    found: dict[str, list[str]] = {}
    nothing = "0" * 16

    def walled() -> bool:
        rows = [line.split() for line in ann.host.root(script).splitlines()]
        found.clear()
        found.update((row[0], row[1:]) for row in rows if row and row[0].startswith("pycontain-"))
        others = ("pycontain-io", "pycontain-with", "pycontain-pause")
        return all(found.get(name) == [nothing, nothing, "1", "2"] for name in others)

    # who keeps the namespace goes behind its walls while others use that already
    assert eventually(walled), found
    effective, _, no_new_privileges, filtered = found["pycontain-mon"]
    assert (int(effective, 16) & ~0x102E, no_new_privileges, filtered) == (0, "0", "0")
    # who keeps the namespace lets others in all the same
    assert ann.ok("exec", "kept", "id", "-u") == "0"
    ann.ok("rm", "-f", "kept")


def test_files_go_in_and_out(ann: User) -> None:
    ann.ok("run", "-d", "--name", "files", "--network", "none", "busybox", "sleep", "60")
    ann.do("sh", "-c", "echo hello >~/letter")
    ann.ok("cp", f"{ann.home}/letter", "files:/letter")
    assert ann.ok("exec", "files", "sh", "-c", "cat /letter; stat -c %u /letter") == "hello\n0"
    ann.ok("stop", "-t", "0", "files")
    ann.ok("cp", "files:/letter", f"{ann.home}/back")
    assert (ann.home / "back").read_text() == "hello\n" and os.stat(ann.home / "back").st_uid == ann.uid


def test_the_image_below_stays_as_it_is(ann: User) -> None:
    script = "rm /etc/passwd; rm -r /var/www; mkdir /var/www; mv /etc/group /etc/g2; touch /var/www/new; ls -A /var/www"
    ann.ok("run", "--name", "writer", "--network", "none", "busybox", "sh", "-c", script)
    assert ann.ok("logs", "writer") == "new"
    assert inside(ann, "test -e /etc/passwd && test -e /etc/group && ls -A /var/www") == ""
    ann.ok("start", "writer")
    assert eventually(lambda: ann.status("writer") == "exited")


def test_copies_of_a_stopped_container_see_what_it_saw(ann: User) -> None:
    script = 'test -n "$(ls -A /var/spool)" && rm -r /var/spool && mkdir /var/spool && rm /etc/shells; touch /etc/x'
    ann.ok("run", "--name", "rest", "--network", "none", "busybox", "sh", "-c", script)
    ann.ok("cp", "rest:/var/spool", f"{ann.home}/spool")
    assert list((ann.home / "spool").iterdir()) == []


def test_a_restart_policy(ann: User) -> None:
    ann.ok("run", "-d", "--name", "again", "--restart", "on-failure:2", "busybox", "sh", "-c", "echo life; exit 3")
    assert eventually(lambda: ann.status("again") == "exited" and ann.ok("logs", "again") == "life\nlife\nlife")


def test_volumes_read_only_and_init(ann: User) -> None:
    assert inside(ann, "echo kept >/v/file", "-v", "store:/v") == ""
    assert inside(ann, "cat /v/file; touch /x 2>&1; true", "-v", "store:/v", "--read-only").startswith("kept\ntouch:")
    assert inside(ann, "cat /proc/1/comm", "--init") == "pycontain-init"
    ann.ok("volume", "rm", "store")


# --- network ------------------------------------------------------------------------------------------------------


def test_a_container_reaches_a_server_of_the_host(ann: User) -> None:
    assert inside(ann, f"wget -qO- http://{HOST}:8000/word", "--network", "bridge") == "from the host"


def test_the_hosts_loopback_is_not_the_containers(ann: User) -> None:
    ann.host.root(f"busybox httpd -p 127.0.0.1:8001 -h {ann.host.base}/www")
    script = "for a in 127.0.0.1 10.0.2.2; do wget -T 2 -qO- http://$a:8001/word; done; echo done"
    done = ann("run", "--rm", "busybox", "sh", "-c", script)
    assert done.stdout == "done\n", done


def test_a_published_port(ann: User) -> None:
    script = "echo inside >/tmp/word; httpd -f -p 80 -h /tmp"
    ann.ok("run", "-d", "--name", "web", "-p", "8080:80", "-p", "127.0.0.1:8082:80", "busybox", "sh", "-c", script)
    for port in (8080, 8082):
        assert eventually(lambda: fetch(ann, port) == "inside\n")  # noqa: B023 - called at once
    assert ann.ok("port", "web", "80") == "0.0.0.0:8080\n127.0.0.1:8082"
    assert ann.inspect("web")["NetworkSettings"]["IPAddress"] == "10.0.2.100"
    assert "published by container" in ann.refused("run", "--rm", "-p", "8080:80", "busybox", "true")
    ann.ok("rm", "-f", "web")
    assert fetch(ann, 8080) == ""


#: A page that says who asks for it.
_WHO = """
mkdir -p /w/cgi-bin
printf '#!/bin/sh\\nprintf "\\\\n$REMOTE_ADDR"\\n' >/w/cgi-bin/who
chmod 755 /w/cgi-bin/who
exec httpd -f -p 80 -h /w
"""
#: Somebody outside of the host: a network namespace behind a pair of devices. The shell's standard input keeps it.
_AWAY = """
ip link add near type veth peer name far
ip address add 203.0.113.1/24 dev near
ip link set near up
exec unshare --net sh -euc 'echo $$; read there; ip address add 203.0.113.2/24 dev far; ip link set far up; echo; cat'
"""


@pytest.fixture
def away(host: Host) -> Iterator[list[str]]:
    """The command line that executes what follows it outside of the host: 203.0.113.2, which reaches 203.0.113.1."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*host.enter(), "sh", "-euc", _AWAY], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin and process.stdout
        pid = process.stdout.readline().strip()
        host.root(f"ip link set far netns {pid}")
        process.stdin.write("there\n")
        process.stdin.flush()
        assert process.stdout.readline() == "\n"
        yield [*host.enter(), "nsenter", "-n", "-t", pid]
        process.stdin.close()


@pytest.mark.parametrize("program", ["pasta", "slirp4netns"])
def test_a_published_port_shows_who_asks(ann: User, away: list[str], program: str) -> None:
    """CVE-2021-20199: a client from outside that seems to be 127.0.0.1 is let in by what trusts its own host."""
    masks, port = ((), 8086) if program == "pasta" else (("/usr/bin/pasta",), 8088)
    done = masked(ann, masks, "run", "-d", "--name", "who", "-p", f"{port}:80", "busybox", "sh", "-c", _WHO)
    assert done.returncode == 0, done
    assert any(program in line for line in ann.host.processes())

    def ask(enter: list[str], address: str) -> str:
        command = [*enter, "busybox", "wget", "-qO-", f"http://{address}:{port}/cgi-bin/who"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
        return said.strip().strip("[]").removeprefix("::ffff:")

    assert eventually(lambda: ask(away, "203.0.113.1") != "")
    assert ask(away, "203.0.113.1") == "203.0.113.2"
    assert ask(ann.host.enter(), HOST) not in ("", "127.0.0.1")
    # who asks at the host's loopback comes out of the container's with pasta
    assert (ask(ann.host.enter(), "127.0.0.1") == "127.0.0.1") == (program == "pasta")
    ann.ok("rm", "-f", "who")


def test_ports_that_only_root_has(ann: User) -> None:
    assert "below 1024" in ann.refused("run", "--rm", "-p", "80:80", "busybox", "true")


def test_the_network_of_another_container_and_of_the_host(ann: User) -> None:
    ann.ok("run", "-d", "--name", "first", "busybox", "sh", "-c", "echo shared >/tmp/word; httpd -f -p 80 -h /tmp")
    command = ("busybox", "wget", "-qO-", "http://127.0.0.1/word")
    assert eventually(lambda: ann("run", "--rm", "--network", "container:first", *command).stdout == "shared\n")
    assert HOST in inside(ann, "ip address show lo", "--network", "host")
    assert HOST not in inside(ann, "ip address")


# --- limits -------------------------------------------------------------------------------------------------------


def test_a_limit_needs_a_cgroup(ann: User) -> None:
    said = ann.refused("run", "--rm", "--network", "none", "-m", "64m", "busybox", "true")
    assert "memory limit" in said and "loginctl enable-linger" in said
    assert ann.status("anything") == "gone"


def test_what_needs_a_cgroup_says_so(ann: User) -> None:
    ann.ok("run", "-d", "--name", "plain", "--network", "none", "busybox", "sleep", "60")
    for verb in ("pause", "top"):
        assert "needs a cgroup" in ann.refused(verb, "plain")
    assert "--pid host" in ann.refused("run", "--rm", "--pid", "host", "busybox", "true")


# --- other programs of the host ------------------------------------------------------------------------------------


def masked(user: User, paths: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    """pycontain where some files of the host cannot be used."""
    nothing = user.host.base / "nothing"
    nothing.write_text("")
    masks = "".join(f"mount --bind {nothing} {path}; " for path in paths)
    person = user.command("pycontain", *arguments)[len(user.host.enter()) :]
    command = [*user.host.enter(), "unshare", "-m", "sh", "-euc", f'{masks}exec "$@"', "sh", *person]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def test_no_program_for_the_network(ann: User) -> None:
    done = masked(ann, ("/usr/bin/pasta", "/usr/bin/slirp4netns"), "run", "--rm", "busybox", "true")
    assert done.returncode == 125 and "apt-get install passt" in done.stderr, done


def test_no_device_for_the_network(ann: User) -> None:
    done = masked(ann, ("/dev/net/tun",), "run", "--rm", "busybox", "true")
    assert done.returncode == 0 or "/dev/net/tun" in done.stderr, done
    ann.host.root("chmod 600 /dev/net/tun")
    try:
        assert "chmod 666 /dev/net/tun" in ann.refused("run", "--rm", "busybox", "true")
        assert "chmod 666 /dev/net/tun" in ann("info").stdout
    finally:
        ann.host.root("chmod 666 /dev/net/tun")


def test_slirp4netns_in_the_place_of_pasta(ann: User) -> None:
    script = f"wget -qO- http://{HOST}:8000/word; echo inside >/tmp/word; httpd -f -p 80 -h /tmp"
    command = ("run", "-d", "--name", "slirp", "-p", "8084:80", "busybox", "sh", "-c", script)
    done = masked(ann, ("/usr/bin/pasta",), *command)
    assert done.returncode == 0, done
    assert any("slirp4netns" in line for line in ann.host.processes())
    assert eventually(lambda: fetch(ann, 8084) == "inside\n")
    assert ann.ok("logs", "slirp") == "from the host"
    ann.ok("rm", "-f", "slirp")
    assert eventually(lambda: not any("slirp4netns" in line for line in ann.host.processes()))


def test_fuse_overlayfs_where_the_kernel_refuses(ann: User) -> None:
    place = f"{ann.host.base}/over"
    ann.host.root(
        f"mkdir -p {place} {place}-u {place}-w; mount -t overlay -o lowerdir=/etc,upperdir={place}-u,workdir={place}-w"
        f" overlay {place}; chown {ann.uid} {place}"
    )
    root = ("--root", f"{place}/store")
    own = f"{ann.home}/.local/share/pycontain"  # its image was built by the fixture; there is no network to build again
    ann.host.root(
        f"mkdir -m 711 {place}/store; cp -a {own}/images {own}/layers {own}/refs {place}/store; rm -f "
        f"{place}/store/images/*/used/*; chown {ann.uid}:{ann.uid} {place}/store"
    )
    # its second life changes nothing: what the first one left is looked at while it begins
    change = "echo kept >/file; chown 1000 /file; rm -r /var/spool; mkdir /var/spool; grep -c ' / fuse' /proc/mounts"
    script = f"test -e /file || {{ {change}; }}; exec sleep 60"
    ann.ok(*root, "run", "-d", "--name", "fuse", "--network", "none", "busybox", "sh", "-c", script)
    assert eventually(lambda: ann.ok(*root, "logs", "fuse") == "1")
    assert ann.ok(*root, "exec", "fuse", "stat", "-c", "%u", "/file") == "1000"
    ann.ok(*root, "stop", "-t", "0", "fuse")
    ann.ok(*root, "cp", "fuse:/file", f"{ann.home}/from-fuse")
    assert (ann.home / "from-fuse").read_text() == "kept\n"
    ann.ok(*root, "start", "fuse")
    assert ann.ok(*root, "exec", "fuse", "sh", "-c", "cat /file; ls -A /var/spool") == "kept"
    ann.ok(*root, "rm", "-f", "fuse")
    assert not list((ann.host.base / "over-u" / "store" / "containers").iterdir())


# --- the namespace that a user's commands share -------------------------------------------------------------------


def test_the_namespace_goes_with_the_last_who_uses_it(ann: User) -> None:
    ann.ok("run", "-d", "--name", "keeper", "--network", "none", "busybox", "sleep", "60")
    assert eventually(lambda: any("pause" in line for line in ann.host.processes()))
    ann.ok("rm", "-f", "keeper")
    assert eventually(lambda: not ann.host.processes())


def test_first_commands_at_once_share_one_namespace(ann: User) -> None:
    running = [
        subprocess.Popen(
            ann.command(
                "pycontain", "run", "-d", "--name", f"n{number}", "--network", "none", "busybox", "sleep", "60"
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        for number in range(6)
    ]
    assert [one.wait(60) for one in running] == [0] * 6
    pids = [ann.inspect(f"n{number}")["State"]["Pid"] for number in range(6)]
    links = ann.host.root("; ".join(f"readlink /proc/{pid}/ns/user" for pid in pids)).split()
    assert len(set(links)) == 1
    assert eventually(lambda: sum("pause" in line for line in ann.host.processes()) == 1)


def test_a_killed_pause_process_loses_no_container(ann: User) -> None:
    ann.ok("run", "-d", "--name", "left", "--network", "none", "busybox", "sleep", "60")
    ann.host.root(f"kill -9 $(cut -d' ' -f1 {ann.run_directory}/pycontain/userns)")
    assert ann.ok("exec", "left", "id", "-u") == "0"
    assert ann.status("left") == "running"


def test_kill_9_of_the_command_and_of_the_monitor(ann: User) -> None:
    command = ann.command("pycontain", "run", "--name", "held", "busybox", "sh", "-c", "echo up; sleep 60")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as front:
        assert front.stdout and front.stdout.readline() == "up\n"
        front.send_signal(signal.SIGKILL)
    assert ann.status("held") == "running"
    pid = ann.inspect("held")["State"]["Pid"]
    ann.host.root(f"kill -9 $(ps -o ppid= -p {pid})")
    assert eventually(lambda: ann.status("held") == "exited")
    assert eventually(lambda: not any("pasta" in line for line in ann.host.processes()))
    ann.ok("rm", "held")


def test_two_users_know_nothing_of_each_other(ann: User) -> None:
    bob = ann.host.people["bob"]
    for user in (ann, bob):
        user.ok("run", "-d", "--name", "same", "--network", "none", "busybox", "sleep", "60")
    assert ann.inspect("same")["Id"] != bob.inspect("same")["Id"]
    owners = {
        line.split()[0] for line in ann.host.root("ps -eo uid,args --no-headers | grep '[s]leep 60'").splitlines()
    }
    assert owners == {str(ann.uid), str(bob.uid)}
    bob.ok("rm", "-f", "same")
    assert ann.status("same") == "running"
    assert "no container" in bob.refused("exec", "same", "true")


_BUNDLE = """
mkdir -p ~/bundle/rootfs/bin && cd ~/bundle && cp /bin/busybox rootfs/bin && ln -sf busybox rootfs/bin/sh
pycontain-oci spec
sed -i 's/"terminal": true/"terminal": false/; s/"sh"$/"\\/bin\\/busybox", "sleep", "1000"/' config.json
"""


def test_the_oci_runtime_of_an_ordinary_user(ann: User) -> None:
    def oci(*words: str) -> subprocess.CompletedProcess[str]:
        return ann.do("env", "-C", f"{ann.home}/bundle", "pycontain-oci", *words)

    done = ann.do("sh", "-euc", _BUNDLE)
    assert done.returncode == 0, done
    # what create has for standard output is the container's, too: a pipe of ours would have no end
    create = ann.do("sh", "-c", "cd ~/bundle && exec pycontain-oci create one >create.log 2>&1")
    assert (create.returncode, oci("start", "one").returncode) == (0, 0), (ann.home / "bundle/create.log").read_text()
    # nobody holds the namespace for a container without a monitor: it is found by the container
    assert eventually(lambda: not any("pause" in line for line in ann.host.processes()))
    done = oci("exec", "one", "/bin/busybox", "id", "-u")
    assert (done.returncode, done.stdout) == (0, "0\n"), done
    assert '"running"' in oci("state", "one").stdout
    assert "no cgroup" in oci("pause", "one").stderr
    assert oci("delete", "--force", "one").returncode == 0
    assert "does not exist" in oci("state", "one").stderr
    done = oci("--rootless=false", "run", "two")
    assert done.returncode == 1 and "Permission denied" in done.stderr


# --- users without ids --------------------------------------------------------------------------------------------


def test_a_user_without_subordinate_ids(ann: User) -> None:
    eve = ann.host.people["eve"]
    ann.host.root(f"cp -a {ann.home}/.local {eve.home}/ && chown -hR {eve.uid}:{eve.uid} {eve.home}/.local")
    assert inside(eve, "id -u; cat /proc/self/setgroups; wc -l </proc/self/uid_map") == "0\ndeny\n1"
    assert eve.ok("run", "--rm", "busybox", "wget", "-qO-", f"http://{HOST}:8000/word") == "from the host"
    done = eve("info")
    assert done.returncode == 0
    assert "/etc/subuid has no range for eve" in done.stdout and "usermod --add-subuids" in done.stdout, done.stdout


def test_info_of_a_user_who_has_everything(ann: User) -> None:
    done = ann("info")
    assert done.returncode == 0 and done.stderr == ""
    section = done.stdout.partition("Rootless\n")[2].partition("\n\n")[0]
    assert "pasta" in section and "65537" in section
    problems = done.stdout.partition("What is missing")[2]
    assert "Rootless, Users" not in problems and "Device filter" not in problems and "Upper" not in problems


def test_no_user_namespaces_at_all(ann: User) -> None:
    # in a namespace of its own, where the limit is: the machine's is everybody's
    enter = [*ann.host.enter(), "unshare", "--user", "sh", "-euc"]
    # the second shell is root, with all that root of a namespace may: the first began before its user was mapped
    script = 'echo $$; read go; exec sh -euc "$0" sh "$@"'
    again = 'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"'
    person = ann.command()[len(ann.host.enter()) :]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*enter, script, again, *person, "pycontain", *arguments]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            assert process.stdout
            pid = int(process.stdout.readline())
            ann.host.root(f"for map in uid_map gid_map; do echo 0 0 65536 >/proc/{pid}/$map; done")
            out, err = process.communicate("go\n", timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    done = run("run", "--rm", "--network", "none", "busybox", "true")
    assert done.returncode == 125 and "sysctl -w user.max_user_namespaces" in done.stderr, done
    assert "user.max_user_namespaces" in run("info").stdout


def test_a_run_directory_of_somebody_else(ann: User) -> None:
    environment = ["env", "-u", "XDG_RUNTIME_DIR", "pycontain", "ps"]
    ann.host.root(f"mkdir -p /tmp/pycontain-run-{ann.uid}")
    try:
        done = ann.do(*environment)
        assert done.returncode == 125 and "nobody else's to write" in done.stderr, done
    finally:
        ann.host.root(f"rmdir /tmp/pycontain-run-{ann.uid}")


# --- attributes of overlays (tests/escapes/test_overlay.py has root's) ---------------------------------------------

_SET = """
import os
for place in ("etc", "etc/passwd", "own", "own/file"):
    for prefix in ("user", "trusted"):
        for name, value in (("opaque", b"y"), ("redirect", b"/etc"), ("metacopy", b""), ("whiteout", b"y")):
            try:
                os.setxattr(f"{ROOT}/{place}", f"{prefix}.overlay.{name}", value)
            except OSError:
                pass
"""


def test_attributes_of_a_guests_lead_nowhere(ann: User) -> None:
    """user.overlay.* are the kernel's own here (userxattr).

    Set in the running container, with more rights than its root has; then in its upper directory, past the overlay.
    """

    def set_below(root: str) -> None:
        ann.host.root(f"/usr/bin/python3 -c 'ROOT = \"{root}\"\n{_SET}'")

    script = "mkdir /own; echo own >/own/file; echo >>/etc/passwd; touch /ready; exec sleep 60"
    ann.ok("run", "-d", "--name", "set", "--network", "none", "busybox", "sh", "-c", script)
    assert eventually(lambda: ann("exec", "set", "test", "-e", "/ready").returncode == 0)
    facts = ann.inspect("set")
    set_below(f"/proc/{facts['State']['Pid']}/root")
    look = "cat /own/file; ls -A /own; grep -c nobody /etc/passwd"
    assert ann.ok("exec", "-u", "nobody", "set", "sh", "-c", look) == "own\nfile\n1"
    ann.ok("stop", "-t", "0", "set")
    ann.ok("cp", "set:/own", f"{ann.home}/own-stopped")
    assert os.listdir(ann.home / "own-stopped") == ["file"]
    assert (ann.home / "own-stopped/file").read_text() == "own\n"
    set_below(f"{ann.home}/.local/share/pycontain/containers/{facts['Id']}/upper")
    # the kernel refuses to follow them: what is there cannot be read any more, and nothing else is in its place
    done = ann("start", "set")
    shown = ann("exec", "set", "sh", "-c", "ls -A /own; cat /own/file").stdout
    assert (done.returncode, shown) in ((0, ""), (0, "file\nown\n"), (125, "")), (done, shown)
    ann("cp", "set:/own", f"{ann.home}/own-led")
    assert not (ann.home / "own-led/passwd").exists()


# --- supervised calls (docs/supervised-calls.md) ------------------------------------------------------------------


def test_mounts_and_sysinfo_are_supervised_and_devices_are_not(ann: User) -> None:
    script = (
        "mkdir /m && mount -t tmpfs x /m && touch /m/a && ls /m && umount /m && ls -A /m; mount -t proc x /m; uptime"
    )
    flags = ("--rm", "--network", "none", "--supervise", "mount=tmpfs,overlay", "--supervise", "sysinfo")
    done = ann("run", *flags, "busybox", "sh", "-c", script)
    assert done.stdout.startswith("a\n") and " up 0 min" in done.stdout, done
    assert "Operation not permitted" in done.stderr or "permission denied" in done.stderr, done
    assert "only" in ann.refused("run", "--rm", "--supervise", "mknod", "busybox", "true")
    assert "mount=fuse: for root's" in ann.refused("run", "--rm", "--supervise", "mount", "busybox", "true")
