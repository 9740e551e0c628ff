/* The process between a container, its log and its clients: it reads what they write, so it may do nothing else. */
#ifndef RELAY_H
#define RELAY_H

#include <stdbool.h>
#include <stdint.h>

/* Values of the monitor record's field stdin. */
enum { STDIN_NONE, STDIN_ONCE, STDIN_OPEN };

/* What goes between the monitor and its relay, one datagram each. */
enum relay_type {
	/* to the relay */
	RELAY_BEGIN = 1, /* the monitor has let go of what is the relay's, and of privileges: it may read now */
	RELAY_ENDED,	 /* value: exit status. What is left of its output is read, then RELAY_DONE answers */
	RELAY_TELL,	 /* the clients are to know of the end */
	RELAY_FINISH, /* value: 1 to tell those, too, that connect just now. RELAY_DONE answers, and it is on its own */
	RELAY_LOG,    /* the answer to RELAY_OPEN: the log as SCM_RIGHTS, or none; number: its size in bytes */
	/* from the relay */
	RELAY_READY, /* value: 0 when its sandbox stands, or -errno */
	/* What was asked for is done; value: 1 where it stays for slow clients after RELAY_FINISH; number: 1 when it is
	 * not done, since there is to be no restart */
	RELAY_DONE,
	RELAY_SIGNAL,	  /* value: a signal for init */
	RELAY_NO_RESTART, /* whatever the policy says */
	RELAY_POLICY,	  /* value: RESTART_*; number: how often at the most */
	RELAY_OPEN,	  /* the log is to be opened; value: 1 to rotate it first */
	RELAY_UP,	  /* the container's program has said READY=1 (sd_notify(3)) */
};

struct relay_message {
	uint32_t type;
	int32_t value;
	uint64_t number;
};

/* A message, with a descriptor where fd >= 0. 0 or -errno: -EAGAIN where there is no room and wait is not set. The
 * monitor never waits: who does not read what it asked for is no relay of ours any more. */
int relay_send(int socket, const struct relay_message *message, int fd, bool wait);

/* 1 and a message, 0 at the end of the stream, -EAGAIN where there is none and wait is not set, or -errno. A descriptor
 * that came along is left in *fd, else -1. */
int relay_receive(int socket, struct relay_message *message, int *fd, bool wait);

struct relay_start {
	int control;	  /* to the monitor */
	int front;	  /* to the front process, -1 for none */
	int listener;	  /* for clients */
	int in, out, err; /* ends of the container's pipes; or the pty's master as in and out, and err -1 */
	int slave;	  /* kept open: a guest that closes its terminal for a moment is not to lose it; or -1 */
	bool terminal;
	int stdin_mode;
	uint64_t log_limit; /* bytes, then it is rotated; 0 for no log */
	uint64_t log_size;
	int log;
	int ready; /* the socket where the container's program says that it is ready, or -1 */
};

_Noreturn void relay_main(const struct relay_start *start);

#endif
