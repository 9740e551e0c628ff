"""The lower layers of an overlay mount as its option wants them."""

from __future__ import annotations

from pycontain.kernel.errors import Error

#: mount(2) takes one page of options with its NUL (x86-64: 4096 bytes). What the other options may need of it:
#: upperdir=containers/ID/upper, workdir=containers/ID/work with an ID of 64 characters, and flags.
PAGE = 4096
RESERVED = 384
#: fs/overlayfs/params.h: OVL_MAX_STACK
MAX_LAYERS = 500

_HEX = frozenset("0123456789abcdef")


def lower(layers: list[str]) -> str:
    """The value of ``lowerdir=``, relative to the store's directory: the top layer first.

    layers: IDs, the bottom one first. Raises Error where there are none, or more than one page of options can name.
    """
    if not layers:
        raise Error("the image has no layers, so there is nothing to mount: build it anew")
    for layer in layers:
        # Hexadecimal needs none of the escapes of overlayfs (":", "," and "\").
        if not layer or not _HEX.issuperset(layer):
            raise Error(f"layer ID {layer!r} is not hexadecimal: the image record is damaged; build the image anew")
    value = "layers/" + ":layers/".join(reversed(layers))
    if len(value) > PAGE - RESERVED or len(layers) > MAX_LAYERS:
        most = min(MAX_LAYERS, (PAGE - RESERVED) * len(layers) // (len(value) + 1))
        raise Error(
            f"the image has {len(layers)} layers, more than the {most} that the options of one overlay mount can name "
            f"(one page of {PAGE} bytes, mount(2)): build it with fewer layers"
        )
    return value
