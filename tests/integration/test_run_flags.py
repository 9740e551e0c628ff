"""run: who the command is, where, with what environment, and under which PID 1."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from world import World, eventually

RUN = ("run", "--rm", "--network", "none")


# --- user ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("host_users")
@pytest.mark.parametrize(
    ("user", "identity", "home"),
    [
        ("", "0 0 0 10", "/root"),  # the image's /etc/group has root in wheel
        ("root", "0 0 0 10", "/root"),
        ("0", "0 0 0 10", "/root"),
        ("nobody", "65534 65534 65534", "/home"),
        ("65534", "65534 65534 65534", "/home"),
        ("www-data", "33 33 33", "/var/www"),
        ("1000", "1000 0 0", "/"),
        ("1000:1000", "1000 1000 1000", "/"),
        ("nobody:users", "65534 100 100", "/home"),
        ("nobody:7", "65534 7 7", "/home"),
        ("root:daemon", "0 1 1", "/root"),
        ("4294967294:4294967294", "4294967294 4294967294 4294967294", "/"),
    ],
)
def test_a_user(world: World, user: str, identity: str, home: str) -> None:
    flags = ("-u", user) if user else ()
    assert world.inside("echo $(id -u) $(id -g) $(id -G); echo $HOME", *flags).splitlines() == [identity, home]


def test_all_four_ids_are_the_users(world: World) -> None:
    """Real, effective, saved, file system."""
    lines = world.inside("grep -E '^(Uid|Gid):' /proc/self/status", "-u", "5:6").splitlines()
    assert [line.split()[1:] for line in lines] == [["5"] * 4, ["6"] * 4]


def test_further_groups(world: World) -> None:
    groups = ("--group-add", "video", "--group-add", "777", "--group-add", "video")
    assert sorted(world.inside("id -G", *groups).split()) == ["0", "10", "44", "777"]
    assert world.inside("id -G", "-u", "1000:1000", *groups).split() == ["1000", "44", "777"]


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("unknown", "unable to find user unknown"),
        ("root:unknown", "unable to find group unknown"),
        ("4294967295", "out of range"),
        ("4294967296", "out of range"),
        ("-1", "cannot begin with"),
        ("1x", "unable to find user 1x"),
        ("1000:", "nothing on one side"),
        (":5", "nothing on one side"),
        ("a:b:c", "not a"),
        ("a b", "not a"),
    ],
)
def test_nobody(world: World, user: str, words: str) -> None:
    line = world.refused("run", "--rm", "--network", "none", "-u", user, "busybox", "true")
    assert words in line


def test_an_executed_command_is_the_containers_user_or_another(world: World) -> None:
    identity = world.background("--network", "none", "-u", "nobody", "--group-add", "7", "busybox", "sleep", "1000")
    script = "echo $(id -u) $(id -G) $HOME"
    assert world.ok("exec", identity, "sh", "-c", script) == "65534 65534 7 /home"
    assert world.ok("exec", "-u", "0", identity, "sh", "-c", script) == "0 0 10 /root"
    assert world.ok("exec", "-u", "33:5", identity, "sh", "-c", script) == "33 5 /var/www"


# --- environment --------------------------------------------------------------------------------------------------

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(world: World, *flags: str, **more: object) -> list[str]:
    return sorted(world.ok(*RUN, "--hostname", "h", *flags, "busybox", "env", **more).splitlines())


def test_variables_of_flags(world: World) -> None:
    caller = {**os.environ, "CALLER": "from caller", "OTHER": "not asked for"}
    flags = ("-e", "A=b", "-e", "C=d=e", "--env", "EMPTY=", "-e", "CALLER", "-e", "MISSING", "-e", "SPACE=a b  c")
    expected = ["A=b", "C=d=e", "CALLER=from caller", "EMPTY=", "HOME=/root", "HOSTNAME=h", PATH, "SPACE=a b  c"]
    assert environment(world, *flags, env=caller) == sorted(expected)


def test_a_flag_wins_over_the_image_and_what_is_set_by_itself(world: World) -> None:
    flags = ("-e", "PATH=/usr/bin", "-e", "HOME=/x", "-e", "HOSTNAME=y", "-e", "A=1", "-e", "A=2")
    assert environment(world, *flags) == ["A=2", "HOME=/x", "HOSTNAME=y", "PATH=/usr/bin"]


def test_variables_of_a_file(world: World, workdir: Path) -> None:
    (workdir / "env").write_text('# comment\n\nA=from file\nQUOTED="x y"\nCALLER\nMISSING\nB=file\r\n  D=indented\n')
    (workdir / "more").write_text("A=second file\n")
    caller = {**os.environ, "CALLER": "caller"}
    flags = ("--env-file", f"{workdir}/env", "--env-file", f"{workdir}/more", "-e", "B=flag")
    expected = [
        "A=second file",
        "B=flag",
        "CALLER=caller",
        "D=indented",
        "HOME=/root",
        "HOSTNAME=h",
        PATH,
        'QUOTED="x y"',
    ]
    assert environment(world, *flags, env=caller) == sorted(expected)


def test_a_file_that_only_this_process_has(world: World) -> None:
    """As the shell's <(command)."""
    reader, writer = os.pipe()
    os.write(writer, b"A=piped\n")
    os.close(writer)
    assert "A=piped" in environment(world, "--env-file", f"/dev/fd/{reader}", pass_fds=(reader,))
    os.close(reader)


