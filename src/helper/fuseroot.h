#ifndef FUSEROOT_H
#define FUSEROOT_H

/* pycontain-helper try-overlay DIRECTORY: 0 where the kernel's overlay works in it for an ordinary user, 1 where not.
 */
int try_overlay_main(int argc, char **argv);

#endif
