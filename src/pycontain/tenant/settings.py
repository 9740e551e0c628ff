"""A tenant's settings: what NAME.toml can say, its defaults, and errors of one line (pycontain-tenant.toml(5)).

pydantic costs a tenth of a second to import: import this module inside the functions that need it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pycontain.kernel import capability
from pycontain.kernel.errors import Error, UsageError
from pycontain.network import routed
from pycontain.tenant import file, refused, words

VERSION = 1
#: The first numeric ID that create gives away, as OpenVZ: those below 101 were its own.
FIRST_ID = 101
LAST_ID = 0x7FFFFFFF
YES, NO, AS_BEFORE = "yes", "no", "as-before"

_HOSTNAME = re.compile(
    r"(?=.{1,64}$)[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_LIST = re.compile(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*")
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_SYSCTL = re.compile(r"[a-z0-9_-]+([./][A-Za-z0-9_.*:-]+)+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ACCESS = re.compile(r"(?=.{1,3}$)r?w?m?")


# --- values -------------------------------------------------------------------------------------------------------


def _number_text(value: Any) -> Any:
    """A number of bytes may stand without quotation marks."""
    return str(value) if type(value) is int else value


def _size(value: str) -> str:
    if value:
        words.size(value)
    return value


def _rate(value: str) -> str:
    return _as_the_network(routed.parse_rate, value)


def _percent(value: str) -> str:
    if value:
        words.percent(value)
    return value


def _hostname(value: str) -> str:
    if value and not _HOSTNAME.fullmatch(value):
        raise ValueError(f"{value!r} is not a host name: letters, digits, hyphens and dots, at most 64")
    return value


def _number_list(value: str) -> str:
    if value and not _LIST.fullmatch(value):
        raise ValueError(f"{value!r} is not a list of numbers such as 0-3,5")
    return value


def _address(value: str) -> str:
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        without = value.partition("/")[0]
        more = f": leave the prefix length out: {without}" if "/" in value else ""
        raise ValueError(f"{value!r} is not an IPv4 or IPv6 address{more}") from None
    return _as_the_network(routed.check_address, str(found))


def _as_the_network(check: Callable[[str], object], value: str) -> str:
    """A text that the network takes, as it stands; one rule for both."""
    try:
        if value:
            check(value)
        return value
    except UsageError as error:
        raise ValueError(error.message) from None


def _any_address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 or IPv6 address") from None


def _gateway(value: str) -> str:
    return _any_address(value) if value else value


def _interface(value: str) -> str:
    if not _INTERFACE.fullmatch(value) or value == "lo":
        raise ValueError(f"{value!r} is not a name of a network device, such as eth0")
    return value


def _mac(value: str) -> str:
    return _as_the_network(routed.check_mac, value.lower())


def _signal(value: str) -> str:
    if value:
        signal_number(value)
    return value


def _capability(value: str) -> str:
    sign, name = value[:1], value[1:]
    if sign not in ("+", "-") or not name:
        raise ValueError(f"{value!r} is neither +NAME nor -NAME, such as +net_raw")
    try:
        capability.canonical(name, "a capability")
    except UsageError as error:
        raise ValueError(error.message) from None
    return value


def _device(value: str) -> str:
    path, colon, access = value.partition(":")
    if not path.startswith("/dev/") or (colon and not _ACCESS.fullmatch(access)):
        raise ValueError(f"{value!r} is not /dev/NAME or /dev/NAME:rwm")
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/") or any(part in ("..", ".") for part in value.split("/")):
        raise ValueError(f"{value!r} is not an absolute path without . and ..")
    return value


def _line(value: str) -> str:
    if not value.isprintable():
        raise ValueError(f"{value!r} has a control character")
    return value


def _word(value: str) -> str:
    if not value or "\0" in value:
        raise ValueError("a word of a command is empty" if not value else f"{value!r} has a NUL")
    return value


def signal_number(text: str) -> int:
    """``SIGRTMIN+3``, ``TERM``, ``15`` as a number. Raises ValueError."""
    import signal

    upper = text.upper()
    if upper.isascii() and upper.isdigit() and 1 <= int(upper) <= 64:
        return int(upper)
    base, sign, offset = upper.partition("+") if "+" in upper else upper.partition("-")
    found = getattr(signal, base if base.startswith("SIG") else f"SIG{base}", None)
    number = int(found) if isinstance(found, signal.Signals) else 0
    if number and sign and offset.isdigit():
        number += int(offset) if sign == "+" else -int(offset)
    if not 1 <= number <= 64 or (sign and not offset.isdigit()):
        raise ValueError(f"{text!r} is not a signal such as SIGTERM, SIGRTMIN+3 or 15")
    return number


Line = Annotated[str, AfterValidator(_line)]
Size = Annotated[str, BeforeValidator(_number_text), AfterValidator(_size)]
Rate = Annotated[str, BeforeValidator(_number_text), AfterValidator(_rate)]
Percent = Annotated[str, BeforeValidator(_number_text), AfterValidator(_percent)]
NumberList = Annotated[str, BeforeValidator(_number_text), AfterValidator(_number_list)]
Word = Annotated[str, AfterValidator(_word)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)


class Boot(_Model):
    """When it is started, as what, and how it is stopped. delay, stop_timeout: seconds."""

    onboot: Literal["no", "yes", "as-before"] = "no"
    order: int = Field(default=0, ge=-1_000_000, le=1_000_000)
    delay: int = Field(default=0, ge=0, le=600)  # the unit has TimeoutStartSec=15min for its start as well
    init: list[Word] = []
    stop_signal: Annotated[str, AfterValidator(_signal)] = ""
    stop_timeout: int = Field(default=120, ge=0, le=86400)
    shutdown: Literal["stop", "suspend"] = "stop"


class Cpu(_Model):
    """cpus: how many CPUs' time, 0 for all. limit: the same in percent of one. units: weight against others."""

    cpus: float = Field(default=0, ge=0, le=65536)
    limit: Percent = ""
    units: int = Field(default=1000, ge=8, le=500_000)
    mask: NumberList = ""
    nodes: NumberList = ""