@pytest.mark.parametrize("value", ["=x", "", "A\n=x"])
def test_what_is_no_variable_is_refused(world: World, value: str) -> None:
    assert "--env" in world.refused("run", "-e", value, "busybox", "true")


def test_an_executed_command_has_the_containers_variables_and_its_own(world: World) -> None:
    identity = world.background(
        "--hostname", "h", "--network", "none", "-e", "A=b", "-e", "C=d", "busybox", "sleep", "1000"
    )
    lines = sorted(world.ok("exec", "-e", "C=e", "-e", "F=g", identity, "env").splitlines())
    assert lines == sorted(["A=b", "C=e", "F=g", "HOME=/root", "HOSTNAME=h", PATH])


# --- working directory --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        ((), "/"),
        (("-w", "/etc"), "/etc"),
        (("-w", "/made/by/the/way"), "/made/by/the/way"),
        (("-w", "/etc/../tmp/./"), "/tmp"),
        (("-w", "/var/run"), "/run"),  # a link of the image
        (("-w", "/with space"), "/with space"),
        (("-w", "/dev/shm"), "/dev/shm"),
        (("-w", "/proc/1"), "/proc/1"),
    ],
)
def test_the_working_directory(world: World, flags: tuple[str, ...], where: str) -> None:
    assert world.inside("pwd -P", *flags) == where


def test_a_directory_that_is_made_is_roots(world: World) -> None:
    """Docker does so, too: a user cannot write there."""
    assert world.inside("stat -c '%u:%g %a' .", "-w", "/made", "-u", "1000") == "0:0 755"


@pytest.mark.parametrize("number", range(3, 16))
def test_a_descriptor_of_the_hosts_is_no_working_directory(world: World, number: int) -> None:
    """CVE-2024-21626, for a start and for exec."""
    place = f"/proc/self/fd/{number}"
    line = world.refused("run", "--rm", "--network", "none", "-w", place, "busybox", "true")
    assert place in line
    identity = world.background("--network", "none", "busybox", "sleep", "1000")
    done = world("exec", "-w", place, identity, "pwd")
    assert done.returncode != 0 and done.stdout == "" and place in done.stderr


def test_nor_by_a_link_of_the_image(world: World) -> None:
    for number in range(3, 16):
        identity = world.ok("create", "--network", "none", "-w", "/link", "busybox", "sh", "-c", "pwd -P; ls ..")
        (world.root / "containers" / identity / "upper" / "link").symlink_to(f"/proc/self/fd/{number}")
        line = world.refused("start", "-a", identity)
        assert "/link" in line
        world.ok("rm", identity)


@pytest.mark.parametrize("where", ["etc", "", ".", "/etc/passwd", "/etc/passwd/x"])
def test_what_is_no_directory_is_refused(world: World, where: str) -> None:
    world.refused("run", "--rm", "--network", "none", "-w", where, "busybox", "true")


def test_a_directory_that_the_user_may_not_enter(world: World) -> None:
    """It is entered before the command becomes the user, as with Docker."""
    assert world.inside("pwd; ls 2>/dev/null || echo closed", "-u", "1000", "-w", "/root") == "/root\nclosed"


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "web-1", "a.b.c", "x" * 63])
def test_a_hostname(world: World, name: str) -> None:
    assert world.inside("hostname; cat /etc/hostname", "--hostname", name) == f"{name}\n{name}"


@pytest.mark.parametrize("name", ["", "a b", "-a", "a_b$", "x" * 65, "a\n"])
def test_what_is_no_hostname_is_refused(world: World, name: str) -> None:
    assert "--hostname" in world.refused("run", "--hostname", name, "busybox", "true")


def test_the_hosts_file(world: World) -> None:
    flags = ("--hostname", "me", "--add-host", "db:192.0.2.9", "--add-host", "six:2001:db8::9")
    lines = [line.split() for line in world.inside("cat /etc/hosts", *flags).splitlines()]
    assert ["127.0.0.1", "localhost"] in lines
    assert ["192.0.2.9", "db"] in lines and ["2001:db8::9", "six"] in lines


# --- entry point --------------------------------------------------------------------------------------------------


def test_an_entry_point(world: World) -> None:
    run = ("run", "--rm", "--network", "none", "--entrypoint", "/bin/echo")
    assert world.ok(*run, "busybox", "a", "b c") == "a b c"
    assert world.ok(*run, "busybox") == ""
    assert world.ok(*RUN, "--entrypoint", "", "busybox", "echo", "x") == "x"


def test_arguments_arrive_as_they_are(world: World) -> None:
    words = ["", " ", "a\nb", "--rm", "-", "*", "$HOME", "\\", "'", '"', "ä\U0001f600", "x" * 10000]
    script = "import sys; print([word.encode() for word in sys.argv[1:]])"
    output = world.ok(*RUN, "sparse", "/usr/bin/python3", "-X", "utf8", "-c", script, *words)
    assert output == str([word.encode() for word in words])


