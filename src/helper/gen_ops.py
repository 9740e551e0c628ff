#!/usr/bin/env python3
"""Write ops.gen.h: the C side of the operations that pycontain.launch.ops defines.

Usage: gen_ops.py SOURCE_DIR OUTPUT, where SOURCE_DIR holds the package pycontain.
"""

import sys
from pathlib import Path


def header(ops: list, sides: tuple, capabilities: tuple) -> str:
    out = [
        "/* Generated from src/pycontain/launch/ops*.py by gen_ops.py. */",
        "#ifndef OPS_GEN_H",
        "#define OPS_GEN_H",
        "",
    ]
    out.append("enum {")
    out += [f"\tSIDE_{side.upper()} = {number}," for number, side in enumerate(sides)]
    out += [f"\tSIDE_COUNT = {len(sides)},", "};", "", "enum {"]
    out += [f"\tOP_{op.name.upper()} = {op.code}," for op in ops]
    out += [f"\tOP_COUNT = {ops[-1].code + 1},", f"\tMAX_FIELDS = {max(len(op.fields) for op in ops)},", "};", ""]
    for op in ops:
        if op.fields:
            out.append("enum {")
            out += [f"\tF_{op.name.upper()}_{name.upper()} = {n}," for n, (name, _) in enumerate(op.fields)]
            out.append("};")
    out += ["", "struct run;", "struct op;"]
    out += [f"int op_{op.name}(struct run *run, const struct op *op);" for op in ops]
    out += ["", "/* number, name, kinds of its fields */", "#define EACH_OP(X) \\"]
    out += [f'\tX({op.code}, {op.name}, "{"".join(kind for _, kind in op.fields)}") \\' for op in ops]
    out += ["", "/* by number */", "#define CAPABILITY_NAMES \\"]
    out += [f'\t"{name}", \\' for name in capabilities]
    out += ["", "#endif", ""]
    return "\n".join(out)


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    sys.dont_write_bytecode = True
    from pycontain.kernel.capability import NAMES
    from pycontain.launch.ops import SIDES
    from pycontain.launch.ops_all import classes

    ops = classes()
    assert len({op.code for op in ops}) == len(ops), "two operations with one number"
    Path(sys.argv[2]).write_text(header(ops, SIDES, NAMES))


if __name__ == "__main__":
    main()
