/* The commands pycontain and pycontain-oci: find the interpreter and the package beside this
 * binary. */
#ifndef FIND_H
#define FIND_H

#include <stdbool.h>

/* Becomes Python; returns the exit status when it cannot. */
int find_python(int argc, char **argv, bool oci);

#endif
