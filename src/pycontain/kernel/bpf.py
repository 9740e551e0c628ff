"""bpf(2): programs of a cgroup, loaded, attached, exchanged. Not for the start road: it goes through ctypes.

A start loads and attaches its filter in the helper (src/helper/host.c, op_device_filter).
"""

from __future__ import annotations

import ctypes
import errno
import os
from _struct import Struct

from pycontain.kernel.errors import Error, os_text

# linux/bpf.h
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH = 5, 8, 9
_PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD, _PROG_QUERY = 13, 15, 16
_PROG_TYPE_CGROUP_DEVICE, _CGROUP_DEVICE = 15, 6
_ALLOW_MULTI, _REPLACE = 2, 4
#: asm/unistd.h
_SYSCALL = {"x86_64": 321, "i686": 357, "armv7l": 386, "s390x": 351, "ppc64le": 361}.get(os.uname().machine, 280)

#: union bpf_attr of PROG_LOAD: type, number of instructions, instructions, licence, log level, size and address of the
#: log, kernel version, flags, name.
_LOAD = Struct("=IIQQIIQII16s")
#: target, program, type, flags, program to replace
_ATTACH = Struct("=IIIII")
#: target, type, query flags, attach flags, address of the ids, how many fit
_QUERY = Struct("=IIIIQI4x")
#: program's descriptor, length and address of the answer
_INFO = Struct("=IIQ")
#: struct bpf_prog_info: type, id, tag, two lengths, two addresses, load time, uid, number and address of maps, name
_PROGRAM_INFO = Struct("=II8sIIQQQIIQ16s")

#: The name of our programs (bpftool prog show): the helper gives it as well. With it they are told from others'.
NAME = b"pycontain"
_IDS_MAX = 64
_LICENCE = b"Apache-2.0"

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """Raises OSError."""
    result = int(_libc.syscall(_SYSCALL, command, attributes, len(attributes)))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))


def load_device_program(program: bytes) -> int:
    """A descriptor of a program of type BPF_PROG_TYPE_CGROUP_DEVICE. Raises Error."""
    code, licence = _buffer(program), ctypes.create_string_buffer(_LICENCE)
    where = ctypes.addressof(code), ctypes.addressof(licence)
    attributes = _LOAD.pack(_PROG_TYPE_CGROUP_DEVICE, len(program) // 8, *where, 0, 0, 0, 0, 0, NAME)
    try:
        return _bpf(_PROG_LOAD, _buffer(attributes))
    except OSError as error:
        hint = {
            errno.EPERM: "; run as root, and raise RLIMIT_MEMLOCK on kernels before 5.11",
            errno.E2BIG: "; there are too many rules",
            errno.ENOSYS: "; the kernel is built without CONFIG_BPF_SYSCALL",
            errno.EINVAL: "; the kernel is older than 4.15 or built without CONFIG_CGROUP_BPF",
        }.get(error.errno or 0, "")
        raise Error(f"cannot load the program of the device rules: {os_text(error)}{hint}") from None


def attached(cgroup: int) -> list[int]:
    """The ids of the device programs of a cgroup itself. Raises OSError."""
    ids = (ctypes.c_uint32 * _IDS_MAX)()
    buffer = _buffer(_QUERY.pack(cgroup, _CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), _IDS_MAX))
    _bpf(_PROG_QUERY, buffer)
    count = min(_QUERY.unpack(buffer.raw)[5], _IDS_MAX)
    return list(ids[:count])


def open_program(number: int) -> int:
    """A descriptor of the program with this id. Raises OSError."""
    return _bpf(_PROG_GET_FD_BY_ID, _buffer(Struct("=III").pack(number, 0, 0)))


def name_of(program: int) -> bytes:
    """The name that a program was loaded with. Raises OSError."""
    info = ctypes.create_string_buffer(_PROGRAM_INFO.size)
    _bpf(_OBJ_GET_INFO_BY_FD, _buffer(_INFO.pack(program, _PROGRAM_INFO.size, ctypes.addressof(info))))
    name: bytes = _PROGRAM_INFO.unpack(info.raw)[-1]
    return name.rstrip(b"\0")


def attach_device(cgroup: int, program: int) -> None:
    """Attach one more program: an access must be allowed by all. Raises OSError."""
    _bpf(_PROG_ATTACH, _buffer(_ATTACH.pack(cgroup, program, _CGROUP_DEVICE, _ALLOW_MULTI, 0)))


def detach_device(cgroup: int, program: int) -> None:
    """Raises OSError."""
    _bpf(_PROG_DETACH, _buffer(_ATTACH.pack(cgroup, program, _CGROUP_DEVICE, 0, 0)))


def exchange_device(cgroup: int, old: int, new: int) -> None:
    """The new program in the old one's place, in one step. Raises OSError.

    Kernels before 5.6 cannot do it in one step: there both decide for a moment, so that nothing is ever allowed that
    one of them denies.
    """
    try:
        _bpf(_PROG_ATTACH, _buffer(_ATTACH.pack(cgroup, new, _CGROUP_DEVICE, _ALLOW_MULTI | _REPLACE, old)))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.E2BIG):
            raise
        attach_device(cgroup, new)
        detach_device(cgroup, old)
