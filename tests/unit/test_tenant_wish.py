"""From settings to a request, key by key."""

from __future__ import annotations

from typing import Any

import pytest

from pycontain.cgroup.limits import weight_of_shares
from pycontain.engine.request import Request
from pycontain.kernel.errors import Error
from pycontain.tenant import show, wish
from pycontain.tenant.settings import Settings, check, every_key, flat
from pycontain.tenant.template import Template

LABELS = {"io.pycontain.template": "1", "io.pycontain.template.init": "/sbin/init --x"}


def template(labels: dict[str, str] | None = None) -> Template:
    return Template("debian-vps", {"Labels": LABELS if labels is None else labels})


def settings(**more: Any) -> Settings:
    return check({"version": 1, **more}, "F")


def wished(**more: Any) -> Request:
    return wish.request("web1", settings(**more), template(), "/dev/vda")


def test_the_usual() -> None:
    found = wished()
    assert (found.name, found.tenant, found.image) == ("tenant-web1", "web1", "debian-vps")
    assert (found.entrypoint, found.command) == ("/sbin/init", ["--x"])
    assert (found.hostname, found.network, found.userns, found.restart) == ("web1", "none", "auto", "on-reboot")
    assert (found.stop_signal, found.stop_timeout) == (37, 120)
    assert found.terminal and found.interactive
    assert found.env == {"container": "pycontain"}
    assert found.missing_controllers == "warn"
    assert found.limits.resources() == {}
    assert found.mounts == []


def test_boot() -> None:
    found = wished(boot={"init": ["/bin/sh", "-c", "x"], "stop_signal": "PWR", "stop_timeout": 5})
    assert (found.entrypoint, found.command, found.stop_signal, found.stop_timeout) == ("/bin/sh", ["-c", "x"], 30, 5)


def test_names() -> None:
    assert wish.hostname("a_b", settings()) == "a-b"
    assert wish.hostname("a_b", settings(hostname="c.example")) == "c.example"


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({}, {}),
        ({"limit": "512M"}, {"limit": 512 << 20, "swap": 1 << 30}),
        ({"limit": "512M", "swap": "0"}, {"limit": 512 << 20, "swap": 512 << 20}),
        ({"limit": "512M", "swap": "1G"}, {"limit": 512 << 20, "swap": (512 << 20) + (1 << 30)}),
        ({"guarantee": "64M"}, {"reservation": 64 << 20}),
    ],
)
def test_memory(memory: dict[str, str], expected: dict[str, int]) -> None:
    assert wished(memory=memory).limits.resources().get("memory", {}) == expected


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ({"cpus": 2}, {"quota": 200_000, "period": 100_000}),
        ({"cpus": 0.25}, {"quota": 25_000, "period": 100_000}),
        ({"cpus": 0.001}, {"quota": 1_000, "period": 100_000}),
        ({"limit": "150%"}, {"quota": 150_000, "period": 100_000}),
        ({"cpus": 2, "limit": "50%"}, {"quota": 50_000, "period": 100_000}),
        ({"mask": "0-1", "nodes": "0"}, {"cpus": "0-1", "mems": "0"}),
        ({"units": 1000}, {}),
    ],
)
def test_cpu(cpu: dict[str, Any], expected: dict[str, Any]) -> None:
    assert wished(cpu=cpu).limits.resources().get("cpu", {}) == expected


@pytest.mark.parametrize(
    ("units", "weight"), [(8, 1), (500, 50), (1000, 100), (2000, 200), (100_000, 10000), (500_000, 10000)]
)
def test_units_are_a_weight_in_proportion(units: int, weight: int) -> None:
    assert weight_of_shares(wish.shares_of_units(units)) == weight


def test_processes_and_io() -> None:
    found = wished(processes={"max": 40}, io={"weight": 200, "read_bps": "10M", "write_iops": 50})
    assert found.limits.pids == 40
    assert found.limits.blkio_weight == 30
    assert found.limits.throttles == {
        "throttleReadBpsDevice": [("/dev/vda", 10 << 20)],
        "throttleWriteIOPSDevice": [("/dev/vda", 50)],
    }
    assert [wish.io_weight(weight) for weight in (1, 100, 10000)] == [10, 20, 1000]
    with pytest.raises(Error, match=r"io\.read_bps: the store lies on no disk"):
        wish.request("web1", settings(io={"read_bps": "1M"}), template())


def test_a_limit_that_goes_is_said_where_it_is_asked_for() -> None:
    every = ["memory.limit", "memory.guarantee", "cpu.cpus", "cpu.units", "processes.max", "io.weight", "io.read_bps"]
    found = wish.limits(settings(), "/dev/vda", every)
    assert (found.memory, found.memory_swap, found.memory_reservation) == (-1, -1, -1)
    assert (found.cpu_quota, found.cpu_shares, found.pids, found.blkio_weight) == (-1, 1024, -1, 20)
    assert found.throttles == {"throttleReadBpsDevice": [("/dev/vda", 0)]}


