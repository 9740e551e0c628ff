# What a process in a container finds; "key value" lines. Runs in busybox's shell, with as few helpers as can be.
status() { while read -r key value; do case $key in $1) echo "status.$key $value" ;; esac; done </proc/self/status; }
status 'Uid:|x'; status 'Gid:'; status 'Groups:'; status 'Cap*'; status 'NoNewPrivs:'; status 'Seccomp*'; status 'Sig[BC]*'
status 'Cpus_allowed:'; status 'CoreDumping:'; status 'THP_enabled:'
echo "umask $(umask)"
echo "cwd $(pwd) $(readlink /proc/self/cwd)"
echo "arguments $*"
env | grep -v -e '^SHLVL=' -e '^_=' -e '^PROBE=' | sort | sed 's/^/env /'
echo "hostname $(hostname)"
for kind in cgroup ipc mnt net pid pid_for_children time user uts; do echo "ns.$kind $(readlink /proc/self/ns/$kind)"; done
sed 's/^/limit /' /proc/self/limits
while read -r id parent device root point options rest; do
	optional=; before=${rest%% - *}; [ "$before" = "$rest" ] || optional=$before
	case $rest in -*) optional=none; after=${rest#- } ;; *) after=${rest#* - } ;; esac
	echo "mount $point root=$root options=$options propagation=$(echo "$optional" | sed 's/:[0-9]*//g') $after"
done </proc/self/mountinfo
for path in /dev /dev/* /dev/pts/* /dev/net/*; do
	[ -L "$path" ] && echo "link $path $(readlink "$path")" && continue
	[ -e "$path" ] && echo "dev $path $(stat -c '%A %u:%g %t:%T' "$path")"
done
for path in /proc/kcore /proc/keys /proc/acpi /proc/scsi /proc/timer_list /proc/sched_debug /sys/firmware /masked /masked/file; do
	[ -e "$path" ] || { echo "masked $path missing"; continue; }
	echo "masked $path $(stat -c '%F %A %u:%g' "$path") $(ls -A "$path" 2>&1 | head -3 | tr '\n' ' ') $(head -c 10 "$path" 2>/dev/null | wc -c)"
done
for path in /proc/sys/kernel/shmmax /proc/sysrq-trigger /read-only/file /tmp; do
	[ -e "$path" ] || continue
	(: >>"$path") 2>/dev/null && echo "write $path yes" || echo "write $path no"
	[ -d "$path" ] && { (: >"$path/made") 2>/dev/null && echo "make $path yes" || echo "make $path no"; rm -f "$path/made" 2>/dev/null; }
done
(: >/made-by-probe) 2>/dev/null && echo "root writable" || echo "root read-only"; rm -f /made-by-probe 2>/dev/null
echo "oom $(cat /proc/self/oom_score_adj)"
echo "cgroup $(cat /proc/self/cgroup | tr '\n' ' ')"
set -- $(cut -d')' -f2 /proc/$$/stat)
echo "stat ppid=$2 pgrp=$3 session=$4 tty=$([ "$5" = 0 ] && echo none || echo some) nice=${17} threads=${18} policy=${39}"
echo "pid $$"
echo fds /proc/self/fd/*
for fd in 0 1 2; do [ -t $fd ] && echo "tty $fd $(readlink /proc/$$/fd/$fd) $(stat -L -c '%A %u:%g %t' /proc/$$/fd/$fd)"; done
[ -t 0 ] && echo "size $(stty size)"
for name in uid_map gid_map setgroups; do echo "$name $(cat /proc/self/$name | tr -s ' \n' ' ')"; done
for name in kernel/hostname kernel/msgmax kernel/shmmax net/ipv4/ip_forward net/ipv4/ping_group_range fs/mqueue/msg_max; do
	[ -e /proc/sys/$name ] && echo "sysctl $name $(cat /proc/sys/$name | tr '\t' ' ')"
done
echo "personality $(cat /proc/self/personality 2>&1)"
echo "machine $(uname -m)"
echo "keys $(cat /proc/keys 2>/dev/null | grep -c _ses)"
echo "interfaces $(grep -c : /proc/net/dev) $(cat /sys/class/net/lo/operstate 2>&1)"
mkdir /tmp/by-mkdir 2>/dev/null && echo "mkdir yes" || echo "mkdir no"; rmdir /tmp/by-mkdir 2>/dev/null
chown 1:1 /tmp/chowned 2>/dev/null && echo "chown yes" || echo "chown no"
unshare -u true 2>/dev/null && echo "unshare yes" || echo "unshare no"
mount -t tmpfs none /mnt 2>/dev/null && echo "mount yes" && umount /mnt || echo "mount no"
mknod /tmp/node c 1 3 2>/dev/null && echo "mknod yes" && { (: >/tmp/node) 2>/dev/null && echo "node yes" || echo "node no"; }; rm -f /tmp/node
mknod /tmp/node c 5 99 2>/dev/null && { (: </tmp/node) 2>&1 | sed 's/^[^:]*: *[^:]*: */odd /'; }; rm -f /tmp/node
for path in /tmp /tree /tree/sub /volume /volume2 /copied; do [ -e $path ] && echo "tree $path $(stat -c '%A %u:%g' $path) $(ls -A $path 2>/dev/null | tr '\n' ' ')"; done
(: >/tree/sub/made) 2>/dev/null && echo "sub writable" && rm -f /tree/sub/made
echo "end"
