"""config.json ``linux``: network devices, sysctls, namespaces by path; and bad documents through the command."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oci_bundle import oci, output, refused  # noqa: F401 - a fixture
from test_oci import Oci


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def devices() -> set[str]:
    return {line.split(": ")[1].partition("@")[0] for line in ip("-o", "link").splitlines()}


@pytest.fixture
def pair() -> Iterator[None]:
    """pcnd0, with addresses and up, and its peer pcnd1 here."""
    ip("link", "add", "pcnd0", "type", "veth", "peer", "name", "pcnd1")
    ip("address", "add", "192.0.2.7/24", "dev", "pcnd0")
    ip("address", "add", "2001:db8::7/64", "dev", "pcnd0", "nodad")
    ip("address", "add", "192.0.2.8/24", "dev", "pcnd0", "valid_lft", "1000", "preferred_lft", "1000")
    ip("link", "set", "pcnd0", "up")
    yield
    subprocess.run(["ip", "link", "delete", "pcnd1"], check=False, capture_output=True)


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize(("entry", "name"), [({"name": "eth7"}, "eth7"), ({}, "pcnd0"), ({"name": "net%d"}, "net0")])
def test_a_device_moves_with_its_permanent_addresses(oci: Oci, entry: dict[str, Any], name: str) -> None:  # noqa: F811
    script = f"ip -o address show dev {name}; ip -o link show dev {name}"
    said = output(oci, script, netDevices={"pcnd0": entry})
    assert "192.0.2.7/24" in said and "2001:db8::7/64" in said and "192.0.2.8" not in said, said
    assert ",UP" in said.splitlines()[-1] or "<UP" in said.splitlines()[-1], said


@pytest.mark.usefixtures("pair")
def test_a_name_that_is_taken_inside(oci: Oci) -> None:  # noqa: F811
    oci.spec["linux"]["netDevices"] = {"pcnd0": {"name": "lo"}}
    refused(oci, "cannot name a network device lo in the container: file exists")
    assert "pcnd0" in devices()


def test_a_device_that_is_not_there(oci: Oci) -> None:  # noqa: F811
    oci.spec["linux"]["netDevices"] = {"moon0": {}}
    refused(oci, "linux.netDevices.moon0: the host has no such device")


def test_devices_need_a_network_namespace(oci: Oci) -> None:  # noqa: F811
    oci.spec["linux"]["namespaces"] = [one for one in oci.spec["linux"]["namespaces"] if one["type"] != "network"]
    oci.spec["linux"]["netDevices"] = {"lo": {}}
    refused(oci, "linux.netDevices: the container has no network namespace of its own")


def test_sysctls_of_a_user_namespace(oci: Oci) -> None:  # noqa: F811
    from test_oci_mounts import userns

    oci.spec["linux"]["sysctl"] = {"user.max_user_namespaces": "7"}
    refused(oci, "linux.sysctl.user.max_user_namespaces: the container has no user namespace of its own")
    userns(oci)
    assert output(oci, "cat /proc/sys/user/max_user_namespaces") == "7\n"


def test_namespaces_by_path(oci: Oci) -> None:  # noqa: F811
    own = os.readlink("/proc/self/ns/uts")
    oci.spec["linux"]["namespaces"] = [
        {"type": kind} if kind != "uts" else {"type": "uts", "path": "/proc/self/ns/uts"}
        for kind in ("pid", "mount", "uts")
    ]
    del oci.spec["hostname"]
    assert output(oci, "readlink /proc/self/ns/uts") == own + "\n"


def test_intel_rdt_without_resctrl(oci: Oci) -> None:  # noqa: F811
    if "resctrl" in Path("/proc/self/mounts").read_text():
        pytest.skip("this host has resctrl")
    oci.spec["linux"]["intelRdt"] = {"closID": "x"}
    refused(oci, "linux.intelRdt: this host has no resctrl file system mounted")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"linux": []}, "linux: expected an object, found an array"),
        ({"process": 5}, "process: expected an object, found a number"),
        ({"annotations": {"a": 5}}, "annotations.a: expected a string, found a number"),
        ({"mounts": [None]}, "mounts[0]: expected an object, found null"),
        ({"hooks": {"poststop": [5]}}, "hooks.poststop[0]: expected an object, found a number"),
        ({"ociVersion": "0.9.0"}, "ociVersion: '0.9.0' is not a version 1.x.y"),
    ],
)
def test_a_bad_document_is_one_line(oci: Oci, change: dict[str, Any], words: str) -> None:  # noqa: F811
    oci.spec.update(change)
    refused(oci, f"pycontain-oci: {words}")
