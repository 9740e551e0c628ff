"""What the tests with clients share: the runtime, archives of an image, and a view for each client."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from tests.clients import archive
from tests.clients.programs import PATH, need
from tests.clients.view import View
from tests.host import criu
from tests.host.cache import NotReady

from world import PYCONTAIN_OCI, isolated

#: Where the runtime keeps its state when nobody says otherwise.
STATE = "/run/pycontain-oci"


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with rootfs.tar and image.tar."""
    if os.geteuid() != 0 or not isolated():
        pytest.exit("the clients' tests need root and namespaces of their own: scripts/isolated pytest …", 2)
    if not os.path.exists(PYCONTAIN_OCI):
        pytest.exit("pycontain is not installed beside this Python: make build", 2)
    base = tmp_path_factory.mktemp("archives")
    try:
        archive.plain(base / "rootfs.tar")
    except NotReady as reason:
        pytest.fail(f"{reason}\nwhere there is a network: python -m tests.host prepare", pytrace=False)
    archive.image(base / "image.tar", base / "rootfs.tar")
    return base


MakeView = Callable[..., AbstractContextManager[View]]


@pytest.fixture(scope="session")
def make_view(tmp_path_factory: pytest.TempPathFactory) -> MakeView:
    """A view for the client whose programs are named, with CRIU; fails where one is missing, and says which."""
    try:
        path = f"{criu.directory()}:{PATH}"
    except NotReady as reason:
        pytest.fail(f"{reason}\nwhere there is a network: python -m tests.host prepare", pytrace=False)

    @contextmanager
    def make(*programs: str, parents: tuple[str, ...] = ()) -> Iterator[View]:
        """parents: groups that the client makes for itself and keeps."""
        need(*programs)
        with View(tmp_path_factory.mktemp(programs[0]), {"PATH": path}) as view:
            yield view
            left = [name for name in view.groups() if name not in (*parents, "pycontain-oci")]
            assert not left, f"groups are left: {left}"
            assert not view.names(STATE)

    return make


def contrib(name: str) -> str:
    """A drop-in file with the runtime that is tested in place of the one of an installed package."""
    text = (Path(__file__).resolve().parents[2] / "contrib" / name).read_text()
    assert "/usr/bin/pycontain-oci" in text
    return text.replace("/usr/bin/pycontain-oci", PYCONTAIN_OCI)
