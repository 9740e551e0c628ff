"""What root in a tenant can try against the verbs of its host."""

from __future__ import annotations

from pathlib import Path

from tenant_world import TenantWorld
from world import cgroups, eventually

#: Groups below each other, the first of them frozen with somebody in it.
_DEEP = """cd /sys/fs/cgroup && mkdir x && cd x && i=0
while [ $i -lt 150 ]; do mkdir c && cd c || exit 1; i=$((i+1)); done
echo 1 >/sys/fs/cgroup/x/cgroup.freeze
(echo 0 >/sys/fs/cgroup/x/c/c/cgroup.procs; sleep 100) >/dev/null 2>&1 &
while ! grep -q 'populated 1' /sys/fs/cgroup/x/cgroup.events; do sleep 0.01; done"""


def test_cgroups_as_deep_as_it_likes(tenants: TenantWorld) -> None:
    tenants.run("a")
    tenants.inside("a", _DEEP)
    tenants.ok("tenant", "stop", "--fast", "a")
    assert eventually(lambda: not cgroups()), cgroups()
    tenants.start("a")
    assert tenants.inside("a", "ls -d /sys/fs/cgroup/x 2>/dev/null || echo gone") == "gone"


def test_names_of_files_and_links_of_its_own(tenants: TenantWorld, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    tenants.run("a")
    tenants.inside("a", f'mkdir /n; mkfifo "$(printf "/n/a\\033[31m")"; ln -s {secret} /n/link')
    for running in (True, False):
        target = tmp_path / f"{running}"
        done = tenants("tenant", "pull", "a", "/n", str(target))
        assert done.returncode == 0 and "a\\x1b[31m: left out" in done.stderr, done
        assert done.stderr.removesuffix("\n").isprintable()
        assert [path.name for path in target.iterdir()] == ["link"]
        # what a link leads to on the host is of no account
        assert "is no directory" in tenants.refused("tenant", "pull", "a", "/n/link/", str(tmp_path / "link"))
        done = tenants("tenant", "push", "a", str(tenants.file("a")), "/n/link/")
        assert done.returncode == 125, done
        assert [path.name for path in secret.iterdir()] == ["file"]
        tenants.ok("tenant", "stop", "--fast", "a")


def test_files_in_the_way_keep_no_setting_from_being_made(tenants: TenantWorld) -> None:
    tenants.run("a")
    tenants.inside("a", "rm -f /etc/resolv.conf; mkdir /etc/resolv.conf")
    done = tenants("tenant", "set", "a", "--dns", "192.0.2.1", "--description", "x")
    assert (done.returncode, done.stdout) == (0, "waits for a restart: dns.servers\n"), done
    assert "its name servers are as they were: /etc/resolv.conf: Is a directory" in done.stderr
    assert tenants.settings("a")["description"] == "x"
