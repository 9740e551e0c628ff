"""Known escapes, as programs: what each attacks, and with what.

``--runtime PATH`` points those that come through an OCI bundle at another runtime; ``--rounds N`` is how often a race
is run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.escapes.peer import Peer
from tests.escapes.programs import build

from world import World, digest
from world_fixtures import images, workdir, world

__all__ = ["images", "workdir", "world"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runtime", metavar="PATH", help="the OCI runtime that is attacked (default: pycontain-oci)")
    parser.addoption("--rounds", type=int, default=200, help="how often a race is run (default: 200)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What does not come through a bundle has nothing to say about another runtime."""
    if config.getoption("--runtime", None) is None:
        return
    other = [item for item in items if "peer" not in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=other)
    items[:] = [item for item in items if item not in other]


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> int:
    count = request.config.getoption("--rounds", 200)
    assert isinstance(count, int)
    return count


@pytest.fixture
def peer(request: pytest.FixtureRequest, images: World, tmp_path: Path) -> Iterator[Peer]:
    """The runtime under attack, with a busybox root."""
    layer = json.loads(images.ok("image", "inspect", "busybox"))[0]["RootFS"]["Layers"][0]
    base = tmp_path / "peer"
    base.mkdir()
    peer = Peer(request.config.getoption("--runtime", None), base, images.root / "layers" / layer)
    yield peer
    peer.clear()


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host, with files, that no attack may change."""
    place = tmp_path / "canary"
    (place / "sub").mkdir(parents=True)
    for name in ("file", "null", "console", "hosts"):
        (place / name).write_text("canary\n")
    before, mounts = digest(place), Path("/proc/self/mountinfo").read_text()
    yield place
    assert digest(place) == before, "the attack has changed the host"
    assert Path("/proc/self/mountinfo").read_text() == mounts


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The static program of a C source beside this file."""
    place = tmp_path_factory.mktemp("programs")
    return lambda name: build(name, place)