def test_bytes_that_are_no_text_arrive_as_they_are(world: World) -> None:
    done = subprocess.run(
        [*[os.fsencode(word) for word in [*world.command, *RUN, "-e"]], b"A=\xff", b"busybox", b"sh", b"-c",
         b'printf "%s|%s" "$A" "$1"', b"x", b"\xfe\xff"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == b"\xff|\xfe\xff"
    # and through the container's config.json
    command = [
        os.fsencode(word)
        for word in [*world.command, "create", "--name", "c", "--network", "none", "busybox", "printf"]
    ]
    subprocess.run([*command, b"%s", b"\xfe\xff"], capture_output=True, check=True)
    started = subprocess.run([*world.command, "start", "-a", "c"], capture_output=True, check=True)
    assert started.stdout == b"\xfe\xff"


# --- init ---------------------------------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def commands(pid: int) -> dict[int, tuple[str, str]]:
    """Its children: their words, of which a zombie has none, and their state; one that has gone since is none."""
    found = {}
    for child in children(pid):
        try:
            words = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ").strip()
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[child] = words, state
    return found


@pytest.mark.parametrize("space", ["private", "host"])
def test_an_init_reaps_who_has_lost_its_parent(world: World, space: str) -> None:
    """Also where it is not PID 1 and orphans would go to the host's."""
    script = "(sleep 2000 & ) ; exec sleep 1000"
    identity = world.background("--network", "none", "--init", "--pid", space, "busybox", "sh", "-c", script)
    pid = world.pid(identity)
    assert eventually(lambda: [words for words, _ in commands(pid).values()] == ["sleep 1000", "sleep 2000"])
    _, orphan = commands(pid)
    os.kill(orphan, signal.SIGKILL)
    # it ends, and is no zombie
    assert eventually(lambda: [words for words, _ in commands(pid).values()] == ["sleep 1000"])


def test_without_an_init_nobody_reaps(world: World) -> None:
    script = "(sleep 0.2 & ) ; exec sleep 1000"
    pid = world.pid(world.background("--network", "none", "busybox", "sh", "-c", script))
    # the shell, which reaps its own, is gone
    assert eventually(lambda: Path(f"/proc/{pid}/cmdline").read_text().startswith("sleep"))
    assert eventually(lambda: ("", "Z") in commands(pid).values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH, 34, 35, 64])
def test_an_init_passes_signals_on(world: World, number: int) -> None:
    script = (
        f"import signal, sys; signal.signal({int(number)}, lambda *_: sys.exit(7)); print('set', flush=True)\n"
        "while True: signal.pause()"
    )
    run = ["run", "--rm", "--network", "none", "--name", "c", "--init", "sparse", "/usr/bin/python3", "-c", script]
    child = subprocess.Popen([*world.command, *run], stdout=subprocess.PIPE)
    assert child.stdout and child.stdout.readline() == b"set\n"
    world.ok("kill", "-s", str(int(number)), "c")
    assert child.wait(60) == 7
    child.stdout.close()


@pytest.mark.parametrize(
    ("script", "status"), [("exit 5", 5), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("true", 0)]
)
def test_an_init_ends_as_its_command(world: World, script: str, status: int) -> None:
    assert world(*RUN, "--init", "busybox", "sh", "-c", script).returncode == status


def test_an_init_ends_with_its_command_whoever_is_left(world: World) -> None:
    assert world.inside("sleep 1000 & echo done", "--init") == "done"


def test_the_command_is_pid_2_under_an_init(world: World) -> None:
    assert world.inside("echo $$; cat /proc/1/comm", "--init") == "2\npycontain-init"


def test_a_terminal_works_under_an_init(world: World) -> None:
    """The command is in the foreground: it can read, and ^C would reach it."""
    script = "cut -d' ' -f1,5,8 /proc/$$/stat; tty"  # process, its group, the foreground group of its terminal
    assert world.inside(script, "--init", "-t").split() == ["2", "2", "2", "/dev/pts/0"]


# --- a container does not outlive its monitor ---------------------------------------------------------------------


@pytest.fixture
def orphan(world: World) -> Iterator[World]:
    """The next command repairs what a killed monitor leaves."""
    yield world
    world.remove_all()


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--init",),
        ("-u", "1000"),
        ("--init", "-u", "1000"),
        ("--init", "-u", "1000", "--cap-drop", "ALL"),
        ("--init", "--pid", "host", "-u", "1000"),
        ("--security-opt", "no-new-privileges", "-u", "1000", "--init"),
        ("-t", "--init"),
    ],
    ids=" ".join,
)
def test_the_containers_init_dies_with_the_monitor(orphan: World, flags: tuple[str, ...]) -> None:
    """Setting ids takes the parent-death signal away; it has to be set again, for an init of ours as well."""
    identity = orphan.background("--network", "none", *flags, "busybox", "sleep", "1000")
    pidfd = os.pidfd_open(orphan.pid(identity))
    os.kill(orphan.monitor_pid(identity), signal.SIGKILL)
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(60_000), "the container lives on"
    os.close(pidfd)
