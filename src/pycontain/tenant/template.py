"""What an image says of itself as a template: its labels (docs/tenants.md, "Templates")."""

from __future__ import annotations

from pycontain.image import find
from pycontain.kernel.errors import Error, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LABEL = "io.pycontain.template"
VERSION = "1"


class Template:
    """An image that can be booted.

    image: its name or ID. labelled: whether it says itself that it is a template. distribution: which module of
    ``setup/``, "" for that of /etc/os-release. init: its command. stop_signal: as settings have them.
    ready: how it is known that the init is up: notify, console, exec.
    """

    __slots__ = ("distribution", "image", "init", "labelled", "ready", "stop_signal")

    def __init__(self, image: str, config: dict[str, Any]) -> None:
        labels: dict[str, str] = config.get("Labels") or {}

        def label(name: str, default: str) -> str:
            return labels.get(f"{LABEL}.{name}", default)

        self.image = image
        self.labelled = LABEL in labels
        if self.labelled and labels[LABEL] != VERSION:
            raise Error(
                f"image {image}: is a template of version {labels[LABEL]!r}, and this pycontain knows {VERSION}:"
                " build it anew"
            )
        self.distribution = label("distribution", "")
        self.init = label("init", "/sbin/init").split()
        self.stop_signal = label("stop-signal", "SIGRTMIN+3" if self.labelled else "SIGTERM")
        self.ready = label("ready", "exec")


def find_template(root: str, image: str) -> Template:
    """The template that an image is; by name, or by ID for a container that exists. Raises NotFound, Error."""
    found = find.lookup(root, image)
    if found is None:
        raise NotFound(
            f"template {image} does not exist: 'pycontain image ls' lists the images there are, 'pycontain image build"
            f" {image}' makes one that ships with pycontain"
        )
    return Template(image, found.config)
