/* What a process may be and do: ids, capabilities, limits, filters. */
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "launch.h"
#include "sys.h"
#include "util.h"

/* New credentials make a process as dumpable as fs.suid_dumpable says (proc(5)), and who shares its
 * namespaces and user must not look into it while it has descriptors of ours. */
static void conceal(void)
{
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

int op_setns(struct run *run, const struct op *op)
{
	/* on the host side a PID namespace is joined for the children: the way back, for those that are not the guest
	 */
	if (run->side == SIDE_HOST && run->own_pidns < 0)
		run->own_pidns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	return sysret(syscall(SYS_setns, op_fd(op, SETNS_FD), (int)op_n(op, SETNS_TYPES)));
}

int op_unshare(struct run *run, const struct op *op)
{
	(void)run;
	return sysret(syscall(SYS_unshare, op_n(op, UNSHARE_FLAGS)));
}

/* A file of the guest's directory in the host's /proc. */
static int write_guest_file(struct run *run, const char *name, const char *text)
{
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/%s", run->pid, name);
	r = write_file_at(AT_FDCWD, path, 0, text, strlen(text));
	return r < 0 ? fail(run, -r, "%s", name) : 0;
}

int op_id_map(struct run *run, const struct op *op)
{
	int r = 0;

	if (op_n(op, ID_MAP_DENY))
		r = write_guest_file(run, "setgroups", "deny");
	if (r == 0)
		r = write_guest_file(run, "uid_map", op_s(op, ID_MAP_UIDS));
	if (r == 0)
		r = write_guest_file(run, "gid_map", op_s(op, ID_MAP_GIDS));
	return r;
}

int op_become_root(struct run *run, const struct op *op)
{
	(void)op;
	/* "setgroups" may be denied in this namespace: then there is nothing that could be dropped
	 */
	if (syscall(SYS_setgroups, 0, NULL) < 0 && errno != EPERM)
		return fail(run, errno, "setgroups");
	if (syscall(SYS_setresgid, 0, 0, 0) < 0)
		return fail(run, errno, "setresgid");
	if (syscall(SYS_setresuid, 0, 0, 0) < 0)
		return fail(run, errno, "setresuid");
	conceal();
	return 0;
}

int op_time_offsets(struct run *run, const struct op *op)
{
	const char *offsets = op_s(op, TIME_OFFSETS_OFFSETS);
	_cleanup_close_ int fd = -1;
	int r;

	if (syscall(SYS_unshare, CLONE_NEWTIME_) < 0)
		return errno == EINVAL ? fail(run, EINVAL, "this kernel has no time namespaces") : -errno;
	if (*offsets) {
		r = write_file_at(AT_FDCWD, "/proc/self/timens_offsets", 0, offsets, strlen(offsets));
		if (r < 0)
			return fail(run, -r, "timens_offsets");
	}
	/* unshare makes it for children only; joining it saves the extra process */
	fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return sysret(syscall(SYS_setns, fd, CLONE_NEWTIME_));
}

int op_rlimit(struct run *run, const struct op *op)
{
	struct {
		uint64_t cur, max;
	} limit = {op_n(op, RLIMIT_SOFT), op_n(op, RLIMIT_HARD)};
	pid_t pid = run->side == SIDE_HOST ? run->pid : 0;
	int r = sysret(syscall(SYS_prlimit64, pid, (int)op_n(op, RLIMIT_RESOURCE), &limit, NULL));

	/* another user's process, and no CAP_SYS_RESOURCE: who has made its user namespace has that there */
	if (r == -EPERM && pid && lend_owner(run)) {
		r = sysret(syscall(SYS_prlimit64, pid, (int)op_n(op, RLIMIT_RESOURCE), &limit, NULL));
		return_ids();
	}
	return r;
}

int op_oom_score_adj(struct run *run, const struct op *op)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)(int64_t)op_n(op, OOM_SCORE_ADJ_VALUE));
	return write_guest_file(run, "oom_score_adj", text);
}

int op_hostname(struct run *run, const struct op *op)
{
	(void)run;
	return sysret(sethostname(op_s(op, HOSTNAME_TEXT), op->field[F_HOSTNAME_TEXT].len));
}

int op_domainname(struct run *run, const struct op *op)
{
	(void)run;
	return sysret(setdomainname(op_s(op, DOMAINNAME_TEXT), op->field[F_DOMAINNAME_TEXT].len));
}

int op_setsid(struct run *run, const struct op *op)
{
	(void)run;
	(void)op;
	return sysret(setsid());
}

int op_keyring(struct run *run, const struct op *op)
{
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, op_s(op, KEYRING_TEXT)) >= 0)
		return 0;
	if (errno == ENOSYS)
		return 0; /* a kernel without keyrings has none to share */
	return errno == EDQUOT ? fail(run, EDQUOT, "the keyring quota of the user is used up (/proc/key-users)")
			       : -errno;
}

