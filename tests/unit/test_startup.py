"""What the start road imports (docs/design.md, "The start road"): an interpreter has only milliseconds.

The installed command's own modules run in a namespace of their own up to the moment at which Python would become the
helper; there sys.modules is read, and the start fails, so that everything is taken back.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pycontain.cgroup import hierarchy
from pycontain.oci.create import DEFAULT_CGROUP_PARENT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a start needs root")

PACKAGES = sysconfig.get_path("platlib")
PYCONTAIN, PYCONTAIN_OCI = (Path(sys.executable).parent / name for name in ("pycontain", "pycontain-oci"))

#: docs/design.md, but for what every interpreter has, and pycontain's own. Every module begins with __future__.
ALLOWED = frozenset(
    "__future__ os posix _json _struct _socket fcntl select time errno marshal gc _signal _blake2 sys _stat".split()
)

#: What the front of the command executes (src/helper/find.c), but with an execve that tells and fails.
ROAD = """
import sys
sys.path.insert(0, {packages!r})
import os
def execve(*arguments):
    os.write({report}, " ".join(sys.modules).encode())
    raise OSError(5, "that was far enough")
os.execve = execve
from pycontain.{face}.main import run
run()
"""


class Namespace:
    """pycontain with directories of its own, in a mount and a network namespace that end with this object."""

    def __init__(self, base: Path) -> None:
        self.root, self.run_root, self.oci = base / "root", base / "run", base / "oci"
        self.flags = ["--root", str(self.root), "--run-root", str(self.run_root)]
        # cat holds the namespaces until its input ends
        hold = ["unshare", "--mount", "--net", "--propagation", "private", "cat"]
        self.holder = subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.holder.stdin and self.holder.stdout
        self.holder.stdin.write(b"there\n")
        self.holder.stdin.flush()
        assert self.holder.stdout.readline() == b"there\n"

    def execute(self, command: list[str], pass_fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "--mount", "--net", "-t", str(self.holder.pid), *command]
        return subprocess.run(
            enter, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=100, pass_fds=pass_fds
        )

    def pycontain(self, *arguments: str) -> str:
        done = self.execute([str(PYCONTAIN), *self.flags, *arguments])
        assert done.returncode == 0, done
        return done.stdout.strip()

    def pycontain_oci(self, *arguments: str) -> None:
        # what a container that stays has for standard output is no pipe of ours: nobody would see its end
        errors = self.root.with_name("errors")
        quiet = ["sh", "-c", 'exec "$@" >/dev/null 2>"$0"', str(errors)]
        done = self.execute([*quiet, str(PYCONTAIN_OCI), "--root", str(self.oci), *arguments])
        assert done.returncode == 0, errors.read_text()

    def modules(self, *arguments: str) -> set[str]:
        """sys.modules at the moment of execve."""
        return self._modules("cli", [*self.flags, *arguments])

    def oci_modules(self, *arguments: str) -> set[str]:
        """The same of pycontain-oci."""
        return self._modules("oci", ["--root", str(self.oci), *arguments])

    def _modules(self, face: str, arguments: list[str]) -> set[str]:
        reader, writer = os.pipe()
        script = ROAD.format(packages=PACKAGES, report=writer, face=face)
        command = [sys.executable, "-I", "-S", "-c", script, *arguments]
        done = self.execute(command, pass_fds=(writer,))
        os.close(writer)
        with open(reader) as file:
            found = set(file.read().split())
        assert found, done
        assert "that was far enough" in done.stderr or "Input/output error" in done.stderr, done
        return found

    def close(self) -> None:
        self.pycontain("rm", "-f", "--all")
        assert self.holder.stdin
        self.holder.stdin.close()
        self.holder.wait()
        with suppress(OSError):  # not there, or others have containers
            Path(hierarchy.find().mount, DEFAULT_CGROUP_PARENT.lstrip("/")).rmdir()


@pytest.fixture(scope="module")
def namespace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """One image, a bridge that is up, a container that runs and one that does not."""
    assert PYCONTAIN.exists(), f"{PYCONTAIN} is missing: make build"
    found = Namespace(tmp_path_factory.mktemp("startup"))
    try:
        found.pycontain("image", "build", "sparse")
        found.pycontain("run", "-d", "--name", "running", "sparse", "sleep", "1000")
        found.pycontain("create", "--name", "made", "sparse", "true")
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def bare() -> set[str]:
    """What the interpreter itself has when os is imported."""
    command = [sys.executable, "-I", "-S", "-c", "import sys, os; print(' '.join(sys.modules))"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--rm", "sparse", "true"],
        ["run", "--rm", "--network", "none", "sparse", "true"],
        ["run", "--rm", "--network", "host", "sparse", "true"],
        ["run", "--rm", "--network", "container:running", "sparse", "true"],
        [
            "run",
            "-d",
            "--name",
            "x",
            "-p",
            "8080:80",
            "-e",
            "A=b",
            "-v",
            "/tmp:/mnt:ro",
            "-u",
            "nobody",
            "sparse",
            "true",
        ],
        ["run", "--rm", "-m", "0", "--read-only", "--tmpfs", "/run", "--hostname", "h", "-w", "/tmp", "sparse", "true"],
        ["run", "--rm", "--supervise", "mknod,sysinfo,mount", "sparse", "true"],
        ["start", "-a", "made"],
        ["start", "made"],
        ["exec", "running", "true"],
        ["exec", "-e", "A=b", "-w", "/tmp", "-u", "nobody", "running", "true"],
    ],
    ids=" ".join,
)
def test_nothing_slow_is_imported(namespace: Namespace, bare: set[str], arguments: list[str]) -> None:
    found = namespace.modules(*arguments)
    assert any(module.startswith("pycontain.launch.") for module in found)
    foreign = {module for module in found if module.partition(".")[0] != "pycontain"}
    assert foreign - bare - ALLOWED == set()


def test_supervised_calls_cost_nothing_where_nobody_wants_them(namespace: Namespace) -> None:
    parts = {"pycontain.launch.supervise", "pycontain.launch.ops_supervise", "pycontain.engine.supervised"}
    for arguments in (["run", "--rm", "sparse", "true"], ["exec", "running", "true"], ["start", "made"]):
        assert not parts & namespace.modules(*arguments)
    assert parts <= namespace.modules("run", "--rm", "--supervise", "sysinfo", "sparse", "true")


def test_a_failed_start_of_the_test_leaves_nothing(namespace: Namespace) -> None:
    namespace.modules("run", "--rm", "sparse", "true")
    names = namespace.pycontain("ps", "-a", "--format", "json")
    assert '"running"' in names and '"made"' in names
    assert len(list((namespace.root / "containers").iterdir())) == 2
    assert len(list((namespace.run_root / "containers").iterdir())) == 1


#: What each verb of pycontain-oci that is on the start road imports.
OCI = {
    "create": "pycontain.oci.create",
    "exec": "pycontain.oci.execute",
    "start": "pycontain.oci.starting",
    "state": "pycontain.oci.show",
    "kill": "pycontain.oci.kill",
    "delete": "pycontain.oci.delete",
}


@pytest.mark.parametrize("verb", OCI)
def test_the_oci_verbs_import_nothing_slow(bare: set[str], verb: str) -> None:
    code = f"import sys; sys.path.insert(0, {PACKAGES!r}); import pycontain.oci.main, {OCI[verb]}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    foreign = {module for module in done.stdout.split() if module.partition(".")[0] != "pycontain"}
    assert foreign - bare - ALLOWED == set()


@pytest.fixture(scope="module")
def bundle(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bundle, and a container of it that runs: startup-running."""
    directory = tmp_path_factory.mktemp("bundle")
    (directory / "rootfs/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", directory / "rootfs/bin/sleep")
    for name in ("dev", "proc", "sys"):
        (directory / "rootfs" / name).mkdir()
    namespace.pycontain_oci("spec", "-b", str(directory))
    spec = json.loads((directory / "config.json").read_text())
    spec["process"] |= {"terminal": False, "args": ["/bin/sleep", "1000"]}
    (directory / "config.json").write_text(json.dumps(spec))
    namespace.pycontain_oci("run", "-d", "-b", str(directory), "startup-running")
    yield directory
    namespace.pycontain_oci("delete", "--force", "startup-running")
    assert list(namespace.oci.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "-b", "BUNDLE", "--pid-file", "BUNDLE/pid", "startup-made"],
        ["--log", "BUNDLE/log", "--log-format", "json", "create", "-b", "BUNDLE", "startup-made"],
        ["run", "-b", "BUNDLE", "startup-made"],
        ["run", "-d", "--no-pivot", "-b", "BUNDLE", "startup-made"],
        ["exec", "startup-running", "true"],
        [
            "exec",
            "-d",
            "-e",
            "A=b",
            "-u",
            "1:1",
            "--cwd",
            "/tmp",
            "--pid-file",
            "BUNDLE/pid",
            "startup-running",
            "true",
        ],
    ],
    ids=" ".join,
)
def test_the_oci_face_imports_nothing_slow(
    namespace: Namespace, bundle: Path, bare: set[str], arguments: list[str]
) -> None:
    """Up to the moment of execve, as above."""
    found = namespace.oci_modules(*[word.replace("BUNDLE", str(bundle)) for word in arguments])
    assert any(module.startswith("pycontain.launch.") for module in found)
    foreign = {module for module in found if module.partition(".")[0] != "pycontain"}
    assert foreign - bare - ALLOWED == set()
    assert [path.name for path in namespace.oci.iterdir()] == ["startup-running"]


