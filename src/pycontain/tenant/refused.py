"""What vzctl could set and a stock kernel cannot: each is refused with a sentence, and never taken in silence."""

from __future__ import annotations

_SOCKETS = "the kernel counts sockets' memory as the tenant's memory: set memory.limit"
_MEMORY = "memory is one limit for all kinds of it now: set memory.limit and memory.swap"

#: Names as vzctl, a container's .conf and prlctl have them, in small letters.
REASONS = {
    "numtcpsock": f"no stock kernel limits the number of TCP sockets of a group; {_SOCKETS}",
    "numothersock": f"no stock kernel limits the number of sockets of a group; {_SOCKETS}",
    "tcpsndbuf": _SOCKETS,
    "tcprcvbuf": _SOCKETS,
    "othersockbuf": _SOCKETS,
    "dgramrcvbuf": _SOCKETS,
    "numiptent": "no stock kernel limits netfilter rules of a namespace; they count as the tenant's memory: set"
    " memory.limit",
    "numfile": "no stock kernel limits open files of a group; each user's are limited inside by limits.conf(5)",
    "numflock": "no stock kernel limits file locks of a group",
    "numpty": "no stock kernel limits terminals of a group; the host's are kernel.pty.max",
    "numsiginfo": "no stock kernel limits queued signals of a group; a user's are RLIMIT_SIGPENDING, inside",
    "numproc": "it is called processes.max (--processes)",
    "avnumproc": "it was never enforced; the limit is processes.max (--processes)",
    "kmemsize": f"kernel memory counts as memory: {_MEMORY}",
    "lockedpages": "locked memory counts as memory; a user's is RLIMIT_MEMLOCK, inside",
    "privvmpages": f"a stock kernel limits memory that is used, not what is asked for: {_MEMORY}",
    "shmpages": f"shared memory counts as memory: {_MEMORY}",
    "vmguarpages": "allocations are not guaranteed by a stock kernel; memory.guarantee protects what is used",
    "oomguarpages": "it is called memory.guarantee (--guarantee)",
    "physpages": "it is called memory.limit (--memory)",
    "swappages": "it is called memory.swap (--swap)",
    "dcachesize": f"cached names of files count as memory: {_MEMORY}",
    "vm_overcommit": "overcommitting is the host's: vm.overcommit_memory there",
    "nfs": "a stock kernel mounts NFS for nobody but the host's root: mount it on the host and give it with [[mounts]]",
    "nfsd": "the kernel's NFS server is the host's; one in user space (nfs-ganesha) works inside",
    "sit": "tunnel devices are made inside, with net_admin, where the host has loaded the module",
    "ipip": "tunnel devices are made inside, with net_admin, where the host has loaded the module",
    "ppp": 'give the device: rights.devices = ["/dev/ppp:rwm"], where the host has loaded the module',
    "bridge": "bridges can be made inside without any switch",
    "iptables": "all netfilter modules that the host has loaded work inside: there is no list of them",
    "netfilter": "all netfilter modules that the host has loaded work inside: there is no switch",
    "quotaugidlimit": "quotas of users inside are not kept by this version; the tenant's own are disk.space and"
    " disk.inodes",
    "quotatime": "the tenant's disk quota has no grace time: disk.space is a limit at once",
    "diskquota": "there is a quota where disk.space or disk.inodes says so",
    "diskspace": "it is called disk.space (--disk)",
    "diskinodes": "it is called disk.inodes (--inodes)",
    "ioprio": "it is called io.weight (--io-weight)",
    "iolimit": "it is called io.read_bps and io.write_bps (--read-bps, --write-bps)",
    "iopslimit": "it is called io.read_iops and io.write_iops (--read-iops, --write-iops)",
    "cpuunits": "it is called cpu.units (--cpuunits)",
    "cpulimit": "it is called cpu.limit (--cpulimit)",
    "cpumask": "it is called cpu.mask (--cpumask)",
    "nodemask": "it is called cpu.nodes (--nodemask)",
    "bootorder": "it is called boot.order (--boot-order)",
    "ostemplate": "it is called template (--template, of create; later: reinstall)",
    "origin_sample": "settings are copied from another tenant: create --like OTHER",
    "config": "settings are copied from another tenant: create --like OTHER",
    "ve_root": "the root of a tenant is where its container has it: pycontain inspect tenant-NAME",
    "ve_private": "the files of a tenant are where its container has them: pycontain inspect tenant-NAME",
    "ve_layout": "how a quota is kept is chosen by what the store's file system offers",
    "netif": "devices are listed in [[network]]",
    "netif_add": "it is called --netif-add NAME; --network, --ip, --mac beside it say what the device is to be",
    "netif_del": "it is called --netif-del NAME",
    "ip_address": "it is called addresses, in [[network]] (--ip)",
    "nameserver": "it is called dns.servers (--dns)",
    "searchdomain": "it is called dns.search (--dns-search)",
    "capability": "it is called rights.capabilities (--capability)",
    "devnodes": "it is called rights.devices (--device)",
    "devices": "it is called rights.devices (--device)",
    "pci": "PCI devices cannot be given to a container; nodes of /dev can: rights.devices",
    "applyconfig": "settings are copied from another tenant: create --like OTHER",
    "setmode": "set changes what it can at once and says what waits for a restart: pycontain tenant restart",
    "mount_opts": "options of a disk image are not set by hand",
    "autocompact": "disk images are sparse, and their free blocks are given back at once",
    "vnc": "there is no screen; the console is text: pycontain tenant console",
}


def reason(name: str) -> str:
    """Why there is no setting of this name here, and what there is instead; "" for a name that nobody had."""
    return REASONS.get(name.lower().lstrip("-"), "")
