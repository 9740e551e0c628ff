"""What is fuzzed: bytes in; a result that can be, or one line that says why not; never anything else.

Each target has its seeds, which are made from what other tests have: those are on Python's path, by tests/fuzz/run as
by pytest. An assertion that fails is a finding.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

from tests.clients.bundles import table

from full_spec import full
from pycontain.cgroup import devices, limits, merge
from pycontain.engine import archive
from pycontain.engine.transfer import Copier
from pycontain.image import find, recipe
from pycontain.image.reference import parse as parse_reference
from pycontain.kernel import jsontext
from pycontain.kernel.errors import Error, SpecError
from pycontain.launch import plan, seccomp
from pycontain.oci import arguments, create, exec_process, options
from pycontain.planner import wire
from test_cgroup_devices import evaluate as device_answer
from test_cgroup_devices import reachable
from test_seccomp_bpf import evaluate as seccomp_answer

ROOT = Path(__file__).resolve().parents[2]
#: A JSON path as errors give it: ``linux.mounts[0]["a.b"].x``.
PATH = re.compile(r"""[A-Za-z]\w*(\.[^\s.]+|\[\d+\]|\["[^\n]*"\]|\[[^\n]*\])*""")
_work = ""


def work() -> str:
    """A directory of this process's own, for caches and files."""
    global _work
    if not _work:
        _work = tempfile.mkdtemp(prefix="pycontain-fuzz-")
    return _work


def one_line(error: Error) -> None:
    message = error.message
    assert message and message.isprintable(), f"no line for people: {message!r}"
    assert len(message) < 20_000, f"a line of {len(message)} characters"


def at_a_path(error: Error) -> None:
    one_line(error)
    assert isinstance(error, SpecError), f"no JSON path: {error.message!r}"
    assert PATH.match(error.where), f"no JSON path: {error.where!r}"


def document(data: bytes) -> Any:
    """The JSON value; None where it is none, which has been refused in one line."""
    try:
        return jsontext.load_bytes(data, "config.json")
    except Error as error:
        one_line(error)
        return None


def close_new(before: set[str]) -> None:
    """Close what a plan would have given to the helper."""
    for name in set(os.listdir("/proc/self/fd")) - before:
        try:
            os.close(int(name))
        except OSError:
            continue


def clear(top: str) -> None:
    """Remove a tree in which directories may have lost their owner's permissions."""
    for at, directories, _ in os.walk(top):
        for name in directories:
            if not os.path.islink(f"{at}/{name}"):
                os.chmod(f"{at}/{name}", 0o700)
    shutil.rmtree(top, ignore_errors=True)


# --- targets -------------------------------------------------------------------------------------------------------


def fuzz_json(data: bytes) -> None:
    """Our parser takes what the standard library's takes (but for NaN, Infinity and 1e999), and gives the same."""
    ours: Any = None
    try:
        ours = jsontext.load_bytes(data, "text")
        taken = True
    except Error as error:
        one_line(error)
        taken = False
    try:
        theirs = json.loads(data.decode("utf-8"), parse_constant=_constant, parse_float=_fraction)
    except (ValueError, RecursionError):
        assert not taken, "json refuses what we take"
        return
    assert taken and repr(ours) == repr(theirs), "another value than json's"
    again = jsontext.loads(jsontext.dumps(ours))
    assert repr(again) == repr(ours), "dumps and loads do not agree"


def _fraction(text: str) -> float:
    value = float(text)
    if value - value:
        raise ValueError(text)
    return value


def _constant(name: str) -> Any:
    raise ValueError(name)


def fuzz_config(data: bytes) -> None:
    """A whole config.json to the bytes of a plan, and back."""
    spec = document(data)
    if type(spec) is not dict:
        return
    before = set(os.listdir("/proc/self/fd"))
    try:
        records = create.plan_of(spec, "/bundle")
        encoded = plan.encode(records)
    except plan.PlanError as error:
        one_line(error)
        return
    except Error as error:
        at_a_path(error)
        return
    finally:
        close_new(before)
    for (side, op), (side2, op2) in zip(records, plan.decode(encoded), strict=True):
        assert side == side2 and type(op) is type(op2), op
        assert op.describe() and op.describe() == op2.describe(), op


