/* The verbs of pycontain-oci that need no interpreter. */
#ifndef OCI_H
#define OCI_H

/*
 * state, start, kill, delete where nothing is unusual: the exit status, 0. Negative where Python is to do it, with the
 * same command line: all that is wrong is said there, so that there is one wording of it.
 */
int oci_main(int argc, char **argv);

#endif
