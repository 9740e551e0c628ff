"""Known escapes that come through a caller: podman with pycontain-oci (docs/threat-model.md).

Attacks on what a runtime gets from podman: a root (--rootfs), volumes, users, settings, annotations, a terminal. The
same ones without a caller, and more of them, are in tests/escapes.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.clients.test_podman import Podman, podman, station
from tests.escapes.programs import build

from world import PYCONTAIN_OCI, digest, eventually

__all__ = ["podman", "station"]  # fixtures

pytestmark = pytest.mark.slow


@pytest.fixture
def canary(podman: Podman) -> Iterator[str]:
    """A directory of the host, as podman sees it, that no attack may change, nor mount on."""
    podman.view.ok("mkdir", "-p", f"{podman.view.state}/canary/sub")
    for name in ("file", "console", "passwd"):
        podman.view.write(f"canary/{name}", "canary\n")
    place = str(podman.view.state / "canary")
    before = digest(podman.view.path(place))
    yield place
    assert digest(podman.view.path(place)) == before, "the attack has changed the host"
    assert place not in Path(f"/proc/{podman.view.pid}/mountinfo").read_text()
    podman.view.ok("rm", "-r", place)


@pytest.fixture
def root(podman: Podman, archives: Path) -> Iterator[Callable[[str], str]]:
    """Make a root for --rootfs, and run a script in it that does to it what its author did; its path."""
    base = f"{podman.view.state}/roots"
    podman.view.ok("mkdir", base)

    def make(script: str) -> str:
        place = f"{base}/{len(podman.view.names(base))}"
        unpack = f'mkdir "$1" && tar -xf "$2" -C "$1" && cd "$1" && mkdir -p dev proc sys etc && {script}'
        podman.view.ok("sh", "-euc", unpack, "sh", place, str(archives / "rootfs.tar"))
        return place

    yield make
    podman.view.ok("rm", "-rf", base)


def hosts(name: str) -> str:
    return Path("/proc/sys", name).read_text()


# --- roots, and volumes in the place of what is mounted -------------------------------------------------------------


@pytest.mark.parametrize("place", ["dev", "proc", "sys"])
def test_a_directory_of_the_root_is_a_link(podman: Podman, canary: str, root: Callable[[str], str], place: str) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2026-41579: what is mounted there lands elsewhere.

    A link in the place of /dev may be followed, inside the root.
    """
    links = {"dev": canary, "proc": "../" * 20 + canary.lstrip("/"), "sys": f"/proc/1/root{canary}"}
    path = root(f"rm -r {place}; ln -s {links[place]} {place}")
    done = podman.run("--rootfs", path, "sh", "-c", "stat -c %t:%T /dev/null /dev/zero")
    assert done.returncode != 0 or (place == "dev" and done.stdout == "1:3\n1:5\n"), done


def test_devices_of_the_root_are_links(podman: Podman, canary: str) -> None:
    """CVE-2025-31133, CVE-2025-52565: the masks' source and the console's place are links to files of the kernel's."""
    dev = podman.view.write("dev/nothing", "").removesuffix("/nothing")
    podman.view.ok("ln", "-s", "/proc/sysrq-trigger", f"{dev}/null")
    podman.view.ok("ln", "-s", f"{canary}/console", f"{dev}/console")
    script = "stat -L -c '%t:%T' /proc/uptime; cat /proc/self/mountinfo"
    volume = ("-v", f"{dev}:/dev", "--security-opt", "mask=/proc/uptime")
    done = podman.run(*volume, "busybox", "sh", "-c", script)
    assert done.returncode != 0 or done.stdout.startswith("1:3\n"), done
    status, output = at_a_terminal(
        podman, "run", "--rm", "-t", "--network=none", *volume, "busybox", "sh", "-c", script
    )
    mounts = [line.split()[3:5] for line in output.splitlines() if len(line.split()) > 8]
    assert status != 0 or mounts, output
    assert not [pair for pair in mounts if "canary" in pair[0] + pair[1] or "sysrq-trigger" in pair[0]], output
    podman.view.ok("rm", "-r", dev)


def test_a_volume_in_the_place_of_proc(podman: Podman) -> None:
    """CVE-2019-16884: what the runtime writes about the process (labels, the OOM score) goes to files of a volume."""
    fake = str(podman.view.state / "fake")
    files = [f"{base}/{name}" for base in ("self", "thread-self", "1") for name in ("attr/exec", "oom_score_adj")]
    for name in [*files, "sys/net/ipv4/ip_forward"]:
        podman.view.write(f"fake/{name}", "")
    flags = ("-v", f"{fake}:/proc", "--oom-score-adj", "500", "--sysctl", "net.ipv4.ip_forward=1")
    podman.run(*flags, "busybox", "true")
    written = [path for path in podman.view.path(fake).rglob("*") if path.is_file() and path.read_text()]
    assert written == []
    podman.view.ok("rm", "-r", fake)


