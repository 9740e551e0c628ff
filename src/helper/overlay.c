/* An overlay of the guest's: its layers are what was checked, wherever their paths lead later. */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "newmount.h"
#include "sys.h"
#include "util.h"

/*
 * A layer shows its directory without what is mounted below it, and directories can be renamed into it later. So there
 * may be no such mount on all of its mount but ours; those on the container's root hide only what its image has.
 */
static int check_layer(const struct call *call, int fd)
{
	struct place place, root;
	int r = find_place(fd, &place);

	if (r == 0)
		r = find_place(call->ns_root, &root);
	if (r < 0)
		return r;
	if (is_kernels(fd))
		return -EPERM;
	if (place.mount == root.mount)
		return 0;
	r = has_foreign_child(call, place.mount);
	return r > 0 ? -EPERM : r;
}

/*
 * The file systems of the layers live as long as the overlay, whatever is unmounted meanwhile: it takes as many places
 * as they have, or a guest could have any number of them.
 */
static int add_cost(const struct call *call, struct overlay *overlay, int layer)
{
	struct place place;
	int r = find_place(layer, &place);
	uint64_t key = own_key(&place);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < overlay->seen_count; i++)
		if (overlay->seen[i] == key)
			return 0;
	if (overlay->seen_count == ARRAY_SIZE(overlay->seen))
		return -EINVAL;
	overlay->seen[overlay->seen_count++] = key;
	overlay->cost += own_count(call, key);
	return 0;
}

static int copy_layer(struct call *call, struct overlay *overlay, const char *path)
{
	_cleanup_close_ int fd = sys_openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0, RESOLVE_GUEST);
	struct statfs fs;
	int r;

	if (fd < 0)
		return -errno;
	r = check_layer(call, fd);
	if (r == 0)
		r = sysret(fstatfs(fd, &fs));
	if (r == 0)
		r = add_cost(call, overlay, fd);
	if (r == 0)
		r = call_raise(call, CAP_BIT(CAP_SYS_ADMIN));
	if (r < 0)
		return r;
	overlay->attributes |= fs.f_flags & ST_NOSUID ? MOUNT_ATTR_NOSUID_ : 0;
	overlay->attributes |= fs.f_flags & ST_NOEXEC ? MOUNT_ATTR_NOEXEC_ : 0;
	r = sysret(sys_open_tree(fd, "", OPEN_TREE_CLONE_ | OPEN_TREE_CLOEXEC_ | AT_EMPTY_PATH));
	call_raise(call, 0);
	return r;
}

static int copy_lower(struct call *call, struct overlay *overlay, char *list)
{
	char *save = NULL;

	if (overlay->count || strstr(list, "::"))
		return -EINVAL; /* given twice; layers of data only */
	for (char *path = strtok_r(list, ":", &save); path; path = strtok_r(NULL, ":", &save)) {
		int fd = overlay->count < LAYERS_MAX ? copy_layer(call, overlay, path) : -EINVAL;

		if (fd < 0)
			return fd;
		overlay->layers[overlay->count++] = fd;
	}
	return 0;
}

/* The name, with the directory that it is in; both directories have to be in one, as those of container tools are. */
static int copy_upper(struct call *call, struct overlay *overlay, char *path, char *name)
{
	_cleanup_close_ int parent = -1;
	struct stat here, other;
	char *slash;

	while (*path && path[strlen(path) - 1] == '/')
		path[strlen(path) - 1] = '\0';
	slash = strrchr(path, '/');
	if (*name || snprintf(name, NAME_MAX + 1, "%s", slash ? slash + 1 : path) > NAME_MAX || !*name ||
		!strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	if (slash)
		slash[1] = '\0';
	parent = copy_layer(call, overlay, slash ? path : ".");
	if (parent < 0)
		return parent;
	if (overlay->parent < 0) {
		overlay->parent = take_fd(&parent);
		return 0;
	}
	if (fstat(parent, &here) < 0 || fstat(overlay->parent, &other) < 0)
		return -errno;
	return here.st_dev == other.st_dev && here.st_ino == other.st_ino ? 0 : -EINVAL;
}

int copy_layers(struct call *call, struct option *options, unsigned count, struct overlay *overlay)
{
	overlay->parent = -1;
	for (unsigned i = 0; i < count; i++) {
		struct option *option = &options[i];
		int r = 0;

		if (strchr(option->key, '+') || strstr(option->key, "override_creds"))
			return -EINVAL;
		if (!strcmp(option->key, "lowerdir"))
			r = option->value ? copy_lower(call, overlay, option->value) : -EINVAL;
		else if (!strcmp(option->key, "upperdir"))
			r = option->value ? copy_upper(call, overlay, option->value, overlay->upper) : -EINVAL;
		else if (!strcmp(option->key, "workdir"))
			r = option->value ? copy_upper(call, overlay, option->value, overlay->work) : -EINVAL;
		else
			continue;
		if (r < 0)
			return r;
		option->key = NULL;
	}
	return overlay->count ? 0 : -EINVAL;
}

/* One of the layers at /NAME of the root that is made for them. */
static int place_layer(int stage, const char *name, int layer)
{
	_cleanup_close_ int on = -1;

	if (mkdirat(stage, name, 0700) < 0)
		return -errno;
	on = openat(stage, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (on < 0)
		return -errno;
	return sysret(sys_move_mount(layer, on));
}

/*
 * A mount namespace of our own, and in it a root in which there is nothing but the layers: whatever the guest does to
 * its tree now, and whatever links there are in it, no path leads to anything else.
 */
int stage_layers(const struct call *call, const struct overlay *overlay)
{
	_cleanup_close_ int fs = -1, stage = -1, here = -1;
	char name[16];
	int r = 0;

	if (fchdir(call->ns_root) < 0 || syscall(SYS_unshare, CLONE_NEWNS_) < 0)
		return -errno;
	if (mount(NULL, ".", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	fs = sys_fsopen("tmpfs");
	if (fs < 0 || sys_fsconfig(fs, FSCONFIG_CMD_CREATE_, NULL, NULL) < 0)
		return -errno;
	stage = sys_fsmount(fs, 0);
	here = sys_openat2(AT_FDCWD, ".", O_PATH | O_DIRECTORY, 0, 0);
	if (stage < 0 || here < 0 || sys_move_mount(stage, here) < 0)
		return -errno;
	if (fchdir(stage) < 0 || chroot(".") < 0)
		return -errno;
	for (unsigned i = 0; r == 0 && i < overlay->count; i++) {
		snprintf(name, sizeof(name), "%u", i);
		r = place_layer(stage, name, overlay->layers[i]);
	}
	if (r == 0 && overlay->parent >= 0)
		r = place_layer(stage, "p", overlay->parent);
	return r;
}

int set_layers(int fs, const struct overlay *overlay)
{
	char text[LAYERS_MAX * 5 + NAME_MAX + 8];
	size_t used = 0;

	for (unsigned i = 0; i < overlay->count; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s/%u", i ? ":" : "", i);
	if (sys_fsconfig(fs, FSCONFIG_SET_STRING_, "lowerdir", text) < 0)
		return -errno;
	if (*overlay->upper) {
		snprintf(text, sizeof(text), "/p/%s", overlay->upper);
		if (sys_fsconfig(fs, FSCONFIG_SET_STRING_, "upperdir", text) < 0)
			return -errno;
	}
	if (*overlay->work) {
		snprintf(text, sizeof(text), "/p/%s", overlay->work);
		if (sys_fsconfig(fs, FSCONFIG_SET_STRING_, "workdir", text) < 0)
			return -errno;
	}
	return 0;
}
