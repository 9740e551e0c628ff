"""The installed pycontain with tenants of its own, and what they may leave behind (nothing)."""

from __future__ import annotations

import json
import signal
import tomllib
from pathlib import Path
from typing import Any

from client import status_value
from world import World, eventually

#: An init that ends by itself on SIGTERM, for a template that has none: /bin/sh of the image busybox.
SHELL_INIT = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"
#: One with the words of reboot(2): the guest's own busybox asks for it.
TEMPLATE = ("--template", "busybox", "--init", f'sh -c "{SHELL_INIT}"', "--network", "none")
#: In warnings that are no failure of a test's.
_KNOWN = ("not enforced", "it uses no ifupdown")


class TenantWorld(World):
    """pycontain with its own --root, --run-root and --tenants."""

    def __init__(self, images: World, directory: Path) -> None:
        super().__init__(images.root, images.run_root)
        self.directory = directory

    @property
    def command(self) -> list[str]:
        return [*super().command, "--tenants", str(self.directory)]

    def make(self, name: str, *flags: str) -> None:
        """A tenant of busybox that does not run."""
        self.create(name, *TEMPLATE, *flags)

    def create(self, name: str, *flags: str) -> None:
        self.does("tenant", "create", name, *flags)

    def does(self, *arguments: str, **more: Any) -> str:
        """As ok, but for warnings of what this host, or a template that is none, does not have; what it printed."""
        done = self(*arguments, **more)
        assert done.returncode == 0, done
        others = [line for line in done.stderr.splitlines() if not any(known in line for known in _KNOWN)]
        assert others == [], done
        return done.stdout.removesuffix("\n")

    def run(self, name: str, *flags: str) -> None:
        """A tenant of busybox that runs."""
        self.make(name, *flags)
        self.start(name)
        self.hears(name)

    def start(self, *names: str) -> None:
        self.does("tenant", "start", *names)

    def hears(self, name: str) -> None:
        """Until the shell that is its init has set its trap: before, SIGTERM is nothing to it (pid_namespaces(7))."""
        init = self.pid(self.container(name))
        assert eventually(lambda: int(status_value(init, "SigCgt"), 16) >> signal.SIGTERM - 1 & 1, 60)

    def word(self, name: str) -> str:
        """What status prints."""
        return self("tenant", "status", name).stdout.strip()

    def listed(self, fields: str, *names: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.ok("tenant", "list", "--format", "json", "-o", fields, "-s", "name", *names)
        )
        return found

    def field(self, name: str, field: str) -> Any:
        return self.listed(field, name)[0][field]

    # in a tenant, where World's is in a new container
    def inside(self, name: str, script: str) -> str:  # type: ignore[override]
        """What a shell script prints in a tenant that runs."""
        return self.ok("tenant", "exec", name, "sh", "-c", script)

    def container(self, name: str) -> str:
        """The ID of its container."""
        return str(self.state(name)["container"])

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "tenants" / name / "state.json").read_text())
        return found

    def file(self, name: str) -> Path:
        return self.directory / f"{name}.toml"

    def settings(self, name: str) -> dict[str, Any]:
        return tomllib.loads(self.file(name).read_text())

    def destroy_all(self) -> None:
        names = [row["name"] for row in self.listed("name")]
        if names:
            self("tenant", "destroy", "--force", *names)

    def leftovers(self) -> list[str]:
        found = super().leftovers()
        home = self.root / "tenants"
        found += (
            [f"tenant state {path.name}" for path in home.iterdir() if path.name != ".lock"] if home.exists() else []
        )
        return found + [f"settings {path.name}" for path in self.directory.glob("*")]
