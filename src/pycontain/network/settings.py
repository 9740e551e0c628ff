"""The bridge's settings: ROOT/network.json.

``load(root) -> Settings`` reads them and makes them on first use: bridge ``pycontain0``, 10.222.0.0/16, a random
unique local IPv6 /64 (RFC 4193), the MTU of the host's default route. Two first users agree on one file.

::

    {"bridge": "pycontain0", "subnet": "10.222.0.0/16", "subnet6": "fd5c:8f0e:71a2:1::/64", "mtu": 1500}

``subnet6`` is null where containers get no IPv6. ``routed`` and ``routed6`` may be there too: where containers of
``--network routed`` get addresses that they did not ask for; else 10.223.0.0/16, and the /64 beside ``subnet6``.
Addresses are bytes or integers here: the ``ipaddress`` package costs more to import than a whole start may.
"""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from pycontain.kernel import files, jsontext
from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BRIDGE = "pycontain0"
SUBNET = "10.222.0.0/16"
#: For containers without a bridge; the first that is not in the bridge's subnet.
_ROUTED = ("10.223.0.0/16", "10.221.0.0/16")
_KEYS = ("bridge", "subnet", "subnet6", "mtu")
_OPTIONAL = ("routed", "routed6")
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


def family(text: str) -> int:
    """AF_INET, AF_INET6, or 0 for what is no address."""
    for kind in (AF_INET, AF_INET6):
        try:
            inet_pton(kind, text)
        except (OSError, ValueError):
            continue
        return kind
    return 0


def packed(text: str) -> bytes:
    """The 4 or 16 bytes of an address. Raises OSError for what is none."""
    return inet_pton(AF_INET6 if ":" in text else AF_INET, text)


def printed(address: bytes) -> str:
    """An address of 4 or 16 bytes as text."""
    return inet_ntop(AF_INET6 if len(address) == 16 else AF_INET, address)


class Settings:
    """Where containers' addresses come from. ``base`` and ``base6`` are the subnets' first addresses as numbers.

    bridge: device name. prefix: of the IPv4 subnet, 8 to 30. base6: None without IPv6; its prefix is always 64.
    mtu: bytes. path: the file, for error texts. routed: (base, prefix, base6) of the subnets without a bridge.
    """

    __slots__ = ("base", "base6", "bridge", "mtu", "path", "prefix", "routed")

    def __init__(self, bridge: str, base: int, prefix: int, base6: int | None, mtu: int, path: str = "") -> None:
        self.bridge = bridge
        self.base = base
        self.prefix = prefix
        self.base6 = base6
        self.mtu = mtu
        self.path = path
        self.routed: tuple[int, int, int | None] = _default_routed(base, prefix, base6)

    def pool(self) -> Settings:
        """The same for containers without a bridge: where their addresses come from."""
        found = Settings(self.bridge, self.routed[0], self.routed[1], self.routed[2], self.mtu, self.path)
        found.routed = self.routed
        return found

    @property
    def size(self) -> int:
        """How many addresses the IPv4 subnet has, with those of network, gateway and broadcast."""
        return 1 << (32 - self.prefix)

    def holds(self, address: str) -> bool:
        """Whether an address is of the IPv4 subnet."""
        return ":" not in address and 0 <= int.from_bytes(packed(address), "big") - self.base < self.size

    def address(self, offset: int) -> bytes:
        """The IPv4 address at an offset of the subnet; 1 is the gateway's."""
        return (self.base + offset).to_bytes(4, "big")

    def address6(self, offset: int) -> bytes | None:
        """The IPv6 address at the same offset; None without IPv6."""
        return None if self.base6 is None else (self.base6 + offset).to_bytes(16, "big")

    @property
    def subnet(self) -> str:
        return f"{printed(self.address(0))}/{self.prefix}"

    @property
    def subnet6(self) -> str | None:
        first = self.address6(0)
        return None if first is None else f"{printed(first)}/64"

    @property
    def table(self) -> str:
        """The name of the nftables table (family inet): one a bridge."""
        return "pycontain" if self.bridge == BRIDGE else f"pycontain-{self.bridge}"

    def record(self) -> dict[str, Any]:
        """What network.json holds."""
        return {"bridge": self.bridge, "subnet": self.subnet, "subnet6": self.subnet6, "mtu": self.mtu}


def _default_routed(base: int, prefix: int, base6: int | None) -> tuple[int, int, int | None]:
    for text in _ROUTED:
        other, other_prefix = int.from_bytes(packed(text.partition("/")[0]), "big"), 16
        if not _overlap(base, prefix, other, other_prefix):
            break
    return other, other_prefix, None if base6 is None else base6 ^ 1 << 64


def _overlap(base: int, prefix: int, other: int, other_prefix: int) -> bool:
    shift = 32 - min(prefix, other_prefix)
    return base >> shift == other >> shift


def exists(root: str) -> bool:
    """Whether somebody has used the network of this state directory: ``load`` would make nothing."""
    return os.path.exists(f"{root}/network.json")


def load(root: str) -> Settings:
    """The settings of the state directory ``root``, made where they are missing.

    Raises Error, in one line with the file and the key, for content that cannot be.
    """
    path = f"{root}/network.json"
    try:
        return _parse(files.read_json(path), path)
    except FileNotFoundError:
        return _make(root, path)
    except OSError as error:
        raise Error(f"cannot read {path}: {os_text(error)}") from None


