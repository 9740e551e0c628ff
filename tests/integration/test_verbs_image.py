"""image ls, inspect, build, rm, prune: a store with images, and containers that hold them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from verbs_helpers import read_until, terminal
from world import World

RECIPE = """
name = "{name}"
[config]
cmd = ["/x"]
labels = {{ who = "me" }}
[[step]]
[step.files]
"/x" = {{ content = "{content}", mode = "0755" }}
"""


@pytest.fixture
def store(images: World, tmp_path: Path) -> Iterator[World]:
    """A store of its own, empty."""
    made = World(tmp_path / "root", tmp_path / "run")
    yield made
    made.remove_all()


def build(store: World, name: str = "small:1", content: str = "", tag: str = "") -> str:
    """Build a small image; its ID."""
    folder = store.root.parent / "recipe"
    folder.mkdir(exist_ok=True)
    (folder / "recipe.toml").write_text(RECIPE.format(name=name, content=content))
    flags = ("--tag", tag) if tag else ()
    return store.ok("image", "build", "-q", *flags, str(folder))


def listed(store: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(store.ok("image", "ls", "--format", "json"))
    return found


def names(store: World) -> list[str]:
    return sorted(name for image in listed(store) for name in image["RepoTags"])


def test_an_empty_store(store: World) -> None:
    assert store.ok("image", "ls").split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert listed(store) == []
    assert store.ok("image", "ls", "-q") == ""
    assert "image small:latest does not exist" in store.refused("image", "inspect", "small")
    assert store.ok("image", "prune", "-f") == "Total reclaimed space: 0B"


def test_building_says_what_it_does(store: World) -> None:
    folder = store.root.parent / "recipe"
    build(store)
    done = store("image", "build", str(folder))
    assert done.returncode == 0
    assert "step 1/1: files" in done.stderr
    assert done.stdout == listed(store)[0]["Id"] + "\n"


def test_a_recipe_that_is_wrong_or_not_there(store: World) -> None:
    assert "recipe 'none' does not exist" in store.refused("image", "build", "none")
    (store.root.parent / "recipe.toml").write_text("name = 1\n")
    assert "name" in store.refused("image", "build", str(store.root.parent / "recipe.toml"))
    assert "--tag" in store.refused("image", "build", "--tag", "", "none")


def test_the_list(store: World) -> None:
    image = build(store)
    lines = store.ok("image", "ls").splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:3] == ["small", "1", image[:12]]
    assert "ago" in lines[1]
    assert store.ok("image", "ls", "--no-trunc").splitlines()[1].split()[2] == image
    assert store.ok("images", "-q") == image[:12]
    (found,) = listed(store)
    assert (found["Id"], found["RepoTags"], found["Labels"]) == (image, ["small:1"], {"who": "me"})
    assert found["Containers"] == 0


def test_inspect(store: World) -> None:
    image = build(store)
    store.ok("create", "--name", "c", "--network", "none", "small:1")
    (found,) = json.loads(store.ok("image", "inspect", "small:1"))
    assert (found["Id"], found["RepoTags"]) == (image, ["small:1"])
    assert found["Config"]["Cmd"] == ["/x"]
    assert len(found["RootFS"]["Layers"]) == 1
    assert Path(found["GraphDriver"]["Data"]["LowerDir"], "x").is_file()
    assert len(found["Containers"]) == 1
    assert json.loads(store.ok("image", "inspect", image[:12]))[0]["Id"] == image


def test_a_damaged_image_is_listed(store: World) -> None:
    image = build(store)
    (store.root / "images" / image / "image.json").write_text("{")
    done = store("image", "ls")
    assert done.returncode == 0
    assert "damaged" in done.stdout.splitlines()[1]
    assert f"image {image[:12]}: " in done.stderr
    assert "Problem" in json.loads(store("image", "ls", "--format", "json").stdout)[0]
    assert "image.json" in store.refused("image", "inspect", "small:1")


def test_removing(store: World) -> None:
    image = build(store)
    assert store.ok("image", "rm", "small:1").splitlines() == ["Untagged: small:1", f"Deleted: {image}"]
    assert listed(store) == []
    assert list((store.root / "layers").iterdir()) == []
    assert "does not exist" in store.refused("image", "rm", "small:1")
    assert store.ok("image", "rm", "-f", "small:1") == ""


def test_an_image_that_is_used_stays(store: World) -> None:
    build(store)
    container = store.ok("create", "--name", "c", "--network", "none", "small:1")
    assert container in store.refused("rmi", "small:1")
    assert store.ok("image", "prune", "-fa") == "Total reclaimed space: 0B"
    assert names(store) == ["small:1"]
    store.ok("rm", "c")
    store.ok("rmi", "small:1")


def test_several_of_which_one_cannot_be_removed(store: World) -> None:
    build(store, "a:1", "a")
    build(store, "b:1", "b")
    done = store("image", "rm", "a:1", "none:1", "b:1")
    assert done.returncode == 1
    assert "Untagged: a:1" in done.stdout and "Untagged: b:1" in done.stdout
    assert done.stderr.startswith("pycontain: image none:1 does not exist")
    assert listed(store) == []


def test_a_killed_containers_image_can_be_removed(store: World, images: World) -> None:
    """What a killed monitor of a --rm container left is put right first: its image counts as used no longer."""
    shipped = json.loads(images.ok("image", "inspect", "busybox"))[0]
    assert shipped
    store.ok("image", "build", "-q", "busybox")
    container = store.background("--rm", "--name", "c", "--network", "none", "busybox", "sleep", "100")
    monitor = store.monitor_pid(container)
    os.kill(monitor, signal.SIGKILL)
    store.ok("logs", "-f", "c")
    assert "Untagged: busybox:latest" in store.ok("image", "rm", "busybox")


def test_pruning(store: World) -> None:
    build(store, "a:1", "first")
    build(store, "a:1", "second")  # the first has lost its name and goes at once, since nobody uses it
    build(store, "b:1", "used")
    store.ok("create", "--name", "c", "--network", "none", "b:1")
    assert store.ok("image", "prune", "-f") == "Total reclaimed space: 0B"
    assert names(store) == ["a:1", "b:1"]
    lines = store.ok("image", "prune", "-f", "--all").splitlines()
    assert lines[0] == "Untagged: a:1"
    assert lines[-1].startswith("Total reclaimed space: ") and not lines[-1].endswith(" 0B")
    assert names(store) == ["b:1"]


def test_an_image_without_name_is_pruned_when_its_container_is_gone(store: World) -> None:
    first = build(store, "a:1", "first")
    store.ok("create", "--name", "c", "--network", "none", "a:1")
    build(store, "a:1", "second")
    assert [line.split()[:3] for line in store.ok("image", "ls").splitlines()[1:] if "<none>" in line] == [
        ["<none>", "<none>", first[:12]]
    ]
    store.ok("rm", "c")
    assert f"Deleted: {first}" in store.ok("image", "prune", "-f")


def test_prune_asks(store: World) -> None:
    build(store)
    assert "--force" in store.refused("image", "prune", "-a")
    for answer, left in ((b"\n", ["small:1"]), (b"no\n", ["small:1"]), (b"y\n", [])):
        with terminal(store, "image", "prune", "-a") as (master, child):
            assert b"all images without a container" in read_until(master, b"[y/N] ")
            os.write(master, answer)
            assert child.wait(20) == (0 if not left else 1)
        assert names(store) == left
