/* Which job this process has: by its name for the commands, by its first argument for the helper.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "find.h"
#include "front.h"
#include "fuseroot.h"
#include "launch.h"
#include "notify.h"
#include "oci.h"
#include "planner.h"
#include "rmtree.h"
#include "rootless.h"
#include "sealed.h"
#include "util.h"

static int rmtree_main(int argc, char **argv)
{
	int status = 0;

	for (int i = 2; i < argc; i++) {
		int r = rmtree(argv[i]);

		if (r < 0) {
			dprintf(STDERR_FILENO, "pycontain: cannot remove %s: %s\n", argv[i], strerror(-r));
			status = 1;
		}
	}
	return status;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} jobs[] = {
	{"launch", launch_main},
	{"attach", attach_main},
	{"pause", pause_main},
	{"try-overlay", try_overlay_main},
	{"rmtree", rmtree_main},
	{"notify", notify_main},
};

static int helper_main(int argc, char **argv)
{
	/* nobody who shares a namespace with us is to look into us, from the first moment */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	umask(0);
	if (argc > 1 && !strcmp(argv[1], "planned"))
		planner_take(&argc, &argv);
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(jobs); i++)
		if (!strcmp(argv[1], jobs[i].name))
			return jobs[i].run(argc, argv);
	dprintf(STDERR_FILENO, "pycontain-helper is started by pycontain and has no commands of its own\n");
	return 125;
}

int main(int argc, char **argv)
{
	const char *name;

	fill_standard_fds();
	/* a caller that ignores it would have the kernel reap our children before we see them */
	signal(SIGCHLD, SIG_DFL);
	if (argc < 1)
		return 125;
	name = strrchr(argv[0], '/');
	name = name ? name + 1 : argv[0];
	if (!strcmp(name, "pycontain-helper")) {
		/* the file on the disk must not be what a container sees as /proc/PID/exe
		 * (CVE-2019-5736) */
		int r = ensure_sealed(argv);

		if (r < 0) {
			dprintf(STDERR_FILENO, "pycontain: cannot make a sealed copy of the helper: %s\n",
				strerror(-r));
			return 125;
		}
		return helper_main(argc, argv);
	}
	/* what a caller says of it is not believed */
	unsetenv(ROOTLESS_VARIABLE);
	unsetenv(ROOTLESS_DIRECTORY);
	if (geteuid() != 0)
		rootless_enter();
	if (strcmp(name, "pycontain-oci")) {
		planner_ask(argc, argv, false);
		return find_python(argc, argv, false);
	}
	if (!getenv("PYCONTAIN_OCI_PYTHON") && !getenv(ROOTLESS_VARIABLE)) {
		int status = oci_main(argc, argv);

		if (status >= 0)
			return status;
	}
	planner_ask(argc, argv, true);
	return find_python(argc, argv, true);
}
