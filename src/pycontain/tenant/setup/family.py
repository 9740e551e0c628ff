"""From the distribution that a root is of to the files that it reads."""

from __future__ import annotations

from pycontain.tenant.setup import accounts, identity, ifupdown, names, networkd, services

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from pycontain.tenant.setup.root import Root
    from pycontain.tenant.setup.wanted import Wanted

#: distribution → who configures its network, tried in this order; all that are in use are told.
FAMILIES: dict[str, tuple[ModuleType, ...]] = {
    "debian": (networkd, ifupdown),
    "alpine": (ifupdown,),
    "arch": (networkd,),
    "busybox": (ifupdown,),
    "fedora": (networkd,),
    "suse": (networkd,),
}
#: ID of os-release(5) → the distribution whose files it has.
_OTHERS = {
    "archlinux": "arch",
    "centos": "fedora",
    "devuan": "debian",
    "opensuse": "suse",
    "raspbian": "debian",
    "rhel": "fedora",
    "sles": "suse",
    "ubuntu": "debian",
}


def of_release(text: str) -> str:
    """The distribution of an os-release file, "" for one that is not known: by ID, then by ID_LIKE."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    for key in ("ID", "ID_LIKE"):
        for name in values.get(key, "").strip("\"'").lower().split():
            name = _OTHERS.get(name, name)
            if name in FAMILIES:
                return name
    return ""


def find(root: Root, said: str) -> str:
    """The distribution, as the template says it, else as its root does; "" where neither is known."""
    if said in FAMILIES:
        return said
    return of_release(root.text("/etc/os-release") or root.text("/usr/lib/os-release"))


def apply(root: Root, wanted: Wanted) -> list[str]:
    """Write what is wanted; warnings. Raises Error, OSError with the path in the root."""
    warnings: list[str] = []
    if wanted.first:
        identity.renew(root)
    names.write(root, wanted)
    services.write(root, wanted)
    if wanted.interfaces is not None:
        warnings += _network(root, wanted)
    if wanted.keys:
        accounts.add_keys(root, wanted.keys)
    if wanted.password:
        accounts.set_password(root, wanted.password)
    return warnings


def _network(root: Root, wanted: Wanted) -> list[str]:
    distribution = find(root, wanted.distribution)
    if not distribution:
        known = ", ".join(sorted(FAMILIES))
        return [
            f"its distribution is not known ({known} are): the host has set its addresses, its own files about the"
            " network are left as they are"
        ]
    # where it has none of them, what the host has configured is all that there is
    for module in FAMILIES[distribution]:
        if module.used(root):
            module.write(root, wanted)
    return []
