"""The image busybox that the tests of hosts have, as the archives that clients import."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

from tests.host import images

#: The image's name for clients; its registry is one that there is not.
NAME = "localhost/busybox:latest"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def tree() -> Path:
    """The files of the image. Raises tests.host.cache.NotReady."""
    store = images.store()
    image = os.readlink(next((store / "refs").glob("busybox%3A*"))).rpartition("/")[2]
    record = json.loads((store / "images" / image / "image.json").read_text())
    return store / "layers" / str(record["layers"][0])


def plain(target: Path) -> None:
    """An archive of the files, for ``podman import``, ``docker import`` and ADD."""
    subprocess.run(["tar", "--directory", str(tree()), "--create", "--file", str(target), "."], check=True)


def image(target: Path, layer: Path) -> None:
    """An image as ``docker save`` writes it, of one layer, for ``ctr images import``."""
    data = layer.read_bytes()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Env": [f"PATH={PATH}"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]},
    }
    text = json.dumps(config).encode()
    name = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": [NAME], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(target, "w") as archive:
        for member, content in ((name, text), ("layer.tar", data), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
