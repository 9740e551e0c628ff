/* What the host side does around the guest: network messages, device filter, files of ours,
 * removal. */
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cgroup.h"
#include "launch.h"
#include "proc.h"
#include "rmtree.h"
#include "sys.h"
#include "util.h"

/* A process that is there already, and a child of ours: what ends a failed launch ends it, too. */
int op_adopt(struct run *run, const struct op *op)
{
	run->pid = (pid_t)op_n(op, ADOPT_PID);
	run->pidfd = op_fd(op, ADOPT_PIDFD);
	run->master = op_fd(op, ADOPT_TERMINAL);
	run->ready = op_fd(op, ADOPT_READY);
	for (int i = 0; i < 3; i++) {
		int fd = i == 0 ? run->pidfd : i == 1 ? run->master : run->ready;

		if (fd >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return -errno;
	}
	return 0;
}

int op_netns_fd(struct run *run, const struct op *op)
{
	int number = op_fd(op, NETNS_FD_NUMBER);
	_cleanup_close_ int fd = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", run->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return sysret(dup3(fd, number, O_CLOEXEC));
}

/* How many acknowledgements the requests in the buffer ask for; -EBADMSG where they are no whole
 * messages. */
static int count_acks(const char *data, size_t len)
{
	int acks = 0;

	while (len > 0) {
		struct nlmsghdr header;

		if (len < sizeof(header))
			return -EBADMSG;
		memcpy(&header, data, sizeof(header));
		if (header.nlmsg_len < sizeof(header) || NLMSG_ALIGN(header.nlmsg_len) > len)
			return -EBADMSG;
		acks += header.nlmsg_flags & NLM_F_ACK ? 1 : 0;
		data += NLMSG_ALIGN(header.nlmsg_len);
		len -= NLMSG_ALIGN(header.nlmsg_len);
	}
	return acks;
}

/* The first error among the acknowledgements that one datagram brings; how many there were is
 * subtracted from *acks. */
static int read_acks(struct run *run, const char *data, size_t len, int *acks)
{
	while (len >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr header;
		int error;

		memcpy(&header, data, sizeof(header));
		if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > len)
			return -EBADMSG;
		if (header.nlmsg_type == NLMSG_ERROR && header.nlmsg_len >= sizeof(header) + sizeof(error)) {
			memcpy(&error, data + sizeof(header), sizeof(error));
			if (error < 0)
				return fail(run, -error, "request %u", header.nlmsg_seq);
			--*acks;
		}
		if (NLMSG_ALIGN(header.nlmsg_len) >= len)
			break;
		data += NLMSG_ALIGN(header.nlmsg_len);
		len -= NLMSG_ALIGN(header.nlmsg_len);
	}
	return 0;
}

static int send_netlink(struct run *run, int protocol, const struct field *messages)
{
	/* big enough that a reply of many acknowledgements is not lost; the kernel caps what it
	 * does not allow */
	static const int receive_buffer = 1 << 20;
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	int acks = count_acks(messages->text, messages->len), r = 0;
	char reply[16384];
	ssize_t n;

	if (fd < 0)
		return -errno;
	if (acks < 0)
		return acks;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
	if (send(fd, messages->text, messages->len, 0) < 0)
		return -errno;
	while (acks > 0 && r == 0) {
		n = recv(fd, reply, sizeof(reply), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		r = read_acks(run, reply, (size_t)n, &acks);
	}
	return r;
}

int op_netlink(struct run *run, const struct op *op)
{
	int r = send_netlink(run, (int)op_n(op, NETLINK_PROTOCOL), &op->field[F_NETLINK_MESSAGES]);

	return op_n(op, NETLINK_OPTIONAL) && r < 0 ? 0 : r;
}

int op_loopback_up(struct run *run, const struct op *op)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_name = "lo"};

	(void)run;
	(void)op;
	if (fd < 0)
		return -errno;
	request.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
	return sysret(ioctl(fd, SIOCSIFFLAGS, &request));
}

