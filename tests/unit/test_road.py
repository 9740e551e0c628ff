"""The modules in one file: what is installed is what the sources say, and without it all works the same."""

from __future__ import annotations

import importlib.util
import marshal
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SITE = Path(sysconfig.get_path("platlib"))
PACKAGE = SITE / "pycontain"
SOURCE = Path(__file__).parents[2] / "src" / "pycontain"


def python(code: str, site: Path = SITE) -> subprocess.CompletedProcess[str]:
    start = f"import sys;sys.path.insert(0,{str(site)!r});import pycontain.road;"
    return subprocess.run([sys.executable, "-I", "-S", "-c", start + code], capture_output=True, text=True, check=False)


def contents(road: Path) -> dict[str, tuple[bool, object]]:
    """module → (whether it is a package, its code), after a look at the head."""
    data = road.read_bytes()
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert len(data) == int.from_bytes(data[4:12], "little")
    size = int.from_bytes(data[12:20], "little")
    index, body = marshal.loads(data[20 : 20 + size]), data[20 + size :]
    return {
        name: (package, marshal.loads(body[offset : offset + length]))
        for name, (package, offset, length) in index.items()
    }


def test_every_module_is_in_it_as_its_source_is(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "gen_road.py"
    subprocess.run([sys.executable, str(script), str(SOURCE), str(tmp_path / "road.bin")], check=True)
    found, wanted = contents(PACKAGE / "road.bin"), contents(tmp_path / "road.bin")
    assert [name for name in wanted if found.get(name) != wanted[name]] == [], "stale: make build"
    names = set()
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name not in ("pycontain", "pycontain.road"):
            names.add(name)
            assert found[name][0] == (parts[-1] == "__init__")
    assert set(found) == names


def test_modules_come_from_it_and_know_their_place() -> None:
    code = (
        "from pycontain.kernel import files; import pycontain.launch as launch;"
        "print(files.__loader__.__name__, files.__file__, files.__name__, files.__package__, launch.__path__)"
    )
    done = python(code)
    where = str(PACKAGE)
    assert done.stdout.split() == [
        "Loader", f"{where}/kernel/files.py", "pycontain.kernel.files", "pycontain.kernel", f"['{where}/launch']",
    ], done  # fmt: skip


def test_a_traceback_shows_the_source() -> None:
    done = python("from pycontain.kernel import jsontext; jsontext.load_bytes(b'{', 'x')")
    assert f'File "{PACKAGE}/kernel/jsontext.py", line' in done.stderr
    assert "raise" in done.stderr


@pytest.mark.parametrize("damage", ["gone", "other", "empty", "12", "1000", "200000"])
def test_without_it_modules_are_found_as_usual(tmp_path: Path, damage: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "pycontain", ignore=shutil.ignore_patterns("pycontain-helper"))
    file = tmp_path / "pycontain" / "road.bin"
    if damage == "gone":
        file.unlink()
    elif damage.isdigit():
        file.write_bytes(file.read_bytes()[: int(damage)])
    else:
        file.write_bytes(b"\0\0\0\0" + file.read_bytes()[4:] if damage == "other" else b"")
    done = python("from pycontain.kernel import files; print(files.__loader__.__class__.__name__)", tmp_path)
    assert done.stdout == "SourceFileLoader\n", done
