#include "tty.h"

#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "packet.h"
#include "util.h"

/* A container that ignores its interrupts must not keep its caller for ever (docker does the same).
 */
#define PATIENCE 3

void tty_raw(struct tty *tty)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &tty->saved) < 0)
		return;
	raw = tty->saved;
	cfmakeraw(&raw);
	tty->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

void tty_restore(struct tty *tty)
{
	if (tty->raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &tty->saved);
	tty->raw = false;
}

void tty_set_keys(struct tty *tty, const char *keys, size_t len)
{
	if (len > MAX_KEYS)
		return;
	memcpy(tty->keys, keys, len);
	tty->keys_len = (unsigned)len;
}

/* How many of the last keys, with this one, are the beginning of the sequence. */
static unsigned match(const struct tty *tty, char key)
{
	for (unsigned from = 0; from <= tty->keys_seen; from++) {
		unsigned len = tty->keys_seen - from;

		if (!memcmp(tty->keys, tty->keys + from, len) && tty->keys[len] == key)
			return len + 1;
	}
	return 0;
}

bool tty_filter(struct tty *tty, char *data, size_t *len)
{
	char in[PACKET_DATA];
	size_t n = *len, used = 0;

	if (!tty->keys_len || n > sizeof(in))
		return false;
	memcpy(in, data, n);
	for (size_t i = 0; i < n; i++) {
		unsigned seen = match(tty, in[i]);

		/* what was held back and cannot be its beginning any more goes on */
		memcpy(data + used, tty->keys, tty->keys_seen + 1 - seen);
		used += tty->keys_seen + 1 - seen;
		if (!seen)
			data[used - 1] = in[i];
		tty->keys_seen = seen;
		if (seen == tty->keys_len) {
			tty->keys_seen = 0;
			*len = used;
			return true;
		}
	}
	*len = used;
	return false;
}

int tty_signals(void)
{
	static const int forwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++)
		sigaddset(&set, forwarded[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int tty_read_signal(struct tty *tty, int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	if ((info.ssi_signo == SIGINT || info.ssi_signo == SIGTERM) && ++tty->interrupts >= PATIENCE)
		return -1;
	return (int)info.ssi_signo;
}
