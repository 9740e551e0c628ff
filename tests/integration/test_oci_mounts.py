"""config.json ``mounts``: every option of the specification, proved by /proc/self/mountinfo and by trying."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oci_bundle import Oci, output, refused
from world import eventually

USERNS = {
    "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    "gidMappings": [{"containerID": 0, "hostID": 200000, "size": 65536}],
}


@pytest.fixture
def data(oci: Oci, tmp_path: Path) -> Path:
    """A directory of the host, on a file system of its own, with one mount below it."""
    directory = tmp_path / "data"
    directory.mkdir()
    return directory


@pytest.fixture
def tree(data: Path) -> Iterator[Path]:
    """As data: a tmpfs with a tmpfs on its directory ``below``."""
    subprocess.run(["mount", "-t", "tmpfs", "data", str(data)], check=True)
    (data / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", str(data / "below")], check=True)
    (data / "file").write_text("x")
    os.symlink("file", data / "link")
    os.symlink("../file", data / "below/link")
    (data / "below/file").write_text("x")
    yield data
    subprocess.run(["umount", str(data / "below")], check=True)
    subprocess.run(["umount", str(data)], check=True)


def mount(oci: Oci, *options: str, **more: Any) -> None:
    entry = {"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": list(options), **more}
    oci.spec["mounts"].append({key: value for key, value in entry.items() if value is not None})


def flags(oci: Oci, path: str = "/m") -> set[str]:
    """The attributes of a mount inside, and the options of its file system as fs:NAME."""
    said = output(oci, f"grep ' {path} ' /proc/self/mountinfo | tail -1")
    attributes, rest = said.split()[5], said.split(" - ")[1].split()[2]
    return set(attributes.split(",")) | {f"fs:{name}" for name in rest.split(",")}


@pytest.mark.parametrize(
    ("options", "there", "absent"),
    [
        (["ro"], {"ro"}, {"rw"}),
        (["ro", "rw"], {"rw"}, {"ro"}),
        (["nosuid", "nodev", "noexec"], {"nosuid", "nodev", "noexec"}, set()),
        (["nosuid", "nodev", "noexec", "suid", "dev", "exec"], set(), {"nosuid", "nodev", "noexec"}),
        (["noatime"], {"noatime"}, {"relatime"}),
        (["noatime", "atime"], {"relatime"}, {"noatime"}),
        (["noatime", "relatime"], {"relatime"}, {"noatime"}),
        (["strictatime"], set(), {"noatime", "relatime"}),
        (["norelatime"], set(), {"noatime", "relatime"}),
        (["strictatime", "nostrictatime"], {"relatime"}, set()),
        (["nodiratime"], {"nodiratime"}, set()),
        (["nodiratime", "diratime"], set(), {"nodiratime"}),
        (["nosymfollow"], {"nosymfollow"}, set()),
        (["nosymfollow", "symfollow"], set(), {"nosymfollow"}),
        (["sync", "dirsync"], {"fs:sync", "fs:dirsync"}, set()),
        (["sync", "async"], set(), set()),
        (["lazytime"], {"fs:lazytime"}, set()),
        (["nolazytime", "iversion", "noiversion", "loud", "silent", "defaults", "mand", "nomand"], {"rw"}, set()),
        (["size=64k", "mode=711", "nr_inodes=10"], {"fs:size=64k", "fs:mode=711", "fs:nr_inodes=10"}, set()),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_options_of_a_new_file_system(oci: Oci, options: list[str], there: set[str], absent: set[str]) -> None:
    mount(oci, *options)
    found = flags(oci)
    assert there <= found and not absent & found, found


@pytest.mark.parametrize(
    ("options", "there", "absent"),
    [
        (["bind", "ro"], {"ro"}, {"rw"}),
        (["bind", "nosuid", "nodev", "noexec"], {"nosuid", "nodev", "noexec"}, set()),
        (["rbind", "nosymfollow"], {"nosymfollow"}, set()),
        (["bind", "noatime"], {"noatime"}, {"relatime"}),
        (["bind", "nodiratime", "strictatime"], {"nodiratime"}, {"relatime"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_options_of_a_bind(oci: Oci, data: Path, options: list[str], there: set[str], absent: set[str]) -> None:
    mount(oci, *options, type=None, source=str(data))
    found = flags(oci)
    assert there <= found and not absent & found, found


@pytest.mark.parametrize(
    ("option", "attribute"),
    [
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rnodiratime", "nodiratime"),
        ("rnosymfollow", "nosymfollow"),
    ],
)
def test_recursive_attributes(oci: Oci, tree: Path, option: str, attribute: str) -> None:
    mount(oci, "rbind", option, type="bind", source=str(tree))
    assert attribute in flags(oci) and attribute in flags(oci, "/m/below")
    oci.spec["mounts"].pop()
    plain = option[1:]
    mount(oci, "rbind", plain, type="bind", source=str(tree))
    assert attribute in flags(oci) and attribute not in flags(oci, "/m/below")


@pytest.mark.parametrize(
    ("option", "attribute"),
    [("rrw", "ro"), ("rsuid", "nosuid"), ("rdev", "nodev"), ("rexec", "noexec"), ("rsymfollow", "nosymfollow")],
)
def test_recursive_attributes_that_take_away(oci: Oci, tree: Path, option: str, attribute: str) -> None:
    subprocess.run(["mount", "-o", f"remount,bind,{attribute}", str(tree / "below")], check=True)
    mount(oci, "rbind", type="bind", source=str(tree))
    assert attribute in flags(oci, "/m/below")
    oci.spec["mounts"].pop()
    mount(oci, "rbind", option, type="bind", source=str(tree))
    assert attribute not in flags(oci, "/m/below")


@pytest.mark.parametrize(
    ("option", "there", "absent"),
    [
        ("ratime", {"relatime"}, {"noatime"}),
        ("rrelatime", {"relatime"}, {"noatime"}),
        ("rnorelatime", set(), {"relatime", "noatime"}),
        ("rstrictatime", set(), {"relatime", "noatime"}),
        ("rnostrictatime", {"relatime"}, {"noatime"}),
        ("rdiratime", set(), {"nodiratime"}),
    ],
)
def test_recursive_times(oci: Oci, tree: Path, option: str, there: set[str], absent: set[str]) -> None:
    subprocess.run(["mount", "-o", "remount,bind,noatime,nodiratime", str(tree / "below")], check=True)
    mount(oci, "rbind", option, type="bind", source=str(tree))
    found = flags(oci, "/m/below")
    assert there <= found and not absent & found, found


@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("slave", "master:"),
        ("rslave", "master:"),
        ("private", ""),
        ("rprivate", ""),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ],
)
def test_propagation(oci: Oci, tree: Path, option: str, field: str) -> None:
    for path in (tree, tree / "below"):
        subprocess.run(["mount", "--make-shared", str(path)], check=True)
    mount(oci, "rbind", option, type="bind", source=str(tree))
    script = "grep ' /m' /proc/self/mountinfo"
    top, below = output(oci, script).splitlines()
    words = top.split(" - ")[0].split()[6:]
    assert any(word.startswith(field) for word in words) if field else not words, top
    if option.startswith("r") and field:
        assert any(word.startswith(field) for word in below.split(" - ")[0].split()[6:]), below


@pytest.mark.parametrize("option", ["nosymfollow", "rnosymfollow"])
def test_nosymfollow_follows_no_link(oci: Oci, tree: Path, option: str) -> None:
    mount(oci, "rbind", option, type="bind", source=str(tree))
    said = output(oci, "cat /m/link 2>&1; cat /m/below/link >/dev/null 2>&1; echo $?")
    assert "oo many" in said
    assert said.endswith("1\n") or option == "nosymfollow"


def test_unknown_options_are_the_file_systems(oci: Oci) -> None:
    mount(oci, "moon=full")
    refused(oci, "cannot mount tmpfs on /m", "moon")


def test_a_relative_destination(oci: Oci) -> None:
    mount(oci, "size=64k", destination="m")
    assert "fs:size=64k" in flags(oci)


def test_tmpcopyup(oci: Oci) -> None:
    (oci.bundle / "rootfs/m/deep").mkdir(parents=True)
    (oci.bundle / "rootfs/m/deep/file").write_text("text")
    mount(oci, "tmpcopyup")
    assert output(oci, "cat /m/deep/file; echo new >/m/deep/file") == "text"
    assert (oci.bundle / "rootfs/m/deep/file").read_text() == "text"


def test_remount_changes_what_is_there(oci: Oci, tree: Path) -> None:
    mount(oci, "size=64k")
    mount(oci, "remount", "ro", "size=128k")
    assert flags(oci) >= {"ro", "fs:size=128k"}
    mount(oci, "bind", destination="/b", source=str(tree))
    mount(oci, "bind", "remount", "ro", "nosuid", destination="/b", source=str(tree))
    found = flags(oci, "/b")
    assert found >= {"ro", "nosuid", "fs:rw"}


def test_remount_of_nothing(oci: Oci) -> None:
    (oci.bundle / "rootfs/m").mkdir()
    mount(oci, "remount", "ro")
    refused(oci, "cannot remount /m: invalid argument (nothing is mounted there)")


# --- owners ---------------------------------------------------------------------------------------------------------


def owners(data: Path) -> None:
    (data / "file").write_text("x")
    os.chown(data / "file", 1000, 1001)


def test_idmap_with_mappings_of_its_own(oci: Oci, data: Path) -> None:
    owners(data)
    maps = [{"containerID": 1000, "hostID": 5, "size": 10}]
    mount(oci, "bind", "idmap", type="bind", source=str(data), uidMappings=maps, gidMappings=maps)
    assert output(oci, "stat -c '%u %g' /m/file") == "5 6\n"
    assert (data / "file").stat().st_uid == 1000


def test_mappings_without_the_option(oci: Oci, data: Path) -> None:
    owners(data)
    maps = [{"containerID": 1000, "hostID": 5, "size": 10}]
    mount(oci, "bind", type="bind", source=str(data), uidMappings=maps, gidMappings=maps)
    assert output(oci, "stat -c '%u %g' /m/file") == "5 6\n"


def userns(oci: Oci) -> None:
    oci.spec["linux"]["namespaces"].append({"type": "user"})
    oci.spec["linux"].update(USERNS)
    for directory, names, files in os.walk(oci.bundle / "rootfs"):
        for name in [*names, *files, "."]:
            os.chown(f"{directory}/{name}", 100000, 200000, follow_symlinks=False)
    path = oci.bundle
    while path != Path("/tmp"):
        path.chmod(path.stat().st_mode | 0o755)
        path = path.parent


@pytest.fixture
def locked(data: Path) -> Iterator[Path]:
    """A directory of a shared file system's whose path none but the host's root can follow."""
    base = data / "mounted"
    base.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", base], check=True)
    subprocess.run(["mount", "--make-shared", base], check=True)
    try:
        (base / "in").mkdir(mode=0o755)
        (base / "in/file").write_text("x\n")
        yield base
    finally:
        subprocess.run(["umount", "-R", base], check=True)


@pytest.mark.parametrize("option", ["bind", "rbind"])
def test_a_source_that_a_user_namespace_cannot_come_to(oci: Oci, locked: Path, option: str) -> None:
    """As under runc it is opened by the host's root; nothing that is mounted inside comes to the host."""
    userns(oci)
    locked.chmod(0o700)
    mount(oci, option, type="bind", source=str(locked / "in"))
    assert output(oci, "cat /m/file; stat -c %a /m; grep shared: /proc/self/mountinfo | wc -l") == "x\n755\n0\n"