def fuzz_process(data: bytes) -> None:
    """The file of ``exec --process``."""
    process = document(data)
    if type(process) is not dict:
        return
    path = f"{work()}/process.json"
    Path(path).write_bytes(data)
    call = arguments.Call("exec")
    call.options["process"] = path
    try:
        found = exec_process.process({}, call)
        spec = {**full(), "process": {**found, "terminal": False}}
        plan.encode(create.plan_of(spec, "/bundle"))
    except plan.PlanError as error:
        one_line(error)
    except Error as error:
        at_a_path(error)


def fuzz_resources(data: bytes) -> None:
    """linux.resources, at create and as an update of other ones."""
    section = document(data)
    if type(section) is not dict:
        return
    try:
        limits.compile(section)
        old = full()["linux"]["resources"]
        merged = merge.merge(old, merge.kept_swap(old, section))
        limits.compile(merged)  # two halves that are good need not go together: the kernel would say so
    except Error as error:
        at_a_path(error)


_CALLS = [(number, values) for number in (0, 1, 39, 41, 56, 435, 1 << 30) for values in ((), (1, 2, 3, 4, 5, 6))]


def fuzz_seccomp(data: bytes) -> None:
    """linux.seccomp to a program that ends with an answer whatever is called, for both machines."""
    section = document(data)
    if type(section) is not dict:
        return
    for machine, arch in (("x86_64", 0xC000003E), ("aarch64", 0xC00000B7)):
        try:
            seccomp.filter_flags(section)
            program = seccomp.compile_filter(section, machine)
        except Error as error:
            at_a_path(error)
            return
        assert 0 < len(program) <= 4096 * 8 and len(program) % 8 == 0
        for number, values in _CALLS:
            seccomp_answer(program, arch, number, values)
        assert seccomp_answer(program, 0x1234, 0) in (0, 0x80000000)


def fuzz_devices(data: bytes) -> None:
    """linux.resources.devices to a program that the verifier takes, and that answers as the rules say."""
    section = document(data)
    if type(section) is not list:
        return
    try:
        rules = devices.compile(section)
    except Error as error:
        at_a_path(error)
        return
    program = devices.program(rules)
    assert len(reachable(program)) == len(program) // 8, "code that no path reaches"
    numbers = {(rule.major, rule.minor) for rule in rules[:20]} | {(1, 3), (4000, 7)}
    for kind in (devices.BLOCK, devices.CHAR):
        for major, minor in numbers:
            for access in (devices.READ, devices.MKNOD | devices.WRITE):
                got = device_answer(program, kind, max(major, 0), max(minor, 0), access)
                assert got == _wanted(rules, kind, max(major, 0), max(minor, 0), access), (kind, major, minor, access)


def _wanted(rules: list[devices.Rule], kind: int, major: int, minor: int, access: int) -> int:
    """Each access by itself: the last rule that is about it decides."""
    for bit in (devices.READ, devices.WRITE, devices.MKNOD):
        allowed = False
        for rule in rules if access & bit else ():
            about = rule.type in (devices.ANY, kind) and rule.major in (devices.ANY, major)
            if about and rule.minor in (devices.ANY, minor) and rule.access & bit:
                allowed = rule.allow
        if access & bit and not allowed:
            return 0
    return 1


def fuzz_recipe(data: bytes) -> None:
    """A recipe.toml."""
    path = f"{work()}/recipe.toml"
    Path(path).write_bytes(data)
    try:
        found = recipe.load(path)
    except Error as error:
        one_line(error)
        return
    json.dumps(found.config.oci())


def fuzz_record(data: bytes) -> None:
    """The record of an image, image.json, as whoever can write the store may have left it."""
    root = work()
    os.makedirs(f"{root}/images/abc/used", exist_ok=True)
    Path(f"{root}/images/abc/image.json").write_bytes(data)
    try:
        record = find.read_record(root, "abc")
        image = find.Image("abc", [], record)
        json.dumps([image.layers, image.config, image.size, image.created, image.history])
    except Error as error:
        one_line(error)


def fuzz_reference(data: bytes) -> None:
    """The name of an image: what is taken is a file's name, and reads as itself."""
    try:
        found = parse_reference(data.decode(errors="surrogateescape"))
    except Error as error:
        one_line(error)
        return
    assert parse_reference(str(found)) == found or str(parse_reference(str(found))) == str(found)
    assert "/" not in found.encode() and len(found.encode()) < 256


