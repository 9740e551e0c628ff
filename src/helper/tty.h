/* The caller's terminal and signals: what the front process and exec share. */
#ifndef TTY_H
#define TTY_H

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

#define MAX_KEYS 16

struct tty {
	bool raw;
	struct termios saved;
	char keys[MAX_KEYS]; /* the detach sequence */
	unsigned keys_len, keys_seen;
	unsigned interrupts;
};

void tty_raw(struct tty *tty);
void tty_restore(struct tty *tty);

/* A sequence that is too long detaches never. */
void tty_set_keys(struct tty *tty, const char *keys, size_t len);

/*
 * Take the detach sequence out of what was typed. What was held back as its beginning is sent when
 * it turns out to be none, so data needs room for MAX_KEYS more. True when the sequence is
 * complete; *len is what is left to send.
 */
bool tty_filter(struct tty *tty, char *data, size_t *len);

/* A signalfd for SIGWINCH and for all that a container may want to hear of. */
int tty_signals(void);

/* The next signal, 0 for none, -1 when the caller has interrupted often enough to be let go. */
int tty_read_signal(struct tty *tty, int fd);

#endif
