/* The process that holds a pod's namespaces: it sleeps, reaps what is handed to it, and ends when
 * it is told to. With -v it says what it is and ends at once: `kubeadm upgrade` runs that as a Job
 * to see whether the cluster still starts pods. C, because every pod keeps one in memory. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void stop(int signal)
{
	(void)signal;
	_exit(0);
}

static void reap(int signal)
{
	(void)signal;
	while (waitpid(-1, 0, WNOHANG) > 0)
		;
}

int main(int argc, char **argv)
{
	static const char name[] = "pause\n";
	struct sigaction action = { .sa_handler = stop };

	if (argc > 1 && strcmp(argv[1], "-v") == 0)
		return write(STDOUT_FILENO, name, sizeof(name) - 1) < 0;
	if (sigaction(SIGINT, &action, 0) != 0 || sigaction(SIGTERM, &action, 0) != 0)
		return 1;
	action.sa_handler = reap;
	action.sa_flags = SA_NOCLDSTOP;
	if (sigaction(SIGCHLD, &action, 0) != 0)
		return 1;
	for (;;)
		pause();
}
