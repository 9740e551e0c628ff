"""Readers of the values that flags take: each turns text into a value, or raises UsageError.

The message is one sentence that quotes the value and says what would be right; ``args.Flag.convert`` puts the flag's
name before it. Nothing here looks at the system, with two exceptions that the flags are made for: a variable without
a value is taken from the caller's environment, and --env-file is read.

Not here: -p (network.port.parse), image references (image.reference.parse), -u (storage.users), the times of
``logs`` (cli.times).
"""

from __future__ import annotations

import os

from pycontain.cli.args import decimal, integer, is_number, plain, refuse_control, size
from pycontain.kernel.errors import UsageError, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain.cli.args import Options

_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _ALNUM | frozenset("_.-")
_LABEL = _ALNUM | frozenset("-")
_SYSCTL = _NAME | frozenset("/")

#: --env-file: more than this is not a list of variables.
ENV_FILE_MAX = 1 << 20
#: A file name has at most 255 bytes, and names become file names with suffixes.
NAME_MAX = 128
#: sys/utsname.h: __NEW_UTS_LEN
HOSTNAME_MAX = 64
#: microseconds: the period of a CPU quota, and the shortest quota that the kernel takes (cgroup-v2.rst, cpu.max)
CPU_PERIOD = 100_000
CPU_QUOTA_MIN = 1000


class Value:
    """A value with named parts that is compared and printed by them."""

    __slots__: tuple[str, ...] = ()

    def _parts(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and type(self) is type(other) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._parts()))})"


class Pair(Value):
    """KEY=VALUE: a label, a sysctl, a filter, a host and its address, a security option."""

    __slots__ = ("key", "value")

    def __init__(self, key: str, value: str) -> None:
        self.key = key
        self.value = value


class Variable(Value):
    """An environment variable; ``value`` None takes it out of the environment that the image gives."""

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: str | None) -> None:
        self.name = name
        self.value = value


class Mount(Value):
    """A mount as the OCI spec has it, but for ``type`` "volume", whose ``source`` is a volume's name.

    type: bind, tmpfs or volume. options: in the spec's words, such as ``rbind``, ``ro``, ``size=64m``.
    """

    __slots__ = ("options", "source", "target", "type")

    def __init__(self, type: str, source: str, target: str, options: list[str]) -> None:
        self.type = type
        self.source = source
        self.target = target
        self.options = options


class Device(Value):
    """A device of the host: its path there, its path in the container, and what may be done with it (rwm)."""

    __slots__ = ("access", "source", "target")

    def __init__(self, source: str, target: str, access: str) -> None:
        self.source = source
        self.target = target
        self.access = access


class Ulimit(Value):
    """A resource limit: ``RLIMIT_NOFILE``, soft and hard in its unit; 2**64-1 is unlimited (setrlimit(2))."""

    __slots__ = ("hard", "soft", "type")

    def __init__(self, type: str, soft: int, hard: int) -> None:
        self.type = type
        self.soft = soft
        self.hard = hard


class Rate(Value):
    """A disk's device file, and how many bytes or operations a second; 0 for no limit."""

    __slots__ = ("path", "rate")

    def __init__(self, path: str, rate: int) -> None:
        self.path = path
        self.rate = rate


class Restart(Value):
    """A restart policy; ``maximum`` is 0 for any number of restarts."""

    __slots__ = ("maximum", "policy")

    def __init__(self, policy: str, maximum: int = 0) -> None:
        self.policy = policy
        self.maximum = maximum


# --- names --------------------------------------------------------------------------------------------------------


def name(value: str) -> str:
    """A container's name: [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most NAME_MAX characters."""
    if not value or value[0] not in _ALNUM or not _NAME.issuperset(value):
        raise UsageError(f"{value!r} is not a name: give letters, digits, _ . and -, beginning with a letter or digit")
    if len(value) > NAME_MAX:
        raise UsageError(f"{value[:16] + '...'!r} has {len(value)} characters: give at most {NAME_MAX}")
    return value


def _domain(value: str, maximum: int) -> bool:
    """RFC 1123, 2.1: labels of letters, digits and inner hyphens, 63 characters each."""
    if not 0 < len(value) <= maximum:
        return False
    for label in value.split("."):
        if not 0 < len(label) <= 63 or label[0] == "-" or label[-1] == "-" or not _LABEL.issuperset(label):
            return False
    return True


