/* tmpcopyup: what a directory of the image has, copied into the file system that is to cover it. */
#ifndef COPYUP_H
#define COPYUP_H

/* Copy the tree below the directory from into the (detached) mount to. Stays on descriptors. 0 or
 * -errno. */
int copy_up(int from, int to);

#endif
