/* What a program in a container tries that no shell can. One line for each attempt: what, and the error number or `done`. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *what, long about, long result)
{
    if (result < 0)
        printf("%s %ld %ld\n", what, about, -result);
    else
        printf("%s %ld done\n", what, about);
    fflush(stdout);
}

/* In a process of its own, because the answer may be death: told as 1000 and the signal. */
static void apart(const char *what, long about, long (*attempt)(long))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        long result = attempt(about);
        _exit(result < 0 ? (int)-result : 0);
    }
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        tell(what, about, -1000 - WTERMSIG(status));
    else
        tell(what, about, -WEXITSTATUS(status));
}

static long by_socket(long family)
{
    long result = syscall(SYS_socket, family, SOCK_DGRAM, 0);
    if (result < 0 && errno != EAFNOSUPPORT)
        result = syscall(SYS_socket, family, SOCK_RAW, 0);
    if (result < 0 && errno != EAFNOSUPPORT)
        result = syscall(SYS_socket, family, SOCK_SEQPACKET, 0);
    return result < 0 ? -errno : result;
}

static long by_pair(long family)
{
    int pair[2];
    long result = syscall(SYS_socketpair, family, SOCK_DGRAM, 0, pair);
    return result < 0 ? -errno : result;
}

#ifdef __x86_64__
static long call32(long number, long first, long second, long third)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(first), "c"(second), "d"(third)
                     : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
}

static long by_32_bits(long family)
{
    long result = call32(359, family, SOCK_DGRAM, 0);
    return result < 0 ? call32(359, family, SOCK_SEQPACKET, 0) : result;
}

/* Static, so that its address has 32 bits. */
static unsigned int arguments[3];

static long by_socketcall(long family)
{
    long result;
    arguments[0] = (unsigned int)family;
    arguments[1] = SOCK_DGRAM;
    result = call32(102, 1, (long)arguments, 0);
    arguments[1] = SOCK_SEQPACKET;
    return result < 0 ? call32(102, 1, (long)arguments, 0) : result;
}

static long by_x32(long family)
{
    long result = syscall(0x40000000 + SYS_socket, family, SOCK_SEQPACKET, 0);
    return result < 0 ? -errno : result;
}
#endif

static void sockets(char **families)
{
    for (; *families; families++) {
        long family = strtol(*families, NULL, 0);
        apart("socket", family, by_socket);
        apart("socketpair", family, by_pair);
#ifdef __x86_64__
        apart("32-bit", family, by_32_bits);
        apart("socketcall", family, by_socketcall);
        apart("x32", family, by_x32);
#endif
    }
}

/* The way out of a chroot: keep a folder open, change the root, go up. */
static void chroots(const char *canary)
{
    int here = open(".", O_RDONLY | O_DIRECTORY), i;
    struct stat there;
    mkdir("/tmp/inner", 0700);
    tell("chroot", 0, chroot("/tmp/inner") ? -errno : 0);
    tell("fchdir", 0, fchdir(here) ? -errno : 0);
    for (i = 0; i < 100; i++)
        if (chdir(".."))
            break;
    tell("root", 0, chroot(".") ? -errno : 0);
    tell("canary", 0, stat(canary, &there) ? -errno : 0);
}

/* Files by number, whatever mounts are in sight. */
static void handles(const char *file)
{
    union {
        struct file_handle handle;
        char room[sizeof(struct file_handle) + 128];
    } at;
    int mount, here = open(file, O_RDONLY);
    at.handle.handle_bytes = 128;
    tell("name", 0, name_to_handle_at(AT_FDCWD, file, &at.handle, &mount, 0) ? -errno : 0);
    tell("open", 0, open_by_handle_at(here, &at.handle, O_RDONLY) < 0 ? -errno : 0);
}

/* A folder and a file of the host's, whose descriptors somebody passes. */
static void passed(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    char byte, at[64];
    struct iovec content = {&byte, 1};
    struct msghdr message = {.msg_iov = &content, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int from = socket(AF_UNIX, SOCK_STREAM, 0), fds[2];
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (connect(from, (struct sockaddr *)&address, sizeof address) || recvmsg(from, &message, 0) != 1) {
        tell("passed", 0, -errno);
        return;
    }
    memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fds);
    snprintf(at, sizeof at, "/proc/self/fd/%d", fds[1]);
    tell("read", 0, open(at, O_RDONLY) < 0 ? -errno : 0);
    tell("write", 0, open(at, O_WRONLY) < 0 ? -errno : 0);
    tell("enter", 0, openat(fds[0], "secret", O_RDONLY) < 0 ? -errno : 0);
    tell("list", 0, openat(fds[0], ".", O_RDONLY | O_DIRECTORY) < 0 ? -errno : 0);
    tell("owner", 0, chown(at, getuid(), getgid()) ? -errno : 0);
}

#define KEPT 64

