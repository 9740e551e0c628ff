"""inspect: what Docker's users ask of it, under Docker's names."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from verbs_helpers import run_directory
from world import World


def test_a_container_that_runs(world: World) -> None:
    container = world.background(
        *("--name", "c", "--label", "a=b", "-e", "K=V", "-w", "/tmp", "-u", "65534", "--hostname", "box"),
        *("--stop-signal", "USR1", "--stop-timeout", "3", "busybox", "sleep", "100"),
    )
    found = world.inspect("c")
    assert (found["Id"], found["Name"]) == (container, "c")
    assert (found["Path"], found["Args"]) == ("sleep", ["100"])
    assert found["Image"] == "busybox:latest"
    assert (world.root / "images" / found["ImageID"]).is_dir()
    assert datetime.now(UTC) - datetime.fromisoformat(found["Created"]) < timedelta(minutes=1)
    state = found["State"]
    assert (state["Status"], state["Running"], state["Paused"], state["Dead"]) == ("running", True, False, False)
    assert state["Pid"] == world.pid(container)
    assert datetime.now(UTC) - datetime.fromisoformat(state["StartedAt"]) < timedelta(minutes=1)
    config = found["Config"]
    assert (config["Hostname"], config["User"], config["WorkingDir"]) == ("box", "65534:65534", "/tmp")
    assert (config["StopSignal"], config["StopTimeout"], config["Labels"]) == ("SIGUSR1", 3, {"a": "b"})
    assert "K=V" in config["Env"]
    assert Path(found["LogPath"]).is_file()
    assert (Path(found["Bundle"]) / "config.json").is_file()
    assert Path(found["HostsPath"]).is_file()
    assert found["CgroupPath"] == f"/pycontain/{container}"


def test_the_network(world: World) -> None:
    container = world.background(
        "--name", "c", "-p", "18080:80", "-p", "127.0.0.1:15353:53/udp", "busybox", "sleep", "100"
    )
    network = world.inspect("c")["NetworkSettings"]
    inside = world.ok("exec", "c", "ip", "address", "show", "eth0")
    assert f"inet {network['IPAddress']}/{network['IPPrefixLen']} " in inside
    assert network["MacAddress"] in inside
    assert f"default via {network['Gateway']} " in world.ok("exec", "c", "ip", "route")
    assert network["Networks"]["bridge"]["IPAddress"] == network["IPAddress"]
    assert network["Ports"]["53/udp"] == [{"HostIp": "127.0.0.1", "HostPort": "15353"}]
    assert {"HostIp": "0.0.0.0", "HostPort": "18080"} in network["Ports"]["80/tcp"]
    assert os.readlink(network["SandboxKey"]) == os.readlink(f"/proc/{world.pid(container)}/ns/net")


@pytest.mark.usefixtures("host_users")
def test_what_the_flags_said(world: World, workdir: Path) -> None:
    world.ok(
        *("create", "--name", "c", "--network", "none", "--cap-add", "NET_ADMIN", "--cap-drop", "MKNOD", "--read-only"),
        *("-v", f"{workdir}:/src:ro", "-v", "data:/data", "--tmpfs", "/scratch", "--shm-size", "1m"),
        *("--ulimit", "nofile=100:200", "--security-opt", "no-new-privileges", "--restart", "on-failure:3"),
        *("--add-host", "db:10.0.0.1", "--device", "/dev/null:/dev/nothing:r", "--log-size", "5k", "busybox", "true"),
    )
    found = world.inspect("c")
    host = found["HostConfig"]
    assert (host["CapAdd"], host["CapDrop"]) == (["CAP_NET_ADMIN"], ["CAP_MKNOD"])
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["ShmSize"]) == ("none", True, 1 << 20)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 100, "Hard": 200}]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["ExtraHosts"] == ["db:10.0.0.1"]
    assert host["LogConfig"] == {"Type": "k8s-file", "Config": {"max-size": "5120", "max-file": "3"}}
    (device,) = host["Devices"]
    assert (device["PathInContainer"], device["Major"], device["CgroupPermissions"]) == ("/dev/nothing", 1, "r")
    mounts = {mount["Destination"]: mount for mount in found["Mounts"]}
    assert sorted(mounts) == ["/data", "/scratch", "/src"]
    assert (mounts["/src"]["Type"], mounts["/src"]["RW"], mounts["/src"]["Source"]) == ("bind", False, str(workdir))
    assert (mounts["/data"]["Type"], mounts["/data"]["Name"], mounts["/data"]["RW"]) == ("volume", "data", True)
    assert mounts["/scratch"]["Type"] == "tmpfs"
    assert mounts["/src"]["Propagation"] == "rprivate"


def test_created_ran_ended(world: World) -> None:
    world.ok("create", "--name", "c", "--network", "none", "busybox", "sh", "-c", "exit 3")
    state = world.inspect("c")["State"]
    assert (state["Status"], state["ExitCode"], state["Pid"]) == ("created", 0, 0)
    assert state["StartedAt"] == state["FinishedAt"] == "0001-01-01T00:00:00Z"
    world.ok("start", "c")
    world.ok("wait", "c")
    state = world.inspect("c")["State"]
    assert (state["Status"], state["Running"], state["ExitCode"], state["Error"]) == ("exited", False, 3, "")
    assert datetime.fromisoformat(state["StartedAt"]) <= datetime.fromisoformat(state["FinishedAt"])
    network = world.inspect("c")["NetworkSettings"]
    assert (network["SandboxKey"], network["Ports"], network["IPAddress"]) == ("", {}, "")


def test_paused(world: World) -> None:
    world.background("--name", "c", "--network", "none", "busybox", "sleep", "100")
    world.ok("pause", "c")
    state = world.inspect("c")["State"]
    assert (state["Status"], state["Paused"], state["Running"]) == ("paused", True, True)
    world.ok("unpause", "c")


def test_restarts_are_counted(world: World) -> None:
    world.background("--name", "c", "--network", "none", "--restart", "on-failure:2", "busybox", "false")
    world.ok("wait", "c")
    world.ok("logs", "-f", "c")  # until the last of them has ended
    found = world.inspect("c")
    assert (found["RestartCount"], found["State"]["ExitCode"], found["State"]["Status"]) == (2, 1, "exited")


def test_an_end_that_nobody_saw(world: World) -> None:
    container = world.background("--name", "c", "--network", "none", "busybox", "sleep", "100")
    os.kill(world.monitor_pid(container), signal.SIGKILL)
    # the lock is free when the monitor is gone, and then what it left is put right
    world.ok("logs", "-f", "c")
    state = world.inspect("c")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", -1)
    assert "monitor was killed" in state["Error"]
    assert not run_directory(world, container).exists()


def test_several_and_one_that_does_not_exist(world: World) -> None:
    world.ok("create", "--name", "a", "--network", "none", "busybox", "true")
    world.ok("create", "--name", "b", "--network", "none", "busybox", "true")
    assert [one["Name"] for one in json.loads(world.ok("inspect", "a", "b"))] == ["a", "b"]
    done = world("inspect", "a", "none", "b")
    assert done.returncode == 1
    assert [one["Name"] for one in json.loads(done.stdout)] == ["a", "b"]
    assert done.stderr.startswith("pycontain: no container 'none'")
    assert "no container 'none'" in world.refused("inspect", "none")


def test_a_damaged_container_is_named(world: World) -> None:
    container = world.ok("create", "--name", "c", "--network", "none", "busybox", "true")
    directory = world.root / "containers" / container
    record = (directory / "container.json").read_text()
    (directory / "container.json").write_text("{")
    assert f"pycontain rm -f {container[:12]}" in world.refused("inspect", "c")
    (directory / "container.json").write_text(record)
    (directory / "config.json").write_text('{"linux": {"resources": 5}}')
    assert "config.json" in world.refused("inspect", "c")
