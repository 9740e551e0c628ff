#include "find.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

/* Where the package is installed, relative to the prefix whose bin this program is in. */
static bool holds_package(const char *dir)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/pycontain/__init__.py", dir) < (int)sizeof(path) &&
	       access(path, R_OK) == 0;
}

/* prefix/lib/pythonX.Y/site-packages, or Debian's prefix/lib/python3/dist-packages. */
static bool find_packages(const char *prefix, char *packages, size_t size)
{
	char lib[PATH_MAX];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	if (snprintf(packages, size, "%s/lib/python3/dist-packages", prefix) < (int)size && holds_package(packages))
		return true;
	if (snprintf(lib, sizeof(lib), "%s/lib", prefix) >= (int)sizeof(lib))
		return false;
	dir = opendir(lib);
	while (dir && !found && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "python3.", 8))
			continue;
		if (snprintf(packages, size, "%s/%s/site-packages", lib, entry->d_name) < (int)size)
			found = holds_package(packages);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* The program text goes into a Python string literal. */
static bool quotable(const char *path)
{
	return !strpbrk(path, "'\\\n");
}

int find_python(int argc, char **argv, bool oci)
{
	char exe[PATH_MAX], prefix[PATH_MAX], packages[PATH_MAX], python[PATH_MAX], code[PATH_MAX + 128];
	_cleanup_free_ char **args = calloc((size_t)argc + 6, sizeof(*args));
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;
	int count = 0;

	if (n <= 0 || !args)
		return 125;
	exe[n] = '\0';
	strcpy(prefix, exe);
	for (int i = 0; i < 2; i++) {
		slash = strrchr(prefix, '/');
		if (!slash)
			return 125;
		*slash = '\0';
	}
	if (!find_packages(prefix, packages, sizeof(packages)) || !quotable(packages)) {
		dprintf(STDERR_FILENO, "pycontain: the Python package is not below %s/lib: install it again\n", prefix);
		return 125;
	}
	if (snprintf(python, sizeof(python), "%s/bin/python3", prefix) >= (int)sizeof(python) ||
		access(python, X_OK) < 0)
		strcpy(python, "/usr/bin/python3");
	/* what starts a container is over before a collection of garbage would pay; cli/main.py turns it on for the
	 * rest */
	if (snprintf(code, sizeof(code),
		    "import sys,gc;gc.disable();sys.path.insert(0,'%s');import pycontain.road;"
		    "from pycontain.%s.main import run;run()",
		    packages, oci ? "oci" : "cli") >= (int)sizeof(code))
		return 125;
	args[count++] = python;
	args[count++] = (char *)"-I";
	args[count++] = (char *)"-S";
	args[count++] = (char *)"-c";
	args[count++] = code;
	for (int i = 1; i < argc; i++)
		args[count++] = argv[i];
	execv(python, args);
	dprintf(STDERR_FILENO, "pycontain: cannot execute %s: %s\n", python, strerror(errno));
	return 125;
}