def _make(root: str, path: str) -> Settings:
    temporary = f"{path}.{os.getpid()}.new"
    value = {"bridge": BRIDGE, "subnet": SUBNET, "subnet6": _random_subnet6(), "mtu": _host_mtu()}
    try:
        os.makedirs(root, 0o755, exist_ok=True)
        files.create(temporary, jsontext.dumps(value).encode() + b"\n", sync=True)
        try:
            os.link(temporary, path)  # unlike a rename it loses against whoever was first
        except FileExistsError:
            pass
        finally:
            os.unlink(temporary)
        return _parse(files.read_json(path), path)
    except OSError as error:
        raise Error(f"cannot write the network settings {path}: {os_text(error)}") from None


def has_ipv6() -> bool:
    """Whether the kernel has IPv6 (it may be built or booted without)."""
    return os.path.exists("/proc/sys/net/ipv6/conf/all/forwarding")


def _random_subnet6() -> str | None:
    # RFC 4193 section 3.1: fd, 40 random bits, a subnet of 16 bits.
    first = b"\xfd" + os.urandom(5) + bytes(10)
    return f"{printed(first)}/64" if has_ipv6() else None


def _host_mtu() -> int:
    """The smallest MTU of the devices that have a default route; what is larger would need fragments at each hop."""
    from pycontain.kernel import rtnl

    try:
        with rtnl.Socket() as route:
            devices = {link.index: link for link in rtnl.links(route)}
            found = [devices[index].mtu for index in rtnl.default_devices(route) if index in devices]
    except OSError:
        found = []
    return min([mtu for mtu in found if mtu >= 1280], default=1500)


# --- checking -----------------------------------------------------------------------------------------------------


def _parse(value: Any, path: str) -> Settings:
    if not isinstance(value, dict):
        raise Error(f"{path}: must be a JSON object with {', '.join(_KEYS)}")
    for key in value:
        if key not in _KEYS + _OPTIONAL:
            raise Error(f"{path}: {key}: unknown key; known are {', '.join(_KEYS + _OPTIONAL)}")
    for key in _KEYS:
        if key not in value:
            raise Error(f"{path}: {key}: missing; remove the file to get the defaults")
    base, prefix = _subnet4(value["subnet"], path)
    found = Settings(
        _bridge(value["bridge"], path), base, prefix, _subnet6(value["subnet6"], path), _mtu(value["mtu"], path), path
    )
    if "routed" in value:
        found.routed = (*_subnet4(value["routed"], path, "routed"), found.routed[2])
        if _overlap(base, prefix, *found.routed[:2]):
            raise Error(f"{path}: routed: {value['routed']!r} overlaps the bridge's subnet {found.subnet}")
    if "routed6" in value:
        found.routed = (*found.routed[:2], _subnet6(value["routed6"], path, "routed6"))
        if found.base6 is not None and found.base6 == found.routed[2]:
            raise Error(f"{path}: routed6: {value['routed6']!r} is the bridge's subnet6")
    return found


def _bridge(value: Any, path: str) -> str:
    good = isinstance(value, str) and 0 < len(value) <= 15 and value[0].isalpha() and _NAME_CHARACTERS.issuperset(value)
    if not good:
        raise Error(
            f"{path}: bridge: {value!r} is no device name: a letter, then up to 14 letters, digits, '_', '-', '.'"
        )
    return str(value)


def _split(value: Any, key: str, kind: int, example: str, path: str) -> tuple[int, int]:
    text, slash, digits = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not (slash and digits.isascii() and digits.isdigit() and len(digits) <= 3 and family(text) == kind):
        raise Error(f"{path}: {key}: {value!r} is no subnet such as {example}")
    bits = 32 if kind == AF_INET else 128
    prefix, number = int(digits), int.from_bytes(packed(text), "big")
    if prefix <= bits and number & ((1 << (bits - prefix)) - 1):
        raise Error(f"{path}: {key}: {value!r} has bits beyond its prefix length; a subnet is such as {example}")
    return number, prefix


def _subnet4(value: Any, path: str, key: str = "subnet") -> tuple[int, int]:
    base, prefix = _split(value, key, AF_INET, SUBNET, path)
    if not 8 <= prefix <= 30:
        raise Error(f"{path}: {key}: {value!r} has prefix length {prefix}; it must be from 8 to 30")
    if base >> 24 in (0, 127) or base >> 28 >= 14:
        raise Error(f"{path}: {key}: {value!r} is not for hosts; take one of RFC 1918 such as {SUBNET}")
    return base, prefix


def _subnet6(value: Any, path: str, key: str = "subnet6") -> int | None:
    if value is None:
        return None
    base, prefix = _split(value, key, AF_INET6, "fd12:3456:789a:1::/64, or null for no IPv6", path)
    if prefix != 64:
        raise Error(f"{path}: {key}: {value!r} has prefix length {prefix}; it must be 64")
    if base >> 120 == 0xFF or base >> 118 == 0x3FA or base >> 64 == 0:
        raise Error(f"{path}: {key}: {value!r} is not for hosts; take a unique local one (fd00::/8, RFC 4193)")
    return base


def _mtu(value: Any, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1280 <= value <= 65535:
        raise Error(f"{path}: mtu: {value!r} is not a number of bytes from 1280 (IPv6's least) to 65535")
    return value
