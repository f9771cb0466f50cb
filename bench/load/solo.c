/* Measures what a relay costs: CPU nanoseconds per forwarded packet, by the "solo" method.
 *
 * This one thread is generator and sink, on the relay's own core. While it queues a burst into the
 * relay's socket it has real-time priority, so that the relay finds the whole burst at once. While
 * the relay drains it has idle priority, so that it runs only when the relay has nothing left to
 * do; then it counts what arrived. The relay's CPU time is read from its own account (schedstat,
 * nanoseconds) before and after: what generator and sink cost stays out of it.
 *
 * A busy machine leaves little to a thread of idle priority; --limit-ms ends the run early then,
 * with a figure from fewer packets.
 *
 * Without --realtime (it takes root) the thread naps while the relay drains; the relay must then
 * have been started nicer than this.
 *
 * Prints one line of JSON.
 */
#include "load.h"

enum {
    BURST = 256,
    /* Nothing for this long is a loss. Less invents losses on a busy machine. */
    PATIENCE_MS = 500,
    NAP_US = 200,
    /* However long they take: fewer say nothing. */
    MIN_BURSTS = 10,
};

static void count(const uint8_t *packet, size_t length, void *context) {
    (void)packet, (void)length;
    ++*(uint64_t *)context;
}

/* CPU time of all threads of a process; a thread that ended takes its own along. */
static uint64_t cpu_ns(int pid) {
    char path[96];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks) fail(path);
    uint64_t sum = 0;
    for (struct dirent *task; (task = readdir(tasks));) {
        if (task->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.10s/schedstat", pid, task->d_name);
        FILE *file = fopen(path, "r");
        unsigned long long ns;
        if (file && fscanf(file, "%llu", &ns) == 1) sum += ns;
        if (file) fclose(file);
    }
    closedir(tasks);
    return sum;
}

/* One burst of prepared sends. */
static struct mmsghdr messages[BURST];
static struct iovec vectors[BURST];
static struct sockaddr_in names[BURST];
static union control controls[BURST];

/* Prepares sends of BURST packets, from the beginning again where the file ends. */
static int prepare_burst(struct datagrams *all, uint64_t *packets) {
    int sends = 0;
    *packets = 0;
    while (*packets < BURST && sends < BURST) {
        const struct entry *entry = next_entry(all);
        if (!entry) {
            all->position = 0;
            if (!(entry = next_entry(all))) {
                fprintf(stderr, "no datagrams to send\n");
                exit(2);
            }
        }
        prepare(entry, &messages[sends].msg_hdr, &vectors[sends], &names[sends], &controls[sends]);
        *packets += entry->packets;
        sends++;
    }
    return sends;
}

static void send_burst(int fd, int sends) {
    for (int sent = 0; sent < sends;) {
        int done = sendmmsg(fd, messages + sent, sends - sent, 0);
        if (done > 0)
            sent += done;
        /* A relay that was not there when the last burst came: told now, and over. */
        else if (errno != ECONNREFUSED && errno != EAGAIN && errno != EINTR)
            fail("sendmmsg");
    }
}

int main(int argc, char **argv) {
    enum { CORE, PID, CLIENT, OWNER, FROM, COUNT, GRO, FILE_, BURSTS, LIMIT, REALTIME };
    static const struct option options[] = {
        {"core", required_argument, 0, CORE},     {"pid", required_argument, 0, PID},
        {"client", required_argument, 0, CLIENT}, {"owner", required_argument, 0, OWNER},
        {"from", required_argument, 0, FROM},     {"count", required_argument, 0, COUNT},
        {"gro", no_argument, 0, GRO},             {"datagrams", required_argument, 0, FILE_},
        {"bursts", required_argument, 0, BURSTS}, {"limit-ms", required_argument, 0, LIMIT},
        {"realtime", no_argument, 0, REALTIME},
        {0}};
    char *client = NULL, *owners[MAX_OWNERS];
    const char *file = NULL;
    int core = -1, pid = 0, bursts = 1, owner_count = 0, option;
    uint64_t limit_ns = UINT64_MAX;
    bool from_client = true, records = true, gro = false, realtime = false;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case CORE: core = atoi(optarg); break;
        case PID: pid = atoi(optarg); break;
        case CLIENT: client = optarg; break;
        case OWNER:
            if (owner_count == MAX_OWNERS) return 2;
            owners[owner_count++] = optarg;
            break;
        case FROM: from_client = !strcmp(optarg, "client"); break;
        case COUNT: records = !strcmp(optarg, "records"); break;
        case GRO: gro = true; break;
        case FILE_: file = optarg; break;
        case BURSTS: bursts = atoi(optarg); break;
        case LIMIT: limit_ns = atoll(optarg) * 1000000ull; break;
        case REALTIME: realtime = true; break;
        default: return 2;
        }
    }
    if (!client || !owner_count || !file || core < 0 || !pid) {
        fprintf(stderr, "needs --core --pid --client --owner --datagrams\n");
        return 2;
    }

    pin(core);
    int client_fd = bound_socket(client, false), owner_fds[MAX_OWNERS];
    for (int i = 0; i < owner_count; i++) owner_fds[i] = bound_socket(owners[i], gro);
    int sender = from_client ? client_fd : owner_fds[0];
    int *receivers = from_client ? owner_fds : &client_fd;
    int receiver_count = from_client ? owner_count : 1;
    struct datagrams all = read_datagrams(file);

    uint64_t sent = 0, received = 0;
    uint64_t cpu_before = cpu_ns(pid), started = now_ns();
    for (int burst = 0; burst < bursts && received == sent; burst++) {
        if (burst >= MIN_BURSTS && now_ns() - started > limit_ns) break;
        uint64_t packets;
        int sends = prepare_burst(&all, &packets);
        if (realtime) set_policy(SCHED_FIFO, 1);
        send_burst(sender, sends);
        sent += packets;
        if (realtime) set_policy(SCHED_IDLE, 0);
        for (uint64_t progress = now_ns(); received < sent;) {
            uint64_t before = received;
            /* Looked at before the sockets: others may run for long between the two. */
            bool last_look = now_ns() - progress > PATIENCE_MS * 1000000ull;
            for (int i = 0; i < receiver_count; i++)
                while (receive_packets(receivers[i], from_client && records, count, &received)) {}
            if (received > before)
                progress = now_ns();
            else if (last_look)
                break;
            else if (!realtime)
                usleep(NAP_US);
        }
    }
    uint64_t wall = now_ns() - started, cpu = cpu_ns(pid) - cpu_before;
    printf("{\"sent\": %llu, \"received\": %llu, \"cpu_ns\": %llu, \"wall_ns\": %llu}\n",
           (unsigned long long)sent, (unsigned long long)received, (unsigned long long)cpu,
           (unsigned long long)wall);
    return 0;
}
