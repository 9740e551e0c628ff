"""Image references: ``[registry[:port]/]path[:tag][@algorithm:digest]``.

The grammar is that of github.com/distribution/reference, which Docker and podman use. A name without a registry is a
local one and stays as it is: there is no docker.io that it could mean.
"""

from __future__ import annotations

from pycontain.kernel.errors import UsageError

DEFAULT_TAG = "latest"

#: A reference is the name of a file under refs/ (NAME_MAX 255), and a little more while that is made.
_MAX_FILE_NAME = 240
_MAX_NAME = 255
_MAX_TAG = 128

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALNUM = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_TAG = _ALNUM | frozenset("_.-")
_HEX = frozenset("0123456789abcdef")
_PLAIN = _TAG
#: Length of the hexadecimal digests that the OCI image specification registers (descriptor.md, "Digests").
_DIGESTS = {"sha256": 64, "sha384": 96, "sha512": 128}

_SHAPE = "give [REGISTRY[:PORT]/]NAME[:TAG][@DIGEST]"


class Reference:
    """A parsed reference. ``tag`` is "" where only a digest was given, ``registry`` and ``digest`` may be ""."""

    __slots__ = ("digest", "path", "registry", "tag")

    def __init__(self, path: str, tag: str = DEFAULT_TAG, registry: str = "", digest: str = "") -> None:
        self.registry = registry
        self.path = path
        self.tag = tag
        self.digest = digest

    @property
    def name(self) -> str:
        """Registry and path, without tag and digest."""
        return f"{self.registry}/{self.path}" if self.registry else self.path

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}@{self.digest}" if self.digest else f"{self.name}{tag}"

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def encode(self) -> str:
        """The file name under refs/: percent-encoded (RFC 3986, 2.1), never hidden, "." or ".."."""
        return encode(str(self))


def encode(text: str) -> str:
    """``text`` as one file name: all but letters, digits, ``_``, ``.`` and ``-`` percent-encoded, a leading dot too."""
    data = text.encode()
    encoded = "".join([chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in data])
    return "%2E" + encoded[1:] if encoded[:1] == "." else encoded


def decode(name: str) -> str:
    """The reference that a file name under refs/ stands for. Raises ValueError where it is none of ours."""
    head, *rest = name.split("%")
    data = bytearray(head.encode())
    for part in rest:
        data.append(int(part[:2], 16))
        data += part[2:].encode()
    text = data.decode()
    if encode(text) != name:
        raise ValueError(f"not an encoded reference: {name!r}")
    return text


def parse(text: str) -> Reference:
    """The reference that ``text`` means; without tag and digest it has the tag "latest".

    Raises UsageError that says what is wrong and what would be right.
    """
    if not text:
        raise UsageError(f"the image reference is empty: {_SHAPE}")
    if any(char <= " " or char == "\x7f" for char in text):
        raise _bad(text, "it has a space or control character")
    rest, at, digest = text.partition("@")
    if at:
        _check_digest(text, digest)
    name, tag = _split_tag(rest)
    if tag is not None:
        _check_tag(text, tag)
    registry, path = _split_registry(name)
    if registry:
        _check_registry(text, registry)
    _check_path(text, path)
    if len(name) > _MAX_NAME:
        raise _bad(text, f"the name has {len(name)} characters, more than {_MAX_NAME}")
    reference = Reference(path, tag if tag is not None else "" if digest else DEFAULT_TAG, registry, digest)
    if len(reference.encode()) > _MAX_FILE_NAME:
        raise _bad(text, f"it is longer than the {_MAX_FILE_NAME} bytes that the image store can name")
    return reference


def is_id(text: str) -> bool:
    """Whether ``text`` may be an image ID or the beginning of one: six or more lower-case hexadecimal digits."""
    return 6 <= len(text) <= 64 and _HEX.issuperset(text)


def _bad(text: str, problem: str) -> UsageError:
    text = text if len(text) <= 80 else text[:79] + "…"
    problem = problem if len(problem) <= 160 else problem[:159] + "…"
    return UsageError(f"image reference {text!r}: {problem}: {_SHAPE}")


def _split_tag(text: str) -> tuple[str, str | None]:
    """Name and tag; a colon before the last slash belongs to a registry's port."""
    slash = text.rfind("/")
    colon = text.find(":", slash + 1)
    if colon < 0:
        return text, None
    return text[:colon], text[colon + 1 :]


def _split_registry(name: str) -> tuple[str, str]:
    """Registry and path: the first component is a registry where it cannot be meant as a part of the path."""
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or any(char in ".:[" for char in first) or first != first.lower()):
        return first, rest
    return "", name


def _check_tag(text: str, tag: str) -> None:
    if not tag:
        raise _bad(text, "the tag after the colon is empty")
    if tag[0] in ".-" or not _TAG.issuperset(tag):
        raise _bad(
            text, f"tag {tag!r} may have letters, digits, '_', '.' and '-', and begins with none of the last two"
        )
    if len(tag) > _MAX_TAG:
        raise _bad(text, f"the tag has {len(tag)} characters, more than {_MAX_TAG}")


def _check_digest(text: str, digest: str) -> None:
    algorithm, _, value = digest.partition(":")
    length = _DIGESTS.get(algorithm)
    if length is None:
        raise _bad(text, f"the digest after '@' begins with none of {', '.join(name + ':' for name in _DIGESTS)}")
    if len(value) != length or not _HEX.issuperset(value):
        raise _bad(text, f"a {algorithm} digest has {length} lower-case hexadecimal digits")


def _check_path(text: str, path: str) -> None:
    if not path:
        raise _bad(text, "the name is empty")
    for component in path.split("/"):
        if not component:
            raise _bad(text, "a part of the name is empty (a slash too many)")
        if component != component.lower():
            raise _bad(text, f"the name must be lower case ({component.lower()!r})")
        if not _is_component(component):
            raise _bad(
                text,
                f"{component!r} may have letters and digits, with one '.', one or two '_' or some '-' between them",
            )
    if len(path) == 64 and _HEX.issuperset(path):
        raise _bad(text, "64 hexadecimal digits are an image ID, not a name")


def _is_component(text: str) -> bool:
    """alpha-numeric [separator alpha-numeric]*, separator: "." | "_" | "__" | "-"*."""
    if text[0] not in _LOWER or text[-1] not in _LOWER:
        return False
    separator = ""
    for char in text:
        if char not in _LOWER:
            separator += char
        elif separator:
            if separator not in (".", "_", "__") and separator.strip("-"):
                return False
            separator = ""
    return True


def _check_registry(text: str, registry: str) -> None:
    host, port = _split_port(registry)
    if port is not None and not (len(port) < 6 and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _bad(text, f"port {port!r} of the registry is not a number from 1 to 65535")
    if host.startswith("["):
        if not (host.endswith("]") and len(host) > 4 and frozenset("0123456789abcdefABCDEF:.").issuperset(host[1:-1])):
            raise _bad(text, f"registry {host!r} is not an IPv6 address in brackets")
        return
    for part in host.split("."):
        if not part or part[0] == "-" or part[-1] == "-" or not (_ALNUM | {"-"}).issuperset(part):
            raise _bad(text, f"registry {host!r} is not a host name")


def _split_port(registry: str) -> tuple[str, str | None]:
    end = registry.rfind("]")
    if end < 0 and registry[0] == "[":
        return registry, None
    colon = registry.find(":", end + 1)
    return (registry, None) if colon < 0 else (registry[:colon], registry[colon + 1 :])
