"""checkpoint and restore: options and properties whose effect is on the images, or which cannot be."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from oci_saved import COUNT, Saved
from systemd_guest import Guest
from world import PYCONTAIN_OCI, cgroup_mount, eventually


def refused(saved: Saved, verb: list[str], words: str) -> None:
    """One line, and nothing of a new container."""
    done = saved(*verb)
    assert (done.returncode, done.stderr) == (1, f"pycontain-oci: {words}\n"), done


def stopped(saved: Saved) -> None:
    """A checkpoint, and no container."""
    saved.start()
    assert eventually(lambda: saved.count() > 3)
    saved.checkpoint()
    saved.ok("delete", "c")


def nothing_left(saved: Saved) -> None:
    assert not (saved.oci.root / "c").exists()
    assert not (cgroup_mount() / "pycontain-oci" / "c").exists()
    assert not (saved.images / "restore.log").exists()


def test_auto_dedup(saved: Saved) -> None:
    """Pages are punched out of the files when they are in memory again; without the option they stay."""
    saved.start()
    assert eventually(lambda: saved.count() > 3)
    saved.checkpoint("--auto-dedup")
    saved.ok("delete", "c")
    pages = saved.images / "pages-1.img"
    size, blocks = pages.stat().st_size, pages.stat().st_blocks
    assert blocks * 512 >= size > 0
    saved.restore()
    assert pages.stat().st_blocks == blocks
    saved.ok("delete", "--force", "c")
    saved.restore("--auto-dedup")
    assert (pages.stat().st_size, pages.stat().st_blocks) == (size, 0)
    assert saved.goes_on_from(3)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--lsm-profile", "apparmor:box", "--lsm-profile: AppArmor is not enabled on this host"),
        ("--lsm-profile", "selinux:u:r:t:s0", "--lsm-profile: SELinux is not enabled on this host"),
        ("--lsm-profile", "box", "--lsm-profile 'box': it is apparmor:PROFILE or selinux:LABEL"),
        ("--lsm-profile", "apparmor:", "--lsm-profile 'apparmor:': it is apparmor:PROFILE or selinux:LABEL"),
        ("--lsm-mount-context", "u:object_r:t", "--lsm-mount-context: SELinux is not enabled on this host"),
    ],
)
def test_security_modules_that_are_not_there(saved: Saved, option: str, value: str, words: str) -> None:
    """CRIU is not asked: it would restore without the context, and say nothing."""
    stopped(saved)
    refused(saved, [*saved.restore_line(), option, value, "c"], words)
    nothing_left(saved)


def test_network_devices(saved: Saved) -> None:
    stopped(saved)
    saved.oci.spec["linux"]["netDevices"] = {"eth9": {}}
    words = "linux.netDevices: CRIU cannot restore a container with devices of the host"
    refused(saved, [*saved.restore_line(), "c"], words)
    nothing_left(saved)


def test_a_cgroup_namespace_by_path(saved: Saved) -> None:
    stopped(saved)
    (entry,) = [entry for entry in saved.oci.spec["linux"]["namespaces"] if entry["type"] == "cgroup"]
    entry["path"] = "/proc/self/ns/cgroup"
    where = f"linux.namespaces[{saved.oci.spec['linux']['namespaces'].index(entry)}].path"
    refused(saved, [*saved.restore_line(), "c"], f"{where}: CRIU cannot restore into a cgroup namespace that exists")
    nothing_left(saved)


def test_ids_that_are_others_on_the_host(saved: Saved, tmp_path: Path) -> None:
    """Neither verb takes them, and what runs goes on."""
    maps = [{"containerID": 0, "hostID": 0, "size": 65536}]
    saved.oci.spec["linux"]["namespaces"].append({"type": "user"})
    saved.oci.spec["linux"].update(uidMappings=maps, gidMappings=maps)
    words = "linux.namespaces: a container with a user namespace is neither checkpointed nor restored"
    not_saved(saved, words)
    spec = saved.oci.spec["linux"]
    saved.oci.spec["linux"] = {"namespaces": spec["namespaces"][:-1]}
    mount = {"destination": "/mapped", "type": "bind", "source": str(tmp_path), "options": ["bind", "idmap"]}
    saved.oci.spec["mounts"].append({**mount, "uidMappings": maps, "gidMappings": maps})
    words = f"mounts[{len(saved.oci.spec['mounts']) - 1}]: CRIU would restore this mount without its mappings of IDs"
    not_saved(saved, words)
    del saved.oci.spec["mounts"][-1]
    stopped(saved)
    saved.oci.spec["mounts"].append({**mount, "uidMappings": maps, "gidMappings": maps})
    refused(saved, [*saved.restore_line(), "c"], words)
    del saved.oci.spec["mounts"][-1]
    saved.oci.spec["linux"] = spec
    words = "linux.namespaces: a container with a user namespace is neither checkpointed nor restored"
    refused(saved, [*saved.restore_line(), "c"], words)
    nothing_left(saved)


def not_saved(saved: Saved, words: str) -> None:
    saved.start()
    assert eventually(lambda: saved.count() > 1)
    refused(saved, ["checkpoint", "--image-path", str(saved.images), "c"], words)
    assert saved.goes_on_from(1)
    saved.ok("delete", "--force", "c")


_GUEST = """
set -eu
cd /tmp/criu-test
export PATH=$PWD/criu/bin:$PATH
oci() {{ {program} --root /run/criu-test --systemd-cgroup "$@"; }}
oci run -d -b . c </dev/null >/dev/null 2>&1
pid=$(cat /run/criu-test/c/pid); pid=${{pid%% *}}
count() {{ until n=$(cat /proc/$pid/root/count/now 2>/dev/null) && [ -n "$n" ] && [ $n -gt $1 ]; do sleep 0.02; done; }}
count 3
before=$n
echo $(systemctl show -P ActiveState pycontain-c.scope) $(cat /proc/$pid/cgroup | grep -o '[^/]*/container$')
oci checkpoint --image-path images c
echo $(systemctl show -P ActiveState pycontain-c.scope)
# the guest's /proc/sys is read-only; CRIU writes the container's host name there
writable() {{ unshare --mount sh -euc 'umount /proc/sys; exec "$@"' sh "$@"; }}
again="restore -d -b . --image-path images c"
writable {program} --root /run/criu-test --systemd-cgroup $again </dev/null >log 2>&1 || {{ cat log; exit 1; }}
pid=$(cat /run/criu-test/c/pid); pid=${{pid%% *}}
count $before
echo $(systemctl show -P ActiveState pycontain-c.scope) $(cat /proc/$pid/cgroup | grep -o '[^/]*/container$')
oci delete --force c
echo $(systemctl show -P ActiveState pycontain-c.scope)
"""


def test_under_the_systemd_driver(saved: Saved, systemd_guest: Guest, criu_programs: Path) -> None:
    """What is restored is in a scope of its own again, which ends with it."""
    directory = Path(f"/proc/{systemd_guest.pid}/root/tmp/criu-test")
    saved.oci.spec["process"]["args"] = ["sh", "-c", COUNT]
    saved.oci.spec["linux"]["cgroupsPath"] = "system.slice:pycontain:c"
    directory.mkdir()
    subprocess.run(["cp", "-a", str(saved.oci.bundle / "rootfs"), str(directory)], check=True)
    subprocess.run(["cp", "-a", str(criu_programs.parent), str(directory / "criu")], check=True)
    (directory / "config.json").write_text(json.dumps(saved.oci.spec))
    done = systemd_guest.run(_GUEST.format(program=PYCONTAIN_OCI), timeout=60)
    systemd_guest.run("rm -rf /tmp/criu-test")
    assert done.returncode == 0, done.stdout
    scope = "active pycontain-c.scope/container"
    assert done.stdout.splitlines() == [scope, "inactive", scope, "inactive"], done
