"""Removal, holds and builds against one another, in processes."""

from __future__ import annotations

import os
import random
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from image_world import in_namespace, left_in, mount, needs_root
from pycontain.image import store
from pycontain.kernel.errors import InUse, NotFound
from pycontain.storage import layers

pytestmark = needs_root

ROUNDS = 500


def _never(container: str) -> bool:
    return False


def _keeper(root: str) -> str:
    """One layer that all images of a test share, kept by an image of its own."""
    draft = layers.create(root)
    draft.tree.file("/f", b"x")
    draft.commit("test")
    store.add(root, "keeper", {}, [draft.id])
    draft.release()
    return draft.id


@contextmanager
def _peer(work: Callable[[int], bytes]) -> Iterator[tuple[Callable[[float], int], Callable[[], bytes]]]:
    """A process that does ``work(round)`` each time it is told to; gives "go" and "answer".

    "go" takes the seconds that it lets pass before. The two are on processors of their own where there are two.
    """
    processors = sorted(os.sched_getaffinity(0))
    go_reader, go_writer = os.pipe()
    answer_reader, answer_writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(go_writer)
        os.sched_setaffinity(0, processors[-1:])
        number = 0
        try:
            while data := os.read(go_reader, 8):
                _spin(struct.unpack("d", data)[0])
                os.write(answer_writer, work(number))
                number += 1
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
    os.close(go_reader)
    os.close(answer_writer)
    os.sched_setaffinity(0, processors[:1])
    try:
        yield lambda delay: os.write(go_writer, struct.pack("d", delay)), lambda: os.read(answer_reader, 100)
    finally:
        os.sched_setaffinity(0, processors)
        os.close(go_writer)
        os.close(answer_reader)
        _, status = os.waitpid(child, 0)
    assert status == 0


def _spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_removal_against_hold(tmp_path: Path) -> None:
    """Either the container has the image, or it is gone: never both, never neither."""
    root = str(tmp_path)
    layer: list[str] = []
    source = random.Random(1)

    def hold(number: int) -> bytes:
        try:
            image, path = store.acquire(root, "a", f"c{number}")
        except NotFound:
            return b"gone"
        assert image.layers == layer and os.path.exists(path)
        return b"held"

    def body() -> None:
        mount("tmpfs", root, "tmpfs")
        layer.append(_keeper(root))
        outcomes = {b"held": 0, b"gone": 0}
        offset = step = 0.0
        last = b""
        with _peer(hold) as (go, answer):
            for number in range(ROUNDS):
                image = store.add(root, "a", {"Labels": {"n": str(number)}}, layer, created="t")
                # Who was first waits longer the next time, so that they come to meet.
                go(max(0.0, offset))
                _spin(max(0.0, -offset))
                try:
                    store.remove(root, "a", _never, layers)
                    removed = True
                except InUse as error:
                    assert f"c{number}" in error.message
                    removed = False
                outcome = answer()
                assert outcome == (b"gone" if removed else b"held")
                outcomes[outcome] += 1
                # and ever longer as long as that is not enough: its peer may have waited for a processor
                step = min(2 * step, 20e-3) if outcome == last else 20e-6
                last = outcome
                offset += (-1 if removed else 1) * source.random() * step
                assert os.path.exists(tmp_path / "images" / image.id) is not removed
                if not removed:
                    assert store.holders(root, image.id) == [f"c{number}"]
                    store.remove(root, "a", lambda container: True, layers)
        assert min(outcomes.values()) > ROUNDS // 20, f"the test did not meet both outcomes: {outcomes}"
        assert [image.names for image in store.list_images(root)] == [["keeper:latest"]]
        assert layers.committed(root) == layer

    in_namespace(body)


def test_a_name_that_is_always_there_is_always_found(tmp_path: Path) -> None:
    """While builds give the name to new images and the old ones are removed."""
    root = str(tmp_path)

    def hold(number: int) -> bytes:
        # More than the builds of a round take.
        for turn in range(1200):
            _, path = store.acquire(root, "a", f"c{number}-{turn}")
            os.unlink(path)
        return b"ok"

    def body() -> None:
        mount("tmpfs", root, "tmpfs")
        layer = _keeper(root)
        store.add(root, "a", {}, [layer], created="t")
        with _peer(hold) as (go, answer):
            for number in range(100):
                go(0.0)
                for turn in range(20):
                    store.add(root, "a", {"Labels": {"n": f"{number}-{turn}"}}, [layer], created="t")
                    store.repair(root, layers)
                assert answer() == b"ok"
        store.repair(root, layers)
        assert len(store.list_images(root)) == 2

    in_namespace(body)


def test_prune_against_build(tmp_path: Path) -> None:
    """A layer that is committed is not taken for unused before its image is there."""
    root = str(tmp_path)

    def prune(number: int) -> bytes:
        for _ in range(10):
            store.prune(root, _never, layers)
        return b"ok"

    with _peer(prune) as (go, answer):
        for number in range(60):
            go(0.0)
            draft = layers.create(root)
            draft.tree.file("/f", b"x")
            draft.commit("test")
            image = store.add(root, f"a{number % 3}", {"Labels": {"n": str(number)}}, [draft.id])
            draft.release()
            assert answer() == b"ok"
            assert os.path.exists(tmp_path / "layers" / draft.id / "f")
            assert store.lookup(root, image.id) is not None
    store.prune(root, _never, layers, unused=True)
    assert left_in(tmp_path) == []
