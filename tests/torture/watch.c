/* Preloaded: sees every call that changes files below one folder, and lets a chosen one fail, be cut short, or be the
   last that the process makes. Each is noted, with its bytes where they are asked for, before it is made. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PASS, FAIL, SHORT, KILL, KILL_HALF };

static char folder[PATH_MAX];
static int action, failure, notes = -1, with_bytes;
static atomic_long seen, chosen = -1;

/* Watches `below` from now on. The call number `nth`, from 0, meets its fate `what`; `error` is what FAIL sets, and what
   follows a SHORT write. notes_to: a file descriptor, or -1. */
void watch_arm(const char *below, int what, int error, long nth, int notes_to, int bytes) {
    snprintf(folder, sizeof folder, "%s", below);
    action = what, failure = error, notes = notes_to, with_bytes = bytes;
    atomic_store(&seen, 0);
    atomic_store(&chosen, nth);
}

long watch_seen(void) { return atomic_load(&seen); }

static void note(const char *call, const char *path, const char *other, const void *data, size_t size) {
    char line[3 * PATH_MAX];
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\t%zu\n", call, path, other, with_bytes ? size : 0);
    syscall(SYS_write, notes, line, length);
    if (with_bytes && size) syscall(SYS_write, notes, data, size);
}

/* Returns what is to become of a call; notes it. */
static int fate(const char *call, const char *path, const char *other, const void *data, size_t size) {
    if (!folder[0] || strncmp(path, folder, strlen(folder))) return PASS;
    long number = atomic_fetch_add(&seen, 1);
    if (notes >= 0) note(call, path, other, data, size);
    if (number != atomic_load(&chosen)) return PASS;
    if (action == KILL || (action == KILL_HALF && strcmp(call, "write"))) kill(getpid(), SIGKILL);
    return action;
}

static const char *place(int fd, char *path) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return path;
}

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))
#define MEETS(call, path, other) (fate(call, path, other, "", 0) == FAIL ? (errno = failure, 1) : 0)

static ssize_t written(int fd, const void *data, size_t size, off64_t at, int positioned) {
    char path[PATH_MAX];
    int what = folder[0] ? fate("write", place(fd, path), "", data, size) : PASS;
    if (what == FAIL) return errno = failure, -1;
    if (what == SHORT || what == KILL_HALF) {
        size /= 2;
        if (what == SHORT) atomic_fetch_add(&chosen, 1), action = FAIL; /* a full disk says so at the next one */
    }
    ssize_t done = positioned ? REAL(pwrite64)(fd, data, size, at) : REAL(write)(fd, data, size);
    if (what == KILL_HALF) kill(getpid(), SIGKILL);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { return written(fd, data, size, 0, 0); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return written(fd, data, size, at, 1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return written(fd, data, size, at, 1); }

int fsync(int fd) {
    char path[PATH_MAX];
    return folder[0] && MEETS("fsync", place(fd, path), "") ? -1 : REAL(fsync)(fd);
}

int rename(const char *from, const char *to) { return MEETS("rename", from, to) ? -1 : REAL(rename)(from, to); }
int link(const char *from, const char *to) { return MEETS("link", from, to) ? -1 : REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    return MEETS("link", from, to) ? -1 : REAL(linkat)(a, from, b, to, flags);
}
int unlink(const char *path) { return MEETS("unlink", path, "") ? -1 : REAL(unlink)(path); }
int mkdir(const char *path, mode_t mode) { return MEETS("mkdir", path, "") ? -1 : REAL(mkdir)(path, mode); }

static int opened(const char *path, int flags, mode_t mode) {
    if ((flags & (O_CREAT | O_TRUNC)) && MEETS("open", path, "")) return -1;
    return REAL(open64)(path, flags, mode);
}
#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                                      \
        va_end(rest);                                                                                                  \
        return opened(path, flags, mode);                                                                              \
    }
OPEN(open)
OPEN(open64)
