"""podman and Docker in a disposable host with all controllers: limits, and both cgroup managers of each.

The host's / is this machine's, since its clients are there; see tests/host.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clients.conftest import contrib
from tests.clients.programs import need
from tests.host import machine

pytestmark = pytest.mark.slow

CONTAINERS_CONF = '[containers]\nlog_driver = "k8s-file"\ndefault_ulimits = []\n'
SETUP = """
mount -t tmpfs -o mode=755 clients /mnt
export TMPDIR=/mnt PATH=/usr/sbin:/usr/bin:/sbin:/bin
"""
LIMITS = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max"


@pytest.fixture(scope="module")
def host(archives: Path) -> Iterator[machine.Host]:
    try:
        machine.kernel()
    except machine.CannotRun as reason:
        pytest.skip(str(reason))
    except machine.NotReady as reason:
        pytest.fail(str(reason), pytrace=False)
    with machine.Host(memory="1G", systemd=True, lower="/", binds=[f"{archives}:/srv"], life=400) as found:
        yield found


def ask(host: machine.Host, script: str) -> list[str]:
    """The lines that a script prints in the host; it ends at its first command that fails."""
    done = host.run(f"set -eu\n{SETUP}\n{script}\numount -l /mnt\n", timeout=120)
    assert done.status == 0, done
    return done.output.splitlines()


@pytest.mark.parametrize("manager", ["cgroupfs", "systemd"])
def test_podman(host: machine.Host, manager: str) -> None:
    need("podman")
    config = contrib("containers.conf.d/50-pycontain.conf") + CONTAINERS_CONF
    lines = ask(
        host,
        f"""
cat >/mnt/containers.conf <<'END'
{config}
END
export CONTAINERS_CONF=/mnt/containers.conf
podman() {{ command podman --root /mnt/root --runroot /run/podman --tmpdir /run/podman-tmp --storage-driver overlay \
--events-backend file --runtime pycontain-oci --cgroup-manager {manager} "$@"; }}
podman import -q /srv/rootfs.tar busybox >/dev/null
podman run --rm --network=none --memory 64m --pids-limit 40 --cpus 0.5 busybox sh -c '{LIMITS}'
podman run --rm --network=none --memory 20m busybox sh -c 'exec tail /dev/zero' || echo "ended with $?"
podman run -d --name one --network=none --memory 64m busybox sleep 1000 >/dev/null
podman inspect -f '{{{{.State.CgroupPath}}}}' one
podman update --memory 32m one >/dev/null
podman exec one cat /sys/fs/cgroup/memory.max
podman pause one >/dev/null
podman inspect -f '{{{{.State.Status}}}}' one
podman unpause one >/dev/null
podman stats --no-stream --no-reset --format '{{{{.PIDS}}}}' one
podman exec one sh -c 'exit 4' || echo "exec ended with $?"
podman rm -f -t0 one >/dev/null
find /sys/fs/cgroup -name 'libpod-*' | wc -l
ls /run/pycontain-oci | wc -l
""",
    )
    assert lines[:4] == [str(64 << 20), "40", "50000 100000", "ended with 137"]
    if manager == "systemd":
        assert lines[4].startswith("/machine.slice/libpod-") and lines[4].endswith(".scope")
    else:
        assert lines[4].startswith("/libpod_parent/libpod-")
    assert lines[5:] == [str(32 << 20), "paused", "1", "exec ended with 4", "0", "0"]


@pytest.mark.parametrize("driver", ["cgroupfs", "systemd"])
def test_docker(host: machine.Host, driver: str) -> None:
    need("dockerd")
    settings = json.loads(contrib("docker-daemon.json")) | {
        "data-root": "/mnt/docker",
        "exec-root": f"/run/docker-{driver}",
        "pidfile": "/run/docker-test.pid",
        "hosts": ["unix:///run/docker-test.sock"],
        "exec-opts": [f"native.cgroupdriver={driver}"],
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "storage-driver": "overlay2",
    }
    lines = ask(
        host,
        f"""
cat >/mnt/daemon.json <<'END'
{json.dumps(settings)}
END
export DOCKER_HOST=unix:///run/docker-test.sock
docker() {{ /usr/bin/docker "$@"; }}
dockerd --config-file /mnt/daemon.json >/mnt/daemon.log 2>&1 &
daemon=$!
until docker version >/dev/null 2>&1; do
	kill -0 $daemon || {{ cat /mnt/daemon.log; exit 1; }}
	sleep 0.2
done
docker import /srv/rootfs.tar busybox >/dev/null
docker run --rm --network=none --memory 64m --pids-limit 40 --cpus 0.5 busybox sh -c '{LIMITS}'
docker run --rm --network=none --memory 20m busybox sh -c 'exec tail /dev/zero' || echo "ended with $?"
docker run -d --name one --network=none --memory 64m busybox sleep 1000 >/dev/null
cat /proc/$(docker inspect -f '{{{{.State.Pid}}}}' one)/cgroup
docker update --memory 32m --memory-swap 64m one >/dev/null
docker exec one cat /sys/fs/cgroup/memory.max
docker pause one >/dev/null
docker inspect -f '{{{{.State.Status}}}}' one
docker unpause one >/dev/null
docker stats --no-stream --format '{{{{.MemUsage}}}} {{{{.PIDs}}}}' one
docker exec one sh -c 'exit 4' || echo "exec ended with $?"
docker rm -f one >/dev/null
kill $daemon
wait $daemon || true
""",
    )
    lines = [line for line in lines if "WARNING" not in line]
    assert lines[:4] == [str(64 << 20), "40", "50000 100000", "ended with 137"]
    assert lines[4].startswith("0::/system.slice/docker-" if driver == "systemd" else "0::/docker/"), lines
    assert lines[5:7] == [str(32 << 20), "paused"]
    assert lines[7].endswith(" / 32MiB 1") and lines[8:] == ["exec ended with 4"], lines
