"""--userns: what the kernel makes of it, what tenants share and what they do not, and that every range comes back."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import re
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

from oci_bundle import Oci
from test_crash import kill_after, start
from world import World, eventually

AUTO = ("--userns", "auto", "--network", "none")
#: linux/nsfs.h
NS_GET_OWNER_UID = 0xB704
SLEEP = ("busybox", "sleep", "1000")
#: Until there is no more: inotify instances, keys of the user, keys that can be named.
EXHAUST = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
inotify = 0
while inotify < 1000 and libc.inotify_init1(0) >= 0:
    inotify += 1
add_key = 248
keys = 0
while keys < 1000 and libc.syscall(add_key, b"user", b"key%d" % keys, b"x", 1, -3) >= 0:
    keys += 1
print(inotify, keys, ctypes.get_errno(), flush=True)
sys.stdin.read()
"""


def uid_map(world: World, identity: str, kind: str = "uid") -> list[list[int]]:
    text = Path(f"/proc/{world.pid(identity)}/{kind}_map").read_text()
    return [[int(word) for word in line.split()] for line in text.splitlines()]


def pool_file(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "pycontain.toml"
    path.write_text(text)
    return {**os.environ, "PYCONTAIN_CONFIG": str(path)}


# --- modes --------------------------------------------------------------------------------------------------------


def test_auto_maps_root_to_a_range_of_its_own(world: World) -> None:
    one, two = (world.background(*AUTO, *SLEEP) for _ in range(2))
    for kind in ("uid", "gid"):
        first, second = uid_map(world, one, kind), uid_map(world, two, kind)
        assert first[0][0] == second[0][0] == 0 and first[0][2] == second[0][2] == 65536
        assert min(first[0][1], second[0][1]) >= 0x30000000 and abs(first[0][1] - second[0][1]) >= 65536
    assert world.ok("exec", one, "id", "-u") == "0"
    shown = world.inspect(one)["HostConfig"]
    assert shown["UsernsMode"] == "auto"
    assert shown["IDMappings"]["UidMap"] == [":".join(str(word) for word in uid_map(world, one)[0])]


def test_a_range_stays_with_the_container(world: World) -> None:
    world.ok("create", "--name", "kept", *AUTO, *SLEEP)
    world.ok("start", "kept")
    identity = world.inspect("kept")["Id"]
    before = uid_map(world, identity)
    world.background(*AUTO, *SLEEP)
    world.ok("stop", "-t", "0", "kept")
    world.ok("start", "kept")
    assert uid_map(world, identity) == before


def test_sizes_and_maps_by_hand(world: World) -> None:
    assert world.inside("cat /proc/self/uid_map", "--userns", "auto:size=1000").split()[2] == "1000"
    assert world.inside("cat /proc/self/gid_map", "--userns", "auto:size=200000").split()[2] == "200000"
    found = world.inside("cat /proc/self/uid_map", "--userns", "private:0:100000:1000,1000:300000:5")
    assert found.split() == ["0", "100000", "1000", "1000", "300000", "5"]


def test_roots_own_ids_are_kept_without_its_privileges(world: World) -> None:
    script = "cat /proc/self/uid_map; touch /file; stat -c %u:%g /file /etc/passwd"
    lines = world.inside(script, "--userns", "keep-id").splitlines()
    assert lines[0].split() == ["0", "0", "4294967295"] and lines[1:] == ["0:0", "0:0"]
    assert os.readlink("/proc/self/ns/user") != world.inside("readlink /proc/self/ns/user", "--userns", "keep-id")
    assert os.readlink("/proc/self/ns/user") == world.inside("readlink /proc/self/ns/user", "--userns", "host")


def test_another_containers_user_namespace(world: World) -> None:
    one = world.background("--name", "one", *AUTO, *SLEEP)
    space = os.readlink(f"/proc/{world.pid(one)}/ns/user")
    assert world.inside("readlink /proc/self/ns/user", "--userns", "container:one") == space
    # its network can be joined from there alone
    joined = ("--network", "container:one")
    assert world.inside("readlink /proc/self/ns/user; readlink /proc/self/ns/net", *joined).splitlines() == [
        space,
        os.readlink(f"/proc/{world.pid(one)}/ns/net"),
    ]
    assert "--userns auto" in world.refused("run", *joined, "--userns", "auto", "busybox", "true")
    world.ok("stop", "-t", "0", "one")
    assert "it is not running: start it first" in world.refused("run", "--userns", "container:one", *SLEEP)


def test_the_bridge_ports_and_names_work(world: World) -> None:
    identity = world.background("--userns", "auto", "-p", "127.0.0.1::80", "busybox", "httpd", "-f", "-h", "/etc")
    port = world.ok("port", identity, "80").rpartition(":")[2]
    script = f"exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET /hostname HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"

    def answered() -> bool:
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=20)
        return identity[:12] in done.stdout

    assert eventually(answered)
    assert world.ok("exec", identity, "sh", "-c", "echo x >>/etc/hosts; tail -n1 /etc/hosts") == "x"
    ping = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)"
    world.python(ping, "--userns", "auto", "-u", "1000:1000")


