#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#endif

extern char **environ;

vm_status spawn_pipe(int ends[2], vm_error *e)
{
    if (pipe(ends) < 0)
        return vm_fail_sys(e, VM_IO, errno, "no pipe can be made: %s", strerror(errno));
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return VM_OK;
}

#if defined(__linux__)

int spawn_memory(uint64_t bytes)
{
    struct rlimit most;
    if (getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur != RLIM_INFINITY &&
        bytes > most.rlim_cur) {
        errno = EFBIG;
        return -1;
    }
    int fd = memfd_create("vmem", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) == 0)
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

#endif

/* In the child: files in place, then the program. Never returns. */
static void spawn_child(const spawn_config *how, int report, pid_t parent)
{
    int in = how->in ? open(how->in, O_RDONLY) : 0;
    int out = how->out && in >= 0 ? open(how->out, O_WRONLY | O_CREAT | O_TRUNC, 0666) : 1;
#if defined(__linux__)
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
#else
    (void)parent;
#endif
    if (in >= 0 && out >= 0 && dup2(in, 0) >= 0 && dup2(out, 1) >= 0 &&
        (how->fd < 0 || fcntl(how->fd, F_SETFD, 0) == 0)) {
        if (in > 2)
            close(in);
        if (out > 2)
            close(out);
        if (how->self)
            atomic_store(how->self, getpid());
        if (how->env)
            environ = (char **)how->env;
        execvp(how->argv[0], (char *const *)how->argv);
    }
    int why[2] = {errno, in < 0 ? 0 : out < 0 ? 1 : 2};
    ssize_t n = write(report, why, sizeof why);
    _exit(n == sizeof why ? 127 : 126);
}

vm_status spawn_start(const spawn_config *how, pid_t *pid, vm_error *e)
{
    int report[2], why[2] = {0, 0};
    vm_status st = spawn_pipe(report, e);
    if (st != VM_OK)
        return st;
    pid_t self = getpid();
    *pid = fork();
    if (*pid == 0)
        spawn_child(how, report[1], self);
    int failed = *pid < 0 ? errno : 0;
    close(report[1]);
    ssize_t got = 0;
    while (!failed && (got = read(report[0], why, sizeof why)) < 0 && errno == EINTR)
        ;
    close(report[0]);
    if (got == sizeof why) {
        failed = why[0];
        waitpid(*pid, NULL, 0);
    }
    if (!failed)
        return VM_OK;
    *pid = 0;
    const struct {
        const char *name, *what;
    } opened[] = {{how->in, "input"}, {how->out, "output"}, {how->argv[0], how->what}};
    unsigned i = got ? (unsigned)why[1] : 2;
    return vm_fail_sys(e, VM_IO, failed, "%s, the %s of %s, can't be opened: %s", opened[i].name,
                       opened[i].what, how->program, strerror(failed));
}