class Memory(_Model):
    """limit, guarantee: of memory. swap: beside it, "0" for none, "" for as much as memory."""

    limit: Size = ""
    swap: Size = ""
    guarantee: Size = ""

    @model_validator(mode="after")
    def _fit(self) -> Memory:
        if self.swap and not self.limit:
            raise ValueError("swap is beside a limit of memory: give memory.limit as well")
        if self.limit and words.size(self.limit) < 1 << 20:
            raise ValueError(f"limit {self.limit!r} is below 1M: nothing starts with so little")
        if self.limit and self.guarantee and words.size(self.guarantee) > words.size(self.limit):
            raise ValueError(f"guarantee {self.guarantee} is above limit, {self.limit}")
        return self


class Processes(_Model):
    """max: processes and threads, 0 for no limit."""

    max: int = Field(default=0, ge=0, le=1 << 22)


class Io(_Model):
    """Of the disk that the store lies on. weight: against others. bps: bytes a second; iops: operations a second."""

    weight: int = Field(default=100, ge=1, le=10000)
    read_bps: Size = ""
    write_bps: Size = ""
    read_iops: int = Field(default=0, ge=0, le=1 << 40)
    write_iops: int = Field(default=0, ge=0, le=1 << 40)


class Disk(_Model):
    """space: bytes; inodes: files. Nothing, or 0: no quota."""

    space: Size = ""
    inodes: int = Field(default=0, ge=0, le=1 << 48)


class Network(_Model):
    """One device of the tenant's. rate: bits a second that it sends, at the most."""

    name: Annotated[str, AfterValidator(_interface)] = "eth0"
    type: Literal["routed", "bridge"] = "routed"
    addresses: list[Annotated[str, AfterValidator(_address)]] = []
    gateway: Annotated[str, AfterValidator(_gateway)] = ""
    mac: Annotated[str, AfterValidator(_mac)] = ""
    rate: Rate = ""


class Dns(_Model):
    """Nothing: the host's."""

    servers: list[Annotated[str, AfterValidator(_any_address)]] = []
    search: list[Annotated[str, AfterValidator(_hostname)]] = []


class Features(_Model):
    """Switches for what a guest may do beyond the usual."""

    nesting: bool = False
    fuse: bool = False
    tun: bool = False


class Rights(_Model):
    """capabilities: +NAME and -NAME. devices: PATH or PATH:rwm. privileged_ids: no user namespace of its own."""

    capabilities: list[Annotated[str, AfterValidator(_capability)]] = []
    devices: list[Annotated[str, AfterValidator(_device)]] = []
    privileged_ids: bool = False


class Mount(_Model):
    """A directory or file of the host's in the tenant."""

    source: Annotated[str, AfterValidator(_absolute)]
    target: Annotated[str, AfterValidator(_absolute)]
    options: list[Line] = []


class Hooks(_Model):
    """Commands for the host's shell."""

    pre_start: list[Line] = Field(default=[], alias="pre-start")
    post_start: list[Line] = Field(default=[], alias="post-start")
    pre_stop: list[Line] = Field(default=[], alias="pre-stop")
    post_stop: list[Line] = Field(default=[], alias="post-stop")