def test_streams_can_be_opened_again(world: World) -> None:
    for flags in ((), ("-u", "1000:1000"), ("-u", "1000", "--init")):
        assert world.inside("echo a >/dev/stdout; echo b >/proc/self/fd/1", *AUTO, *flags) == "a\nb"
    identity = world.background(*AUTO, *SLEEP)
    assert world.ok("exec", "-u", "7", identity, "sh", "-c", "id -u >/dev/stdout") == "7"


def test_devices_are_the_hosts(world: World) -> None:
    world.inside("head -c1 /dev/zero | wc -c; echo >/dev/null; head -c1 /dev/other >/dev/null", *AUTO,
                 "--device", "/dev/zero:/dev/other")  # fmt: skip
    done = world("run", "--rm", *AUTO, *world.all_capabilities, "busybox", "mknod", "/dev/mem2", "c", "1", "1")
    assert done.returncode == 1 and "Operation not permitted" in done.stderr


# --- files --------------------------------------------------------------------------------------------------------


def test_owners_on_the_disk_are_the_containers(world: World, workdir: Path) -> None:
    """So an image that is made of it has root as 0, whichever range it had."""
    (workdir / "host").write_text("host")
    os.chown(workdir / "host", 5, 6)
    script = "mkdir /dir; touch /dir/five; chown 5:6 /dir/five; touch /vol/file /bind/file; chown 7 /vol/file"
    identity = world.background(
        *AUTO, "-v", "mapped:/vol", "-v", f"{workdir}:/bind", "busybox", "sh", "-c", f"{script}; sleep 1000"
    )
    upper = world.root / "containers" / identity / "upper"
    volume = world.root / "volumes" / "mapped" / "data" / "file"
    assert eventually(lambda: volume.exists() and volume.stat().st_uid == 7)  # the last that the script does
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in (upper / "dir", upper / "dir" / "five")}
    assert owners == {"dir": (0, 0), "five": (5, 6)}
    assert (workdir / "file").stat().st_uid == 0
    assert world.ok("exec", identity, "stat", "-c", "%u:%g", "/bind/host") == "5:6"
    # another range sees the same owners
    assert world.inside("stat -c %u /v/file", "-v", "mapped:/v", "--userns", "auto") == "7"


def test_binds_without_mapped_owners(world: World, workdir: Path) -> None:
    (workdir / "host").write_text("host")
    workdir.chmod(0o777)
    flags = ("-v", f"{workdir}:/bind:noidmap")
    assert world.inside("stat -c %u /bind/host; touch /bind/new; stat -c %u /bind/new", *AUTO, *flags) == "65534\n0"
    assert (workdir / "new").stat().st_uid >= 0x30000000