def fuzz_planner(data: bytes) -> None:
    """A request to the planner, with the size that it has: its words, and a number for each descriptor."""
    if len(data) < 32:
        return
    data = data[:8] + len(data).to_bytes(4, sys.byteorder) + data[12:]
    count = int.from_bytes(data[24:28], sys.byteorder)
    try:
        found = wire.Request(data, list(range(count + 1 if count < 1000 else 1)))
    except wire.ProtocolError as error:
        assert str(error).isprintable()
        return
    assert len(found.numbers) == len(found.fds) == count and found.numbers == sorted(set(found.numbers))
    assert len(found.argv) == int.from_bytes(data[16:20], sys.byteorder)
    assert all(name and b"=" not in name and b"\0" not in name + value for name, value in found.environ.items())


def fuzz_messages(data: bytes) -> None:
    """What a client of the planner sends, in pieces, with descriptors or without: a request, or an error, no hang."""
    ours, theirs = socket.socketpair()
    before = len(os.listdir("/proc/self/fd"))
    try:
        ours.settimeout(5)
        theirs.settimeout(5)
        for at in range(0, min(len(data), 4096), 61):
            part = data[at : at + 61]
            if part[:1] == wire.FDS:
                socket.send_fds(theirs, [part], [0] * (part[-1] % 8 + 1))
            else:
                theirs.sendall(part)
        theirs.shutdown(socket.SHUT_WR)
        fds: list[int] = []
        try:
            found = wire.receive(ours)
            fds = [found.cwd, *found.fds]
            assert len(found.fds) == len(found.numbers)
        except (wire.ProtocolError, OSError) as error:
            assert not isinstance(error, TimeoutError) and str(error).isprintable()
        for fd in fds:
            os.close(fd)
        if fds:
            assert len(os.listdir("/proc/self/fd")) == before
        else:  # in the planner they end with the process
            os.closerange(max(ours.fileno(), theirs.fileno()) + 1, 4096)
    finally:
        ours.close()
        theirs.close()


def fuzz_archive(data: bytes) -> None:
    """A tar archive into a directory: nothing beside it changes, and what is read from it can be written again."""
    top = f"{work()}/archive"
    clear(top)
    os.makedirs(f"{top}/in")
    Path(f"{top}/secret").write_text("secret")
    os.symlink("..", f"{top}/in/up")
    os.symlink("../secret", f"{top}/in/file")
    fd = os.open(f"{top}/in", os.O_RDONLY | os.O_DIRECTORY)
    copier = Copier((os.getuid(), os.getgid()), lambda text: None)
    try:
        archive.extract(io.BytesIO(data), fd, copier)
    except Error as error:
        one_line(error)
    finally:
        os.close(fd)
    assert sorted(os.listdir(top)) == ["in", "secret"] and Path(f"{top}/secret").read_text() == "secret"


def fuzz_arguments(data: bytes) -> None:
    """A command line of pycontain-oci: words between line ends."""
    try:
        call = arguments.parse(data.decode(errors="surrogateescape").split("\n"), options.GLOBAL, options.VERBS)
        call.number("preserve-fds")
        call.id()
    except Error as error:
        one_line(error)


# --- seeds ---------------------------------------------------------------------------------------------------------


def _dumped(values: dict[str, Any]) -> dict[str, bytes]:
    return {name: json.dumps(value).encode() for name, value in values.items()}


def specs() -> dict[str, Any]:
    """The bundles of tests/clients, and one that has every property."""
    from pycontain.oci.template import document as template

    found: dict[str, Any] = {"full": full()}
    for name, change in table("/state").items():
        spec = template(rootless=False)
        try:
            change(spec)
        except (OSError, KeyError, StopIteration):
            continue  # wants something of the running host
        found[name] = spec
    return found


def _sections(*keys: str) -> dict[str, Any]:
    found = {}
    for name, spec in specs().items():
        value: Any = spec
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value:
            found[name] = value
    return {name: value for name, value in found.items() if value != found.get("plain") or name == "plain"}