class Settings(_Model):
    """All of a settings file."""

    version: Literal[1]
    id: int = Field(default=0, ge=0, le=LAST_ID)
    template: Line = ""
    description: Line = ""
    hostname: Annotated[str, AfterValidator(_hostname)] = ""
    boot: Boot = Boot()
    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    processes: Processes = Processes()
    io: Io = Io()
    disk: Disk = Disk()
    network: list[Network] = []
    dns: Dns = Dns()
    features: Features = Features()
    rights: Rights = Rights()
    mounts: list[Mount] = []
    sysctls: dict[str, Annotated[str, BeforeValidator(_number_text)]] = {}
    environment: dict[str, Annotated[str, BeforeValidator(_number_text)]] = {}
    hooks: Hooks = Hooks()

    @model_validator(mode="before")
    @classmethod
    def _name_devices(cls, value: Any) -> Any:
        """A device without a name is called by its place: eth0, eth1 and so on."""
        devices = value.get("network") if isinstance(value, dict) else None
        if not isinstance(devices, list):
            return value
        named = [{"name": f"eth{at}", **one} if isinstance(one, dict) else one for at, one in enumerate(devices)]
        return {**value, "network": named}

    @model_validator(mode="after")
    def _whole(self) -> Settings:
        _distinct([one.name for one in self.network], "network: two devices are called")
        addresses = [address for one in self.network for address in one.addresses]
        _distinct(addresses, "network: an address is there twice:")
        _distinct([one.mac for one in self.network if one.mac], "network: two devices have the MAC address")
        _distinct([one.target for one in self.mounts], "mounts: two have the target")
        for key in self.sysctls:
            if not _SYSCTL.fullmatch(key):
                raise ValueError(f"sysctls: {key!r} is not a sysctl's name, such as net.core.somaxconn")
        for key, value in self.environment.items():
            if not _VARIABLE.fullmatch(key) or "\0" in value:
                raise ValueError(f"environment: {key!r} is not a variable's name: letters, digits and _")
        return self

    def plain(self) -> dict[str, Any]:
        """As JSON and TOML have it, with every key."""
        return self.model_dump(mode="json", by_alias=True)


def _distinct(values: list[str], problem: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{problem} {value}")
        seen.add(value)


# --- reading ------------------------------------------------------------------------------------------------------


def check(value: Any, where: str) -> Settings:
    """The settings of what TOML or JSON has given. ``where``: the file, for the error. Raises Error of one line."""
    try:
        return Settings.model_validate(value)
    except ValidationError as error:
        raise Error(f"{where}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """The first problem as ``network.0.addresses.1: what is wrong``, and how many more there are."""
    found = error.errors(include_url=False)
    one = found[0]
    place = ".".join(str(part) for part in one["loc"])
    text = f"{place}: {_say(one)}" if place else _say(one)
    return text + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")


_KINDS = {
    "string_type": "must be text in quotation marks",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list: […]",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "missing": "is missing",
}


def _say(one: Any) -> str:
    kind, context = one["type"], one.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown([str(part) for part in one["loc"]])
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        if one["loc"] == ("version",):
            return f"{one['input']!r} is a version that this pycontain does not know: it writes {VERSION}"
        return f"{one['input']!r} is none of {context['expected'].replace(' or ', ', ')}"
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        return f"{one['input']!r} is not {bound}"
    if kind == "missing" and one["loc"] == ("version",):
        return f"is missing: begin the file with version = {VERSION}"
    return _KINDS.get(kind, str(one["msg"]))


def unknown(place: list[str]) -> str:
    """What is to be said of a key that there is not."""
    reason = refused.reason(place[-1])
    if reason:
        return reason
    return f"is not a setting{_similar(place)}"


def _similar(place: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(".".join(place), every_key(), 1, 0.6)
    return f": did you mean {close[0]}?" if close else "; pycontain-tenant.toml(5) has them all"


# --- keys ---------------------------------------------------------------------------------------------------------


def every_key() -> list[str]:
    """Every key that is not in a list: ``memory.limit``, ``network``, ``hooks.pre-start``."""
    found = []
    for key, value in Settings(version=1).plain().items():
        if isinstance(value, dict) and value:
            found += [f"{key}.{inner}" for inner in value]
        else:
            found.append(key)
    return found


def flat(value: dict[str, Any]) -> dict[str, Any]:
    """Settings as ``plain`` gives them, with dotted keys; lists and free tables whole."""
    found: dict[str, Any] = {}
    for key, content in value.items():
        if isinstance(content, dict) and key not in file.FREE:
            found.update({f"{key}.{inner}": part for inner, part in content.items()})
        else:
            found[key] = content
    return found


def schema() -> dict[str, Any]:
    """The JSON schema of a settings file."""
    found = Settings.model_json_schema(by_alias=True)
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    found["title"] = "pycontain tenant settings"
    return found
