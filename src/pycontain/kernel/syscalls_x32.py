"""System calls of x32: Linux 7.2, x86/asm/unistd_x32.h. Made by tests/gen_syscalls.py.

They are those of x86_64 with bit 30 set, but for the calls whose arguments hold pointers.
"""

from __future__ import annotations

from pycontain.kernel.syscalls_x86_64 import NUMBERS as _X86_64

#: __X32_SYSCALL_BIT
BIT = 0x40000000

_OWN: dict[str, int] = {
    "rt_sigaction": 512,
    "rt_sigreturn": 513,
    "ioctl": 514,
    "readv": 515,
    "writev": 516,
    "recvfrom": 517,
    "sendmsg": 518,
    "recvmsg": 519,
    "execve": 520,
    "ptrace": 521,
    "rt_sigpending": 522,
    "rt_sigtimedwait": 523,
    "rt_sigqueueinfo": 524,
    "sigaltstack": 525,
    "timer_create": 526,
    "mq_notify": 527,
    "kexec_load": 528,
    "waitid": 529,
    "set_robust_list": 530,
    "get_robust_list": 531,
    "vmsplice": 532,
    "move_pages": 533,
    "preadv": 534,
    "pwritev": 535,
    "rt_tgsigqueueinfo": 536,
    "recvmmsg": 537,
    "sendmmsg": 538,
    "process_vm_readv": 539,
    "process_vm_writev": 540,
    "setsockopt": 541,
    "getsockopt": 542,
    "io_setup": 543,
    "io_submit": 544,
    "execveat": 545,
    "preadv2": 546,
    "pwritev2": 547,
}

_MISSING = frozenset(
    (
        "_sysctl",
        "create_module",
        "epoll_ctl_old",
        "epoll_wait_old",
        "get_kernel_syms",
        "get_thread_area",
        "nfsservctl",
        "query_module",
        "set_thread_area",
        "uselib",
        "vserver",
    )
)

NUMBERS: dict[str, int] = {name: number | BIT for name, number in {**_X86_64, **_OWN}.items() if name not in _MISSING}
