"""Write one small plan for each operation, and one of a whole start, into a directory: what the fuzzer begins with."""

import sys
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
    from pycontain.launch import ops
    from pycontain.launch.plan import encode

    examples = {"n": 7, "s": "text", "b": b"\0\1\2", "l": ["a", "", "bc"]}
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    whole = [(ops.HOST, ops.Clone(0x20000)), (ops.GUEST, ops.Hostname("h")), (ops.GUEST, ops.Exec(["sh"], ["A=b"]))]
    for cls in ops.Op.__subclasses__():
        op = object.__new__(cls)
        op.values = tuple(examples[kind] for _, kind in cls.fields)
        side = ops.AFTER if cls in (ops.Clone, ops.Exec) else ops.FAIL
        (directory / cls.name).write_bytes(encode([(side, op)] if cls is not ops.Clone else whole))
    (directory / "whole").write_bytes(encode(whole))


if __name__ == "__main__":
    main()