int op_personality(struct run *run, const struct op *op)
{
	(void)run;
	return sysret(syscall(SYS_personality, op_n(op, PERSONALITY_PERSONA)));
}

static int cap_get(struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};

	return sysret(syscall(SYS_capget, &header, data));
}

int op_bounding(struct run *run, const struct op *op)
{
	uint64_t keep = op_n(op, BOUNDING_KEEP);

	(void)run;
	for (int cap = 0; cap < 64; cap++) {
		if (keep >> cap & 1)
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return errno == EINVAL && cap > 0 ? 0 : -errno; /* past the last one that the kernel knows */
	}
	return 0;
}

int op_user(struct run *run, const struct op *op)
{
	const struct field *groups = &op->field[F_USER_GROUPS];
	uid_t uid = (uid_t)op_n(op, USER_UID);
	gid_t gid = (gid_t)op_n(op, USER_GID);

	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return -errno;
	if (!op_n(op, USER_KEEP_GROUPS)) {
		gid_t list[1024];

		if (groups->len % sizeof(gid_t) || groups->len > sizeof(list))
			return fail(run, EINVAL, "more than 1024 supplementary groups");
		memcpy(list, groups->text, groups->len);
		if (syscall(SYS_setgroups, groups->len / sizeof(gid_t), list) < 0)
			return fail(run, errno, "setgroups");
	}
	if (syscall(SYS_setresgid, gid, gid, gid) < 0)
		return fail(run, errno, "setresgid");
	if (syscall(SYS_setresuid, uid, uid, uid) < 0)
		return fail(run, errno, "setresuid");
	conceal();
	return 0;
}

static void warn_missing(struct run *run, uint64_t missing)
{
	static const char *const names[] = {CAPABILITY_NAMES};
	char text[DETAIL_SIZE] = "";
	size_t used = 0;

	for (size_t cap = 0; cap < ARRAY_SIZE(names); cap++) {
		size_t len = strlen(names[cap]);

		if (!(missing >> cap & 1) || used + len + 2 > sizeof(text))
			continue;
		text[used++] = ' ';
		memcpy(text + used, names[cap], len + 1);
		used += len;
	}
	if (used)
		warn(run, "this host cannot grant%s: the container does without", text);
}

int op_capabilities(struct run *run, const struct op *op)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	uint64_t effective = op_n(op, CAPABILITIES_EFFECTIVE), permitted = op_n(op, CAPABILITIES_PERMITTED);
	uint64_t inheritable = op_n(op, CAPABILITIES_INHERITABLE), ambient = op_n(op, CAPABILITIES_AMBIENT), have;
	int r = cap_get(data);

	if (r < 0)
		return r;
	have = data[0].permitted | (uint64_t)data[1].permitted << 32;
	/* runtime-spec, process.capabilities: what cannot be granted is a warning */
	warn_missing(run, (permitted | effective) & ~have);
	permitted &= have;
	effective &= permitted;
	inheritable &= have;
	ambient &= permitted & inheritable;
	data[0] = (struct __user_cap_data_struct){(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable};
	data[1] = (struct __user_cap_data_struct){
		(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)};
	if (syscall(SYS_capset, &header, data) < 0)
		return -errno;
	conceal();
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -errno;
	for (int cap = 0; cap < 64; cap++)
		if (ambient >> cap & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return fail(run, errno, "ambient capability %d", cap);
	return 0;
}

int op_no_new_privileges(struct run *run, const struct op *op)
{
	(void)run;
	(void)op;
	return sysret(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

int op_seccomp(struct run *run, const struct op *op)
{
	const struct field *program = &op->field[F_SECCOMP_PROGRAM];
	struct sock_fprog filter = {0};
	int r;

	if (program->len == 0 || program->len % sizeof(struct sock_filter) ||
		program->len / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return fail(run, EINVAL, "a program of %u bytes", program->len);
	r = hide_descriptors(run);
	if (r < 0)
		return r;
	filter.len = (unsigned short)(program->len / sizeof(struct sock_filter));
	filter.filter = (struct sock_filter *)program->text;
	return sysret(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, op_n(op, SECCOMP_FLAGS), &filter));
}

int op_umask(struct run *run, const struct op *op)
{
	(void)run;
	umask((mode_t)op_n(op, UMASK_MASK));
	return 0;
}

int op_cwd(struct run *run, const struct op *op)
{
	char where[4096];

	if (chdir(op_s(op, CWD_PATH)) < 0)
		return -errno;
	/* CVE-2024-21626: /proc/self/fd/N of a leaked descriptor would lead out of the root */
	if (syscall(SYS_getcwd, where, sizeof(where)) < 0)
		return -errno;
	if (where[0] != '/')
		return fail(run, EXDEV, "it lies outside the container's root");
	return 0;
}
