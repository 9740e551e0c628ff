"""Make src/pycontain/kernel/syscalls_*.py from the kernel's exported headers.

usage: python tests/gen_syscalls.py UAPI LINUX-VERSION

UAPI has one directory an architecture (x86/asm/unistd_64.h …), as Debian's package linux-libc-dev installs them in
/usr/lib/linux/uapi. Numbers never change once they are in a release, so this runs when a kernel has new calls.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "src/pycontain/kernel"
X32_BIT = 0x40000000
#: arch/arm/include/uapi/asm/unistd.h: calls outside the table, at __ARM_NR_BASE; and an alias.
ARM_PRIVATE = ("breakpoint", "cacheflush", "usr26", "usr32", "set_tls", "get_tls")
ARM_BASE = 0x0F0000


def read_header(path: Path) -> dict[str, int]:
    """The ``__NR_name`` definitions of a header, without the base that they are added to."""
    numbers = {}
    for name, number in re.findall(r"^#define __NR_(\w+)\s+\(?(?:\w+ \+ )?(\d+)\)?$", path.read_text(), re.MULTILINE):
        numbers[name] = int(number)
    if len(numbers) < 300:
        raise SystemExit(f"{path}: {len(numbers)} system calls found, so it is not the header that was expected")
    return numbers


def lines(numbers: dict[str, int]) -> str:
    rows = sorted(numbers.items(), key=lambda item: (item[1], item[0]))
    return "".join(f'    "{name}": {number},\n' for name, number in rows)


def write(name: str, header: str, version: str, numbers: dict[str, int], note: str = "") -> None:
    (OUT / f"syscalls_{name}.py").write_text(
        f'"""System calls of {name}: Linux {version}, {header}. Made by tests/gen_syscalls.py.{note}"""\n\n'
        f"from __future__ import annotations\n\nNUMBERS: dict[str, int] = {{\n{lines(numbers)}}}\n"
    )


def write_x32(version: str, x32: dict[str, int], x86_64: dict[str, int]) -> None:
    own = {name: number for name, number in x32.items() if x86_64.get(name) != number}
    missing = sorted(set(x86_64) - set(x32))
    (OUT / "syscalls_x32.py").write_text(
        f'"""System calls of x32: Linux {version}, x86/asm/unistd_x32.h. Made by tests/gen_syscalls.py.\n\n'
        "They are those of x86_64 with bit 30 set, but for the calls whose arguments hold pointers.\n"
        '"""\n\n'
        "from __future__ import annotations\n\n"
        "from pycontain.kernel.syscalls_x86_64 import NUMBERS as _X86_64\n\n"
        "#: __X32_SYSCALL_BIT\n"
        "BIT = 0x40000000\n\n"
        "_OWN: dict[str, int] = {\n" + lines(own) + "}\n\n"
        "_MISSING = frozenset(\n    (\n" + "".join(f'        "{name}",\n' for name in missing) + "    )\n)\n\n"
        "NUMBERS: dict[str, int] = {name: number | BIT for name, number in {**_X86_64, **_OWN}.items()"
        " if name not in _MISSING}\n"
    )


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    uapi, version = Path(sys.argv[1]), sys.argv[2]
    x86_64 = read_header(uapi / "x86/asm/unistd_64.h")
    arm = read_header(uapi / "arm/asm/unistd-eabi.h")
    arm.update({name: ARM_BASE + 1 + at for at, name in enumerate(ARM_PRIVATE)})
    arm["sync_file_range2"] = arm["arm_sync_file_range"]
    write("x86_64", "x86/asm/unistd_64.h", version, x86_64)
    write("x86", "x86/asm/unistd_32.h", version, read_header(uapi / "x86/asm/unistd_32.h"))
    write("aarch64", "arm64/asm/unistd_64.h", version, read_header(uapi / "arm64/asm/unistd_64.h"))
    write("arm", "arm/asm/unistd-eabi.h", version, arm)
    write_x32(version, read_header(uapi / "x86/asm/unistd_x32.h"), x86_64)


if __name__ == "__main__":
    main()
