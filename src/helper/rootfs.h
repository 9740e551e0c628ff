/* Paths below a root that somebody else may be changing: resolved from its descriptor, never by
 * name from "/". */
#ifndef ROOTFS_H
#define ROOTFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* An existing path, links resolved inside the root: O_PATH and whatever flags say. A descriptor or
 * -errno. */
int root_open(int root, const char *path, uint64_t flags);

/* As root_open, but no component may be a symbolic link (-ELOOP). */
int root_open_nolink(int root, const char *path, uint64_t flags);

/* A directory, made with its parents where it is missing. */
int root_mkdirs(int root, const char *path, mode_t mode, bool no_symlinks);

/* The directory that is to hold path's last component (made where missing); *name points at that
 * component. */
int root_parent(int root, const char *path, const char **name);

/* An O_PATH descriptor of a file to mount on, made empty where it is missing. */
int root_file(int root, const char *path);

/* The options of an overlay mount as text; upper "" for one that is read-only. -E2BIG. */
int overlay_options(char *text, size_t size, const char *lower, const char *upper, const char *work, const char *extra);

#endif
