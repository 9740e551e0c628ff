"""--trace: each operation of a plan with its time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oci_bundle import Oci

LINE = re.compile(r" *(\d+\.\d) +(\d+\.\d)  (host |guest|after|fail ) (\w+) +(\S.*)")


def rows(text: str) -> list[tuple[float, float, str, str, str]]:
    """Began, took, side, operation, words."""
    head, *lines = text.splitlines()
    assert head.split() == ["began", "us", "took", "us", "side", "operation"]
    found = []
    for line in lines:
        match = LINE.fullmatch(line)
        assert match, line
        found.append((float(match[1]), float(match[2]), match[3].strip(), match[4], match[5]))
    return found


def test_every_operation_with_its_time(oci: Oci, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    oci.spec["process"]["args"] = ["sh", "-c", "exit 7"]
    assert oci("--trace", str(path), "run", "-b", str(oci.bundle), "one").returncode == 7
    found = rows(path.read_text())
    begun = [row[0] for row in found]
    assert begun == sorted(begun) and begun[0] == 0
    # the hosts's and the guest's, in the order in which they happen
    names = [row[3] for row in found if row[3] in ("clone", "mount", "pivot", "exec", "wait", "rmtree")]
    assert list(dict.fromkeys(names)) == ["clone", "mount", "pivot", "exec", "wait", "rmtree"]
    assert {row[2] for row in found} == {"host", "guest", "after"}
    assert next(row for row in found if row[3] == "mount")[4] == "mount proc on /proc"
    # a clone takes more than nothing, and nothing takes longer than all of it
    assert next(row for row in found if row[3] == "clone")[1] > 10
    assert all(row[1] < 60e6 for row in found)


def test_of_a_launch_that_fails(oci: Oci, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    oci.spec["process"]["args"] = ["/nosuch"]
    done = oci("--trace", str(path), "run", "-b", str(oci.bundle), "one")
    assert done.returncode == 1 and "/nosuch" in done.stderr
    found = rows(path.read_text())
    assert "lookup" in [row[3] for row in found] and "exec" not in [row[3] for row in found]
    assert found[-1][2] == "fail"


def test_create_and_exec(oci: Oci, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    oci.spec["process"]["args"] = ["sleep", "100"]
    oci.ok("create", "-b", str(oci.bundle), "one")
    oci.ok("start", "one")
    assert oci("--trace", str(path), "exec", "one", "sh", "-c", "exit 3").returncode == 3
    assert [row[3] for row in rows(path.read_text())][-1] == "wait"
    oci.ok("--trace", str(path), "create", "-b", str(oci.bundle), "two")
    assert path.read_text().count("began us") == 2  # appended
    oci.ok("delete", "--force", "two")


def test_standard_error(oci: Oci) -> None:
    oci.spec["process"]["args"] = ["true"]
    done = oci("--trace", "-", "run", "-b", str(oci.bundle), "one")
    assert (done.returncode, done.stdout) == (0, "")
    assert rows(done.stderr)


@pytest.mark.parametrize("verb", ["run", "create"])
def test_a_file_that_cannot_be_written(oci: Oci, verb: str) -> None:
    done = oci("--trace", "/nosuch/file", verb, "-b", str(oci.bundle), "one")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pycontain-oci: --trace: cannot write /nosuch/file: No such file or directory\n"
    assert not (oci.root / "one").exists()
