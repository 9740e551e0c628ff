/* The commands pycontain and pycontain-oci: find the interpreter and the package beside this
 * binary. */
#ifndef FIND_H
#define FIND_H

#include <stdbool.h>
#include <stddef.h>

/* Becomes Python; returns the exit status when it cannot. */
int find_python(int argc, char **argv, bool oci);

/* The directory that the Python package is installed in. */
bool find_installed(char *packages, size_t size);

#endif
