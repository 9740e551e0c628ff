"""Many tenants of busybox-vps: started and stopped in parallel, one template on the disk, each with its own address."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenant_world import TenantWorld
from world import World

pytestmark = pytest.mark.slow

#: Making them is the same code as the verb's, many times in one process.
_CREATE = """
import sys
from pycontain.engine.paths import Paths
from pycontain.tenant import life
from pycontain.tenant.place import Tenants
root, run_root, directory, count = sys.argv[1:]
tenants = Tenants(Paths(root, run_root), directory)
for number in range(1, int(count) + 1):
    wanted = {
        "template": "busybox-vps",
        "boot.order": number % 3,
        "boot.stop_timeout": 60,
        "network": [{"name": "eth0", "type": "routed", "addresses": [f"10.88.2.{number}"]}],
    }
    life.create(tenants, f"t{number}", lambda before: wanted)
"""
#: In another's network: what comes to a UDP port, until the last datagram.
_LISTEN = """
import socket
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.bind(("", 9999))
link.settimeout(60)
print("ready", flush=True)
while True:
    data, (sender, port) = link.recvfrom(100)
    print(data.decode(), sender, flush=True)
    link.sendto(data, (sender, port))
    if data == b"last":
        break
"""
_SEND = """
import socket, sys
for text, source in (("first", sys.argv[1]), ("stolen", sys.argv[2]), ("last", sys.argv[1])):
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.bind((source, 0))
    link.sendto(text.encode(), (sys.argv[3], 9999))
    if text != "stolen":  # the next one is not to overtake it
        link.settimeout(60)
        link.recv(100)
"""
#: Who may reach the third: the second alone.
_FIREWALL = """
table inet operator {
    chain forward {
        type filter hook forward priority 10; policy accept;
        ip daddr 10.88.2.3 ip saddr != 10.88.2.2 drop
    }
}
"""


@pytest.fixture(params=[8, pytest.param(50, marks=pytest.mark.nightly)])
def count(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def crowd(count: int, templates: World, tenants: TenantWorld) -> Iterator[TenantWorld]:
    words = [str(tenants.root), str(tenants.run_root), str(tenants.directory), str(count)]
    subprocess.run([sys.executable, "-c", _CREATE, *words], check=True, timeout=120)
    yield tenants
    subprocess.run(["nft", "delete", "table", "inet", "operator"], check=False, stderr=subprocess.DEVNULL)


def in_network(world: TenantWorld, name: str, *command: str) -> list[str]:
    """The words of a command of the host's in a tenant's network."""
    return ["nsenter", f"--target={world.pid(world.container(name))}", "--net", *command]


def reaches(world: TenantWorld, name: str, address: str, patience: int = 20) -> bool:
    """patience: seconds, many where an answer comes in any case; the machine may be doing other things."""
    return world("tenant", "exec", name, "ping", "-c1", f"-W{patience}", address).returncode == 0


def size(directory: Path) -> int:
    """Bytes on the disk."""
    return int(subprocess.run(["du", "-sk", directory], check=True, capture_output=True).stdout.split()[0]) << 10


@pytest.mark.timeout(600)
def test_many_at_one_time(crowd: TenantWorld, count: int) -> None:
    began = time.monotonic()
    crowd.does("tenant", "start", "--all", "--parallel", "8", timeout=240)
    started = time.monotonic()
    names = [row["name"] for row in crowd.listed("name,status") if row["status"] == "running"]
    assert len(names) == count

    # the template is there once, and each tenant has what is its own
    layers = sum(size(path) for path in (crowd.root / "layers").iterdir() if path.is_dir())
    own = [size(crowd.root / "containers" / crowd.container(name) / "upper") for name in names]
    print(f"layers {layers >> 10} KiB, own at most {max(own) >> 10} KiB, start {started - began:.1f} s")
    assert max(own) < 256 << 10 < layers

    # they reach each other, but where the host's firewall says no
    assert reaches(crowd, "t1", f"10.88.2.{count}") and reaches(crowd, "t1", "10.88.2.3")
    subprocess.run(["nft", "-f", "-"], input=_FIREWALL, text=True, check=True)
    assert reaches(crowd, "t2", "10.88.2.3") and reaches(crowd, "t1", "10.88.2.2")
    assert not reaches(crowd, "t1", "10.88.2.3", 2)

    # and none speaks with another's address
    listen = in_network(crowd, "t5", sys.executable, "-c", _LISTEN)
    with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as listener:  # which ends by itself
        assert listener.stdout and listener.stdout.readline() == "ready\n"
        crowd.inside("t4", "ip address add 10.88.2.6/32 dev eth0")
        send = in_network(crowd, "t4", sys.executable, "-c", _SEND, "10.88.2.4", "10.88.2.6", "10.88.2.5")
        subprocess.run(send, check=True, timeout=90)
        assert listener.communicate(timeout=60)[0].splitlines() == ["first 10.88.2.4", "last 10.88.2.4"]

    began = time.monotonic()
    done = crowd("tenant", "stop", "--all", "--parallel", "25", timeout=240)
    assert done.returncode == 0, done
    print(f"stop {time.monotonic() - began:.1f} s")
    assert {row["status"] for row in crowd.listed("status")} == {"stopped"}
