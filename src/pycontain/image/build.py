"""Build an image from a recipe. Off the start road.

One recipe makes one layer. It is made under a temporary name with a lock (storage/layers.py) and becomes an image when
all of it is on the disk; a build that fails, is interrupted or killed leaves nothing that the next does not remove.
"""

from __future__ import annotations

import errno
import os

from pycontain.image import find, steps, store
from pycontain.image.reference import Reference, parse
from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain.image.draft import Draft, Layers
    from pycontain.image.recipe import Recipe


def build(
    root: str,
    recipe: Recipe,
    progress: Callable[[str], None],
    layers: Layers,
    reference: Reference | str | None = None,
) -> store.Image:
    """Make the image of a recipe and give it its name; an image that had the name goes where nobody uses it.

    progress: gets one line at a time of what is being done. layers: the module pycontain.storage.layers. reference: a
    name other than the recipe's. Raises Error naming recipe and step.
    """
    if os.geteuid():
        raise Error("image build needs root: it makes files of other owners and calls chroot(2); use sudo")
    _check_store(root)
    reference = parse(str(reference)) if reference else recipe.reference
    # Somebody's leftovers are no reason not to build; what the build needs it will say itself.
    _tidy(root, [], layers, progress)
    drafts: list[Draft] = []
    try:
        return _build(root, recipe, progress, layers, reference, drafts)
    finally:
        # Also: the image that had the name before, unless a container holds it; a layer that has got no image.
        _tidy(root, drafts, layers, progress)


def _check_store(root: str) -> None:
    """An ordinary user is root in a namespace, and the store may be the host's root's. Raises Error."""
    for name in ("images", "layers"):
        path = f"{root}/{name}"
        try:
            os.stat(path)
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except FileNotFoundError:
            continue  # it is made
        except OSError as error:
            raise find.problem(error, path) from None


def _build(
    root: str,
    recipe: Recipe,
    progress: Callable[[str], None],
    layers: Layers,
    reference: Reference,
    drafts: list[Draft],
) -> store.Image:
    def draft() -> Draft:
        drafts.append(layers.create(root))
        return drafts[-1]

    layer = draft()
    work = steps.Build(recipe, layer.tree, lambda: draft().tree.path, progress)
    for number, step in enumerate(recipe.steps):
        progress(f"step {number + 1}/{len(recipe.steps)}: {steps.describe(step)}")
        try:
            work.run(step)
        except (OSError, Error) as error:
            message = error.message if isinstance(error, Error) else f"{error.filename}: {os_text(error)}"
            raise Error(f"cannot build image {reference}: step[{number}].{step.kind}: {message}") from error
    created_by = f"recipe {recipe.name}: {'; '.join(steps.describe(step) for step in recipe.steps)}"
    size = layer.commit(created_by)
    facts = layers.facts(root, layer.id)
    history = [{"created": facts["created"], "created_by": created_by, "size": size}]
    return store.add(root, reference, recipe.config.oci(), [layer.id], work.mounts, size=size, history=history)


def _tidy(root: str, drafts: list[Draft], layers: Layers, progress: Callable[[str], None]) -> None:
    """Let go of the drafts, remove those that are not committed, and what else nobody needs; failures are warnings."""
    works: list[Callable[[], None]] = [draft.discard for draft in drafts]
    works.append(lambda: store.repair(root, layers))
    for work in works:
        try:
            work()
        except Error as error:
            progress(f"warning: {error.message}")
