"""The messages of CRIU's RPC (criu.org/RPC, images/rpc.proto): the few that are needed, as protobuf's bytes.

A message is a list of (field number, value): a number or a flag is a varint, text and messages are length and bytes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Value = int | str | bytes
    Fields = list[tuple[int, Value]]
    #: Field number → its values in their order.
    Message = dict[int, list[int | bytes]]

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_U64 = (1 << 64) - 1

# enum criu_req_type
DUMP, RESTORE, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 4, 6, 9, 10

#: message criu_opts: what is set here → number of the field
OPTIONS = {
    "images_dir_fd": 1,
    "pid": 2,
    "leave_running": 3,
    "ext_unix_sk": 4,
    "tcp_established": 5,
    "evasive_devices": 6,
    "shell_job": 7,
    "file_locks": 8,
    "log_level": 9,
    "log_file": 10,
    "ps": 11,
    "notify_scripts": 12,
    "root": 13,
    "parent_img": 14,
    "track_mem": 15,
    "auto_dedup": 16,
    "work_dir_fd": 17,
    "link_remap": 18,
    "ext_mnt": 23,
    "manage_cgroups": 24,
    "cg_root": 25,
    "rst_sibling": 26,
    "inherit_fd": 27,
    "force_irmap": 29,
    "manage_cgroups_mode": 34,
    "irmap_scan_paths": 36,
    "external": 37,
    "empty_ns": 38,
    "join_ns": 39,
    "freeze_cgroup": 44,
    "tcp_skip_in_flight": 46,
    "lazy_pages": 48,
    "orphan_pts_master": 50,
    "config_file": 51,
    "tcp_close": 52,
    "lsm_profile": 53,
    "lsm_mount_context": 63,
    "network_lock": 64,
}
# message criu_req; message criu_resp
REQUEST_TYPE, REQUEST_OPTIONS, REQUEST_NOTIFY_SUCCESS, REQUEST_FEATURES = 1, 2, 3, 5
RESPONSE_TYPE, RESPONSE_SUCCESS, RESPONSE_NOTIFY = 1, 2, 5
RESPONSE_ERRNO, RESPONSE_FEATURES, RESPONSE_ERRMSG, RESPONSE_VERSION = 7, 8, 9, 10
#: enum criu_cg_mode by runc's words for it; without a word it is CRIU's default
CGROUP_MODES = {"": 6, "soft": 3, "full": 4, "strict": 5, "ignore": 0}
#: enum criu_network_lock_method: by libnftables, for which no program needs to be installed
NETWORK_LOCK_NFTABLES = 2


def _varint(value: int) -> bytes:
    value &= _U64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(fields: Iterable[tuple[int, Value]]) -> bytes:
    """A message."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += _varint(number << 3 | _VARINT) + _varint(value)
            continue
        data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        out += _varint(number << 3 | _BYTES) + _varint(len(data)) + data
    return out


def decode(data: bytes) -> Message:
    """The fields of a message. Raises ValueError for what is no message."""
    found: Message = {}
    at = 0
    while at < len(data):
        key, at = _read(data, at)
        kind = key & 7
        value: int | bytes
        if kind == _VARINT:
            value, at = _read(data, at)
        else:
            size = 8 if kind == _EIGHT else 4
            if kind == _BYTES:
                size, at = _read(data, at)
            elif kind not in (_EIGHT, _FOUR):
                raise ValueError(f"wire type {kind}")
            if at + size > len(data):
                raise ValueError("the message is cut off")
            value = data[at : at + size]
            at += size
        found.setdefault(key >> 3, []).append(value)
    return found


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("the message is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value & _U64, at


def number(message: Message, field: int, default: int = 0) -> int:
    """The last value of a field of numbers."""
    value = message.get(field, [default])[-1]
    return value if isinstance(value, int) else default


def text(message: Message, field: int) -> str:
    """The last value of a field of text, "" where it is not there."""
    value = message.get(field, [b""])[-1]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def inner(message: Message, field: int) -> Message:
    """A message in a message, an empty one where it is not there. Raises ValueError."""
    value = message.get(field, [b""])[-1]
    return decode(value) if isinstance(value, bytes) else {}


def pair(first: int | str, second: int | str) -> bytes:
    """A message with the fields 1 and 2: ext_mount_map, inherit_fd, cgroup_root, join_namespace, page server."""
    return encode([(1, first), (2, second)])
