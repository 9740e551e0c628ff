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
UID = 4242
LIMITS = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max"
#: What is done with a container that runs, and what it says.
USE = """\
podman update --memory 32m one >/dev/null
podman exec one cat /sys/fs/cgroup/memory.max
podman pause one >/dev/null
podman inspect -f '{{.State.Status}}' one
podman unpause one >/dev/null
podman stats --no-stream --no-reset --format '{{.PIDS}}' one
podman exec one sh -c 'exit 4' || echo "exec ended with $?"
"""


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
{USE}podman rm -f -t0 one >/dev/null
until [ -z "$(find /sys/fs/cgroup -name 'libpod-*' 2>/dev/null)" ]; do sleep 0.1; done
ls /run/pycontain-oci | wc -l
""",
    )
    assert lines[:4] == [str(64 << 20), "40", "50000 100000", "ended with 137"]
    if manager == "systemd":
        assert lines[4].startswith("/machine.slice/libpod-") and lines[4].endswith(".scope")
    else:
        assert lines[4].startswith("/libpod_parent/libpod-")
    assert lines[5:] == [str(32 << 20), "paused", "1", "exec ended with 4", "0"]


#: An ordinary user as ``loginctl enable-linger`` leaves one; ann is a shell function that is she.
ANN = f"""
useradd --create-home --uid {UID} --shell /bin/sh ann
mount -t tmpfs -o mode=700,uid={UID},gid={UID} tmpfs /home/ann
systemctl start user@{UID}.service
ann() {{ setpriv --reuid={UID} --regid={UID} --clear-groups env -i -C /home/ann HOME=/home/ann USER=ann PATH="$PATH" \
XDG_RUNTIME_DIR=/run/user/{UID} "$@"; }}
"""


def test_podman_without_root(host: machine.Host) -> None:
    """With podman's own choice of a cgroup manager, which is systemd's of the user."""
    need("podman", "conmon", "newuidmap")
    config = contrib("containers.conf.d/50-pycontain.conf") + CONTAINERS_CONF
    lines = ask(
        host,
        f"""
{ANN}
ann mkdir -p .config/containers rootfs
ann tar -xf /srv/rootfs.tar -C rootfs
ann tee .config/containers/containers.conf >/dev/null <<'END'
{config}
END
podman() {{ ann podman --runtime pycontain-oci "$@"; }}
in_rootfs="--network=none --rootfs /home/ann/rootfs"
podman info --format '{{{{.Host.CgroupManager}}}} {{{{.Host.Security.Rootless}}}}'
podman run --rm --memory 64m --pids-limit 40 --cpus 0.5 $in_rootfs sh -c '{LIMITS}'
podman run --rm --memory 20m $in_rootfs sh -c 'exec tail /dev/zero' || echo "ended with $?"
podman run -d --name one --memory 64m $in_rootfs sleep 1000 >/dev/null
cat /proc/$(podman inspect -f '{{{{.State.Pid}}}}' one)/cgroup
{USE}podman rm -f -t0 one >/dev/null
ls /run/user/{UID}/pycontain-oci | wc -l
until [ -z "$(find /sys/fs/cgroup -name 'libpod-*' 2>/dev/null)" ]; do sleep 0.1; done
until [ -z "$(ann systemctl --user list-units --all --plain --no-legend 'libpod-*')" ]; do sleep 0.1; done
""",
    )
    lines = [line for line in lines if "is not a shared mount" not in line]
    assert lines[:5] == ["systemd true", str(64 << 20), "40", "50000 100000", "ended with 137"], lines
    service = f"0::/user.slice/user-{UID}.slice/user@{UID}.service/user.slice/libpod-"
    assert lines[5].startswith(service) and lines[5].endswith(".scope/container"), lines
    assert lines[6:] == [str(32 << 20), "paused", "1", "exec ended with 4", "0"], lines


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
