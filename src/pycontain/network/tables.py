"""The nftables tables of the network as a whole: made, replaced where something is missing, by nft(8).

``make(run_root, settings)``
    replace them, with what containers publish and may send. Under the network's lock.
``living(run_root)``
    what is published by containers that have their addresses.
"""

from __future__ import annotations

import os

from pycontain.kernel import nfnl
from pycontain.kernel.errors import Error, os_text
from pycontain.network import lease, ruleset
from pycontain.network.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from pycontain.network.port import Publication
    from pycontain.network.routed import Routed

#: Where nft(8) is beside the directories of PATH, which for a service or a user may lack them.
_NFT_PLACES = ("/usr/sbin", "/sbin", "/usr/local/sbin")


def living(run_root: str) -> dict[str, Publication]:
    """What is published by containers that hold the lease of the address it leads to, by container ID."""
    from pycontain.network import port

    owners = lease.leases(run_root)
    return {item.container_id: item for item in port.saved(run_root) if owners.get(item.address) == item.container_id}


def guests(run_root: str, settings: Settings) -> dict[int, Routed]:
    """The containers without a bridge that hold the leases of their addresses, by the index of their device."""
    from pycontain.network import routed

    owners = lease.leases(run_root)
    return {
        item.index: item
        for item in routed.saved(run_root, settings)
        if all(owners.get(address) == item.container_id for address in item.addresses)
    }


def make(run_root: str, settings: Settings) -> None:
    """Replace the table, with all that is published and all that may be sent.

    A container that is being started meanwhile saves its ports before it publishes them: so whoever published into
    the table that was replaced is found by looking again. The same with who may send what.
    """
    from pycontain.network import port, routed

    known, senders = living(run_root), guests(run_root, settings)
    _replace(settings, list(known.values()), list(senders.values()))
    try:
        with nfnl.open_socket() as link:
            for item in living(run_root).values():
                if item.container_id not in known:
                    link.send(port.publish_again(settings.table, item))
            for index, guest in guests(run_root, settings).items():
                if index not in senders:
                    link.send(routed.own_requests(guest))
        ruleset.record(run_root, settings)
    except OSError as error:
        raise Error(f"cannot set up the nftables table {settings.table}: {os_text(error)}") from None


def _replace(settings: Settings, publications: Collection[Publication], senders: Collection[Routed]) -> None:
    """Both tables, or the one where the kernel has no nf_tables for bridges: then a port's lock has to do."""
    try:
        nft(ruleset.script(settings, publications, guests=senders))
    except Error:
        probe = f"{settings.table}-probe"
        try:
            # a chain: old kernels take a table of a family that they do not have
            chain = "chain c { type filter hook prerouting priority -300; }"
            nft(f"table bridge {probe} {{ {chain} }}\ndelete table bridge {probe}\n")
        except Error:
            nft(ruleset.script(settings, publications, False, senders))
            return
        raise


def nft_path() -> str:
    for directory in [*os.environ.get("PATH", "").split(":"), *_NFT_PLACES]:
        path = f"{directory}/nft"
        if directory and os.access(path, os.X_OK):
            return path
    raise Error("the program nft is not there, and the network needs it: install the package nftables")


def nft(script: str) -> None:
    """Feed a script to nft(8), which takes effect as a whole or not at all."""
    import subprocess

    path = nft_path()
    try:
        done = subprocess.run([path, "-f", "-"], input=script, text=True, capture_output=True, check=False)
    except OSError as error:
        raise Error(f"cannot execute {path}: {os_text(error)}") from None
    if done.returncode:
        answer = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
        raise Error(
            f"nft refused the table of the network: {answer}; the kernel needs nf_tables with NAT and fib (family inet)"
        )