static void file(const char *folder, const char *name, char *into, size_t size)
{
    char path[2048];
    ssize_t length;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    length = readlink(path, into, size - 1);
    into[length < 0 ? 0 : length] = 0;
}

/* Whether a process that is looked at is still on its way to become a program of the container. */
static int on_its_way(const char *folder, char *link, size_t size)
{
    file(folder, "exe", link, size);
    return link[0] && !strstr(link, "busybox") && !strstr(link, "probe");
}

/* Whether what is open there is what the container itself has at that path. */
static int is_own(const char *folder, const char *fd, const char *path)
{
    char at[2048];
    struct stat there, here;
    snprintf(at, sizeof at, "%s/%s", folder, fd);
    if (stat(path, &here))
        return 0;
    /* It may be closed by now: then the path has to tell. */
    return stat(at, &there) || (there.st_dev == here.st_dev && there.st_ino == here.st_ino);
}

/* The number of a descriptor that is not of a program of the container; that of one is closed, and -1. */
static int of_the_host(int fd)
{
    char number[16], link[512];
    if (fd < 0)
        return -1;
    snprintf(number, sizeof number, "%d", fd);
    file("/proc/self/fd", number, link, sizeof link);
    if (!strstr(link, "busybox"))
        return fd;
    close(fd);
    return -1;
}

/* Looks at every process that appears, as closely as it is let, until /stop exists. `canary` is a path of the host. */
static void watch(const char *canary)
{
    int kept[KEPT], count = 0, i;
    unsigned long long caps = 0, seen = 0;
    char stop[] = "/stop", path[1024], link[512];
    pid_t self = getpid();
    puts("watching");
    fflush(stdout);
    while (access(stop, F_OK)) {
        DIR *all = opendir("/proc");
        struct dirent *entry;
        while ((entry = readdir(all))) {
            char folder[300];
            pid_t pid = atoi(entry->d_name);
            FILE *status;
            DIR *fds;
            if (pid <= 0 || pid == self || pid == 1)
                continue;
            seen++;
            snprintf(folder, sizeof folder, "/proc/%s", entry->d_name);
            snprintf(path, sizeof path, "%s/root%s", folder, canary);
            if (!access(path, F_OK))
                puts("root: the canary is there");
            snprintf(path, sizeof path, "%s/cwd%s", folder, canary);
            if (!access(path, F_OK))
                puts("cwd: the canary is there");
            snprintf(path, sizeof path, "%s/status", folder);
            if ((status = fopen(path, "r"))) {
                char line[256];
                unsigned long long now;
                while (fgets(line, sizeof line, status))
                    if (sscanf(line, "CapPrm: %llx", &now) == 1)
                        caps |= now;
                fclose(status);
            }
            if (count < KEPT && on_its_way(folder, link, sizeof link)) {
                int open_now, error;
                snprintf(path, sizeof path, "%s/exe", folder);
                open_now = of_the_host(open(path, O_WRONLY | O_CLOEXEC));
                error = errno;
                /* It may have become its program, or ended, since the name was read. */
                if (open_now >= 0 || on_its_way(folder, link, sizeof link))
                    tell("exe", pid, open_now < 0 ? -error : 0);
                if ((open_now = of_the_host(open(path, O_RDONLY | O_CLOEXEC))) >= 0)
                    kept[count++] = open_now;
            }
            snprintf(path, sizeof path, "%s/fd", folder);
            if ((fds = opendir(path))) {
                struct dirent *fd;
                while ((fd = readdir(fds))) {
                    file(path, fd->d_name, link, sizeof link);
                    if (link[0] == '/' && strncmp(link, "/dev/", 5) && strncmp(link, "/proc/", 6) &&
                        !is_own(path, fd->d_name, link))
                        printf("fd: %s\n", link);
                }
                closedir(fds);
            }
            /* Whoever can attach can make it do anything: that is as bad as what it may do, which is told above. */
            if (!ptrace(PTRACE_SEIZE, pid, 0, 0)) {
                ptrace(PTRACE_INTERRUPT, pid, 0, 0);
                waitpid(pid, NULL, __WALL);
                ptrace(PTRACE_DETACH, pid, 0, 0);
            }
        }
        closedir(all);
    }
    for (i = 0; i < count; i++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", kept[i]);
        int late = open(path, O_WRONLY | O_TRUNC);
        tell("exe-later", kept[i], late < 0 ? -errno : 0);
    }
    printf("seen %llu\ncaps %llx\n", seen, caps);
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "sockets"))
        sockets(arguments + 2);
    else if (!strcmp(what, "chroots") && count > 2)
        chroots(arguments[2]);
    else if (!strcmp(what, "handles") && count > 2)
        handles(arguments[2]);
    else if (!strcmp(what, "passed") && count > 2)
        passed(arguments[2]);
    else if (!strcmp(what, "watch") && count > 2)
        watch(arguments[2]);
    else if (!strcmp(what, "euid"))
        printf("%d %d\n", getuid(), geteuid());
    else
        return 2;
    return 0;
}
