#include "sandbox.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include "sandbox.gen.h"
#include "sys.h"
#include "util.h"

/* Landlock: newer than the headers that this may be built with. One numbering on every architecture. */
#define NR_landlock_create_ruleset 444
#define NR_landlock_restrict_self 446
#define LANDLOCK_VERSION_ (1u << 0)
/* linux/landlock.h, LANDLOCK_ACCESS_NET_*, LANDLOCK_SCOPE_* */
#define LANDLOCK_NET_ALL_ 0x3
#define LANDLOCK_SCOPE_ABSTRACT_ 0x1
#define LANDLOCK_SCOPE_SIGNAL_ 0x2

#define NR_landlock_add_rule 445
#define LANDLOCK_RULE_PATH_BENEATH_ 1

/* The version that is asked for at most: a test builds with those of older kernels. */
#ifndef LANDLOCK_ABI_MAX
#define LANDLOCK_ABI_MAX 1000
#endif

struct ruleset_attr {
	uint64_t fs, net, scoped;
};

struct path_attr {
	uint64_t allowed;
	int32_t parent;
} __attribute__((packed));

static const struct {
	const struct sock_filter *program;
	unsigned short len;
	bool signals; /* it has somebody to send signals to, who is not in its domain */
} kinds[] = {
	[SANDBOX_RELAY] = {filter_relay, FILTER_RELAY_LEN, false},
	[SANDBOX_FRONT] = {filter_front, FILTER_FRONT_LEN, false},
	[SANDBOX_WAIT] = {filter_wait, FILTER_WAIT_LEN, true},
	[SANDBOX_INIT] = {filter_init, FILTER_INIT_LEN, true},
	[SANDBOX_WITH] = {filter_with, FILTER_WITH_LEN, false},
	[SANDBOX_PAUSE] = {filter_pause, FILTER_PAUSE_LEN, false},
	[SANDBOX_MONITOR] = {filter_monitor, FILTER_MONITOR_LEN, true},
};

void keep_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {0};

	/* what there is not cannot be kept: asking for it would be an error, and nothing would be dropped */
	syscall(SYS_capget, &header, data);
	for (int i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(keep >> 32 * i);
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	syscall(SYS_capset, &header, data);
}

/* What no exec could give back either. It takes CAP_SETPCAP; without it no_new_privs stands alone. */
void bound_capabilities(uint64_t keep)
{
	for (unsigned number = 0; number < 64; number++)
		if (!(keep & CAP_BIT(number)) && prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0)
			return; /* the last one was the one before, or there is no right to it */
}

/* All access rights to files that a kernel with this ABI knows (linux/landlock.h, LANDLOCK_ACCESS_FS_*). */
static uint64_t file_rights(int abi)
{
	/* REFER came with 2, TRUNCATE with 3, IOCTL_DEV with 5 */
	unsigned count = abi >= 5 ? 16 : abi >= 3 ? 15 : abi >= 2 ? 14 : 13;

	return (1ull << count) - 1;
}

/* False where a rule cannot be had: then the wall would be in the process's own way. */
static bool add_rules(int ruleset, int abi, const struct sandbox_rule *rules, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct path_attr below = {rules[i].rights & file_rights(abi), rules[i].dir};

		/* before ABI 2 a domain could never move anything to another directory */
		if (rules[i].rights & RIGHT_MOVE && abi < 2)
			return false;
		if (syscall(NR_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH_, &below, 0) < 0)
			return false;
	}
	return true;
}

/* Nothing is allowed that it handles but what the rules name. */
static void wall(bool signals, const struct sandbox_rule *rules, unsigned count)
{
	struct ruleset_attr attr = {0};
	_cleanup_close_ int ruleset = -1;
	int abi = (int)syscall(NR_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_);

	if (abi < 1)
		return;
	if (abi > LANDLOCK_ABI_MAX)
		abi = LANDLOCK_ABI_MAX;
	attr.fs = file_rights(abi);
	if (abi >= 4)
		attr.net = LANDLOCK_NET_ALL_;
	if (abi >= 6)
		attr.scoped = LANDLOCK_SCOPE_ABSTRACT_ | (signals ? 0 : LANDLOCK_SCOPE_SIGNAL_);
	ruleset = (int)syscall(NR_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset >= 0 && add_rules(ruleset, abi, rules, count))
		syscall(NR_landlock_restrict_self, ruleset, 0);
}

int sandbox(enum sandbox_kind kind, uint64_t keep)
{
	return sandbox_in(kind, keep, NULL, 0);
}

int sandbox_in(enum sandbox_kind kind, uint64_t keep, const struct sandbox_rule *rules, unsigned count)
{
	struct sock_fprog filter = {kinds[kind].len, (struct sock_filter *)kinds[kind].program};
	int r = 0;

	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		r = -errno;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 && r == 0)
		r = -errno;
	wall(kinds[kind].signals, rules, count);
	bound_capabilities(keep);
	keep_capabilities(keep);
	if (filter.len && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0 && r == 0)
		r = -errno;
	return r;
}

void keep_descriptors(int *fds, unsigned count)
{
	unsigned from = 3;

	for (unsigned i = 1; i < count; i++)
		for (unsigned at = i; at > 0 && fds[at - 1] > fds[at]; at--) {
			int other = fds[at];

			fds[at] = fds[at - 1];
			fds[at - 1] = other;
		}
	for (unsigned i = 0; i < count; i++) {
		if (fds[i] < (int)from)
			continue;
		if ((unsigned)fds[i] > from)
			sys_close_range(from, (unsigned)fds[i] - 1, 0);
		from = (unsigned)fds[i] + 1;
	}
	sys_close_range(from, ~0u, 0);
}