int op_name_free(struct run *run, const struct op *op)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {0};

	(void)run;
	if (fd < 0)
		return -errno;
	if (op->field[F_NAME_FREE_TEXT].len >= sizeof(request.ifr_name))
		return -ENAMETOOLONG;
	memcpy(request.ifr_name, op_s(op, NAME_FREE_TEXT), op->field[F_NAME_FREE_TEXT].len);
	if (ioctl(fd, SIOCGIFINDEX, &request) == 0)
		return -EEXIST;
	return errno == ENODEV ? 0 : -errno;
}

static int sys_bpf(int cmd, union bpf_attr *attr)
{
	return sysret(syscall(SYS_bpf, cmd, attr, sizeof(*attr)));
}

int op_device_filter(struct run *run, const struct op *op)
{
	const struct field *program = &op->field[F_DEVICE_FILTER_PROGRAM];
	_cleanup_close_ int fd = -1;
	union bpf_attr attr;
	int r;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uint64_t)(uintptr_t)program->text;
	attr.insn_cnt = program->len / 8;
	attr.license = (uint64_t)(uintptr_t) "Apache-2.0";
	/* by its name an update knows it for ours (kernel/bpf.py) */
	strcpy(attr.prog_name, "pycontain");
	fd = sys_bpf(BPF_PROG_LOAD, &attr);
	if (fd < 0)
		return fail(run, -fd, "loading the program");
	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)op_n(op, DEVICE_FILTER_CGROUP);
	attr.attach_bpf_fd = (uint32_t)fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	r = sys_bpf(BPF_PROG_ATTACH, &attr);
	return r < 0 ? fail(run, -r, "attaching the program") : 0;
}

int op_write_pid(struct run *run, const struct op *op)
{
	char text[64], temporary[4096];
	const char *path = op_s(op, WRITE_PID_PATH);
	int n, r;

	if (op_n(op, WRITE_PID_PLAIN))
		n = snprintf(text, sizeof(text), "%d", run->pid);
	else
		n = snprintf(text, sizeof(text), "%d %llu\n", run->pid, proc_stat(run->pid, PROC_START_TIME, NULL));
	if (snprintf(temporary, sizeof(temporary), "%s.%d", path, getpid()) >= (int)sizeof(temporary))
		return -ENAMETOOLONG;
	r = write_file_at(AT_FDCWD, temporary, O_CREAT | O_TRUNC | O_NOFOLLOW, text, (size_t)n);
	if (r == 0 && (chmod(temporary, 0644) < 0 || rename(temporary, path) < 0))
		r = -errno;
	if (r < 0)
		unlink(temporary);
	return r;
}

int op_unlink(struct run *run, const struct op *op)
{
	(void)run;
	return unlink(op_s(op, UNLINK_PATH)) < 0 && errno != ENOENT ? -errno : 0;
}

