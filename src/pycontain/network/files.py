"""The files about names that a container gets: /etc/resolv.conf and /etc/hosts. Texts in, texts out.

``host_resolv_conf() -> str``
    the host's, or the real list behind a resolver that listens on the host's loopback.
``resolv_conf(host_text, dns=(), search=(), options=()) -> str``
``extra_host(text, gateway) -> (name, address)``
    one --add-host flag, NAME:ADDRESS; the address ``host-gateway`` is the host's on the bridge.
``hosts(hostname, addresses, extra=()) -> str``

What users give is checked: a line's end in a name would be a line of theirs. Raises UsageError.
"""

from __future__ import annotations

from pycontain.kernel import files
from pycontain.kernel.errors import UsageError
from pycontain.network.settings import family, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_ETC = "/etc/resolv.conf"
#: systemd-resolved(8) writes the servers that it asks here, while /etc/resolv.conf names itself.
_RESOLVED = "/run/systemd/resolve/resolv.conf"
#: resolv.conf(5): the C library reads no more servers.
_SERVERS = 3

_HOSTS_HEAD = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def _read(path: str) -> str:
    try:
        return files.read_text(path)
    except OSError:
        return ""


def host_resolv_conf(etc: str = _ETC, resolved: str = _RESOLVED) -> str:
    """The host's resolv.conf; where no server of it can be reached from a container, systemd-resolved's list."""
    text = _read(etc)
    if any(_reachable(server) for server in _servers(text)):
        return text
    other = _read(resolved)
    return other if any(_reachable(server) for server in _servers(other)) else text


def _servers(text: str) -> list[str]:
    return [words[1] for words in _lines(text) if words[0] == "nameserver" and len(words) > 1]


def _lines(text: str) -> list[list[str]]:
    """The words of each line that says something; comments begin with # or ; (resolv.conf(5))."""
    lines = [line.split() for line in text.splitlines()]
    return [words for words in lines if words and words[0][0] not in "#;"]


def _reachable(server: str) -> bool:
    """Whether a container can ask a server: not on the host's loopback, not on a link that the container is not on."""
    if not family(server):
        return False  # with "%eth0", too: a link-local address of the host's link
    address = packed(server)
    if len(address) == 4:
        return address[0] not in (0, 127)
    return address[:15] != bytes(15) and not (address[0] == 0xFE and address[1] & 0xC0 == 0x80)


def resolv_conf(
    host_text: str, dns: Sequence[str] = (), search: Sequence[str] = (), options: Sequence[str] = ()
) -> str:
    """A container's resolv.conf: what is given, each for itself, else the host's. ``search`` of ``.`` is none."""
    for server in dns:
        if not family(server):
            raise UsageError(f"--dns {server!r}: not an IPv4 or IPv6 address")
    for name in search:
        _check(name, "--dns-search")
    for name in options:
        _check(name, "--dns-option")
    host = _lines(host_text)
    servers = list(dns) or [server for server in _servers(host_text) if _reachable(server)]
    domains = list(search) or _last(host, ("search", "domain"))
    flags = list(options) or [word for words in host if words[0] == "options" for word in words[1:]]
    lines = [f"nameserver {server}" for server in servers[:_SERVERS]]
    if not lines:
        lines.append("# No name server: the host's cannot be reached from a container; give one with --dns.")
    if domains and domains != ["."]:
        lines.append(f"search {' '.join(domains)}")
    if flags:
        lines.append(f"options {' '.join(flags)}")
    return "\n".join(lines) + "\n"


def _last(lines: list[list[str]], keywords: tuple[str, ...]) -> list[str]:
    found = [words[1:] for words in lines if words[0] in keywords]
    return found[-1] if found else []


def _check(text: str, what: str) -> None:
    """Refuse what would be another word or line in a file of words and lines."""
    bad = [
        character for character in text if character <= " " or character == "\x7f" or character in "#\x85\u2028\u2029"
    ]
    if bad or not text:
        problem = f"has {bad[0]!r} in it" if bad else "is empty"
        raise UsageError(f"{what} {text!r}: {problem}; it must be one word without '#' or control characters")


def extra_host(text: str, gateway: str | None = None) -> tuple[str, str]:
    """One --add-host flag, ``NAME:ADDRESS`` or ``NAME=ADDRESS``, as (name, address). Raises UsageError."""
    cut = min([at for at in (text.find(":"), text.find("=")) if at > 0], default=0)
    name, address = text[:cut], text[cut + 1 :].removeprefix("[").removesuffix("]")
    if address == "host-gateway":
        if not gateway:
            raise UsageError(f"--add-host {text!r}: host-gateway has a meaning only on the bridge network")
        address = gateway
    if not name or not family(address):
        raise UsageError(f"--add-host {text!r}: the form is NAME:ADDRESS with an IPv4 or IPv6 address or host-gateway")
    _check(name, "--add-host")
    return name, address


def hosts(hostname: str, addresses: Sequence[str], extra: Sequence[tuple[str, str]] = ()) -> str:
    """A container's hosts file: loopback, itself by all its addresses, then ``extra`` (name, address) pairs.

    A host name with a domain gets its short form too, after it (hosts(5): the canonical name comes first). With no
    address the name means the loopback address.
    """
    if hostname:
        _check(hostname, "--hostname")
    lines = [_HOSTS_HEAD]
    short = hostname.partition(".")[0]
    names = f"{hostname} {short}" if short and short != hostname else hostname
    for address in [item for item in addresses if item] or ["127.0.0.1"]:
        if not family(address):
            raise UsageError(f"{address!r} is not an IPv4 or IPv6 address")
        if hostname:
            lines.append(f"{address}\t{names}\n")
    for name, address in extra:
        _check(name, "--add-host")
        if not family(address):
            raise UsageError(f"--add-host {name}: {address!r} is not an IPv4 or IPv6 address")
        lines.append(f"{address}\t{name}\n")
    return "".join(lines)
