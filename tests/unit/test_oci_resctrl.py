"""linux.intelRdt against a tree like resctrl's: which groups are made, what is written, what is removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pycontain.kernel.errors import Error, SpecError
from pycontain.oci import resctrl


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "info").mkdir()
    (tmp_path / "info/last_cmd_status").write_text("Bad schema\n")
    (tmp_path / "schemata").write_text("L3:0=fff\n")
    return tmp_path


def wanted(**section: Any) -> resctrl.Wanted:
    found = resctrl.compile({"intelRdt": section}, "ctr")
    assert found is not None
    return found


def place(root: Path, **section: Any) -> resctrl.Group:
    return resctrl.place(wanted(**section), str(root), "ctr")


def test_no_section_is_no_group() -> None:
    assert resctrl.compile({}, "ctr") is None


def test_a_group_of_the_containers_own(root: Path) -> None:
    group = place(root, schemata=["L3:0=f", "MB:0=50"])
    assert group.directory == f"{root}/ctr" and group.made == [f"{root}/ctr"]
    assert (root / "ctr/schemata").read_text() == "L3:0=f\nMB:0=50\n"


def test_a_group_by_its_name_is_shared(root: Path) -> None:
    (root / "gold").mkdir()
    group = place(root, closID="gold")
    assert group.directory == f"{root}/gold" and group.made == []
    group.undo()
    assert (root / "gold").is_dir()


def test_the_root_group(root: Path) -> None:
    group = place(root, closID="/", schemata=["L3:0=f"])
    assert group.directory == str(root) and group.made == []
    assert (root / "schemata").read_text() == "L3:0=f\n"


def test_the_older_properties_come_first_and_the_l3_schema_without_bandwidth() -> None:
    found = wanted(l3CacheSchema="L3:0=f\nMB:0=1", memBwSchema="MB:0=2", schemata=["L2:0=1"])
    assert found.lines == ["L3:0=f", "MB:0=2", "L2:0=1"]


def test_monitoring_has_a_group_below(root: Path) -> None:
    (root / "gold/mon_groups").mkdir(parents=True)
    group = place(root, closID="gold", enableMonitoring=True)
    assert group.monitor == f"{root}/gold/mon_groups/ctr" and group.made == [group.monitor]
    group.undo()
    assert not Path(group.monitor).exists()


def test_a_refused_schema_leaves_nothing(root: Path) -> None:
    (root / "gold").mkdir()
    (root / "gold/schemata").mkdir()  # so that it cannot be written
    with pytest.raises(Error, match=r"linux.intelRdt: .*schemata: Is a directory: Bad schema"):
        place(root, closID="gold", schemata=["L3:0=f"])
    with pytest.raises(Error, match=r"mon_groups/ctr: No such file or directory: Bad schema"):
        place(root, closID="silver", enableMonitoring=True)
    assert not (root / "silver").exists()


@pytest.mark.parametrize(
    ("section", "where"),
    [
        ({"closID": ".."}, "linux.intelRdt.closID"),
        ({"closID": "a/b"}, "linux.intelRdt.closID"),
        ({"memBwSchema": "L3:0=f"}, "linux.intelRdt.memBwSchema"),
        ({"schemata": ["a\nb"]}, "linux.intelRdt.schemata[0]"),
        ({"enableMonitoring": 1}, "linux.intelRdt.enableMonitoring"),
    ],
)
def test_what_cannot_be(section: dict[str, Any], where: str) -> None:
    with pytest.raises(SpecError) as caught:
        wanted(**section)
    assert caught.value.where == where
