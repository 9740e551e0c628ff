"""pycontain-oci: new tmpfs mounts as callers of runc know them: their mode, read-only ones, a read-only /dev."""

from __future__ import annotations

from typing import Any

import pytest

from oci_bundle import Oci, output


def tmpfs(target: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": list(options)}


@pytest.mark.parametrize(
    ("options", "mode"),
    [((), "750"), (("mode=1711",), "1711"), (("size=1m", "nosuid"), "750"), (("tmpcopyup",), "750")],
)
def test_a_tmpfs_has_the_mode_of_the_directory_that_it_covers(oci: Oci, options: tuple[str, ...], mode: str) -> None:
    (oci.bundle / "rootfs/kept").mkdir(mode=0o750)
    oci.spec["mounts"].append(tmpfs("/kept", *options))
    assert output(oci, "stat -c %a /kept") == f"{mode}\n"


def test_a_tmpfs_where_there_is_nothing_is_for_everybody(oci: Oci) -> None:
    oci.spec["mounts"].append(tmpfs("/made"))
    assert output(oci, "stat -c %a /made") == "1777\n"


def test_a_read_only_tmpfs_with_a_copy(oci: Oci) -> None:
    (oci.bundle / "rootfs/kept").mkdir()
    (oci.bundle / "rootfs/kept/file").write_text("text\n")
    oci.spec["mounts"].append(tmpfs("/kept", "tmpcopyup", "ro"))
    assert output(oci, "cat /kept/file; (: >/kept/new) 2>/dev/null || echo refused") == "text\nrefused\n"


def test_a_read_only_dev_has_its_nodes(oci: Oci) -> None:
    for mount in oci.spec["mounts"]:
        if mount["destination"] == "/dev":
            mount["options"] = ["mode=755", "ro"]
    oci.spec["linux"]["devices"] = [{"path": "/dev/extra", "type": "c", "major": 1, "minor": 3}]
    script = "echo x >/dev/null && echo x >/dev/extra && ls /dev/pts/ptmx; (: >/dev/new) 2>/dev/null || echo refused"
    assert output(oci, script) == "/dev/pts/ptmx\nrefused\n"
