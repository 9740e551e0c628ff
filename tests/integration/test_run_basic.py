"""run: the shortest way through everything."""

from __future__ import annotations

from world import World

SCRIPT = 'echo "out $1"; echo err >&2; exit 7'


def test_output_status_and_arguments(world: World) -> None:
    done = world("run", "--rm", "--network", "none", "busybox", "sh", "-c", SCRIPT, "x", "y z")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out y z\n", "err\n")


def test_standard_input(world: World) -> None:
    done = world("run", "--rm", "-i", "--network", "none", "busybox", "cat", input="a\nb")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\nb", "")


def test_large_output_arrives_whole(world: World) -> None:
    done = world("run", "--rm", "--network", "none", "busybox", "seq", "200000")
    assert done.stdout == "".join(f"{number}\n" for number in range(1, 200001))


def test_large_input_comes_back_whole(world: World) -> None:
    """More than all buffers on the way hold: nobody waits for the other."""
    data = "".join(f"{number}\n" for number in range(300000))
    done = world("run", "--rm", "-i", "--network", "none", "busybox", "cat", input=data)
    assert done.stdout == data


def test_a_container_stays_until_it_is_removed(world: World) -> None:
    world.ok("run", "--name", "kept", "--network", "none", "busybox", "true")
    assert world.status("kept") == "exited"
    world.ok("rm", "kept")
    assert world.status("kept") == "gone"
