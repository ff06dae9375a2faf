/* A 32-bit program without a C library, so that any compiler for this machine makes it. It does what such programs do, then
   tries what none may. One line for each attempt: what, about what, and the error number or `done`. */
__asm__(".globl _start\n_start: mov %esp, %eax\n push %eax\n call begin\n");

static long call(long number, long a, long b, long c, long d, long e)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
    return result;
}

static void say(const char *text)
{
    long length = 0;
    while (text[length])
        length++;
    call(4, 1, (long)text, length, 0, 0);
}

static void number(unsigned long value)
{
    char digits[12];
    int at = 11;
    digits[at] = 0;
    do
        digits[--at] = '0' + value % 10;
    while (value /= 10);
    say(digits + at);
}

static void tell(const char *what, long about, long result)
{
    say(what);
    say(" ");
    number(about);
    say(" ");
    if (result < 0 && result > -4096)
        number(-result);
    else
        say("done");
    say("\n");
}

static long value(const char *digits)
{
    long value = 0;
    while (*digits)
        value = 10 * value + (*digits++ - '0');
    return value;
}

/* `clone` in its old form: a fork, with what `flags` adds. The child ends at once. */
static long fork_with(long flags)
{
    long child = call(120, flags | 17, 0, 0, 0, 0);
    if (child == 0)
        call(252, 0, 0, 0, 0, 0);
    return child < 0 ? child : call(114, child, 0, 0, 0, 0);
}

static long socketcall(long what, long first, long second, long third)
{
    long arguments[3] = {first, second, third};
    return call(102, what, (long)arguments, 0, 0, 0);
}

/* Of the kind that most families have, or else of the one that the others have. */
static long either(long (*attempt)(long, long), long family)
{
    long result = attempt(family, 2);
    return result < 0 ? attempt(family, 5) : result;
}

static long direct(long family, long kind)
{
    return call(359, family, kind, 0, 0, 0);
}

static long multiplexed(long family, long kind)
{
    return socketcall(1, family, kind, 0);
}

__attribute__((used)) static void begin(long *stack)
{
    /* `all` first, or `harmless` where there is no container around it; then families of sockets. */
    char **argument = (char **)(stack + 3);
    int all = argument[-1][0] == 'a';
    long named[4], size = 16, made, stat[64];
    /* getuid32, brk, openat, fstat64, mmap2, fcntl64, clock_gettime64, clone and wait4 */
    tell("user", 0, call(199, 0, 0, 0, 0, 0));
    tell("memory", 0, call(45, 0, 0, 0, 0, 0));
    tell("open", 0, made = call(295, -100, (long)"/etc/passwd", 0, 0, 0));
    tell("stat", 0, call(197, made, (long)stat, 0, 0, 0));
    tell("map", 0, call(192, 0, 4096, 3, 0x22, -1));
    tell("control", 0, call(221, made, 3, 0, 0, 0));
    tell("time", 0, call(403, 0, (long)stat, 0, 0, 0));
    tell("fork", 0, fork_with(0));
    /* what is done with a socket that is there */
    made = direct(1, 2);
    tell("named", 0, socketcall(6, made, (long)named, (long)&size));
    for (; *argument; argument++) {
        long family = value(*argument);
        tell("socket", family, either(direct, family));
        tell("socketcall", family, either(multiplexed, family));
        tell("socketpair", family, socketcall(8, family, 2, 0));
    }
    /* keyctl, a user namespace in three ways, bpf, mount, umount, personality, a call that no kernel has */
    tell("keys", 0, call(288, 0, -3, 1, 0, 0));
    tell("namespace", 1, fork_with(0x10000000));
    tell("namespace", 2, call(310, 0x10000000, 0, 0, 0, 0));
    tell("namespace", 3, call(435, 0, 0, 0, 0, 0));
    tell("bpf", 0, call(357, 0, 0, 0, 0, 0));
    if (!all)
        call(252, 0, 0, 0, 0, 0);
    tell("mount", 0, call(21, (long)"x", (long)"/tmp", (long)"tmpfs", 0, 0));
    tell("unmount", 1, call(22, (long)"/proc", 0, 0, 0, 0));
    tell("unmount", 2, call(52, (long)"/proc", 2, 0, 0, 0));
    tell("personality", 8, call(136, 8, 0, 0, 0, 0));
    tell("personality", 6, call(136, 6, 0, 0, 0, 0));
    tell("future", 0, call(999, 0, 0, 0, 0, 0));
    call(252, 0, 0, 0, 0, 0);
}