def test_a_source_whose_attributes_would_not_be_locked(oci: Oci, locked: Path) -> None:
    userns(oci)
    locked.chmod(0o700)
    subprocess.run(["mount", "-o", "remount,bind,ro", locked], check=True)
    mount(oci, "bind", type="bind", source=str(locked / "in"))
    refused(oci, "permission denied", str(locked / "in"))


def test_idmap_by_the_containers_user_namespace(oci: Oci, data: Path) -> None:
    userns(oci)
    owners(data)
    mount(oci, "bind", "idmap", type="bind", source=str(data))
    assert output(oci, "stat -c '%u %g' /m/file; touch /m/new && echo made") == "1000 1001\nmade\n"
    assert ((data / "new").stat().st_uid, (data / "new").stat().st_gid) == (0, 0)


@pytest.mark.parametrize(("option", "below"), [("idmap", "1000"), ("ridmap", "5")])
def test_ridmap_maps_what_is_below(oci: Oci, tree: Path, option: str, below: str) -> None:
    owners(tree)
    owners(tree / "below")
    maps = [{"containerID": 1000, "hostID": 5, "size": 10}]
    mount(oci, "rbind", option, type="bind", source=str(tree), uidMappings=maps, gidMappings=maps)
    assert output(oci, "stat -c %u /m/file /m/below/file") == f"5\n{below}\n"


