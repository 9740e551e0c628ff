"""What --security-opt and --privileged make of a spec."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycontain.cli import args, verbs
from pycontain.cli.verbs import run
from pycontain.engine import confinement
from pycontain.engine.request import Request
from pycontain.kernel import capability


def request(*flags: str) -> Request:
    verb = verbs.load("run")
    return run._request(args.parse(verb, [*flags, "image", "true"]))


def test_nothing_asked() -> None:
    masked, read_only = confinement.paths(request())
    assert (masked, read_only) == (list(confinement.MASKED), list(confinement.READ_ONLY))
    assert confinement.capabilities(request()) == list(capability.DEFAULT)


@pytest.mark.parametrize("option", ["unmask=ALL", "unmask=all", "systempaths=unconfined"])
def test_all_of_it_open(option: str) -> None:
    assert confinement.paths(request("--security-opt", option)) == ([], [])


def test_some_paths_open_and_others_masked() -> None:
    masked, read_only = confinement.paths(
        request("--security-opt", "unmask=/proc/acpi:/proc/sys/", "--security-opt", "mask=/proc/uptime:/proc/kcore")
    )
    assert "/proc/acpi" not in masked
    assert "/proc/sys" not in read_only
    assert "/proc/bus" in read_only
    assert masked.count("/proc/kcore") == 1
    assert masked[-1] == "/proc/uptime"


def test_a_pattern_is_one_of_fnmatch() -> None:
    masked, _ = confinement.paths(request("--security-opt", "unmask=/proc/*"))
    assert [path for path in masked if path.startswith("/proc/")] == []
    assert "/sys/firmware" in masked


def test_masked_again_where_all_is_open() -> None:
    assert confinement.paths(request("--privileged", "--security-opt", "mask=/proc/keys")) == (["/proc/keys"], [])


def test_labels() -> None:
    process: dict[str, object] = {}
    flags = ("apparmor=mine", "label=type:my_t", "label=level:s0:c1,c2")
    confinement.label_process(request(*[word for one in flags for word in ("--security-opt", one)]), process)
    assert process == {"apparmorProfile": "mine", "selinuxLabel": "system_u:system_r:my_t:s0:c1,c2"}
    process = {}
    off = ("apparmor=mine", "apparmor=unconfined", "label=type:a_t", "label=disable")
    confinement.label_process(request(*[word for one in off for word in ("--security-opt", one)]), process)
    assert process == {}


def test_privileged_gives_what_can_be_given() -> None:
    wanted = request("--privileged", "--cap-drop", "SYS_TIME")
    bits = int(next(x.split()[1] for x in Path("/proc/self/status").read_text().splitlines() if "CapBnd" in x), 16)
    assert confinement.capabilities(wanted) == [x for x in capability.names(bits) if x != "CAP_SYS_TIME"]
    assert (wanted.seccomp, wanted.no_new_privileges) == ("unconfined", False)
    assert request("--privileged", "--security-opt", "seccomp=default").seccomp == "default"


def test_devices_of_the_host() -> None:
    found = confinement.host_devices()
    paths = [path for path, _, _ in found]
    assert ("/dev/null", "/dev/null", "rwm") in found
    assert not [path for path in paths if path.startswith(("/dev/pts/", "/dev/shm/", "/dev/fd/"))]
    assert "/dev/ptmx" not in paths
    assert len(set(paths)) == len(paths)


def test_sysfs_and_cgroup_become_writable() -> None:
    mounts = [
        {"type": "sysfs", "options": ["nosuid", "ro"]},
        {"type": "cgroup", "options": ["ro"]},
        {"type": "bind", "options": ["ro"]},
    ]
    confinement.privileged_mounts(mounts)
    assert [mount["options"] for mount in mounts] == [["nosuid", "rw"], ["rw"], ["ro"]]
