"""image: build, list, remove images."""

from __future__ import annotations

from pycontain.cli.args import Argument, Flag, Options, Verb, plain
from pycontain.cli.verbs import shared
from pycontain.cli.verbs.inspect import FORMAT as INSPECT_FORMAT
from pycontain.engine.paths import Paths
from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.image.store import Image, Removed

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


# --- what they do ------------------------------------------------------------------------------------------------

_HEADERS = ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE")


def _paths(options: Options) -> Paths:
    from pycontain.engine import access

    paths = Paths(options.root, options.run_root)
    access.check(paths)
    return paths


def build(options: Options) -> int:
    """Build an image, print its ID."""
    import sys

    from pycontain.image import build as builder
    from pycontain.image import recipe
    from pycontain.storage import layers

    def progress(line: str) -> None:
        if not options.flag("quiet"):
            print(line, file=sys.stderr, flush=True)

    found = recipe.find(options.text("recipe"))
    image = builder.build(options.root, found, progress, layers, options.text("tag") or None)
    print(image.id)
    return 0


def ls(options: Options) -> int:
    """List the images, a line for each name."""
    from pycontain.cli import table
    from pycontain.engine import images
    from pycontain.image import store

    paths, long = _paths(options), options.flag("no-trunc")
    found = store.list_images(paths.root)
    if options.flag("quiet"):
        table.show("".join(f"{image.id if long else image.id[:12]}\n" for image in found))
        return 0
    rows = [_cells(image, name, long) for image in found for name in image.names or [""]]
    table.show_list(options.text("format"), _HEADERS, rows, [images.summary(paths, image) for image in found])
    _tell_damaged(found)
    return 0


def _cells(image: Image, name: str, long: bool) -> list[str]:
    from pycontain.cli import table, times
    from pycontain.engine import images

    shown = image.id if long else image.id[:12]
    if image.problem:
        return [*images.repository(name), shown, "damaged", ""]
    age = max(0.0, (times.now() - times.moment(image.created)) / 1e9)
    return [*images.repository(name), shown, f"{table.human_duration(age)} ago", table.human_size(image.size)]


def _tell_damaged(found: list[Image]) -> None:
    import sys

    from pycontain.cli import table

    sys.stdout.flush()
    for image in found:
        if image.problem:
            print(f"pycontain: image {image.id[:12]}: {table.printable(image.problem)}", file=sys.stderr)


def inspect(options: Options) -> int:
    """Print one array of all images that were named."""
    from pycontain.cli.verbs.inspect import show_all
    from pycontain.engine import images

    paths = _paths(options)
    return show_all(options.many("images"), lambda text: images.inspect(paths, text))


def rm(options: Options) -> int:
    """Remove images, print which names and images are gone; 1 where one of several cannot be removed."""
    import sys

    from pycontain.cli import table
    from pycontain.engine import images

    paths, wanted, status = _paths(options), options.many("images"), 0
    for text in wanted:
        try:
            table.show(_words(images.remove(paths, text, options.flag("force"))))
        except Error as error:
            if len(wanted) == 1:
                raise
            sys.stdout.flush()
            print(f"pycontain: {table.printable(error.message)}", file=sys.stderr)
            status = 1
    return status


def _words(removed: Removed) -> str:
    lines = [f"Untagged: {name}" for name in removed.untagged] + [f"Deleted: {image}" for image in removed.deleted]
    return "".join(f"{line}\n" for line in lines)


def prune(options: Options) -> int:
    """Remove what nothing uses, print what is gone and how much room that makes."""
    from pycontain.cli import confirm, table
    from pycontain.engine import images

    paths = _paths(options)
    everything = options.flag("all")
    what = "all images without a container" if everything else "all images without a name and a container"
    if not confirm.confirmed(options, what):
        return 1
    removed = images.prune(paths, everything)
    table.show(f"{_words(removed)}Total reclaimed space: {table.human_size(removed.freed)}\n")
    return 0
