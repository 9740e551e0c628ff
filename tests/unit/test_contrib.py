"""The drop-in files of contrib/ can be read by what reads them, and name the runtime."""

from __future__ import annotations

import configparser
import json
import tomllib
from pathlib import Path

from pycontain.cli.verbs import planner

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
RUNTIME = "/usr/bin/pycontain-oci"


def test_containers_conf() -> None:
    engine = tomllib.loads((CONTRIB / "containers.conf.d/50-pycontain.conf").read_text())["engine"]
    assert RUNTIME in engine["runtimes"]["pycontain-oci"]
    assert {"crun", "runc", "pycontain-oci"} <= set(engine["runtime_supports_json"])


def test_docker() -> None:
    settings = json.loads((CONTRIB / "docker-daemon.json").read_text())
    assert settings["runtimes"][settings["default-runtime"]] == {"path": RUNTIME}


def test_containerd() -> None:
    settings = tomllib.loads((CONTRIB / "containerd-config.toml").read_text())
    runtime = settings["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]["pycontain"]
    assert runtime["runtime_type"] == "io.containerd.runc.v2" and runtime["options"]["BinaryName"] == RUNTIME


def test_crio() -> None:
    runtime = tomllib.loads((CONTRIB / "crio.conf.d/50-pycontain.conf").read_text())["crio"]["runtime"]
    assert runtime["runtimes"]["pycontain"]["runtime_path"] == RUNTIME


def test_the_runtime_class_names_the_handler() -> None:
    lines = (CONTRIB / "runtimeclass.yaml").read_text().splitlines()
    assert "kind: RuntimeClass" in lines and "handler: pycontain" in lines


def unit(name: str) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None, strict=False)
    found.read_string((CONTRIB / "systemd" / name).read_text())
    return found


def test_systemd() -> None:
    """Where the socket is, is where commands look (src/helper/planner.c)."""
    listen = unit("pycontain-planner.socket")["Socket"]
    assert listen["ListenStream"].replace("%t", "/run") == planner.default_socket()
    assert (listen["DirectoryMode"], listen["SocketMode"]) == ("0700", "0600")
    service = unit("pycontain-planner.service")["Service"]
    assert (service["Type"], service["ExecStart"]) == ("notify", "pycontain planner")


def test_the_page_names_every_file() -> None:
    page = (CONTRIB / "README.md").read_text()
    for path in CONTRIB.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert f"`{path.relative_to(CONTRIB)}`" in page


def test_the_units_of_tenants() -> None:
    """What the code calls them, and what must be so for the monitor to be the unit's main process."""
    from pycontain.tenant import service

    tenant = unit(service.TEMPLATE)
    assert tenant["Service"]["Type"] == "notify" and tenant["Service"]["Delegate"] == "yes"
    assert tenant["Service"]["ExecStart"] == "pycontain tenant service run %i"
    assert tenant["Service"]["OOMPolicy"] == "continue" and tenant["Service"]["NotifyAccess"] == "exec"
    assert tenant["Install"]["WantedBy"] == tenant["Unit"]["PartOf"] == service.TARGET
    assert unit(service.TARGET)["Install"]["WantedBy"] == "multi-user.target"
    order = service.order_target(1).replace("@1", "@")
    assert unit(order)["Unit"]["PartOf"] == service.TARGET
    assert (CONTRIB / "systemd" / tenant["Service"]["Slice"]).exists()


def test_the_rc_script_has_a_header_and_can_be_read_by_sh() -> None:
    import subprocess

    path = CONTRIB / "init.d" / "pycontain-tenants"
    lines = path.read_text().splitlines()
    assert "### BEGIN INIT INFO" in lines and "### END INIT INFO" in lines
    assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0
    done = subprocess.run(["sh", str(path), "fly"], capture_output=True, check=False, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode in (2, 5)