def test_cp_into_and_out_of_a_range(world: World, workdir: Path) -> None:
    (workdir / "in").mkdir()
    (workdir / "in" / "secret").write_text("s")
    (workdir / "in" / "secret").chmod(0o600)
    world.background("--name", "files", *AUTO, "-v", "mapped:/vol", *SLEEP)
    listing = ("exec", "files", "stat", "-c", "%u:%g %a", "/srv/in/secret", "/vol/in/secret")
    for target in ("/srv", "/vol"):
        world.ok("exec", "files", "mkdir", "-p", target)
        world.ok("cp", str(workdir / "in"), f"files:{target}")
    assert world.ok(*listing) == "0:0 600\n0:0 600"
    world.ok("stop", "-t", "0", "files")
    world.ok("cp", str(workdir / "in" / "secret"), "files:/vol/in/other")
    world.ok("cp", "files:/srv/in", str(workdir / "out"))
    world.ok("start", "files")
    assert world.ok("exec", "files", "stat", "-c", "%u:%g", "/vol/in/other") == "0:0"
    owner = (workdir / "out" / "secret").stat()
    assert (owner.st_uid, owner.st_mode & 0o777) == (0, 0o600)
    archive = subprocess.run([*world.command, "cp", "files:/srv/in", "-"], capture_output=True, check=True).stdout
    shown = subprocess.run(["tar", "tv", "--numeric-owner"], input=archive, capture_output=True, check=True).stdout
    assert b" 0/0 " in shown


def test_a_file_system_that_cannot_map_owners_is_named(world: World) -> None:
    line = world.refused("run", "--rm", *AUTO, "-v", "/proc:/p", "busybox", "true")
    assert "cannot map the owners of /proc" in line and "noidmap, or use --userns host" in line
    world.inside("test -e /p/self", *AUTO, "-v", "/proc:/p:noidmap")


# --- tenants ------------------------------------------------------------------------------------------------------


def test_two_tenants_share_one_image_with_no_copy_and_are_root(world: World) -> None:
    one, two = (world.background(*AUTO, *SLEEP) for _ in range(2))
    assert uid_map(world, one) != uid_map(world, two)
    layers = {world.inspect(identity)["GraphDriver"]["Data"]["LowerDir"] for identity in (one, two)}
    assert len(layers) == 1
    for identity in (one, two):
        upper = world.root / "containers" / identity / "upper"
        assert [path for path in upper.rglob("*") if path.is_file()] == []
        script = "id -u; stat -c %u:%g /bin/busybox /etc/passwd; chown 5:5 /etc/passwd; stat -c %u /etc/passwd"
        assert world.ok("exec", identity, "sh", "-c", script) == "0\n0:0\n0:0\n5"
    # one page cache: the same inode below both
    assert os.stat(layers.pop() + "/bin/busybox").st_nlink == 1


def test_two_tenants_cannot_read_each_others_files_even_given_the_path(world: World, workdir: Path) -> None:
    workdir.chmod(0o1777)
    shared = ("-v", f"{workdir}:/shared:noidmap")
    script = "umask 077; echo secret >/shared/a; echo secret >/root/b; sleep 1000"
    one = world.background(*AUTO, *shared, "busybox", "sh", "-c", script)
    root = Path(f"/proc/{world.pid(one)}/root/root/b")
    assert eventually(root.exists)
    # the host's processes, with all capabilities that there are: nothing but the user namespace is in the way
    other = ("--pid", "host", *AUTO, *shared, "--security-opt", "seccomp=unconfined", *world.all_capabilities)
    for path in ("/shared/a", str(root), f"/proc/{world.pid(one)}/environ"):
        done = world("run", "--rm", *other, "busybox", "cat", path)
        assert done.returncode == 1 and "Permission denied" in done.stderr, (path, done)
    done = world("run", "--rm", *other, "busybox", "kill", str(world.pid(one)))
    assert done.returncode == 1 and "ermitted" in done.stderr
    done = world("run", "--rm", *other, "-v", f"{world.root}:/store:noidmap", "busybox", "ls",
                 f"/store/containers/{one}/upper")  # fmt: skip
    assert done.returncode == 1 and "Permission denied" in done.stderr
    # with the host's own root it would have been read
    done = world("run", "--rm", "--pid", "host", "--userns", "host", "--network", "none", *shared, "busybox", "cat",
                 "/shared/a")  # fmt: skip
    assert done.stdout == "secret\n"


