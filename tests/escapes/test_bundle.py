"""Attacks that come through a bundle: what an image, a volume or a config.json can do to the runtime that starts it.

Every one can be pointed at another runtime: pytest tests/escapes --runtime PATH. An attack has failed when the host
is as it was (the fixture canary) and what runs is confined; a refusal in place of a start is as good.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import stat
import subprocess
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.escapes.peer import CAPABILITIES, TIMEOUT, Peer

from world import eventually


def links_to(canary: Path) -> list[str]:
    """Texts of links that leave a root: absolute, up and out, and through /proc."""
    return [str(canary), "../" * 20 + str(canary).lstrip("/"), f"/proc/1/root{canary}"]


def test_an_innocent_bundle_runs(peer: Peer) -> None:
    """What never starts anything withstands every attack."""
    done = peer.sh("echo runs")
    assert (done.returncode, done.stdout) == (0, "runs\n"), done
    peer.background("exec sleep 1000")
    assert peer("exec", "attacked", "echo", "joined").stdout == "joined\n"


# --- the root's own /dev, /proc and /sys ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3))
def test_dev_is_a_link(peer: Peer, canary: Path, number: int) -> None:
    """CVE-2026-41579, CVE-2026-47766: devices and links are made in what /dev of the root leads to."""
    (peer.rootfs / "dev").rmdir()
    (peer.rootfs / "dev").symlink_to(links_to(canary)[number])
    peer.without_mount("/dev")
    peer.sh("true")


@pytest.mark.parametrize("place", ["proc", "sys"])
@pytest.mark.parametrize("number", range(3))
def test_proc_or_sys_is_a_link(peer: Peer, canary: Path, place: str, number: int) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867: masks and labels then go to other files."""
    target = peer.rootfs / place
    if target.is_dir():
        target.rmdir()
    target.symlink_to(links_to(canary)[number])
    peer.spec["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]})
    peer.spec["linux"]["maskedPaths"] = ["/proc/kcore", "/sys/firmware"]
    done = peer.sh(f"grep ' /{place} ' /proc/self/mountinfo")
    assert done.returncode != 0, "it starts, and what was to be confined lies elsewhere"


def test_proc_is_a_directory_of_the_image(peer: Peer, canary: Path) -> None:
    """CVE-2019-16884, CVE-2025-52881: settings of the kernel, written to files that the image has in their place."""
    place = peer.rootfs / "proc/sys/net/ipv4"
    place.mkdir(parents=True, exist_ok=True)
    (place / "ip_forward").symlink_to("/canary/file")
    peer.without_mount("/proc")
    peer.mount(canary, "/canary", "rw")
    peer.spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    peer.sh("true")


def test_a_volume_in_the_place_of_proc(peer: Peer, canary: Path, tmp_path: Path) -> None:
    """CVE-2019-16884: a volume on /proc takes what the runtime writes about the process (labels, the OOM score)."""
    fake = tmp_path / "fake"
    for place in ("self/attr/exec", "self/attr/apparmor/exec", "self/oom_score_adj", "thread-self/attr/exec"):
        (fake / place).parent.mkdir(parents=True, exist_ok=True)
        (fake / place).write_text("")
    peer.mount(fake, "/proc")
    peer.spec["process"]["oomScoreAdj"] = 500
    peer.sh("true")
    assert [path for path in fake.rglob("*") if path.is_file() and path.read_text()] == []


# --- masks, the console, standard devices --------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "masked"), [("/x/proc", "/x/proc/uptime"), ("/x", "/x/proc/uptime")])
def test_a_mask_is_put_where_it_is_seen(peer: Peer, tmp_path: Path, target: str, masked: str) -> None:
    """What was mounted last hides what was there before: the mask belongs to what the container sees."""
    shown = tmp_path / "shown"
    (shown / "proc").mkdir(parents=True)
    for directory in (shown, shown / "proc"):
        (directory / "uptime").write_text("to be masked\n")
    peer.spec["mounts"].append({"destination": "/x/proc", "type": "proc", "source": "proc"})
    peer.mount(shown, target)
    peer.spec["linux"]["maskedPaths"] = [masked, "/proc/uptime"]
    done = peer.sh(f"cat {masked} /proc/uptime; stat -c '%t:%T' {masked} /proc/uptime")
    if not peer.ours and done.returncode:
        return  # crun mounts a proc nowhere else
    assert (done.returncode, done.stdout) == (0, "1:3\n1:3\n"), done


@pytest.mark.parametrize("target", ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern"])
def test_a_masks_source_is_the_images(peer: Peer, canary: Path, target: str) -> None:
    """CVE-2025-31133: /dev/null of the image is a link, so that the mask binds a file of the kernel for writing."""
    null = peer.rootfs / "dev/null"
    null.unlink(missing_ok=True)
    null.symlink_to(target)
    peer.without_mount("/dev")
    peer.spec["linux"]["maskedPaths"] = ["/proc/uptime"]
    done = peer.sh("stat -L -c '%t:%T' /proc/uptime; grep ' /proc/uptime ' /proc/self/mountinfo")
    assert done.returncode != 0 or done.stdout.startswith("1:3\n"), done


@pytest.mark.parametrize("target", ["/canary/console", "/proc/sysrq-trigger", "/nothing"])
def test_the_console_is_a_link(peer: Peer, canary: Path, target: str) -> None:
    """CVE-2025-52565: the terminal is put on what /dev/console leads to, before anything is masked."""
    console = peer.rootfs / "dev/console"
    console.unlink(missing_ok=True)
    console.symlink_to(target)
    peer.without_mount("/dev")
    peer.mount(canary, "/canary", "rw")
    peer.spec["process"]["terminal"] = True
    peer.spec["process"]["args"] = ["/bin/sh", "-c", "cat /proc/self/mountinfo"]
    output = at_a_terminal(peer)
    mounts = [line.split()[4] for line in output.splitlines() if len(line.split()) > 8]
    assert target not in mounts and "/canary/console" not in mounts, output


@pytest.mark.parametrize("name", ["null", "zero", "tty", "ptmx", "fd", "stdin"])
def test_a_device_is_a_link(peer: Peer, canary: Path, name: str) -> None:
    """CVE-2026-41579 and its like: what is made in /dev follows no link there."""
    (peer.rootfs / "dev" / name).unlink(missing_ok=True)
    (peer.rootfs / "dev" / name).symlink_to(f"{canary}/made")
    peer.without_mount("/dev")
    peer.sh("true")


def at_a_terminal(peer: Peer) -> str:
    """What ``run`` shows at a terminal of its own."""
    master, slave = os.openpty()
    command = [*peer.command, "run", "attacked"]
    (peer.bundle / "config.json").write_text(json.dumps(peer.spec))
    child = subprocess.Popen(command, cwd=peer.bundle, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    output = b""
    try:
        while select.select([master], [], [], 60)[0]:
            piece = os.read(master, 65536)
            if not piece:
                break
            output += piece
    except OSError:  # EIO: the last one that had the terminal open is gone
        pass
    finally:
        os.close(master)
    child.wait(timeout=60)
    return output.decode(errors="replace")


# --- descriptors and the working directory -------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3, 16))
def test_the_working_directory_is_a_descriptor(peer: Peer, canary: Path, number: int) -> None:
    """CVE-2024-21626: a descriptor of the host's that is still open leads out of the root."""
    peer.spec["process"]["cwd"] = f"/proc/self/fd/{number}"
    done = peer.sh(f"ls -a; ls -d ../../../../../..{canary}/file && echo escaped")
    assert "escaped" not in done.stdout, done


@pytest.mark.parametrize("number", range(3, 12))
def test_the_working_directory_of_exec_is_a_descriptor(peer: Peer, canary: Path, number: int) -> None:
    """CVE-2024-21626, by exec --cwd and by a link of the image."""
    (peer.rootfs / "link").symlink_to(f"/proc/self/fd/{number}")
    peer.background("exec sleep 1000")
    for place in (f"/proc/self/fd/{number}", "/link"):
        done = peer("exec", "--cwd", place, "attacked", "/bin/sh", "-c", f"ls -d ../../../../../..{canary}/file")
        assert done.stdout == "", done


def test_no_descriptor_of_the_callers_is_inherited(peer: Peer, canary: Path) -> None:
    """A caller that leaves a directory of the host open, without close-on-exec, gives it to nobody."""
    with inherited(canary) as held:
        done = peer.sh("for fd in /proc/self/fd/*; do readlink $fd; done; true", pass_fds=held)
    assert done.returncode == 0 and str(canary) not in done.stdout, done


def test_nor_by_exec(peer: Peer, canary: Path) -> None:
    peer.background("exec sleep 1000")
    with inherited(canary) as held:
        script = "for fd in /proc/self/fd/* /proc/1/fd/*; do readlink $fd; done; true"
        done = peer("exec", "attacked", "/bin/sh", "-c", script, pass_fds=held)
    assert done.returncode == 0 and str(canary) not in done.stdout, done


@contextmanager
def inherited(canary: Path) -> Iterator[tuple[int, ...]]:
    """Descriptors of the directory, at numbers that callers leak: 3, 9, and a high one where limits allow."""
    held = []
    for wanted in (3, 9, 200):
        fd = os.open(canary, os.O_RDONLY | os.O_DIRECTORY)
        held.append(fcntl.fcntl(fd, fcntl.F_DUPFD, wanted))
        os.close(fd)
    try:
        yield tuple(held)
    finally:
        for fd in held:
            os.close(fd)


# --- our own program -----------------------------------------------------------------------------------------------

OVERWRITE = """
# the program that joins is the attacker's interpreter; then who executed it is written to
for i in 1 2 3 4 5 6 7 8 9; do
    for exe in /proc/[0-9]*/exe; do
        ( : >>$exe ) 2>/dev/null && echo "open for writing: $exe $(readlink $exe)"
    done
done
"""


@pytest.mark.parametrize("entry", ["/proc/self/exe", "/link", "/script"])
def test_the_program_is_the_runtimes_own(peer: Peer, entry: str) -> None:
    """CVE-2019-5736: what is started is /proc/self/exe, so that the container has the runtime itself open."""
    before = peer.program.read_bytes()
    (peer.rootfs / "link").symlink_to("/proc/self/exe")
    (peer.rootfs / "script").write_text("#!/proc/self/exe\n")
    (peer.rootfs / "script").chmod(0o755)
    peer.spec["process"]["args"] = ["/bin/sh", "-c", f"{entry} --version; {entry} & {OVERWRITE}"]
    done = peer("run", "attacked")
    assert peer.program.read_bytes() == before
    assert str(peer.program) not in done.stdout
    peer.spec["process"]["args"] = [entry, "--version"]
    peer("run", "second")
    assert peer.program.read_bytes() == before


def test_exec_of_the_runtimes_own_program(peer: Peer) -> None:
    """CVE-2019-5736, by exec into a container that waits for it."""
    before = peer.program.read_bytes()
    (peer.rootfs / "link").symlink_to("/proc/self/exe")
    peer.background(f"while :; do {OVERWRITE} done >/found 2>&1")
    for entry in ("/proc/self/exe", "/link"):
        for _ in range(10):
            peer("exec", "attacked", entry, "--version")
    assert peer.program.read_bytes() == before
    found = (peer.rootfs / "found").read_text()
    assert str(peer.program) not in found, found


# --- ids, capabilities ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["uid", "gid"])
@pytest.mark.parametrize("number", [4294967296, 4294967296 + 5, -1, 18446744073709551616, "1", 1.5])
def test_an_id_that_is_none_does_not_become_another(peer: Peer, field: str, number: object) -> None:
    """CVE-2024-40635: 2 to the 32 is no other way to write root."""
    peer.spec["process"]["user"] = {"uid": 5, "gid": 5, field: number}
    done = peer.sh(f"id -{field[0]}")
    assert done.returncode != 0 or done.stdout not in ("0\n", ""), done


@pytest.mark.parametrize(
    "user", ["1", "01", "0x1", " 1", "+1", "-1", "1:", "1:x", "4294967296", "4294967297", "1e3", "1 ", "1\n"]
)
def test_a_user_of_exec_does_not_become_root(peer: Peer, user: str) -> None:
    """CVE-2026-30892."""
    peer.background("exec sleep 1000")
    done = peer("exec", "--user", user, "attacked", "/bin/sh", "-c", "id -u")
    assert done.returncode != 0 or done.stdout not in ("0\n", ""), done


def test_no_capability_is_inheritable(peer: Peer) -> None:
    """CVE-2022-24769, CVE-2022-29162, CVE-2022-27650: of a container, of exec, of exec --cap."""
    peer.background("grep CapInh /proc/self/status >/first; exec sleep 1000")
    extra = [[], ["--cap", "CAP_NET_RAW"]]
    seen = [peer("exec", *words, "attacked", "grep", "CapInh", "/proc/self/status").stdout for words in extra]
    assert eventually(lambda: (peer.rootfs / "first").is_file() and (peer.rootfs / "first").read_text())
    for text in [(peer.rootfs / "first").read_text(), *seen]:
        assert int(text.split()[1], 16) == 0, text


# --- settings and annotations --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "kernel.pid_max",
        "kernel.shm_rmid_forced/../pid_max",
        "net.ipv4/../../kernel/pid_max",
        "kernel/shm_rmid_forced/../pid_max",
        "net/../kernel/pid_max",
        "fs.mqueue/../file-max",
    ],
)
def test_a_setting_of_the_host(peer: Peer, name: str) -> None:
    """CVE-2022-0811 and its like. The value is the one that the host has: a runtime that writes it does no harm."""
    file = "fs/file-max" if "file-max" in name else "kernel/pid_max"
    value = Path("/proc/sys", file).read_text().strip()
    peer.spec["linux"]["sysctl"] = {name: value}
    assert peer.sh("true").returncode != 0


@pytest.mark.parametrize("value", ["1\n2", "1\x002", "1+kernel.pid_max=32768", "1\r"])
def test_a_value_that_smuggles(peer: Peer, value: str) -> None:
    """CVE-2022-0811: what stands behind the value of a setting is no other setting."""
    before = Path("/proc/sys/kernel/pid_max").read_text()
    peer.spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": value}
    peer.sh("true")
    assert Path("/proc/sys/kernel/pid_max").read_text() == before


def test_annotations_write_no_file_and_change_nothing(peer: Peer, canary: Path) -> None:
    """CVE-2023-6476, CVE-2024-3154, CVE-2025-24965: an image's labels arrive as annotations."""
    peer.spec["annotations"] = {
        "run.oci.hooks.stdout": f"{canary}/stdout",
        "run.oci.hooks.stderr": f"{canary}/stderr",
        "run.oci.handler": "krun",
        "run.oci.delegate-cgroup": "../../..",
        "run.oci.keep_original_groups": "1",
        "run.oci.seccomp.receiver": f"{canary}/receiver",
        "org.systemd.property.ExecStartPre": f"'/bin/touch {canary}/unit'",
        "io.kubernetes.cri-o.TTY": "\n",
    }
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "echo written; echo written >&2"]}
    peer.spec["hooks"] = {kind: [hook] for kind in ("prestart", "poststart", "poststop")}
    peer.sh("true")


