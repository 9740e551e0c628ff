/* Which mount something is on: one of those that are made here, or another; and the guest's mount table. */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "newmount.h"
#include "sys.h"
#include "util.h"

/* --- mounts made here --- */

int find_place(int fd, struct place *place)
{
	struct statx_ st;

	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st) < 0)
		return -errno;
	/* linux/stat.h: stx_dev_major and stx_dev_minor, stx_mnt_id */
	*place = (struct place){st.rest[16], (st.rest[15] & 0xfff) << 20 | (st.rest[15] >> 32 & 0xfffff),
		st.attributes & STATX_ATTR_MOUNT_ROOT_};
	return place->mount ? 0 : -EOPNOTSUPP;
}

uint64_t own_key(const struct place *place)
{
	return place->mount << 32 | place->device;
}

bool is_own(const struct call *call, const struct place *place)
{
	for (unsigned i = 0; i < OWN_MAX; i++)
		if (atomic_load(&call->supervisor->own[i]) == own_key(place))
			return true;
	return false;
}

static bool is_own_mount(const struct call *call, uint64_t mount)
{
	for (unsigned i = 0; i < OWN_MAX; i++)
		if (atomic_load(&call->supervisor->own[i]) >> 32 == mount)
			return true;
	return false;
}

bool own_replace(const struct call *call, uint64_t old, uint64_t new)
{
	for (unsigned i = 0; i < OWN_MAX; i++) {
		unsigned long long expected = old;

		if (atomic_compare_exchange_strong(&call->supervisor->own[i], &expected, new))
			return true;
	}
	return false;
}

unsigned own_count(const struct call *call, uint64_t key)
{
	unsigned count = 0;

	for (unsigned i = 0; i < OWN_MAX; i++)
		count += atomic_load(&call->supervisor->own[i]) == key;
	return count;
}

void own_replace_all(const struct call *call, uint64_t old, uint64_t new)
{
	while (own_replace(call, old, new))
		;
}

/* --- the mount table of the guest's namespace --- */

struct row {
	uint64_t mount, parent;
	bool shared; /* what is mounted on it is mounted elsewhere, too */
};

/* Calls `each` with every row until it says false. */
static int each_row(const struct call *call, bool (*each)(const struct row *row, void *context), void *context)
{
	_cleanup_close_ int copy = fcntl(call->mountinfo, F_DUPFD_CLOEXEC, 3);
	FILE *table = copy < 0 || lseek(copy, 0, SEEK_SET) < 0 ? NULL : fdopen(copy, "r");
	char *line = NULL;
	size_t size = 0;
	bool more = true;
	int r;

	if (!table)
		return -ENOMEM;
	take_fd(&copy);
	while (more && getline(&line, &size, table) > 0) {
		unsigned long long mount, parent;
		char *end = strstr(line, " - ");

		if (!end || sscanf(line, "%llu %llu ", &mount, &parent) != 2)
			continue;
		*end = '\0'; /* behind it is what the mounting process has said */
		more = each(&(struct row){mount, parent, strstr(line, " shared:")}, context);
	}
	/* half a table says nothing of what is not in it */
	r = more && !feof(table) ? -EIO : 0;
	free(line);
	fclose(table);
	return r;
}

struct search {
	const struct call *call;
	uint64_t mount;
	bool found;
};

static int search_rows(const struct call *call, uint64_t mount, bool (*each)(const struct row *row, void *context))
{
	struct search search = {.call = call, .mount = mount};
	int r = each_row(call, each, &search);

	return r < 0 ? r : search.found;
}

static bool look_for_foreign(const struct row *row, void *context)
{
	struct search *search = context;

	search->found = row->parent == search->mount && !is_own_mount(search->call, row->mount);
	return !search->found;
}

static bool look_for_own(const struct row *row, void *context)
{
	struct search *search = context;

	search->found = row->parent == search->mount && is_own_mount(search->call, row->mount);
	return !search->found;
}

static bool look_for_shared(const struct row *row, void *context)
{
	struct search *search = context;

	search->found = row->mount == search->mount && row->shared;
	return !search->found;
}

int has_foreign_child(const struct call *call, uint64_t mount)
{
	return search_rows(call, mount, look_for_foreign);
}

int has_own_child(const struct call *call, uint64_t mount)
{
	return search_rows(call, mount, look_for_own);
}

int is_shared(const struct call *call, uint64_t mount)
{
	return search_rows(call, mount, look_for_shared);
}

bool is_kernels(int fd)
{
	static const unsigned long kernels[] = {PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
		DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC, SECURITYFS_MAGIC, BPF_FS_MAGIC, NSFS_MAGIC,
		PIPEFS_MAGIC, SOCKFS_MAGIC, SELINUX_MAGIC, SMACK_MAGIC, EFIVARFS_MAGIC, BINFMTFS_MAGIC,
		0x7655821 /* resctrl */, 0x19800202 /* mqueue */, 0x62656570 /* configfs */, 0x65735543 /* fusectl */,
		0x6165676C /* pstore */};
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(kernels); i++)
		if ((unsigned long)fs.f_type == kernels[i])
			return true;
	return false;
}
