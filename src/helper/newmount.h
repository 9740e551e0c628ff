/* What newmount.c, which makes the guest's mounts, knows of those that there are, and of an overlay's layers. */
#ifndef NEWMOUNT_H
#define NEWMOUNT_H

#include <limits.h>

#include "supervise.h"

#define LAYERS_MAX 64
/* What a path of the guest's is resolved with, as its user, in its root. */
#define RESOLVE_GUEST RESOLVE_NO_MAGICLINKS_

struct option {
	char *key, *value; /* key NULL: it is done; value NULL: a flag */
};

/* --- place.c: which mount something is on --- */

struct place {
	uint64_t mount, device;
	bool is_root; /* of its mount */
};

/* A place in the table whose file system may live on: somebody had something of it open when it was detached. It stays
 * taken, or a guest could have any number of them. */
#define OWN_LOST 1

/* Asks the kernel alone, and no file system: that may be one of the guest's. 0 or -errno. */
int find_place(int fd, struct place *place);

/* A number is given to another mount when its mount has gone: with the device it says which one it was. */
uint64_t own_key(const struct place *place);

/* The table of the mounts made here: whether something is in it, how many places it has; one place, or all that have
 * `old`, get `new`. */
bool is_own(const struct call *call, const struct place *place);
unsigned own_count(const struct call *call, uint64_t key);
bool own_replace(const struct call *call, uint64_t old, uint64_t new);
void own_replace_all(const struct call *call, uint64_t old, uint64_t new);

/* The mount table of the guest's namespace, of this mount: 1, 0 or -errno. */
int has_own_child(const struct call *call, uint64_t mount);
int has_foreign_child(const struct call *call, uint64_t mount);
int is_shared(const struct call *call, uint64_t mount); /* what is mounted on it is mounted elsewhere, too */

/* File systems of the kernel's: some of what is in them is masked by mounts. */
bool is_kernels(int fd);

/* --- overlay.c: its layers are what was checked, wherever their paths lead later --- */

struct overlay {
	int layers[LAYERS_MAX]; /* detached copies of their mounts */
	unsigned count;
	int parent; /* the same, of the directory in which upper and work directory are; or -1 */
	char upper[NAME_MAX + 1], work[NAME_MAX + 1];
	unsigned attributes; /* of the layers' mounts: what is nosuid or noexec stays so */
	uint64_t seen[LAYERS_MAX + 2];
	unsigned seen_count, cost; /* places in the table that its layers have */
};

/* Take the layers out of the options. 0 or -errno. */
int copy_layers(struct call *call, struct option *options, unsigned count, struct overlay *overlay);

/* A mount namespace of our own, with a root in which there is nothing but the layers. 0 or -errno. */
int stage_layers(const struct call *call, const struct overlay *overlay);

/* Tell a new overlay (fsopen(2)) of the layers on that stage. 0 or -errno. */
int set_layers(int fs, const struct overlay *overlay);

#endif