@pytest.mark.parametrize("target", ["canary", "/dev/zero"])
def test_accounts_that_are_links(podman: Podman, canary: str, target: str) -> None:
    """CVE-2024-9676: a link to the host's, or to what has no end, as the container's /etc/passwd, for exec.

    A FIFO or a directory there does not come to us: podman reads the file itself first, in every case, and podman 4.3
    waits at the FIFO.
    """
    target = f"{canary}/passwd" if target == "canary" else target
    script = f"rm /etc/passwd; ln -s {target} /etc/passwd; echo made; exec sleep 1000"
    podman.ok("run", "-d", "--name", "one", "--network=none", "--passwd=false", "busybox", "sh", "-c", script)
    assert eventually(lambda: podman.ok("logs", "one") == "made")
    for flags in ((), ("-u", "5:5")):
        done = podman("exec", *flags, "one", "sh", "-c", "echo joined; echo $HOME", timeout=60)
        assert done.stdout.startswith("joined\n") and "canary" not in done.stdout, done


# --- users, settings, annotations, hooks ----------------------------------------------------------------------------


def test_a_user_that_is_none_does_not_become_root(podman: Podman) -> None:
    """CVE-2024-40635, CVE-2026-30892, for a start and for exec."""
    podman.ok("run", "-d", "--name", "one", "--network=none", "busybox", "sleep", "1000")
    for user in ("4294967296", "4294967297", "18446744073709551616", "-1", "1:4294967296", "0x1"):
        done = podman.run("-u", user, "busybox", "id", "-u")
        assert done.returncode != 0 or done.stdout.strip() not in ("0", ""), (user, done)
        done = podman("exec", "-u", user, "one", "sh", "-c", "id -u; id -g")
        assert done.returncode != 0 or "0" not in done.stdout.split(), (user, done)


def test_settings_of_the_host(podman: Podman) -> None:
    """CVE-2022-0811: by a name that leads out of its directory, and by a value that has another setting in it."""
    before = hosts("kernel/pid_max"), hosts("fs/file-max")
    maximum = before[0].strip()
    for setting in (
        f"kernel.pid_max={maximum}",
        f"net.ipv4/../../kernel/pid_max={maximum}",
        f"net/../kernel/pid_max={maximum}",
        f"fs.mqueue/../file-max={before[1].strip()}",
    ):
        assert podman.run("--sysctl", setting, "busybox", "true").returncode != 0, setting
    for value in ("1\nkernel.pid_max=32768", "1+kernel.pid_max=32768", "1\r"):
        podman.run("--sysctl", f"net.ipv4.ip_forward={value}", "busybox", "true")
    assert (hosts("kernel/pid_max"), hosts("fs/file-max")) == before


def test_annotations_and_labels_write_no_file(podman: Podman, canary: str) -> None:
    """CVE-2023-6476, CVE-2024-3154, CVE-2025-24965; files for what the hooks say."""
    seen = str(podman.view.state / "seen")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"env >>{seen}; echo written"], "env": ["OWN=1"]}
    whole = {"version": "1.0.0", "hook": hook, "when": {"always": True}, "stages": ["createRuntime", "poststart"]}
    hooks = podman.view.write("hooks/say.json", json.dumps(whole)).removesuffix("/say.json")
    entries = {
        "run.oci.hooks.stdout": f"{canary}/stdout",
        "run.oci.hooks.stderr": f"{canary}/stderr",
        "run.oci.handler": "krun",
        "run.oci.delegate-cgroup": "../../..",
        "run.oci.seccomp.receiver": f"{canary}/receiver",
        "org.systemd.property.ExecStartPre": f"'/bin/touch {canary}/unit'",
        "io.kubernetes.cri-o.TTY": "\n",
    }
    flags = [word for key, value in entries.items() for word in ("--annotation", f"{key}={value}")]
    flags += ["--label", f"run.oci.hooks.stdout={canary}/label"]
    # CVE-2025-23266: what the container has in its environment is not in a hook's
    flags += ["-e", "LD_PRELOAD=/evil.so", "-e", "EVIL=1"]
    done = podman("--hooks-dir", hooks, "run", "--rm", "--network=none", *flags, "busybox", "true")
    assert done.returncode == 0, done
    environments = podman.view.path(seen).read_text()
    assert environments.count("OWN=1") == 2 and "evil" not in environments.lower(), environments
    podman.view.ok("rm", "-r", hooks, seen)


def test_a_line_feed_in_the_environment_makes_no_variable(podman: Podman) -> None:
    """CVE-2026-23953, CVE-2022-4318."""
    done = podman.run("-e", "A=1\nEVIL=2", "busybox", "sh", "-c", "tr '\\0\\n' '\\n%' </proc/self/environ; id -u")
    assert done.returncode != 0 or ("EVIL=2" not in done.stdout.splitlines() and done.stdout.endswith("0\n")), done


# --- what the caller and the runtime have open ----------------------------------------------------------------------