def test_a_hook_has_its_own_environment_alone(peer: Peer, tmp_path: Path) -> None:
    """CVE-2025-23266: LD_PRELOAD of a container would be loaded into a program of the host that runs as root."""
    peer.spec["process"]["env"] += ["LD_PRELOAD=/evil.so", "LD_LIBRARY_PATH=/evil", "EVIL=1"]
    seen = tmp_path / "seen"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"env >>{seen}"], "env": ["OWN=1"]}
    peer.spec["hooks"] = {kind: [hook] for kind in ("prestart", "createRuntime", "poststop")}
    done = peer.sh("true")
    assert done.returncode == 0, done
    text = seen.read_text()
    assert text.count("OWN=1\n") == 3 and "evil" not in text.lower(), text


@pytest.mark.parametrize("entry", ["A=1\nEVIL=2", "A\nB=1", "A=\x1b[2J"])
def test_an_environment_with_line_feeds_stays_one_entry(peer: Peer, entry: str) -> None:
    """CVE-2026-23953: what is written into a file, a line an entry, becomes two. The kernel's form has no lines."""
    peer.spec["process"]["env"].append(entry)
    done = peer.sh("tr '\\0\\n' '\\n%' </proc/self/environ; cat /proc/*/environ >/dev/null")
    assert done.returncode != 0 or "\nEVIL=2" not in done.stdout, done


