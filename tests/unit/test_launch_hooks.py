"""Hooks, scheduling and mapped mounts of a spec as records."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pycontain.launch import ops, ops_mounts
from pycontain.launch.compile import Surroundings, compile_exec, compile_spec
from pycontain.launch.hooks import KINDS, PID_MARK, Identity, state_text
from pycontain.launch.ops import (
    GUEST,
    HOST,
)
from pycontain.launch.ops_spec import Affinity, Hook, IoPriority, MemoryPolicy, Remount, Scheduler
from pycontain.launch.ops_userns import GUEST_USERNS, MapSource
from pycontain.launch.schedule import bit_list
from test_launch_compile import ops_of, records, spec


def hooks() -> dict[str, Any]:
    return {kind: [{"path": f"/{kind}", "args": ["a"], "env": ["B=c"], "timeout": 3}] for kind in KINDS}


def test_hooks_are_records_of_their_side_at_their_place() -> None:
    around = Surroundings("/bundle")
    around.id = "ctr"
    around.gate = ops.Gate(3)
    value = spec(hooks=hooks(), process__noNewPrivileges=True, linux__maskedPaths=["/proc/kcore"])
    found = compile_spec(value, around)[0]
    sides = [(side, op.values[0]) for side, op in found if isinstance(op, Hook)]
    assert sides == [
        (HOST, "prestart"),
        (HOST, "createRuntime"),
        (GUEST, "createContainer"),
        (GUEST, "startContainer"),
    ]
    names = [op.name if not isinstance(op, Hook) else op.values[0] for _, op in found]
    assert names.index("symlink") < names.index("prestart") < names.index("createContainer") < names.index("mask")
    assert names.index("createContainer") < names.index("pivot")
    assert names[-4:] == ["lookup", "gate", "startContainer", "exec"]


def test_a_state_is_json_whatever_the_annotations_are() -> None:
    who = Identity("ctr", '/b"', "1.3.0", {"a": PID_MARK, "ä": '"pid": 5'})
    text = state_text(who, "running")
    assert text.count(PID_MARK) == 1
    state = json.loads(text.replace(PID_MARK, "17"))
    assert state == {
        "ociVersion": "1.3.0",
        "id": "ctr",
        "status": "running",
        "pid": 17,
        "bundle": '/b"',
        "annotations": {"a": PID_MARK, "ä": '"pid": 5'},
    }


def test_scheduling() -> None:
    value = spec(
        process__scheduler={"policy": "SCHED_RR", "priority": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        process__ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 3},
        linux__memoryPolicy={"mode": "MPOL_BIND", "nodes": "0,2-3", "flags": ["MPOL_F_RELATIVE_NODES"]},
    )
    assert ops_of(value, Scheduler, IoPriority, MemoryPolicy) == [
        MemoryPolicy(2 | 1 << 14, (0b1101).to_bytes(8, "little")),
        Scheduler(2, 1, 0, 5),
        IoPriority(3 << 13 | 3),
    ]


@pytest.mark.parametrize(
    ("text", "bits"), [("0", 1), ("0-3", 15), ("1,3", 10), ("0-1, 3", 11), ("64", 1 << 64), ("1,", 2)]
)
def test_lists_of_numbers(text: str, bits: int) -> None:
    mask = bit_list(text, "x", 8192)
    assert int.from_bytes(mask, "little") == bits and len(mask) % 8 == 0


def test_affinity_is_for_exec_alone() -> None:
    section = {"args": ["sh"], "cwd": "/", "execCPUAffinity": {"initial": "0", "final": "1"}}
    value = spec()
    value["process"] = section
    assert ops_of(value, Affinity) == []
    found = [op for _, op in compile_exec(section, spec(), 5, Surroundings())[0]]
    names = [op.name for op in found]
    first, last = [index for index, name in enumerate(names) if name == "affinity"]
    assert first < names.index("clone") < last
    assert found[first] == Affinity((1).to_bytes(8, "little"), "CPUs 0")
    assert found[last] == Affinity((2).to_bytes(8, "little"), "CPUs 1")


MAP = [{"containerID": 0, "hostID": 5, "size": 1}]


def test_mapped_mounts_are_prepared_before_the_guest_is_made() -> None:
    value = spec(
        mounts=[
            {"destination": "/a", "source": "/s", "options": ["bind"], "uidMappings": MAP, "gidMappings": MAP},
            {
                "destination": "/b",
                "source": "t",
                "options": ["rbind", "ridmap"],
                "uidMappings": MAP,
                "gidMappings": MAP,
            },
        ]
    )
    found = [op for _, op in records(value)]
    assert found[:2] == [
        MapSource(1, "/s", "0 5 1\n", "0 5 1\n", -1, False, False),
        MapSource(2, "/bundle/t", "0 5 1\n", "0 5 1\n", -1, True, True),
    ]
    assert isinstance(found[2], ops.Clone)
    assert [op.values[-1] for op in found if isinstance(op, ops_mounts.Bind)] == [1, 2]


def test_mounts_that_the_guests_own_namespace_maps_are_prepared_when_it_is_there() -> None:
    value = spec(
        linux__namespaces=[{"type": "mount"}, {"type": "user"}],
        linux__uidMappings=MAP,
        linux__gidMappings=MAP,
        mounts=[
            {"destination": "/a", "source": "/s", "options": ["bind", "idmap"]},
            {"destination": "/b", "source": "/t", "options": ["bind"], "uidMappings": MAP, "gidMappings": MAP},
            {"destination": "/c", "source": "/u", "options": ["bind", "idmap"]},
        ],
    )
    found = [op for _, op in records(value)]
    kinds = [type(op) for op in found[:5]]
    assert kinds == [MapSource, ops.Clone, ops.IdMap, MapSource, MapSource]
    assert [found[0].values[:2], *[op.values[:2] for op in found[3:5]]] == [(2, "/t"), (1, "/s"), (3, "/u")]
    assert [op.values[4] for op in (found[0], *found[3:5])] == [-1, GUEST_USERNS, GUEST_USERNS]
    binds = [op for op in found if isinstance(op, ops_mounts.Bind) and op.values[-1]]
    assert [(op.values[1], op.values[-1]) for op in binds] == [("/a", 1), ("/b", 2), ("/c", 3)]


def test_remounts() -> None:
    value = spec(
        mounts=[
            {"destination": "/a", "options": ["remount", "ro", "size=1k"]},
            {"destination": "/a", "options": ["bind", "remount", "rw"]},
        ]
    )
    assert ops_of(value, Remount) == [Remount("/a", 1, 0, ["size=1k"], True), Remount("/a", 0, 1, [], False)]


def test_what_is_bound_instead_of_a_new_file_system() -> None:
    around = Surroundings("/bundle")
    around.cgroup_directory = "/sys/fs/cgroup/x"
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}
    (bind,) = ops_of(spec(mounts=[mount]), ops_mounts.Bind, around=around)
    assert bind.values[:4] == ("/sys/fs/cgroup/x", "/sys/fs/cgroup", 0, 1)
    own = [{"type": "mount"}, {"type": "cgroup"}]
    (new,) = ops_of(spec(mounts=[mount], linux__namespaces=own), ops_mounts.Mount, around=around)
    assert new.values[0] == "cgroup2"
