/* Makes file calls below a folder hang or fail while a flag file elsewhere says so: `stall`, or an errno.

   To be preloaded (LD_PRELOAD), with FAULTY_FOLDER and FAULTY_FLAG in the environment. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static char folder[4096], flag[4096];

__attribute__((constructor)) static void begin(void) {
    const char *value = getenv("FAULTY_FOLDER");
    if (value) strncpy(folder, value, sizeof folder - 1);
    value = getenv("FAULTY_FLAG");
    if (value) strncpy(flag, value, sizeof flag - 1);
}

/* What the flag says: 0 nothing, -1 stall, else an errno. */
static int fault(void) {
    char text[32];
    if (!flag[0]) return 0;
    long fd = syscall(SYS_openat, AT_FDCWD, flag, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    long count = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (count <= 0) return 0;
    text[count] = 0;
    return strncmp(text, "stall", 5) ? atoi(text) : -1;
}

static int below(const char *path) {
    char full[8192];
    if (!path || !folder[0]) return 0;
    if (path[0] != '/') {
        if (syscall(SYS_getcwd, full, 4096) < 0) return 0;
        strcat(full, "/");
        strncat(full, path, 4000);
        path = full;
    }
    return !strncmp(path, folder, strlen(folder));
}

static int below_fd(int fd) {
    char name[64], path[4097];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    long count = syscall(SYS_readlinkat, AT_FDCWD, name, path, 4096);
    if (count <= 0 || path[0] != '/') return 0; /* else a pipe or a socket */
    path[count] = 0;
    return below(path);
}

/* Whether the call is to fail, with errno set; comes back from a stall when that is over. */
static int fails(int ours) {
    int what = ours ? fault() : 0;
    while (what == -1) {
        struct timespec pause = {0, 20000000};
        syscall(SYS_nanosleep, &pause, 0);
        what = fault();
    }
    if (what) errno = what;
    return what != 0;
}

#define ACTIVE (flag[0] && fault())
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define BY_PATH(path) if (ACTIVE && fails(below(path))) return -1
#define BY_FD(fd) if (ACTIVE && fails(below_fd(fd))) return -1
#define MODE mode_t mode = 0; { va_list l; va_start(l, flags); mode = va_arg(l, int); va_end(l); }
/* What only reads stalls with the rest; a disk that takes nothing more still tells what is on it. */
#define WRITES (flags & (O_WRONLY | O_RDWR | O_CREAT))
#define OPENS(path) if (ACTIVE && (WRITES || fault() == -1) && fails(below(path))) return -1
#define READS(path) if (flag[0] && fault() == -1 && fails(below(path))) return -1

int open(const char *path, int flags, ...) { MODE OPENS(path); return REAL(open)(path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE OPENS(path); return REAL(open64)(path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE OPENS(path); return REAL(openat)(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE OPENS(path); return REAL(openat64)(at, path, flags, mode); }
int mkdir(const char *path, mode_t mode) { BY_PATH(path); return REAL(mkdir)(path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { BY_PATH(path); return REAL(mkdirat)(at, path, mode); }
int rename(const char *old, const char *path) { BY_PATH(path); return REAL(rename)(old, path); }
int unlink(const char *path) { READS(path); return REAL(unlink)(path); }
int chdir(const char *path) { READS(path); return REAL(chdir)(path); }
int stat(const char *path, struct stat *to) { READS(path); return REAL(stat)(path, to); }
int stat64(const char *path, struct stat64 *to) { READS(path); return REAL(stat64)(path, to); }
int fdatasync(int fd) { BY_FD(fd); return REAL(fdatasync)(fd); }
int fsync(int fd) { BY_FD(fd); return REAL(fsync)(fd); }
ssize_t write(int fd, const void *data, size_t size) { BY_FD(fd); return REAL(write)(fd, data, size); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { BY_FD(fd); return REAL(pwrite)(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { BY_FD(fd); return REAL(pwrite64)(fd, data, size, at); }