# --- the terminal of the caller ------------------------------------------------------------------------------------


def test_no_key_can_be_typed_at_the_callers_terminal(peer: Peer, compiled: Callable[[str], Path]) -> None:
    """CVE-2017-5226: TIOCSTI. The container has the caller's terminal as its standard input, and is root."""
    shutil.copy(compiled("type"), peer.rootfs / "type")
    peer.spec["process"]["args"] = ["/type"]
    (peer.bundle / "config.json").write_text(json.dumps(peer.spec))
    master, slave = os.openpty()
    tty.setraw(slave)
    # the caller's shell, which has the terminal before and after, and would take the key for its user's
    script = '"$@"; IFS= read -r -n 1 -t 0.3 key; test -z "$key" || echo "typed $key"'
    child = subprocess.Popen(
        ["bash", "-c", script, "bash", *peer.command, "run", "attacked"],
        cwd=peer.bundle,
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    out, err = child.communicate(timeout=TIMEOUT)
    os.close(master)
    os.close(slave)
    assert b"typed" not in out, (out, err)


# --- a container that is hostile when it is joined -----------------------------------------------------------------


def test_exec_where_proc_is_the_guests(peer: Peer, canary: Path, tmp_path: Path) -> None:
    """CVE-2019-16884, CVE-2025-52881: root in the container has mounted something else on /proc."""
    peer.mount(canary, "/canary", "rw")
    for name in ("bounding", "effective", "permitted"):
        peer.spec["process"]["capabilities"][name] = [*CAPABILITIES, "CAP_SYS_ADMIN"]
    links = "oom_score_adj attr/exec attr/apparmor/exec attr/keycreate uid_map gid_map setgroups loginuid exe cgroup"
    script = (
        "mount -t tmpfs fake /proc && mkdir -p /proc/sys/kernel /proc/1 &&"
        f"for base in self thread-self 1; do for name in {links}; do mkdir -p $(dirname /proc/$base/$name);"
        "ln -s /canary/file /proc/$base/$name; done; mkdir -p /proc/$base/fd; ln -s /canary /proc/$base/fd/3;"
        "done; ln -s /canary/file /proc/sys/kernel/cap_last_cap; touch /ready; exec sleep 1000"
    )
    peer.background(script)
    assert eventually(lambda: (peer.rootfs / "ready").exists())
    peer("exec", "attacked", "/bin/sh", "-c", "true")
    peer("exec", "--cwd", "/proc/self/fd/3", "attacked", "/bin/true")


@pytest.mark.parametrize("kind", ["fifo", "large", "directory", "loop", "disk"])
def test_exec_where_accounts_are_none(peer: Peer, kind: str) -> None:
    """CVE-2024-9676: a FIFO, or what has no end, in the place of /etc/passwd holds nobody up."""
    etc = peer.rootfs / "etc"
    etc.mkdir(exist_ok=True)
    for name in ("passwd", "group"):
        path = etc / name
        path.unlink(missing_ok=True)
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "large":
            path.touch()
            os.truncate(path, 1 << 40)
        elif kind == "directory":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(name)
        else:
            os.mknod(path, stat.S_IFBLK | 0o666, os.makedev(7, 0))
    begin = time.monotonic()
    peer.sh("true", timeout=30)
    assert time.monotonic() - begin < 20


def test_cgroups_without_a_namespace_are_not_the_hosts(peer: Peer) -> None:
    """CVE-2023-25809: /sys/fs/cgroup of a container without a cgroup namespace is no way to the others' groups."""
    peer.spec["linux"]["namespaces"] = [
        entry for entry in peer.spec["linux"]["namespaces"] if entry["type"] != "cgroup"
    ]
    options = ["nosuid", "noexec", "nodev", "ro"]
    peer.spec["mounts"] += [
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": options},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options},
    ]
    done = peer.sh("cd /sys/fs/cgroup && (mkdir evil || mkdir */evil) && echo escaped")
    assert "escaped" not in done.stdout, done


@pytest.mark.parametrize("kind", ["fifo", "socket", "zero", "large", "lists", "objects", "number", "directory", "loop"])
def test_a_configuration_without_an_end(peer: Peer, kind: str) -> None:
    """Whoever fills a bundle holds nobody up, and costs no memory: an answer at once, in one line."""
    path = peer.bundle / "config.json"
    texts = {"lists": "[" * 300_000, "objects": '{"process":' * 300_000, "number": '{"a": ' + "9" * 3_000_000 + "}"}
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, 0o140644)
    elif kind in ("zero", "loop"):
        path.symlink_to("/dev/zero" if kind == "zero" else "config.json")
    elif kind == "large":
        with path.open("w") as file:
            file.truncate(3 << 30)
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_text(texts[kind])
    limit = ["prlimit", f"--as={4 << 30}", "timeout", "-s", "KILL", "20"]
    command = [*limit, *peer.command, "create", "attacked"]
    done = subprocess.run(command, cwd=peer.bundle, capture_output=True, text=True, timeout=60, check=False)
    assert 0 < done.returncode < 126, done
    assert not peer.ours or (done.stderr.count("\n") == 1 and len(done.stderr) < 400), done
