"""plan: what create would do with a bundle."""

from __future__ import annotations

import os

from pycontain.kernel import jsontext
from pycontain.kernel.errors import UsageError
from pycontain.launch import plan
from pycontain.launch.ops import SIDES
from pycontain.oci import create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.oci.arguments import Call


def show_plan(_root: str, call: Call) -> int:
    """The launch plan of a bundle, one record a line: side, operation, what it does."""
    if len(call.words) > 1:
        raise UsageError("plan: one bundle directory is expected", 1)
    bundle = os.path.abspath(call.words[0] if call.words else call.text("bundle", "."))
    records = create.plan_of(create.read_bundle(bundle), bundle)
    plan.encode(records)  # what cannot be encoded is no plan
    if call.text("format", "text") == "json":
        rows = [
            {
                "side": SIDES[side],
                "op": op.name,
                "fields": {n: _plain(v) for (n, _), v in zip(op.fields, op.values, strict=True)},
            }
            for side, op in records
        ]
        print(jsontext.dumps(rows))
        return 0
    for side, op in records:
        print(f"{SIDES[side]:<6}{op.name:<18}{op.describe()}")
    return 0


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