static int unlease(struct run *run, int dir, const char *path, const struct field *owner, const struct field *request)
{
	char target[256];
	ssize_t n = readlinkat(dir, path, target, sizeof(target));

	if (n < 0)
		return errno == ENOENT || errno == EINVAL ? 0 : -errno;
	if ((size_t)n != owner->len || memcmp(target, owner->text, owner->len) != 0)
		return 0;
	if (request->len > 0)
		(void)send_netlink(run, NETLINK_ROUTE, request);
	return unlinkat(dir, path, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int op_unlease(struct run *run, const struct op *op)
{
	return unlease(
		run, AT_FDCWD, op_s(op, UNLEASE_PATH), &op->field[F_UNLEASE_OWNER], &op->field[F_UNLEASE_REQUEST]);
}

/* What comes next in a file: a length, and so many bytes. */
static bool take_piece(const char **at, const char *end, struct field *piece)
{
	uint16_t length;

	if (end - *at < (ssize_t)sizeof(length))
		return false;
	memcpy(&length, *at, sizeof(length));
	piece->text = *at + sizeof(length);
	piece->len = length;
	if (end - piece->text < length)
		return false;
	*at = piece->text + length;
	return true;
}

int op_unlease_given(struct run *run, const struct op *op)
{
	static char data[1 << 16];
	const char *path = op_s(op, UNLEASE_GIVEN_PATH), *at = data;
	_cleanup_close_ int dir = -1;
	struct field name = {0}, request = {0};
	ssize_t n = read_file_at(AT_FDCWD, path, data, sizeof(data));
	int r = 0;

	if (n < 0)
		return n == -ENOENT ? 0 : (int)n;
	dir = open(op_s(op, UNLEASE_GIVEN_DIRECTORY), O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	while (take_piece(&at, data + n, &name) && take_piece(&at, data + n, &request)) {
		char text[64];
		int failed;

		if (name.len >= sizeof(text) || memchr(name.text, '/', name.len))
			return -EBADMSG;
		memcpy(text, name.text, name.len);
		text[name.len] = '\0';
		failed = unlease(run, dir, text, &op->field[F_UNLEASE_GIVEN_OWNER], &request);
		r = r < 0 ? r : failed;
	}
	return unlink(path) < 0 ? -errno : r;
}

int op_rmdir(struct run *run, const struct op *op)
{
	(void)run;
	if (rmdir(op_s(op, RMDIR_PATH)) == 0 || errno == ENOENT || errno == ENOTEMPTY || errno == EBUSY)
		return 0;
	return -errno;
}

int op_rmtree(struct run *run, const struct op *op)
{
	(void)run;
	return rmtree(op_s(op, RMTREE_PATH));
}

int op_kill_process(struct run *run, const struct op *op)
{
	(void)run;
	return sys_pidfd_send_signal(op_fd(op, KILL_PROCESS_PIDFD), SIGKILL) < 0 && errno != ESRCH ? -errno : 0;
}

int op_join_cgroup(struct run *run, const struct op *op)
{
	char pid[16];
	int n = snprintf(pid, sizeof(pid), "%d", run->relay);

	/* a scope that the monitor leaves is to be empty then, however long the relay still has slow clients; one that
	 * is gone has left */
	if (run->relay > 0)
		write_file_at(op_fd(op, JOIN_CGROUP_DIRECTORY), "cgroup.procs", 0, pid, (size_t)n);
	return write_file_at(op_fd(op, JOIN_CGROUP_DIRECTORY), "cgroup.procs", 0, "0", 1);
}

/* --- cgroups --- */

int op_cgroup_remove(struct run *run, const struct op *op)
{
	int r = cgroup_remove(op_s(op, CGROUP_REMOVE_PATH));

	return r == -ENODEV ? fail(run, ENODEV, "it is not a cgroup") : r;
}

int op_handover(struct run *run, const struct op *op)
{
	const struct field *list = &op->field[F_HANDOVER_ARGV];
	char record[16], error[16], pid[16];
	const char *at = list->text;
	uint32_t n = 0;
	char **argv;

	if (!list->count)
		return -EINVAL;
	argv = calloc((size_t)list->count + 4, sizeof(*argv));
	if (!argv)
		return -ENOMEM;
	for (; n < list->count; at += strlen(at) + 1)
		argv[n++] = (char *)at;
	if (op->side == SIDE_FAIL) {
		snprintf(record, sizeof(record), "%u", run->failure.record);
		snprintf(error, sizeof(error), "%d", run->failure.error);
		argv[n++] = record;
		argv[n++] = error;
		argv[n++] = run->failure.text;
	} else if (op->side == SIDE_HOST) {
		snprintf(pid, sizeof(pid), "%d", run->pid);
		argv[n++] = pid;
	}
	execv(argv[0], argv);
	free(argv);
	return -errno;
}