def test_a_descriptor_of_the_callers_is_no_working_directory(podman: Podman) -> None:
    """CVE-2024-21626, for a start and for exec: podman and conmon have descriptors of the host open when they call."""
    script = f"ls -d ../../../../../..{podman.view.state}"
    podman.ok("run", "-d", "--name", "one", "--network=none", "busybox", "sleep", "1000")
    for number in (3, 5, 7, 8, 9, 10):
        place = f"/proc/self/fd/{number}"
        assert podman.run("-w", place, "busybox", "sh", "-c", script).stdout == ""
        assert podman("exec", "-w", place, "one", "sh", "-c", script).stdout == ""
    assert podman.ok("exec", "one", "sh", "-c", "ls /proc/1/fd").split() == ["0", "1", "2"]


#: Whoever joins has been executed from somewhere: that is written to.
OVERWRITE = "for exe in /proc/[0-9]*/exe; do ( : >>$exe ) 2>/dev/null && echo open: $exe $(readlink $exe); done"


def test_the_program_is_the_runtimes_own(podman: Podman, root: Callable[[str], str]) -> None:
    """CVE-2019-5736, CVE-2016-9962: what is started, or joins, is /proc/self/exe, and somebody inside waits for it."""
    programs = [Path(PYCONTAIN_OCI), Path("/usr/bin/conmon"), Path("/usr/bin/podman")]
    before = [path.stat() for path in programs]
    contents = [path.read_bytes() for path in programs[:2]]
    hostile = root("ln -s /proc/self/exe link; printf '#!/proc/self/exe\\n' >script; chmod 755 script")
    for entry in ("/proc/self/exe", "/link", "/script"):
        podman.run("--rootfs", hostile, entry, "--version")
    loop = f"while :; do {OVERWRITE}; done >/found 2>&1"
    podman.ok("run", "-d", "--name", "one", "--network=none", "--rootfs", hostile, "sh", "-c", loop)
    for entry in ("/proc/self/exe", "/link", "/script"):
        for _ in range(2):
            podman("exec", "one", entry, "--version")
    found = podman.view.path(f"{hostile}/found").read_text()
    assert not [str(path) for path in programs if str(path) in found], found
    assert [path.read_bytes() for path in programs[:2]] == contents
    assert [(facts.st_mtime_ns, facts.st_size) for facts in before] == [
        (path.stat().st_mtime_ns, path.stat().st_size) for path in programs
    ]


def test_no_capability_of_the_callers_is_inheritable(podman: Podman) -> None:
    """CVE-2022-27649, CVE-2022-29162: a caller with inheritable capabilities hands none of them on."""
    words = [*podman.command, "run", "--rm", "--network=none", "busybox", "grep", "CapInh", "/proc/self/status"]
    seen = podman.view.ok("setpriv", "--inh-caps", "+kill,+chown,+setuid", *words)
    assert int(seen.split()[1], 16) == 0


# --- the host's cgroups, devices, terminal --------------------------------------------------------------------------


def test_cgroups_without_a_namespace_are_not_the_hosts(podman: Podman) -> None:
    """CVE-2023-25809, CVE-2022-0492."""
    script = "cd /sys/fs/cgroup && (mkdir evil || echo 1 >notify_on_release || echo $$ >cgroup.procs) && echo escaped"
    assert "escaped" not in podman.run("--cgroupns=host", "busybox", "sh", "-c", script).stdout


def test_a_disk_of_the_host_can_be_made_but_not_opened(podman: Podman) -> None:
    script = "mknod /d b 7 0; mknod /k c 1 11; for file in /d /k; do head -c 1 $file 2>&1; done"
    done = podman.run("--cap-add", "MKNOD", "busybox", "sh", "-c", script)
    assert done.stdout.count("Operation not permitted") == 2, done


def at_a_terminal(podman: Podman, *words: str) -> tuple[int, str]:
    """podman with a terminal as its standard input, which controls it; the status, the output, nothing typed there."""
    master, slave = os.openpty()
    tty.setraw(slave)
    try:
        done = subprocess.run(
            ["timeout", "-s", "KILL", "30", *podman.view.command(podman.terminal(*words))],
            stdin=slave,
            capture_output=True,
            env={**podman.view.environment, "TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            check=False,
        )
        os.set_blocking(slave, False)
        with suppress(BlockingIOError):
            typed = os.read(slave, 100)
            assert typed == b"", "something was typed at the caller's terminal"
    finally:
        os.close(master)
        os.close(slave)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


@pytest.mark.parametrize("flags", [("-i", "-t"), ("-i",)], ids=["terminal", "input"])
def test_no_key_can_be_typed_at_the_callers_terminal(podman: Podman, tmp_path: Path, flags: tuple[str, ...]) -> None:
    """CVE-2017-5226: TIOCSTI. With -t the container has a terminal, which is not the caller's."""
    program = podman.view.write("type", "")
    shutil.copy(build("type", tmp_path), podman.view.path(program))
    volume = ("-v", f"{program}:/type:ro")
    status, output = at_a_terminal(podman, "run", "--rm", "--network=none", *flags, *volume, "busybox", "/type")
    assert status == 0 and ("TIOCSTI" in output or "typed" in output), output
    podman.ok("run", "-d", "--name", "one", "--network=none", *volume, "busybox", "sleep", "1000")
    at_a_terminal(podman, "exec", *flags, "one", "/type")
    assert eventually(lambda: podman.field("one", ".State.Running") == "true")
