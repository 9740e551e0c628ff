"""What every client with Docker's command line has to pass on to a container."""

from __future__ import annotations

from typing import Protocol

from tests.clients.view import View


class Client(Protocol):
    """view: where it runs. inside: what a shell script says in a new container with these flags."""

    view: View

    def inside(self, script: str, *flags: str) -> str: ...


def given(client: Client) -> None:
    """User, directory, environment, host name, a read-only root, a volume."""
    probe = "id -u; id -g; pwd; echo $WORD; hostname; touch /new 2>/dev/null || echo ro; cat /there/file"
    there = client.view.state / "there"
    client.view.write("there/file", "from outside\n")
    flags = ("--user", "7:8", "--workdir", "/tmp", "-e", "WORD=word", "--hostname", "box", "--read-only")
    lines = client.inside(probe, *flags, "-v", f"{there}:/there:ro").split("\n")
    assert lines == ["7", "8", "/tmp", "word", "box", "ro", "from outside"]


def capabilities(client: Client) -> None:
    """Those of the default, one more, one less, none."""

    def effective(*flags: str) -> int:
        return int(client.inside("grep CapEff /proc/self/status", *flags).split()[1], 16)

    net_admin, chown = 1 << 12, 1 << 0
    assert not effective() & net_admin and effective() & chown
    assert effective("--cap-add", "NET_ADMIN") & net_admin
    assert not effective("--cap-drop", "CHOWN") & chown
    assert effective("--cap-drop", "ALL") == 0
