/* Executing a plan: the two sides and the baton between them (docs/design.md, "The launch plan").
 */
#ifndef LAUNCH_H
#define LAUNCH_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "plan.h"

#define DETAIL_SIZE 512
/* launch/mounts.py, MAX_SLOTS */
#define MAX_SLOTS 256

/* What goes over the baton socket, one datagram each. */
enum frame_type {
	FRAME_BATON = 1, /* the other side's turn; from the host side with the guest's process ID as record */
	FRAME_FAILED,	 /* record, error, text: the launch has failed */
	FRAME_WARNING,	 /* text */
	FRAME_TERMINAL,	 /* with the pty's master as SCM_RIGHTS */
	FRAME_EXEC,	 /* the guest is about to execute its program */
	FRAME_GATE,	 /* the guest waits at its gate */
	FRAME_SLOT,	 /* to the guest: what is to be in slot number record, as SCM_RIGHTS */
};

struct frame {
	uint32_t type;
	uint32_t record;
	int32_t error; /* errno */
	uint32_t len;
	char text[DETAIL_SIZE];
};

#define FRAME_SIZE(f) (offsetof(struct frame, text) + (f)->len)

#define NEEDED_MAX 5
/* /proc, /sys, /dev, and some more of their kind */
#define KEPT_MAX 8

struct run {
	struct plan plan;
	const char *data; /* the mapped plan */
	size_t size;
	unsigned side; /* whom this process is: SIDE_HOST or SIDE_GUEST */
	int baton;     /* socket to the other side */
	int guest_end; /* before clone: the guest's end of it */
	pid_t pid;     /* of the guest, as the host side sees it */
	int pidfd;
	int companions[3];   /* host: of programs that work for the guest (companion.h), or -1 */
	const char *service; /* host: the service manager whose service's main process this is, or NULL */
	int slot;	     /* host: a lock to give back when it has been told, or -1 */
	bool die_with_host;
	bool at_gate;		/* host: the guest waits at its gate */
	bool exec_seen;		/* host: FRAME_EXEC has come */
	bool hidden;		/* guest: its program will not have our descriptors */
	int needed[NEEDED_MAX]; /* guest: then these are what is left of them */
	unsigned needed_count;
	int front;     /* channel to the front process, or -1 */
	int gate_peer; /* guest: who opened the gate, or -1 */
	int notified;  /* guest: the descriptor of a filter's listener, or -1 */
	int own_pidns; /* host: this process's PID namespace, where it makes children in another one; or -1 */
	int root;      /* guest: O_PATH descriptor of the root */
	int proc;      /* guest: a proc instance of ours, or -1 */
	int mask_dir;  /* guest: the empty read-only directory for masks, or -1 */
	int dev_null;  /* guest: the host's /dev/null, checked, or -1 */
	struct {
		const char *target; /* in the plan */
		int fd;		    /* the root of what is mounted there */
	} kept[KEPT_MAX];	    /* guest: mounts that masks are looked for in */
	unsigned kept_count;
	int *sources;	       /* guest: by record, sources of binds that were opened early, or -1; or NULL */
	int mapped[MAX_SLOTS]; /* by slot less 1: sources of binds with their owners mapped, plus 1; or 0 */
	int pipes[3];	       /* the monitor's ends of the guest's stdin, stdout, stderr */
	int guest_pipes[3];
	int master;		  /* host: the pty's master */
	int notify;		  /* host: where the program says that it is ready, or -1 */
	const char *notify_host;  /* whom that is told */
	int ready;		  /* host: the same for the monitor's relay, or -1 */
	pid_t relay;		  /* the monitor's, or 0 */
	struct trace *trace;	  /* trace.h, or NULL */
	char *program;		  /* guest: what lookup found */
	char detail[DETAIL_SIZE]; /* what the failing operation has to say */
	struct frame failure;	  /* host: the first failure */
};

/* Say on what exactly an operation failed; returns -error for "return fail(run, ENOENT, …)". */
int fail(struct run *run, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Something a person should know that is no failure. */
void warn(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

int run_load(struct run *run, int fd);

/* The host side's records and, in a new process, the guest's. 0, or -1 with run->failure filled. */
int run_host(struct run *run);

/* Every record of a side (AFTER, FAIL), whatever fails; handover only where it is allowed. */
void run_all(struct run *run, unsigned side, bool handover);

/* Send a frame, with a descriptor where fd >= 0. */
int frame_send(int socket, const struct frame *frame, int fd);

/* 1 and a frame, 0 at the end of the stream, or -errno. A descriptor that came along is left in
 * *fd, else -1. */
int frame_recv(int socket, struct frame *frame, int *fd);

/* Guest: what is not the program's own is closed by its exec. Before the filter, which need not allow
 * close_range(2); nothing may be opened without O_CLOEXEC from here on. */
int hide_descriptors(struct run *run);

/* The caller's ignored and blocked signals are not a program's business. */
void reset_signals(void);

/* text with each PID_MARK as a decimal number, to be freed; NULL without memory. */
char *with_pid(const char *text, pid_t pid);

/* One chunk and a descriptor over a stream socket. */
int send_descriptor(int socket, const char *text, size_t len, int fd);

/* A mount for the guest: kept until the guest is made, sent when it is there. Takes the descriptor. */
int fill_slot(struct run *run, uint64_t slot, int fd);

/* The directory of a path, in buf; -EINVAL where it has none. */
int directory_of(char *buf, size_t size, const char *path);

/* Mount what is attached nowhere on the directory of an upper directory of ours, relative to where we are. */
int mount_disk(struct run *run, int disk, const char *upper);

/* The descriptor of a slot, which is empty then; -EBADF. */
int take_slot(struct run *run, uint64_t slot);

/* Be another user for the making of a user namespace, all capabilities kept; back to root. */
int lend_ids(int64_t uid, int64_t gid);
void return_ids(void);

/* The same as the user who owns the guest's user namespace; false where that is nobody else. */
bool lend_owner(struct run *run);

enum { COMPANION_NETWORK, COMPANION_ROOT, COMPANION_SUPERVISOR };

/* The programs that work for the guest end, where there are some. */
void end_companions(struct run *run);

int launch_main(int argc, char **argv);

#endif
