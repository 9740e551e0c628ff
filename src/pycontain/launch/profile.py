"""The seccomp profile of containers that ask for none: default-seccomp.json, explained in docs/seccomp.md."""

from __future__ import annotations

import os
from _blake2 import blake2b

from pycontain.kernel import files, jsontext
from pycontain.kernel.errors import Error
from pycontain.launch.seccomp import COMPILER_VERSION, compile_filter, read_entry, write_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROFILE = os.path.join(os.path.dirname(__file__), "default-seccomp.json")
#: blake2b-128 of the file: what the cache knows it by, without reading it. A unit test compares.
PROFILE_DIGEST = "7ad5ae1ca09c0bdda80ea56599309ebc"

#: uname(2) → the names that ``arches`` in the profile has for the machine and its 32-bit companion (GOARCH).
_ARCHES = {"x86_64": ("amd64", "x86"), "aarch64": ("arm64", "arm")}
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def default_profile(capabilities: frozenset[str], machine: str) -> dict[str, Any]:
    """The profile for a container with these capabilities in its bounding set, as an OCI ``linux.seccomp`` object.

    capabilities: names such as "CAP_SYS_ADMIN". machine: as uname(2) has it. Raises Error for a machine without one.
    """
    if machine not in _ARCHES:
        raise Error(f"there is no default seccomp profile for {machine}: only for {' and '.join(_ARCHES)}")
    profile = files.read_json(PROFILE)
    (architectures,) = (
        [entry["architecture"], *entry["subArchitectures"]]
        for entry in profile["archMap"]
        if entry["architecture"] == _NATIVE[machine]
    )
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": architectures,
        "syscalls": _joined([rule for rule in profile["syscalls"] if _applies(rule, capabilities, _ARCHES[machine])]),
    }


def _applies(rule: dict[str, Any], capabilities: frozenset[str], arches: tuple[str, ...]) -> bool:
    """``includes`` wants all of its capabilities and one of its architectures, ``excludes`` none of either."""
    includes, excludes = rule.get("includes", {}), rule.get("excludes", {})
    return (
        capabilities.issuperset(includes.get("caps", ()))
        and not set(includes.get("arches", arches)).isdisjoint(arches)
        and capabilities.isdisjoint(excludes.get("caps", ()))
        and set(excludes.get("arches", ())).isdisjoint(arches)
    )


def _joined(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The OCI rules: those without conditions that have one answer become one, where the first of them was."""
    joined: dict[tuple[str, int | None], dict[str, Any]] = {}
    result: list[dict[str, Any]] = []
    for rule in rules:
        kept: dict[str, Any] = {key: rule[key] for key in ("names", "action", "errnoRet", "args") if key in rule}
        answer = kept["action"], kept.get("errnoRet")
        if "args" not in kept and answer in joined:
            joined[answer]["names"] += kept["names"]
            continue
        if "args" not in kept:
            joined[answer] = kept
        result.append(kept)
    return result


def default_filter(capabilities: frozenset[str], machine: str, cache_dir: str) -> tuple[str, bytes]:
    """default_profile as JSON text, and the BPF program of it; both from ``cache_dir`` where it has them."""
    key = f"{COMPILER_VERSION} {PROFILE_DIGEST} {machine} {' '.join(sorted(capabilities))}"
    path = f"{cache_dir}/seccomp-default-{blake2b(key.encode(), digest_size=20).hexdigest()}"
    entry = read_entry(path)
    if entry is not None and len(entry) > 4:
        end = 4 + int.from_bytes(entry[:4], "little")
        if len(entry) > end and not (len(entry) - end) % 8:
            return entry[4:end].decode(), entry[end:]
    section = default_profile(capabilities, machine)
    text, program = jsontext.dumps(section), compile_filter(section, machine, "the default seccomp profile")
    write_entry(path, len(text).to_bytes(4, "little") + text.encode() + program)
    return text, program
