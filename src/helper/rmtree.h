/* Remove a tree that a guest has filled: by descriptors, however deep, following nothing. */
#ifndef RMTREE_H
#define RMTREE_H

/* 0, also when there is nothing; -errno of the first failure, after all else has been removed. */
int rmtree(const char *path);

#endif