def hostname(value: str) -> str:
    """A host name (RFC 1123) of at most HOSTNAME_MAX characters."""
    if not _domain(value, HOSTNAME_MAX):
        raise UsageError(
            f"{value!r} is not a host name: give letters, digits and inner hyphens,"
            f" in labels of up to 63 with dots between, {HOSTNAME_MAX} in all"
        )
    return value


def search_domain(value: str) -> str:
    """A domain for resolv.conf's search list; ``.`` alone empties the list."""
    if value != "." and not _domain(value.removesuffix("."), 253):
        raise UsageError(f"{value!r} is not a domain: give a name such as example.org, or . for none")
    return value


def absolute(value: str) -> str:
    """A path inside the container."""
    refuse_control(value)
    if not value.startswith("/"):
        raise UsageError(f"{value!r} is not an absolute path: give one that begins with /")
    return value


# --- environment and labels ---------------------------------------------------------------------------------------


def _variable_name(value: str) -> str:
    if not value:
        raise UsageError("a variable has no name: give NAME=VALUE, or NAME to pass it on")
    refuse_control(value)
    return value


def variable(value: str) -> Variable:
    """``-e K=V``, or ``-e K`` for the caller's own (None where the caller has none)."""
    key, equals, content = value.partition("=")
    _variable_name(key)
    return Variable(key, content if equals else os.environ.get(key))


def env_file(value: str) -> list[Variable]:
    """``--env-file``: lines K=V (taken as they stand, no quotes), K for the caller's own, # comments.

    A variable without value that the caller does not have is left out, as Docker does.
    """
    variables = []
    for number, line in enumerate(_env_text(value).split("\n"), 1):
        line = line.removesuffix("\r").lstrip(" \t")
        if not line or line.startswith("#"):
            continue
        try:
            one = variable(line)
            if any(char.isspace() for char in one.name):
                raise UsageError(f"the name {one.name!r} has white space")
        except UsageError as error:
            raise UsageError(f"{value!r} line {number}: {error.message}") from None
        if one.value is not None:
            variables.append(one)
    return variables


def _env_text(path: str) -> str:
    from pycontain.kernel.files import read_bytes

    try:
        data = read_bytes(path, limit=ENV_FILE_MAX)
        if b"\0" in data:
            raise UsageError(f"{path!r} has a NUL character: it is not a list of variables")
        return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path!r}: {os_text(error)}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path!r} is not UTF-8 at byte {error.start}") from None
    except ValueError:
        raise UsageError(f"{path!r} is not a path") from None


def environment(options: Options) -> dict[str, str | None]:
    """The variables of --env-file and --env together: files first, the last of a name wins. None unsets one."""
    merged: dict[str, str | None] = {}
    for variables in options.all("env-file", list):
        merged.update((one.name, one.value) for one in variables)
    merged.update((one.name, one.value) for one in options.all("env", Variable))
    return merged


def label(value: str) -> Pair:
    """``KEY=VALUE``, or KEY with an empty value."""
    key, _, content = value.partition("=")
    if not key:
        raise UsageError(f"{value!r} has no key: give KEY=VALUE")
    refuse_control(value)
    return Pair(key, content)


# --- mounts and devices -------------------------------------------------------------------------------------------