def exhaust(world: World, *flags: str) -> subprocess.Popen[str]:
    command = [*world.command, "run", "--rm", "-i", *flags, "--security-opt", "seccomp=unconfined", "sparse"]
    return subprocess.Popen(
        [*command, "/usr/bin/python3", "-I", "-S", "-c", EXHAUST],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def reached(process: subprocess.Popen[str]) -> tuple[int, int]:
    assert process.stdout is not None
    inotify, keys, _ = process.stdout.readline().split()
    return int(inotify), int(keys)


def test_two_tenants_exhaust_inotify_and_keys_without_touching_each_other_or_the_host(world: World) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    limit = int(Path("/proc/sys/kernel/keys/maxkeys").read_text())
    tenants: list[subprocess.Popen[str]] = []
    try:
        for _ in range(2):
            tenants.append(exhaust(world, *AUTO))
            # all that the kernel gives a user, though the other one holds all of its own
            inotify, keys = reached(tenants[-1])
            assert inotify == most and limit - 3 <= keys < limit
        # root of the host has what it had
        assert gets_inotify()
        key_users = Path("/proc/key-users").read_text()
        used = [line for line in key_users.splitlines() if f"{limit}/{limit}" in line.split()]
        assert len([line for line in used if int(line.split(":")[0]) >= 0x30000000]) >= 2
    finally:
        for tenant in tenants:
            tenant.communicate("", timeout=30)


def gets_inotify() -> bool:
    """Whether this process gets an inotify instance now."""
    import ctypes

    fd = ctypes.CDLL(None).inotify_init1(os.O_CLOEXEC)
    if fd >= 0:
        os.close(fd)
    return bool(fd >= 0)


def test_without_ranges_tenants_share_the_budget_of_their_user(world: World) -> None:
    """What the test above would see if ranges did not matter. Of a user that nobody else here is: whoever else runs as
    root on this machine watches files as well.
    """
    flags = ("--userns", "host", "--network", "none", "-u", "305419")
    tenants: list[subprocess.Popen[str]] = []
    try:
        for first in (True, False):
            tenants.append(exhaust(world, *flags))
            assert (reached(tenants[-1])[0] > 0) == first
    finally:
        for tenant in tenants:
            tenant.communicate("", timeout=30)


FORK = """
import os, sys
count = 0
try:
    while count < 100:
        if os.fork() == 0:
            os.read(0, 1)
            os._exit(0)
        count += 1
except OSError as error:
    print(count, error.errno, flush=True)
sys.stdin.read()
"""


def test_two_tenants_exhaust_pids_without_touching_each_other_or_the_host(world: World) -> None:
    """RLIMIT_NPROC counts the processes of a user: with ranges of their own those of one container."""
    flags = ("run", "--rm", "-i", *AUTO, "-u", "1000", "--ulimit", "nproc=8", "sparse", "/usr/bin/python3", "-I", "-S")
    tenants: list[subprocess.Popen[str]] = []
    try:
        for _ in range(2):
            command = [*world.command, *flags, "-c", FORK]
            tenants.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            stdout = tenants[-1].stdout
            assert stdout is not None
            # seven children beside the first process, whatever the other one has
            assert stdout.readline().split() == ["7", str(errno.EAGAIN)]
        assert world.inside("sleep 0 & wait; echo good", *AUTO, "-u", "1000", "--ulimit", "nproc=8") == "good"
    finally:
        for tenant in tenants:
            tenant.communicate("", timeout=30)


def test_each_container_has_a_session_keyring_of_its_own(world: World) -> None:
    script = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True); buffer = ctypes.create_string_buffer(200);"
        "number = libc.syscall(250, 0, -3, 0); libc.syscall(250, 6, -3, buffer, 200);"
        "print(number, buffer.value.decode())"
    )
    flags = ("--security-opt", "seccomp=unconfined")
    shown = [world.python(script, "--userns", mode, *flags) for mode in ("auto", "auto", "host")]
    assert len({line.split()[0] for line in shown}) == 3
    for line in shown:
        assert re.search(r"keyring;\d+;\d+;[0-9a-f]+;pycontain-[0-9a-f]{12}$", line), line


# --- refused ------------------------------------------------------------------------------------------------------


def test_a_pool_that_has_run_dry(world: World, tmp_path: Path) -> None:
    environment = pool_file(tmp_path, 'id_pool = "700000:131072"\n')
    one = world.ok("run", "-d", *AUTO, *SLEEP, env=environment)
    world.ok("run", "-d", *AUTO, *SLEEP, env=environment)
    line = world.refused("run", "-d", *AUTO, *SLEEP, env=environment)
    assert line.startswith("no range of 65536 IDs is free: 2 of 2 are taken (id_pool of the configuration file)")
    assert uid_map(world, one) == [[0, 700000, 65536]]
    world.ok("rm", "-f", one)
    world.ok("run", "--rm", *AUTO, "busybox", "true", env=environment)