def test_network() -> None:
    found = wished(network=[{"type": "bridge"}])
    assert (found.network, found.ip) == ("bridge", "")
    found = wished(
        network=[{"type": "bridge", "addresses": ["10.222.0.9"]}], dns={"servers": ["9.9.9.9"], "search": ["a"]}
    )
    assert (found.network, found.ip, found.dns, found.dns_search) == ("bridge", "10.222.0.9", ["9.9.9.9"], ["a"])

    found = wished(
        network=[{"name": "net0", "addresses": ["10.88.1.10", "fd00::10"], "mac": "02:00:00:00:00:01", "rate": "10M"}]
    )
    assert (found.network, found.ip, found.mac) == ("routed", "10.88.1.10,fd00::10", "02:00:00:00:00:01")
    assert (found.interface, found.rate, found.networks) == ("net0", 10_000_000, [])


def test_several_devices_are_called_by_their_place() -> None:
    found = wished(network=[{"addresses": ["10.88.1.10"]}, {"type": "bridge"}, {"rate": "1M", "name": "net9"}])
    assert (found.network, found.interface, found.ip) == ("routed", "eth0", "10.88.1.10")
    assert [one.to_json() for one in found.networks] == [
        {"network": "bridge", "interface": "eth1", "ip": "", "mac": "", "rate": 0},
        {"network": "routed", "interface": "net9", "ip": "", "mac": "", "rate": 1_000_000},
    ]


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ([{"type": "bridge"}, {"type": "bridge"}], "network: there is one bridge"),
        ([{}] * 33, "network: 33 network devices; a container can have 32"),
        ([{}, {"gateway": "10.0.0.1"}], "network.1.gateway: "),
        ([{"gateway": "10.0.0.1"}], "network.0.gateway: "),
        ([{"type": "bridge", "rate": "1M"}], "network.0.rate: "),
        ([{"type": "bridge", "addresses": ["10.0.0.1", "10.0.0.2"]}], "network.0.addresses: "),
        ([{"type": "bridge", "addresses": ["fd00::1"]}], "network.0.addresses.0: "),
    ],
)
def test_networks_that_this_version_does_not_make(devices: list[dict[str, Any]], expected: str) -> None:
    with pytest.raises(Error) as caught:
        wished(network=devices)
    assert caught.value.message.startswith(expected)


def test_rights() -> None:
    found = wished(
        rights={"capabilities": ["+net_raw", "-mknod", "-CAP_SYS_BOOT", "+sys_time"], "privileged_ids": True}
    )
    assert set(found.cap_drop) == {"CAP_MKNOD", "CAP_SYS_BOOT"}
    assert set(found.cap_add) == {*wish.CAPABILITIES, "CAP_NET_RAW", "CAP_SYS_TIME"} - {"CAP_SYS_BOOT"}
    assert found.userns == "host"
    found = wished(rights={"devices": ["/dev/fuse:rw"]}, features={"fuse": True, "tun": True})
    assert found.devices == [("/dev/fuse", "/dev/fuse", "rw"), ("/dev/net/tun", "/dev/net/tun", "rwm")]
    assert found.unmask == []
    assert wished(features={"nesting": True}).unmask == ["ALL"]


def test_the_others() -> None:
    found = wished(
        mounts=[{"source": "/srv", "target": "/run", "options": ["ro"]}],
        sysctls={"net.core.somaxconn": 128},
        environment={"A": "b", "container": "x"},
    )
    assert [(one.type, one.source, one.target) for one in found.mounts if one.target == "/run"] == [
        ("bind", "/srv", "/run")
    ]
    assert found.sysctls == {"net.core.somaxconn": "128"}
    assert found.env == {"A": "b", "container": "x"}


def test_what_is_no_template_ends_by_sigterm() -> None:
    found = wish.request("x", settings(boot={"init": ["sleep"]}), template({}))
    assert found.stop_signal == 15


def test_a_template_of_another_version() -> None:
    with pytest.raises(Error, match="is a template of version '7'"):
        template({"io.pycontain.template": "7"})


def test_what_waits_for_a_restart() -> None:
    old = settings(hostname="a", boot={"order": 1}, memory={"limit": "1G"})
    new = settings(hostname="b", boot={"order": 2}, memory={"limit": "2G"}, description="x")
    assert show.pending(old.plain(), new) == ["hostname", "memory.limit"]
    assert show.pending({}, new) == []


def test_every_key_is_one_that_waits_or_that_does_not() -> None:
    assert set(show.NO_RESTART) <= set(every_key())
    assert set(flat(settings().plain())) >= set(show.NO_RESTART)


def test_systemd_needs_a_user_namespace_of_its_own() -> None:
    notify = template({"io.pycontain.template": "1", "io.pycontain.template.ready": "notify"})
    found = settings(rights={"privileged_ids": True})
    with pytest.raises(Error, match=r"rights\.privileged_ids: template debian-vps boots systemd"):
        wish.request("a", found, notify)
    assert wish.request("a", settings(), notify).systemd == "always"
    assert wish.request("a", found, template()).systemd == "true"


def test_rescue_is_no_boot() -> None:
    found = wish.request("a", settings(), template())
    wish.rescue(found, ["/bin/sh", "-l"])
    assert (found.entrypoint, found.command, found.systemd, found.restart) == ("/bin/sh", ["-l"], "false", "no")