def test_idmap_by_a_user_namespace_that_is_joined(oci: Oci, data: Path) -> None:
    owners(data)
    holder = subprocess.Popen(["unshare", "--user", "cat"], stdin=subprocess.PIPE)
    try:
        own = os.readlink("/proc/self/ns/user")
        assert eventually(lambda: os.readlink(f"/proc/{holder.pid}/ns/user") != own)
        Path(f"/proc/{holder.pid}/uid_map").write_text("0 100000 65536\n")
        Path(f"/proc/{holder.pid}/gid_map").write_text("0 200000 65536\n")
        userns(oci)
        oci.spec["linux"]["namespaces"][-1]["path"] = f"/proc/{holder.pid}/ns/user"
        del oci.spec["linux"]["uidMappings"], oci.spec["linux"]["gidMappings"]
        mount(oci, "bind", "idmap", type="bind", source=str(data))
        assert output(oci, "stat -c '%u %g' /m/file") == "1000 1001\n"
    finally:
        holder.communicate()


def test_idmap_that_cannot_be(oci: Oci, data: Path) -> None:
    maps = [{"containerID": 0, "hostID": 5, "size": 10}]
    mount(oci, "bind", "idmap", type="bind", source=str(data))
    refused(oci, "mounts[3].options: idmap needs uidMappings and gidMappings, or a user namespace")
    oci.spec["mounts"][-1]["uidMappings"] = maps
    refused(oci, "mounts[3].gidMappings: uidMappings and gidMappings need each other")
    oci.spec["mounts"][-1] = {"destination": "/m", "type": "tmpfs", "options": ["idmap"]}
    refused(oci, "mounts[3].uidMappings: owners are mapped for bind mounts, not for tmpfs")
    oci.spec["mounts"][-1] = {"destination": "/m", "source": "/proc", "options": ["bind"]}
    oci.spec["mounts"][-1].update(uidMappings=maps, gidMappings=maps)
    refused(oci, "cannot map the owners of /proc", "its file system does not support mapped owners")


