"""``--network NAME:KEY=VALUE,...``, and the flag several times: a network device each, as podman has it."""

from __future__ import annotations

from pycontain.cli import values
from pycontain.engine.request import Device, Request
from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.cli.args import Options

_KEYS = ("ip", "mac", "rate", "interface_name")
#: Flags that say the same of the one device there is otherwise.
_ALONE = ("ip", "mac-address", "rate")


def parse(value: str) -> Device:
    """One of them; keys that are given several times: only ``ip``. Raises UsageError."""
    network, _, text = value.partition(":")
    found = Device(network, "")
    addresses: list[str] = []
    seen: set[str] = set()
    for part in text.split(","):
        key, equals, content = part.partition("=")
        if key not in _KEYS or not equals or not content:
            raise UsageError(f"{value!r}: {part!r} is none of {', '.join(f'{one}=VALUE' for one in _KEYS)}")
        if key in seen and key != "ip":
            raise UsageError(f"{value!r}: {key} is given twice")
        seen.add(key)
        if key == "ip":
            addresses.append(values.address(content))
        elif key == "mac":
            found.mac = values.mac(content)
        elif key == "rate":
            found.rate = values.rate(content)
        else:
            from pycontain.engine.several import check_interface

            check_interface(content)
            found.interface = content
    _check(found, addresses)
    found.ip = ",".join(addresses)
    return found


def _check(found: Device, addresses: list[str]) -> None:
    if found.network == "bridge":
        for key, given in (("mac", found.mac), ("rate", found.rate)):
            if given:
                raise UsageError(f"--network bridge: {key} is for --network routed")
        if addresses:
            values.ipv4(",".join(addresses))
        return
    from pycontain.network.routed import check_addresses

    check_addresses(addresses)


def _all(options: Options) -> list[Device]:
    found = [parse(value) if "=" in value else Device(value, "") for value in options.many("network")]
    for number, one in enumerate(found):
        one.interface = one.interface or f"eth{number}"
    return found


def check(options: Options) -> None:
    """Refuse what cannot be together. Raises UsageError."""
    for key in _ALONE:
        if options.has(key):
            said = {"mac-address": "mac"}.get(key, key)
            raise UsageError(
                f"--{key}: say of which device: --network {options.many('network')[0].partition(':')[0]}:{said}=VALUE"
            )
    read(options, Request("", []))


def read(options: Options, request: Request) -> None:
    """The devices, into a request. Raises UsageError."""
    first, *others = _all(options)
    request.network, request.interface, request.ip = first.network, first.interface, first.ip
    request.mac, request.rate = first.mac, first.rate
    request.networks = others
    if others:
        from pycontain.engine import several

        several.check(request)
