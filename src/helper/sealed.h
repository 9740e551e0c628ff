/* A copy of this program that nobody can write to. */
#ifndef SEALED_H
#define SEALED_H

/* 0 when this process runs from a sealed memfd; else executes itself from one. -errno when that
 * fails. */
int ensure_sealed(char **argv);

#endif