_PROPAGATION = ("rprivate", "private", "rslave", "slave", "rshared", "shared")
_OWNERS = ("idmap", "noidmap")
_BIND = ("ro", "rw", "rbind", "bind", "nosuid", "suid", "nodev", "dev", "noexec", "exec", *_OWNERS, *_PROPAGATION)
#: Labels for SELinux hosts, in Docker's and podman's command lines out of habit: nothing to do, as they do elsewhere.
_SELINUX = ("z", "Z")
_TMPFS = ("ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "relatime")
_TMPFS_DEFAULT = ("nosuid", "nodev", "noexec")
_OPPOSITES = (
    ("ro", "rw"),
    ("nosuid", "suid"),
    ("nodev", "dev"),
    ("noexec", "exec"),
    ("rbind", "bind"),
    _OWNERS,
    _PROPAGATION,
)


def target(value: str) -> str:
    """Where something is mounted in the container: absolute, not the root itself, ``//`` and ``..`` taken out."""
    path = "/" + os.path.normpath(absolute(value)).lstrip("/")
    if path == "/":
        raise UsageError(f"{value!r} is the container's root: give a path below it")
    return path


def _exclusive(options: list[str], value: str) -> None:
    for words in _OPPOSITES:
        found = [word for word in words if word in options]
        if len(found) > 1:
            raise UsageError(f"{value!r} has both {found[0]} and {found[1]}")


def volume(value: str) -> Mount:
    """``-v SOURCE:TARGET[:OPTIONS]``; SOURCE is an absolute path of the host or a volume's name."""
    parts = value.split(":")
    if len(parts) not in (2, 3):
        raise UsageError(f"{value!r} is not a volume: give SOURCE:TARGET[:OPTIONS] (paths with a colon: --mount)")
    source, where = parts[0], target(parts[1])
    options = []
    for word in parts[2].split(",") if len(parts) == 3 else ():
        if word in _BIND:
            options.append(word)
        elif word not in _SELINUX:
            raise UsageError(f"{value!r} has the option {word!r}, which is none of {' '.join(_BIND)}")
    _exclusive(options, value)
    refuse_control(source)
    if source.startswith("/"):
        return bind(source, where, options)
    try:
        return Mount("volume", name(source), where, options)
    except UsageError:
        raise UsageError(f"{source!r} is neither an absolute path (./x: $PWD/x) nor the name of a volume") from None


def bind(source: str, where: str, options: list[str]) -> Mount:
    """A bind mount, recursive and private where the options do not say otherwise."""
    if "bind" not in options and "rbind" not in options:
        options = ["rbind", *options]
    if not any(word in options for word in _PROPAGATION):
        options = [*options, "rprivate"]
    return Mount("bind", source, where, options)


def tmpfs(value: str) -> Mount:
    """``--tmpfs TARGET[:OPTIONS]`` (tmpfs(5)); nosuid, nodev and noexec where the options do not say otherwise."""
    path, _, words = value.partition(":")
    where = target(path)
    options = []
    for word in words.split(",") if words else ():
        key, equals, content = word.partition("=")
        if word in _TMPFS:
            options.append(word)
        elif equals and key in _TMPFS_VALUES:
            options.append(f"{key}={_TMPFS_VALUES[key](content)}")
        else:
            raise UsageError(
                f"{value!r} has the option {word!r}, which is none of"
                f" {' '.join(_TMPFS)} {' '.join(key + '=' for key in _TMPFS_VALUES)}"
            )
    _exclusive(options, value)
    missing = [word for word in _TMPFS_DEFAULT if word not in options and word.removeprefix("no") not in options]
    return Mount("tmpfs", "tmpfs", where, missing + options)


def _tmpfs_size(value: str) -> str:
    if value.endswith("%") and is_number(value[:-1]):
        return value
    return str(size(value))


def mode(value: str) -> str:
    """Permission bits in octal: 1777, 0755."""
    if not 3 <= len(value) <= 5 or not frozenset("01234567").issuperset(value) or int(value, 8) > 0o7777:
        raise UsageError(f"{value!r} is not a mode: give octal digits such as 1777")
    return value


def _number(value: str) -> str:
    return str(integer(0, (1 << 32) - 2)(value))


_TMPFS_VALUES = {
    "size": _tmpfs_size,
    "mode": mode,
    "uid": _number,
    "gid": _number,
    "nr_inodes": _number,
}

_MOUNT_KEYS = {
    "type": "type",
    "source": "source",
    "src": "source",
    "destination": "destination",
    "dst": "destination",
    "target": "destination",
    "readonly": "readonly",
    "ro": "readonly",
    "bind-propagation": "bind-propagation",
    "tmpfs-size": "tmpfs-size",
    "tmpfs-mode": "tmpfs-mode",
}


def mount(value: str) -> Mount:
    """``--mount type=bind,source=PATH,destination=PATH[,readonly][,bind-propagation=rslave]``,
    ``--mount type=tmpfs,destination=PATH[,tmpfs-size=64m][,tmpfs-mode=1777][,readonly]``."""
    fields = _mount_fields(value)
    kind = fields.get("type", "")
    if kind not in ("bind", "tmpfs"):
        raise UsageError(f"{value!r} is of type {kind!r}: give type=bind or type=tmpfs")
    refused = ("tmpfs-size", "tmpfs-mode") if kind == "bind" else ("source", "bind-propagation")
    for key in refused:
        if key in fields:
            raise UsageError(f"{value!r} has {key}, which type={kind} does not take")
    if "destination" not in fields:
        raise UsageError(f"{value!r} has no destination=PATH")
    where = target(fields["destination"])
    options = [fields["readonly"]] if fields.get("readonly") else []
    if kind == "tmpfs":
        if "tmpfs-size" in fields:
            options.append(f"size={_tmpfs_size(fields['tmpfs-size'])}")
        if "tmpfs-mode" in fields:
            options.append(f"mode={mode(fields['tmpfs-mode'])}")
        return Mount("tmpfs", "tmpfs", where, [*_TMPFS_DEFAULT, *options])
    if not fields.get("source", "").startswith("/"):
        raise UsageError(f"{value!r} has no source=PATH that begins with /")
    if "bind-propagation" in fields:
        if fields["bind-propagation"] not in _PROPAGATION:
            raise UsageError(f"{value!r}: bind-propagation is none of {' '.join(_PROPAGATION)}")
        options.append(fields["bind-propagation"])
    return bind(fields["source"], where, options)


def _mount_fields(value: str) -> dict[str, str]:
    refuse_control(value)
    fields: dict[str, str] = {}
    for part in value.split(","):
        word, equals, content = part.partition("=")
        key = _MOUNT_KEYS.get(word)
        if key is None:
            raise UsageError(f"{value!r} has {word!r}, which is none of {' '.join(_MOUNT_KEYS)}")
        if key in fields:
            raise UsageError(f"{value!r} gives {key} twice")
        if key == "readonly":
            if equals and content not in ("true", "false", "1", "0"):
                raise UsageError(f"{value!r}: {word} is true or false")
            content = "" if content in ("false", "0") else "ro"
        elif not content:
            raise UsageError(f"{value!r}: {word} has no value")
        fields[key] = content
    return fields


def device(value: str) -> Device:
    """``--device SOURCE[:TARGET][:rwm]``."""
    parts = value.split(":")
    source, rest = parts[0], parts[1:]
    access = rest.pop() if rest and not rest[-1].startswith("/") else "rwm"
    if len(rest) > 1 or not access or len(set(access)) != len(access) or not frozenset("rwm").issuperset(access):
        raise UsageError(f"{value!r} is not a device: give SOURCE[:TARGET[:rwm]] with absolute paths")
    source = target(source)
    return Device(source, target(rest[0]) if rest else source, access)


# --- limits -------------------------------------------------------------------------------------------------------

_INFINITY = (1 << 64) - 1


def _limit(value: str) -> int | None:
    if value in ("-1", "unlimited"):
        return _INFINITY
    number = int(value) if is_number(value) else -1
    return number if 0 <= number <= _INFINITY else None


def ulimit(value: str) -> Ulimit:
    """``--ulimit NAME=SOFT[:HARD]``, NAME as in launch.ops.RLIMITS without RLIMIT_, in small letters."""
    from pycontain.launch.ops import RLIMITS

    key, _, limits = value.partition("=")
    kind = f"RLIMIT_{key.upper()}"
    if not key.islower() or kind not in RLIMITS:
        known = " ".join(name.removeprefix("RLIMIT_").lower() for name in RLIMITS)
        raise UsageError(f"{value!r} limits {key!r}, which is none of {known}")
    low, colon, high = limits.partition(":")
    soft, hard = _limit(low), _limit(high if colon else low)
    if soft is None or hard is None:
        raise UsageError(f"{value!r} is not a limit: give {key}=SOFT[:HARD], numbers or unlimited")
    if soft > hard:
        raise UsageError(f"{value!r} has a soft limit above the hard one")
    return Ulimit(kind, soft, hard)


def cpus(value: str) -> int:
    """``--cpus 1.5`` as microseconds a CPU_PERIOD; 0 is no limit, and so is -1."""
    number = 0 if value == "-1" else decimal(value, 5)
    if number is None or number > 10**5 * 10**5 or 0 < number < CPU_QUOTA_MIN:
        raise UsageError(f"{value!r} is not a number of CPUs: give 0.01 or more, such as 0.5 or 2")
    return number


def cpu_quota(value: str) -> int:
    """Microseconds; 0 is no limit, and so is -1."""
    number = integer(-1)(value)
    if 0 < number < CPU_QUOTA_MIN:
        raise UsageError(f"{value!r} is too small: give {CPU_QUOTA_MIN} microseconds or more, or -1 for no limit")
    return max(number, 0)


def memory(value: str) -> int:
    """Bytes; -1 is no limit."""
    return -1 if value == "-1" else size(value)


def number_list(value: str) -> str:
    """Numbers of CPUs or memory nodes (cpuset(7), "List format"): ``0-2,5``."""
    for part in value.split(","):
        first, dash, last = part.partition("-")
        if not is_number(first) or (dash and (not is_number(last) or int(last) < int(first))) or int(first) > 1 << 16:
            raise UsageError(f"{value!r} is not a list of numbers: give numbers and ranges such as 0-2,5")
    return value


def _rated_device(value: str, read: Callable[[str], int], form: str) -> Rate:
    path, colon, rate = value.rpartition(":")
    if not colon or not path.startswith("/"):
        raise UsageError(f"{value!r} is not a device with its rate: give {form}")
    refuse_control(path)
    return Rate(path, 0 if rate == "-1" else read(rate))


def device_bps(value: str) -> Rate:
    """``/dev/sda:10m``: bytes a second."""
    return _rated_device(value, size, "DEVICE:SIZE, such as /dev/sda:10m")


def device_iops(value: str) -> Rate:
    """``/dev/sda:500``: operations a second."""
    return _rated_device(value, integer(0), "DEVICE:NUMBER, such as /dev/sda:500")


def pids_limit(value: str) -> int:
    """How many processes; -1 is no limit, and so is 0, as Docker has it."""
    return integer(-1, 1 << 22)(value) or -1


def sysctl(value: str) -> Pair:
    """``--sysctl net.core.somaxconn=1024``."""
    key, equals, content = value.partition("=")
    good = key and _SYSCTL.issuperset(key) and key[0] in _ALNUM and ".." not in key and "//" not in key
    if not good or not equals:
        raise UsageError(f"{value!r} is not a sysctl: give NAME=VALUE, such as net.core.somaxconn=1024")
    refuse_control(content.replace("\t", " "))
    return Pair(key, content)


def restart(value: str) -> Restart:
    """``no``, ``on-failure[:N]``, ``always``, ``unless-stopped``."""
    policy, colon, maximum = value.partition(":")
    if policy == "on-failure" and (not colon or is_number(maximum)):
        return Restart(policy, int(maximum or "0"))
    if value in ("no", "always", "unless-stopped"):
        return Restart(value)
    raise UsageError(f"{value!r} is not a restart policy: give no, on-failure[:N], always or unless-stopped")


def signal(value: str) -> int:
    """A signal by name (TERM, SIGTERM, RTMIN+3) or number 1 to 64, as signal(7)."""
    number = int(value) if is_number(value) else _named_signal(value.upper().removeprefix("SIG"))
    if not 1 <= number <= 64:
        raise UsageError(f"{value!r} is not a signal: give a name such as TERM, HUP or RTMIN+3, or a number 1 to 64")
    return number


def _named_signal(word: str) -> int:
    import _signal

    for base, first, sign in (("RTMIN+", _signal.SIGRTMIN, 1), ("RTMAX-", _signal.SIGRTMAX, -1)):
        if word.startswith(base) and is_number(word[6:]):
            number = first + sign * int(word[6:])
            return number if _signal.SIGRTMIN <= number <= _signal.SIGRTMAX else 0
    return 0 if word.startswith("_") else int(getattr(_signal, "SIG" + word, 0))


# --- network ------------------------------------------------------------------------------------------------------


def network(value: str) -> str:
    """``bridge``, ``routed``, ``none``, ``host``, ``container:NAME``; the first two with ``:KEY=VALUE,...`` as well, as
    it stands.
    """
    if value in ("bridge", "routed", "none", "host"):
        return value
    if value.startswith("container:"):
        if value == "container:":
            raise UsageError("container: lacks the name of a container: give container:NAME")
        plain(value)
        return value
    if value == "default":
        return "bridge"
    if value.startswith(("bridge:", "routed:")):
        from pycontain.cli import devices

        devices.parse(value)
        return value
    raise UsageError(f"{value!r} is not a network: give bridge, routed, none, host or container:NAME")


def userns(value: str) -> str:
    """``auto[:size=N]``, ``host``, ``keep-id``, ``private:MAP``, ``container:NAME``; checked, as it stands."""
    kind, _, argument = value.partition(":")
    if value in ("host", "keep-id", "auto"):
        return value
    if kind == "auto" and argument:
        from pycontain.engine.userns import auto_size

        auto_size(argument)
        return value
    if kind == "private" and argument:
        from pycontain.kernel.idmap import parse

        parse(argument)
        return value
    if kind == "container" and argument:
        return plain(value)
    raise UsageError(
        f"{value!r} is not a user namespace: give auto, auto:size=N, host, keep-id, private:UID:HOST:SIZE[,...] or"
        " container:NAME"
    )


def _is_address(value: str, family: int) -> bool:
    import _socket

    try:
        _socket.inet_pton(family, value)
    except (OSError, ValueError):
        return False
    return True


def ipv4(value: str) -> str:
    """An IPv4 address."""
    import _socket

    if not _is_address(value, _socket.AF_INET):
        several = ": with --network bridge it is one" if "," in value else ""
        raise UsageError(f"{value!r} is not an IPv4 address{several}")
    return value


def addresses(value: str) -> str:
    """IPv4 and IPv6 addresses with commas between them."""
    return ",".join([address(item) for item in value.split(",")])


def mac(value: str) -> str:
    """A MAC address of one device, as the kernel writes it."""
    from pycontain.network.routed import check_mac

    return check_mac(value)


def rate(value: str) -> int:
    """Bits a second."""
    from pycontain.network.routed import parse_rate

    return parse_rate(value)


def address(value: str) -> str:
    """An IPv4 or IPv6 address."""
    import _socket

    if not _is_address(value, _socket.AF_INET) and not _is_address(value, _socket.AF_INET6):
        raise UsageError(f"{value!r} is not an IP address")
    return value


def add_host(value: str) -> Pair:
    """``NAME:IP`` or ``NAME=IP``; an IPv6 address may stand in brackets; ``host-gateway`` is the host's address."""
    at = min((index for index in (value.find(":"), value.find("=")) if index > 0), default=0)
    host, where = value[:at], value[at + 1 :]
    if where.startswith("[") and where.endswith("]"):
        where = where[1:-1]
    if not _domain(host, 253):
        raise UsageError(f"{value!r} is not a host and its address: give NAME:IP")
    if where != "host-gateway":
        try:
            address(where)
        except UsageError:
            raise UsageError(f"{value!r}: {where!r} is not an IP address: give NAME:IP") from None
    return Pair(host, where)


# --- security -----------------------------------------------------------------------------------------------------


def capability(value: str) -> str:
    """``NET_ADMIN`` or ``CAP_NET_ADMIN`` in any case, as CAP_NET_ADMIN; ``ALL``."""
    from pycontain.kernel.capability import number

    word = value.upper()
    if word == "ALL":
        return word
    word = "CAP_" + word.removeprefix("CAP_")
    if number(word) is None:
        raise UsageError(f"{value!r} is not a capability: give a name of capabilities(7) such as NET_ADMIN, or ALL")
    return word


# --- terminal -----------------------------------------------------------------------------------------------------

_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def detach_keys(value: str) -> bytes:
    """``ctrl-p,ctrl-q``: keys with commas between, each a character or ctrl- and one of @a-z[\\]^_; empty for none."""
    keys = bytearray()
    for word in value.split(",") if value else ():
        if len(word) == 1 and " " <= word <= "~":
            keys.append(ord(word))
        elif word.startswith("ctrl-") and len(word) == 6 and word[5] in _CONTROL:
            keys.append(_CONTROL.index(word[5]))
        else:
            raise UsageError(f"{value!r} is not a key sequence: give keys such as ctrl-p,ctrl-q or a,b, or '' for none")
    return bytes(keys)
