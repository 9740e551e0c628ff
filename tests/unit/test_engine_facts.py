"""info: facts as JSON and as text; probes that change nothing and fail on nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pycontain.engine import facts, host, info, version
from pycontain.engine.facts import Fact, Section
from pycontain.engine.paths import Paths
from pycontain.kernel import capability, probe
from pycontain.launch.start import helper_path

SOURCE = Path(__file__).parents[2] / "src"


def test_names_in_json() -> None:
    assert Fact("Run root", "").key == "RunRoot"
    assert Fact("cgroup.kill", True).key == "cgroup.kill"
    assert facts.camel("System calls") == "SystemCalls"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (False, "no"),
        (None, "unknown"),
        ([], "none"),
        (["a", "b"], "a, b"),
        ({"up": 2}, "2 up"),
        (3, "3"),
    ],
)
def test_values_in_words(value: object, text: str) -> None:
    assert Fact("x", value).text == text


def test_document() -> None:
    sections = [
        Section("System calls", [Fact("bpf", False, "it is not there")]),
        Section("Kernel", [Fact("Release", "6")]),
    ]
    assert facts.document(sections) == {
        "SystemCalls": {"bpf": False},
        "Kernel": {"Release": "6"},
        "Problems": [{"Section": "SystemCalls", "Name": "bpf", "Problem": "it is not there"}],
    }


def test_a_call_that_no_kernel_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSYS is what tells a missing one from one that refuses its arguments."""
    assert probe.has_call("openat2") is True
    monkeypatch.setattr(probe, "numbers", lambda: {"openat2": 100_000})
    assert probe.has_call("openat2") is False
    monkeypatch.setattr(probe, "numbers", dict)
    assert probe.has_call("openat2") is None


def test_probing_leaves_no_descriptors() -> None:
    before = set(os.listdir("/proc/self/fd"))
    for name in probe._CALLS:
        probe.has_call(name)
    probe.device_filter()
    probe.overlay_attributes("/tmp")
    probe.landlock_abi()
    assert set(os.listdir("/proc/self/fd")) == before


def test_the_bounding_set_is_the_kernels() -> None:
    bits = int(probe.status("CapBnd"), 16)
    assert host.bounding_set() == capability.names(bits)


def test_what_cannot_be_is_no_sysctl() -> None:
    assert probe.sysctl("kernel/pid_max").isdigit()
    assert probe.sysctl("no/such/sysctl") == ""
    assert probe.status("NoSuchLine") == ""


def test_a_low_limit_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "sysctl", lambda path: "100")
    assert "set sysctl fs.x=500" in host._limit("fs/x", 100, "things", "500").problem
    assert host._limit("fs/x", 99, "things", "500").problem == ""
    monkeypatch.setattr(probe, "sysctl", lambda path: "")
    assert host._limit("fs/x", 100, "things", "500").value is None


def test_a_store_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    sections = info.gather(Paths(str(tmp_path / "root"), str(tmp_path / "run")))
    assert list(tmp_path.iterdir()) == []
    names = [section.title for section in sections]
    assert names[:3] == ["Pycontain", "Containers", "Storage"] and "Cgroups" in names
    document = facts.document(sections)
    assert document["Containers"]["Total"] == 0
    assert document["Storage"]["Driver"] == "overlay"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else")
def test_without_root(tmp_path: Path) -> None:
    """It says what it can, and what only root is told it calls unknown."""
    (tmp_path / "root" / "names").mkdir(parents=True, mode=0o700)
    tmp_path.chmod(0o755)
    script = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(SOURCE)!r})\n"
        "from pycontain.engine import access, facts, info\n"
        "from pycontain.engine.paths import Paths\n"
        "from pycontain.kernel.errors import Error\n"
        "import pycontain.cgroup.hierarchy, pycontain.network, shutil, resource\n"
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        f"paths = Paths({str(tmp_path / 'root')!r}, {str(tmp_path / 'run')!r})\n"
        "found = facts.document(info.gather(paths))\n"
        "assert found['Containers']['Total'] is None, found\n"
        "assert found['Security']['DeviceFilter'] is None, found\n"
        "assert found['Storage']['UpperDirectories'] is None, found\n"
        "assert found['SystemCalls']['openat2'] is True, found\n"
        "try:\n"
        "    access.check(paths)\n"
        "except Error as error:\n"
        "    assert 'needs to be root' in error.message\n"
        "else:\n"
        "    raise SystemExit('not refused')\n"
    )
    # the packages of this interpreter may lie where only root gets: they are imported before
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not os.path.exists(helper_path()), reason="the helper is not built here")
def test_the_helper_takes_our_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    assert version.check_helper() == ""
    monkeypatch.setattr(version, "encode", lambda ops: b"PYCPLAN\0" + bytes([2, 0, 0, 0, 24]) + bytes(11))
    assert "does not take plans of version 1" in version.check_helper()


def test_a_missing_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "helper_path", lambda: "/nowhere/pycontain-helper")
    assert version.check_helper() == "the helper /nowhere/pycontain-helper is missing: install pycontain again"


def test_the_page_has_every_section() -> None:
    """pycontain-info(1) says what each is about."""
    top = Path(__file__).parents[2]
    titles = {
        title
        for path in (top / "src" / "pycontain" / "engine").glob("*.py")
        for title in re.findall(r'Section\("([^"]+)"', path.read_text())
    }
    page = (top / "man" / "pycontain-info.1").read_text().splitlines()
    assert len(titles) > 10
    assert [title for title in sorted(titles) if f".It {title}" not in page] == []
