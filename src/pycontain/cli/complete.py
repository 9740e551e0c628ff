"""Names that a shell completes: of containers, images and tenants, from their directories (docs/design.md, "State")."""

from __future__ import annotations

import os


def names(kind: str, root: str) -> list[str]:
    """The names of what ``kind`` says ("container", "image", "tenant"), sorted; none where they cannot be read."""
    directory = {"container": "names", "image": "refs", "tenant": "tenants"}.get(kind)
    if directory is None:
        return []
    try:
        found = os.listdir(os.path.join(root, directory))
    except OSError:
        return []
    if kind == "image":
        found = [reference for name in found for reference in _reference(name)]
    if kind == "tenant":
        found = [name for name in found if not name.startswith(".")]
    return sorted(found)


def _reference(name: str) -> list[str]:
    from pycontain.image.reference import decode

    try:
        return [decode(name)]
    except ValueError:
        return []
