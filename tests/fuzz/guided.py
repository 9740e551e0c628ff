"""guided.py TARGET WORK [LIBFUZZER'S OPTIONS]: fuzz one target of targets.py, guided by what it covers (atheris).

WORK has the directories seeds, new and findings; seeds are written first.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
#: Larger than the largest seed; libFuzzer would take 1 MiB, of which most is never looked at.
MOST = 16384


def main() -> None:
    name, work, *more = sys.argv[1:]
    with atheris.instrument_imports(include=["pycontain", "tarfile", "tomllib"], enable_loader_override=False):
        from tests.fuzz import mutate, targets

        # what is imported where it is used would be left out
        for path in (ROOT / "src/pycontain/launch").glob("*.py"):
            importlib.import_module(f"pycontain.launch.{path.stem}")
    target = targets.TARGETS[name]
    for directory in ("seeds", "new", "findings", "files"):
        os.makedirs(f"{work}/{directory}", exist_ok=True)
        os.chmod(f"{work}/{directory}", 0o1777)
    tempfile.tempdir = f"{work}/files"  # goes with the rest
    for seed, data in target.seeds().items():
        Path(f"{work}/seeds/{seed}").write_bytes(data)
    # an archive of a few bytes may have a file of any size
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 20, 16 << 20))
    if name == "archive" and os.geteuid() == 0:
        # should it write beside its directory after all, then not as root
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    kept = [str(path) for path in [ROOT / "tests/fuzz/corpus" / name] if path.is_dir()]
    options = [f"-max_len={MOST}", f"-artifact_prefix={work}/findings/", "-timeout=10", "-rss_limit_mb=1024", *more]
    arguments = [sys.argv[0], *options, f"{work}/new", f"{work}/seeds", *kept]

    def document(data: bytes, most: int, seed: int) -> bytes:
        changed = mutate.mutate(data, most, seed) if seed % 8 else None
        return atheris.Mutate(data, most) if changed is None else changed

    def tar(data: bytes, most: int, seed: int) -> bytes:
        changed = atheris.Mutate(data, most)
        return mutate.with_checksums(changed) if seed % 4 else changed

    mutator = {"json": document, "tar": tar}.get(target.kind)
    atheris.Setup(arguments, target.run, **({"custom_mutator": mutator} if mutator else {}))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