def _profile() -> dict[str, bytes]:
    path = ROOT / "src/pycontain/launch/default-seccomp.json"
    whole = json.loads(path.read_text())
    rules = [{key: rule[key] for key in ("names", "action", "args") if rule.get(key)} for rule in whole["syscalls"]]
    args = [rule for rule in rules if "args" in rule]
    return _dumped({"args": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": args}, **_sections("linux", "seccomp")})


def _recipes() -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in (ROOT / "images").glob("*/recipe.toml")}


def _record() -> dict[str, bytes]:
    layer = {"layers": ["0123456789abcdef01234567"], "mounts": [], "config": {"Cmd": ["sh"]}, "size": 5}
    return _dumped({"record": {"id": "abc", **layer, "history": [], "architecture": "amd64", "created": "2026-01-01"}})


def _archives() -> dict[str, bytes]:
    import tarfile

    found = {}
    for mode in ("w", "w:gz"):
        for style in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode=mode, format=style) as made:
                for name, kind, target in (
                    *(("d", tarfile.DIRTYPE, ""), ("d/f", tarfile.REGTYPE, ""), ("d/s", tarfile.SYMTYPE, "../../x")),
                    *(("d/h", tarfile.LNKTYPE, "d/f"), ("up/x", tarfile.REGTYPE, ""), ("n" * 120, tarfile.REGTYPE, "")),
                ):
                    entry = tarfile.TarInfo(name)
                    entry.type, entry.linkname = kind, target
                    entry.size = 3 if kind == tarfile.REGTYPE else 0
                    made.addfile(entry, io.BytesIO(b"abc"))
            found[f"{mode.replace(':', '-')}-{style}"] = out.getvalue()
    return found


def _lines() -> dict[str, bytes]:
    lines = (
        "--root /x --log-format=json create --bundle b --pid-file p --console-socket s id",
        "exec -dt -u1:2 -e A=b --cap CAP_KILL id sh -c x",
        "kill --all id 9",
        "update -r - id",
        "ps -f json id -- x",
    )
    return {line.split()[0].strip("-"): line.replace(" ", "\n").encode() for line in lines}


def _requests() -> dict[str, bytes]:
    found = {}
    for name, words in (("create", [b"create", b"one"]), ("run", [b"run", b"--rm", b"busybox"]), ("none", [])):
        strings = b"\0".join([*words, b"PATH=/bin", b"LANG=C.UTF-8", b""])
        body = pack("=4i", 0, 1, 2, 7) + strings
        found[name] = pack("=8s6I", wire.MAGIC, 32 + len(body), 1, len(words), 2, 4, 0o22) + body
    return found


def _messages() -> dict[str, bytes]:
    """Those with descriptors begin a piece."""
    found = {name: b"F".ljust(60, b"F") + b"\4Q" + data for name, data in _requests().items()}
    return found | {f"{name}-none": b"Q" + data for name, data in _requests().items()} | {"go": b"G"}


def _named(*names: str) -> dict[str, bytes]:
    return {str(at): name.encode() for at, name in enumerate(names)}


class Target:
    """kind: its inputs are documents (json) or archives (tar), and are changed as such; or bytes."""

    def __init__(self, run: Callable[[bytes], None], seeds: Callable[[], dict[str, bytes]], kind: str = "") -> None:
        self.run = run
        self.seeds = seeds
        self.kind = kind


_DOCUMENTS = {"mounts": full()["mounts"], "deep": [[[[{"a": [1.5e-3, "\ud83d\ude00"]}]]]]}

TARGETS = {
    "json": Target(fuzz_json, lambda: _dumped(_DOCUMENTS)),
    "config": Target(fuzz_config, lambda: _dumped(specs()), "json"),
    "process": Target(fuzz_process, lambda: _dumped(_sections("process")), "json"),
    "resources": Target(fuzz_resources, lambda: _dumped(_sections("linux", "resources")), "json"),
    "seccomp": Target(fuzz_seccomp, _profile, "json"),
    "devices": Target(fuzz_devices, lambda: _dumped(_sections("linux", "resources", "devices")), "json"),
    "planner": Target(fuzz_planner, _requests),
    "messages": Target(fuzz_messages, _messages),
    "recipe": Target(fuzz_recipe, _recipes),
    "record": Target(fuzz_record, _record, "json"),
    "reference": Target(fuzz_reference, lambda: _named("a", "registry.io:5000/a/b_c:tag", f"x@sha256:{'0' * 64}")),
    "archive": Target(fuzz_archive, _archives, "tar"),
    "arguments": Target(fuzz_arguments, _lines),
}
