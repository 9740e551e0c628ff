"""An emulated machine (QEMU, without hardware support) with Debian's kernel, booted in some six seconds.

It is for the controllers and devices that User-mode Linux has not: cpuset, rdma, huge pages, disks with a scheduler.
Its root is an initramfs with the interpreter of the test hosts' Debian, busybox and a few modules; the sources of
pycontain and of these tests are put beside it for each job.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.host import cache, debian
from tests.host.cache import NotReady
from tests.host.machine import CHECKOUT, DIED, Result

#: What a job may load with modprobe.
MODULES = ("loop", "bfq", "null_blk", "dummy", "rdma_rxe", "ib_uverbs", "crc32_generic")
_PROGRAMS = ("usr/bin/python3", "bin/busybox", "bin/ip", "bin/rdma")
#: Parts of Python's library that no job needs, the largest ones.
_LEFT_OUT = ("test", "idlelib", "lib2to3", "ensurepip", "distutils", "asyncio", "email", "xml", "config-3.*")
_PACKAGES = ("qemu-system-x86", "kmod")
_INIT = """#!/bin/sh
export PATH=/bin:/usr/bin PYTHONPATH=/guest/src:/guest
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp; mount -t cgroup2 cgroup2 /sys/fs/cgroup
sh /guest/job </dev/null >/dev/ttyS1 2>&1
echo "$?" >/dev/ttyS2
poweroff -f
"""


def _run(command: list[str], what: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise NotReady(
            f"the emulated machine: {what} failed: {' '.join(command)}: {(done.stderr or done.stdout)[-500:]}"
        )
    return done.stdout


def _kernel_package() -> str:
    """Debian's kernel of this release, by its exact name."""
    text = _run(["apt-cache", "depends", "linux-image-amd64"], "finding the kernel's package")
    found = re.search(r"Depends: (linux-image-\S+)", text)
    if not found:
        raise NotReady("the emulated machine: apt does not know linux-image-amd64: apt-get update")
    return found[1]


def parts() -> Path:
    """A directory with ``vmlinuz`` and ``initrd``; made at first. Raises NotReady."""
    for program in ("qemu-system-x86_64", "depmod"):
        if not shutil.which(program):
            raise NotReady(f"the emulated machine wants {program}: apt-get install {' '.join(_PACKAGES)}")
    root, package = debian.root(), _kernel_package()

    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            _run(["apt-get", "download", package], "downloading the kernel", directory)
            (archive,) = directory.glob("*.deb")
            _run(["dpkg-deb", "-x", str(archive), str(directory / "kernel")], "unpacking the kernel")
            (image,) = (directory / "kernel" / "boot").glob("vmlinuz-*")
            shutil.copy(image, path / "vmlinuz")
            _fill(directory / "root", root, directory / "kernel")
            _pack(directory / "root", path / "initrd")

    return cache.kept("emulated", cache.digest([package, str(root), _INIT, *MODULES, *_PROGRAMS]), make)


def _fill(top: Path, root: Path, kernel: Path) -> None:
    """The initramfs: programs with their libraries, Python's library, modules, init."""
    for name in ("bin", "dev", "proc", "run", "sys", "guest", "tmp", "usr/bin", "usr/lib"):
        (top / name).mkdir(parents=True)
    for program in _PROGRAMS:
        _copy(root, top, program)
        for library in re.findall(
            r"/\S+", _run(["chroot", str(root), "ldd", f"/{program}"], "ldd") if program != "bin/busybox" else ""
        ):
            _copy(root, top, library.lstrip("/"))
    for applet in _run([str(root / "bin/busybox"), "--list"], "busybox").split():
        if not (top / "bin" / applet).exists():
            (top / "bin" / applet).symlink_to("busybox")
    for library in (root / "usr/lib").glob("python3.*"):
        shutil.copytree(
            library, top / "usr/lib" / library.name, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True
        )
        for module in library.glob("lib-dynload/*.so"):
            for needed in re.findall(
                r"/\S+", _run(["chroot", str(root), "ldd", f"/{module.relative_to(root)}"], "ldd")
            ):
                _copy(root, top, needed.lstrip("/"))
    _modules(top, kernel)
    (top / "init").write_text(_INIT)
    (top / "init").chmod(0o755)


def _copy(root: Path, top: Path, name: str) -> None:
    """One file of the root, at its place, through the links of a merged /usr."""
    target = top / name
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # links in the root are absolute for the root
    source = Path(_run(["chroot", str(root), "readlink", "-f", f"/{name}"], "readlink").strip())
    shutil.copy2(root / source.relative_to("/"), target)


def _modules(top: Path, kernel: Path) -> None:
    (tree,) = (kernel / "lib/modules").iterdir()
    _run(["depmod", "-b", str(kernel), tree.name], "depmod")
    for module in MODULES:
        listed = _run(["modprobe", "-d", str(kernel), "-S", tree.name, "--show-depends", module], "modprobe")
        for file in re.findall(r"^insmod (\S+)", listed, re.M):
            target = top / Path(file).relative_to(kernel)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(tree / name, top / "lib/modules" / tree.name / name)
    _run(["depmod", "-b", str(top), tree.name], "depmod")


def _pack(top: Path, archive: Path) -> None:
    """A cpio archive as the kernel unpacks it; several may stand one after another."""
    with archive.open("ab") as output:
        names = "\n".join(sorted(str(path.relative_to(top)) for path in top.rglob("*")))
        subprocess.run(
            ["busybox", "cpio", "-o", "-H", "newc"], cwd=top, input=names.encode(), stdout=output,
            stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip


def run(script: str, *, timeout: float = 120, memory: str = "1G") -> Result:
    """Run a shell script as root in an emulated machine of its own; pycontain's sources are on Python's path.

    timeout: seconds after which the machine is killed; then the status is DIED. Raises NotReady.
    """
    made = parts()
    with tempfile.TemporaryDirectory(prefix="pycontain-emulated-") as name:
        directory = Path(name)
        work = directory / "root" / "guest"
        for source, target in (("src/pycontain", "src/pycontain"), ("tests/host", "tests/host")):
            shutil.copytree(CHECKOUT / source, work / target, ignore=shutil.ignore_patterns("__pycache__"))
        (work / "job").write_text(script)
        shutil.copy(made / "initrd", directory / "initrd")
        _pack(directory / "root", directory / "initrd")
        began = time.monotonic()
        _boot(directory, made, memory, timeout)
        seconds = time.monotonic() - began
        texts = [(directory / part).read_text(errors="replace") for part in ("console", "output", "status")]
        status = int(texts[2]) if texts[2].strip().isdigit() else DIED
        return Result(status, texts[1].replace("\r\n", "\n"), texts[0], seconds)


def _boot(directory: Path, made: Path, memory: str, timeout: float) -> None:
    command = [
        *("setpriv", "--pdeathsig", "KILL", "timeout", "-s", "KILL", f"{timeout:g}"),
        *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", memory),
        *("-display", "none", "-nodefaults", "-no-reboot"),
        *(word for part in ("console", "output", "status") for word in ("-serial", f"file:{directory / part}")),
        *("-kernel", str(made / "vmlinuz"), "-initrd", str(directory / "initrd")),
        *("-append", "console=ttyS0 quiet panic=-1"),
    ]
    for part in ("console", "output", "status"):
        (directory / part).touch()
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=sys.stderr, check=False)
