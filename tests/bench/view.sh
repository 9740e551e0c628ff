#!/bin/sh
# view.sh COMMAND...: run it in mount and PID namespaces of its own: cgroup v2 alone is at /sys/fs/cgroup, as on a host of
# today (crun 1.8 wants that), /run is empty, and no process outlives the command. To be run by scripts/isolated.
set -eu
# shellcheck disable=SC2016
exec unshare --mount --pid --fork --kill-child=KILL --mount-proc --propagation private sh -c '
	set -e
	own=$(awk "\$3 == \"cgroup2\" { print \$2; exit }" /proc/mounts)
	if [ "$own" != /sys/fs/cgroup ]; then
		[ -z "$own" ] || umount -l "$own"
		mount -t cgroup2 none /sys/fs/cgroup
	fi
	mount -t tmpfs -o mode=755 run /run
	mkdir -p /run/lock
	"$@"
	exit $?' sh "$@"