# --- cgroup, sysfs, devices ------------------------------------------------------------------------------------------


def cgroup_mount(oci: Oci, *options: str) -> None:
    oci.spec["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "options": list(options)})


def test_cgroup_with_a_namespace(oci: Oci) -> None:
    cgroup_mount(oci, "ro")
    assert (
        output(oci, "cat /sys/fs/cgroup/cgroup.procs | wc -l; cat /proc/self/cgroup | grep ^0::").split()[1] == "0::/"
    )


def test_cgroup_without_a_namespace_shows_the_containers_own(oci: Oci) -> None:
    oci.spec["linux"]["namespaces"] = [one for one in oci.spec["linux"]["namespaces"] if one["type"] != "cgroup"]
    cgroup_mount(oci, "ro")
    said = output(oci, "cat /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x 2>&1 || :")
    assert "1" in said.split() and "ead-only" in said


def test_cgroup_is_delegated_to_the_root_of_a_user_namespace(oci: Oci) -> None:
    userns(oci)
    cgroup_mount(oci, "rw")
    script = "mkdir /sys/fs/cgroup/mine && echo 0 >/sys/fs/cgroup/mine/cgroup.procs && stat -c %u /sys/fs/cgroup"
    assert output(oci, script) == "0\n"
    oci.spec["mounts"][-1]["options"] = ["ro"]
    assert output(oci, "stat -c '%u %n' /sys/fs/cgroup/cgroup.procs") == "65534 /sys/fs/cgroup/cgroup.procs\n"


def test_sysfs_in_a_user_namespace_with_the_hosts_network(oci: Oci) -> None:
    userns(oci)
    oci.spec["linux"]["namespaces"] = [one for one in oci.spec["linux"]["namespaces"] if one["type"] != "network"]
    oci.spec["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid"]})
    assert output(oci, "ls -d /sys/kernel; grep ' /sys ' /proc/self/mountinfo | cut -d' ' -f6").startswith(
        "/sys/kernel\nro,nosuid"
    )