def test_what_few_containers_need_is_imported_for_them_alone(namespace: Namespace) -> None:
    few = (
        "engine.booted",
        "engine.lxcfs",
        "network.tables",
        "network.routed",
        "storage.disk",
        "launch.ops_boot",
        "tenant",
    )
    namespace.modules("run", "--rm", "sparse", "true")  # the first one makes the bridge and its table
    found = namespace.modules("run", "--rm", "sparse", "true")
    assert "pycontain.network.bridge" in found
    assert found.isdisjoint({f"pycontain.{name}" for name in few})


def test_a_planner_has_loaded_what_a_start_imports(namespace: Namespace) -> None:
    """What it has not is imported for each request anew, while the command waits."""
    code = f"import sys; sys.path.insert(0, {PACKAGES!r}); from pycontain.cli.verbs import planner; planner._load()"
    command = [sys.executable, "-I", "-S", "-c", f"{code}; print(*sys.modules)"]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    for arguments in (
        ["run", "--rm", "-p", "8080:80", "-v", "/tmp:/mnt:ro", "-u", "nobody", "sparse", "true"],
        ["run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/run", "sparse", "true"],
        ["start", "made"],
        ["exec", "-e", "A=b", "-u", "nobody", "running", "true"],
    ):
        needed = {name for name in namespace.modules(*arguments) if name.startswith("pycontain.")}
        assert needed - loaded == set(), arguments