def test_info_shows_the_pool_and_its_use(world: World, tmp_path: Path) -> None:
    environment = pool_file(tmp_path, 'id_pool = "700000:131072"\nuserns = "keep-id"\n')
    world.ok("run", "-d", *AUTO, *SLEEP, env=environment)
    shown = json.loads(world.ok("info", "--format", "json", env=environment))["UserIDs"]
    assert shown["Default"] == "keep-id" and shown["Pool"] == ["700000:131072"]
    assert shown["Ranges"] == {"taken": 1, "free": 1}


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (("--userns", "auto:size=70", "-u", "70"), "--user: uid 70 is not among the IDs of the container"),
        (("--userns", "auto:size=70", "--group-add", "99"), "gid 99 is not among"),
        (("--userns", "private:0:900000000:5"), "has host IDs of the pool"),
        (("--userns", "container:nobody"), "nobody"),
        (("--userns", "auto:size=1073741824", "--name", "big"), ""),
    ],
)
def test_refused_and_nothing_left(world: World, flags: tuple[str, ...], answer: str) -> None:
    if not answer:  # all of the pool: given where nobody has a part of it
        world.background(*AUTO, *SLEEP)
        answer = "no 16384 free ranges of 65536 IDs in a row"
    assert answer in world.refused("run", "--network", "none", *flags, "busybox", "true")


def test_more_mounts_than_can_be_mapped(world: World, workdir: Path) -> None:
    flags = [word for number in range(256) for word in ("-v", f"{workdir}:/m/{number}")]
    assert "more than 255 mounts with mapped owners" in world.refused("run", *AUTO, *flags, "busybox", "true")


def test_a_launch_that_fails_gives_its_range_back(world: World) -> None:
    world.refused("run", *AUTO, "busybox", "nosuch", status=127)
    world.refused("run", "-v", "/no/such:/x", *AUTO, "busybox", "true")
    assert not [line for line in world.leftovers() if "range" in line]


# --- killed at any moment -----------------------------------------------------------------------------------------


def test_killed_at_random_moments_no_range_is_lost(world: World) -> None:
    arguments = ("run", "--rm", *AUTO, "busybox", "true")
    begin = time.monotonic()
    world.ok(*arguments)
    length = time.monotonic() - begin
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    killed = 0
    for _ in range(40):
        killed += kill_after(start(world, *arguments), source.uniform(0, length * 1.2)) == -signal.SIGKILL
    assert killed
    world.ok("ps", "-a")

    def settled() -> bool:
        world.ok("ps", "-a")
        return not world.leftovers()

    assert eventually(settled), world.leftovers()


def test_a_lease_of_nobody_is_given_back_by_the_next_listing(world: World) -> None:
    world.ok("run", "--rm", *AUTO, "busybox", "true")
    (world.root / "ids" / "900000000-900000000").symlink_to("f" * 64)
    world.ok("ps", "-a")
    assert not [line for line in world.leftovers() if "range" in line]


# --- the OCI runtime ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("host", "owner"), [(100000, 100000), (0, 0)])
def test_the_oci_runtime_makes_the_namespace_as_the_containers_root(oci: Oci, host: int, owner: int) -> None:
    """Its budgets are those of the mapped user."""
    entries = [{"containerID": 0, "hostID": host, "size": 65536}]
    oci.spec["linux"].update(uidMappings=entries, gidMappings=entries)
    oci.spec["linux"]["namespaces"].append({"type": "user"})
    oci.spec["process"]["args"] = ["sleep", "1000"]
    for directory in (oci.bundle, *oci.bundle.parents[:3]):
        directory.chmod(directory.stat().st_mode | 0o755)
    oci.ok("create", "-b", str(oci.bundle), "owned")
    fd = os.open(f"/proc/{oci.state('owned')['pid']}/ns/user", os.O_RDONLY)
    try:
        assert struct.unpack("I", fcntl.ioctl(fd, NS_GET_OWNER_UID, bytes(4)))[0] == owner
    finally:
        os.close(fd)
        oci.ok("delete", "--force", "owned")