def test_a_device_that_is_another_file(oci: Oci, tmp_path: Path) -> None:
    directory = tmp_path / "dev"
    directory.mkdir()
    (directory / "x").write_text("")
    mount(oci, "bind", destination="/devices", type="bind", source=str(directory))
    oci.spec["linux"]["devices"] = [{"path": "/devices/x", "type": "c", "major": 1, "minor": 3}]
    refused(oci, "cannot create the device node /devices/x: file exists (another file is there)")


def test_devices_in_a_user_namespace(oci: Oci) -> None:
    userns(oci)
    oci.spec["linux"]["devices"] = [
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
        {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5},
    ]
    assert output(oci, "stat -c %F /dev/pipe; stat -c %t:%T /dev/zero") == "fifo\n1:5\n"
    oci.spec["linux"]["devices"][1]["minor"] = 3
    refused(oci, "linux.devices[1].path: the host's /dev/zero, which serves in a user namespace, is another file")


@pytest.mark.parametrize(
    ("value", "field"),
    [("shared", "shared:"), ("slave", "master:"), ("private", ""), ("unbindable", "unbindable"), ("rslave", "master:")],
)
def test_rootfs_propagation(oci: Oci, value: str, field: str) -> None:
    subprocess.run(["mount", "--bind", str(oci.bundle), str(oci.bundle)], check=True)
    subprocess.run(["mount", "--make-shared", str(oci.bundle)], check=True)
    try:
        said = output(oci, """awk '$5 == "/"' /proc/self/mountinfo""", rootfsPropagation=value)
        words = said.splitlines()[-1].split(" - ")[0].split()[6:]
        assert any(word.startswith(field) for word in words) if field else not words, said
    finally:
        subprocess.run(["umount", str(oci.bundle)], check=True)


@pytest.mark.parametrize("target", ["/x/proc", "/x"])
def test_a_mask_is_put_where_it_is_seen(oci: Oci, tmp_path: Path, target: str) -> None:
    """What was mounted last hides what was there before: the mask belongs to what the container sees."""
    shown = tmp_path / "shown"
    (shown / "proc").mkdir(parents=True)
    for directory in (shown, shown / "proc"):
        (directory / "uptime").write_text("to be masked\n")
    oci.spec["mounts"] += [
        {"destination": "/x/proc", "type": "proc", "source": "proc"},
        {"destination": target, "type": "bind", "source": str(shown), "options": ["rbind"]},
    ]
    oci.spec["linux"]["maskedPaths"] = ["/x/proc/uptime", "/proc/uptime"]
    both = "/x/proc/uptime /proc/uptime"
    oci.spec["process"]["args"] = ["sh", "-c", f"cat {both}; stat -c %t:%T {both}"]
    assert oci.ok("run", "-b", str(oci.bundle), "one") == "1:3\n1:3\n"
