"""kill -9 between any two steps of a verb: status tells the truth, the same verb again completes or undoes, and doctor
finds nothing then.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from steps import killed_at
from tenant_world import TEMPLATE, TenantWorld
from worlds import settled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

#: Every third step, from one of the first three on; with PYCONTAIN_EVERY_STEP each of them, which takes ten minutes.
STRIDE = 1 if os.environ.get("PYCONTAIN_EVERY_STEP") else 3
WORDS = ("running", "starting", "stopped", "failed")


def faults(tenants: TenantWorld) -> list[str]:
    return [line for line in tenants("tenant", "doctor").stdout.splitlines() if not line.startswith("note: ")]


def truth(tenants: TenantWorld, name: str) -> str:
    """The word of status, which has to fit what there is; "" where there is no such tenant."""
    while True:
        done = tenants("tenant", "status", name)
        if done.returncode == 4:
            return ""
        word = done.stdout.strip()
        alive = tenants("tenant", "exec", name, "true").returncode == 0
        if tenants.word(name) == word:  # what the killed one has begun may have come to its end between the two
            break
    assert word in WORDS, done
    assert alive == (word == "running"), (word, alive)
    return word


def step_through(
    tenants: TenantWorld, arguments: tuple[str, ...], prepare: Callable[[], None], check: Callable[[], None]
) -> int:
    """Step by step, until the verb has no more; the number of steps. prepare: before each. check: after each kill."""
    step = random.randint(1, STRIDE)
    print("first step:", step)
    while True:
        prepare()
        where = killed_at(tenants, step, *arguments)
        try:
            left = faults(tenants)
            assert all("interrupted" in line for line in left), left
            check()
            assert faults(tenants) == []
        except AssertionError as error:
            raise AssertionError(f"step {step}: {where or 'not killed'}: {error}") from error
        if not where:
            return step
        step += STRIDE


def test_create(tenants: TenantWorld) -> None:
    arguments = ("tenant", "create", "a", *TEMPLATE, "--description", "x")

    def check() -> None:
        word = truth(tenants, "a")
        assert word in ("", "stopped")
        done = tenants(*arguments)
        assert done.returncode == 0 or "exists already" in done.stderr, done
        assert truth(tenants, "a") == "stopped"
        assert tenants.settings("a")["description"] == "x"
        assert tenants.settings("a")["id"] == 101

    def prepare() -> None:
        tenants("tenant", "destroy", "a")
        tenants("ps", "-a")  # which repairs what is left of containers
        settled(tenants)

    assert step_through(tenants, arguments, prepare, check) > 20


def test_start(tenants: TenantWorld) -> None:
    tenants.make("a")

    def prepare() -> None:
        tenants.ok("tenant", "stop", "--fast", "a")

    def check() -> None:
        truth(tenants, "a")
        tenants.start("a")
        assert truth(tenants, "a") == "running"

    assert step_through(tenants, ("tenant", "start", "a"), prepare, check) > 10


def test_set(tenants: TenantWorld) -> None:
    create = ("--template", "busybox", "--init", "sleep 1000", "--ip", "10.99.1.1")
    tenants.create("a", *create)
    tenants.start("a")
    arguments = ("tenant", "set", "a", "--ip", "10.99.1.2", "--hostname", "b", "--description", "x")

    def address() -> str:
        return tenants.inside("a", "ip -4 -o addr show eth0 | awk '{print $4}' | tr '\\n' ' '").strip()

    def prepare() -> None:
        tenants.does("tenant", "set", "a", "--ip", "10.99.1.1", "--unset", "hostname", "--unset", "description")
        assert address() == "10.99.1.1/32"

    def check() -> None:
        assert truth(tenants, "a") == "running"
        tenants.does(*arguments)
        assert address() == "10.99.1.2/32"
        assert tenants.settings("a")["hostname"] == "b"
        assert tenants.field("a", "pending") == ["hostname"]

    assert step_through(tenants, arguments, prepare, check) > 5


def test_set_that_another_verb_finds_is_undone(tenants: TenantWorld) -> None:
    """Before or after, and nothing between: what the file says the kernel has."""
    tenants.create("a", "--template", "busybox", "--init", "sleep 1000", "--ip", "10.99.1.1")
    tenants.start("a")
    before = tenants.file("a").read_text()

    def prepare() -> None:
        tenants.does("tenant", "set", "a", "--ip", "10.99.1.1")

    def check() -> None:
        tenants.ok("tenant", "resume", "a")
        inside = tenants.inside("a", "ip -4 -o addr show eth0 | awk '{print $4}'")
        assert inside.split() == [f"{tenants.settings('a')['network'][0]['addresses'][0]}/32"]
        assert tenants.field("a", "pending") == []

    step_through(tenants, ("tenant", "set", "a", "--ip", "10.99.1.2"), prepare, check)
    prepare()
    assert tenants.file("a").read_text() == before


def test_set_of_two_devices_is_undone(tenants: TenantWorld) -> None:
    """The first is another already when the second is not: both or none."""
    tenants.create("a", "--template", "busybox", "--init", "sleep 1000", "--ip", "10.99.1.1")
    tenants.does("tenant", "set", "a", "--netif-add", "eth1", "--network", "bridge")
    tenants.does("tenant", "set", "a", "--netif-add", "eth2", "--ip", "10.99.2.1")
    tenants.start("a")

    def both(last: int) -> tuple[str, ...]:
        return "tenant", "set", "a", *[f'network.{at}.addresses=["10.99.{net}.{last}"]' for at, net in ((0, 1), (2, 2))]

    def prepare() -> None:
        tenants.does(*both(1))

    def check() -> None:
        tenants.ok("tenant", "resume", "a")
        inside = tenants.inside(
            "a", "ip -4 -o addr show | awk '/10.99/ {print $4}'; ip rule | awk '/10.99/ {print $3}'"
        )
        said = [tenants.settings("a")["network"][at]["addresses"][0] for at in (0, 2)]
        assert inside.split() == [*[f"{one}/32" for one in said], *said]
        assert tenants.field("a", "pending") == []

    assert step_through(tenants, both(2), prepare, check) > 5


def test_rename(tenants: TenantWorld) -> None:
    tenants.make("b")

    def check() -> None:
        old, new = "a", "b"
        assert "stopped" in (truth(tenants, old), truth(tenants, new))
        done = tenants("tenant", "rename", old, new)
        assert done.returncode == 0 or (done.returncode == 4 and truth(tenants, new)), done
        assert (truth(tenants, old), truth(tenants, new)) == ("", "stopped")
        assert tenants.inspect("tenant-b")["Name"].strip("/") == "tenant-b"

    def back() -> None:
        tenants.ok("tenant", "rename", "b", "a")

    assert step_through(tenants, ("tenant", "rename", "a", "b"), back, check) > 5


def test_destroy(tenants: TenantWorld) -> None:
    def prepare() -> None:
        assert truth(tenants, "a") == ""
        tenants.make("a")

    def check() -> None:
        truth(tenants, "a")
        done = tenants("tenant", "destroy", "a")
        assert done.returncode in (0, 4), done
        assert truth(tenants, "a") == ""
        tenants("tenant", "destroy", "a")
        assert not tenants.file("a").exists()

    assert step_through(tenants, ("tenant", "destroy", "a"), prepare, check) > 5
