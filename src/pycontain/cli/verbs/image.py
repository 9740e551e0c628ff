"""image: build, list, remove images."""

from __future__ import annotations

from pycontain.cli.args import Argument, Flag, Verb, plain
from pycontain.cli.verbs import shared
from pycontain.cli.verbs.inspect import FORMAT as INSPECT_FORMAT

_IMAGES = Argument("images", "Names or IDs of images.", metavar="IMAGE", many=True, complete="image")

BUILD = Verb(
    "image build",
    "Build an image from a recipe",
    (
        Flag("-t, --tag", "Name of the image (default: the recipe's).", plain, "NAME[:TAG]"),
        Flag("-q, --quiet", "Print the image's ID only."),
    ),
    (Argument("recipe", "Name of a recipe that ships with pycontain, or the path of one."),),
    handler="build",
    epilog="""
pycontain image build busybox
pycontain image build -t base:1 ./recipe.toml
""",
)

LS = Verb(
    "image ls",
    "List images",
    (shared.FORMAT, shared.NO_TRUNC, shared.QUIET),
    (),
    handler="ls",
    epilog="""
pycontain image ls
""",
)

INSPECT = Verb(
    "image inspect",
    "Show all that is known of images, as JSON",
    (INSPECT_FORMAT,),
    (_IMAGES,),
    handler="inspect",
    epilog="""
pycontain image inspect busybox
""",
)

RM = Verb(
    "image rm",
    "Remove images",
    (Flag("-f, --force", "That an image does not exist is no error."),),
    (_IMAGES,),
    handler="rm",
    description="Take each name away; the image goes with its last name, unless a container is made from it.",
    epilog="""
pycontain image rm busybox
""",
)

PRUNE = Verb(
    "image prune",
    "Remove images that nothing uses, and what broken builds have left",
    (
        Flag("-a, --all", "Also images with a name, if no container is made from them."),
        Flag("-f, --force", "Do not ask."),
    ),
    (),
    handler="prune",
    epilog="""
pycontain image prune
""",
)
