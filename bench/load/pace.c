/* Measures how long a packet takes through a relay at a steady, light load.
 *
 * Sends one packet at a time from a client to the relay, at even distances, and waits for it at
 * the transceiver's end, on another core than the relay's. The time from before the send to after
 * the receive is the latency; the moment of sending travels in the packet, behind its RTP header.
 * The thread spins for the packet, then sleeps until the next one is due: it never takes a whole
 * core, so the real-time priority that keeps a neighbour's work out of the figures does no harm.
 *
 * Prints one line of JSON: quantiles in nanoseconds.
 */
#include "load.h"

enum { RTP_HEADER = 12, PATIENCE_MS = 500, MAX_BYTES = 2048 };

static void note_sent_at(const uint8_t *packet, size_t length, void *context) {
    if (length >= RTP_HEADER + 8) memcpy(context, packet + RTP_HEADER, 8);
}

static int ascending(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void sleep_until(uint64_t due) {
    struct timespec until = {due / 1000000000u, due % 1000000000u};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {}
}

int main(int argc, char **argv) {
    enum { CORE, CLIENT, OWNER, COUNT, FILE_, RATE, PACKETS, REALTIME };
    static const struct option options[] = {
        {"core", required_argument, 0, CORE},       {"client", required_argument, 0, CLIENT},
        {"owner", required_argument, 0, OWNER},     {"count", required_argument, 0, COUNT},
        {"datagrams", required_argument, 0, FILE_}, {"rate", required_argument, 0, RATE},
        {"packets", required_argument, 0, PACKETS}, {"realtime", no_argument, 0, REALTIME},
        {0}};
    char *client = NULL, *owner = NULL;
    const char *file = NULL;
    int core = -1, rate = 0, packets = 0, option;
    bool records = true, realtime = false;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case CORE: core = atoi(optarg); break;
        case CLIENT: client = optarg; break;
        case OWNER: owner = optarg; break;
        case COUNT: records = !strcmp(optarg, "records"); break;
        case FILE_: file = optarg; break;
        case RATE: rate = atoi(optarg); break;
        case PACKETS: packets = atoi(optarg); break;
        case REALTIME: realtime = true; break;
        default: return 2;
        }
    }
    if (!client || !owner || !file || core < 0 || rate <= 0 || packets <= 0) {
        fprintf(stderr, "needs --core --client --owner --datagrams --rate --packets\n");
        return 2;
    }

    pin(core);
    int sender = bound_socket(client, false), receiver = bound_socket(owner, false);
    struct datagrams all = read_datagrams(file);
    uint64_t *latencies = calloc(packets, sizeof *latencies);
    if (!latencies) fail("calloc");
    int received = 0, late = 0;
    if (realtime) set_policy(SCHED_FIFO, 1);
    uint64_t gap = 1000000000u / rate, due = now_ns();
    for (int i = 0; i < packets; i++, due += gap) {
        const struct entry *entry = next_entry(&all);
        if (!entry) {
            all.position = 0;
            if (!(entry = next_entry(&all))) return 2;
        }
        struct {
            struct entry entry;
            uint8_t bytes[MAX_BYTES];
        } __attribute__((packed)) own;
        if (entry->length > MAX_BYTES || entry->length < RTP_HEADER + 8) return 2;
        memcpy(&own, entry, sizeof *entry + entry->length);

        sleep_until(due);
        struct msghdr message;
        struct iovec vector;
        struct sockaddr_in to;
        union control control;
        prepare(&own.entry, &message, &vector, &to, &control);
        uint64_t sent_at = now_ns(), seen = 0, now;
        memcpy(own.bytes + RTP_HEADER, &sent_at, sizeof sent_at);
        if (sendmsg(sender, &message, 0) < 0) fail("sendmsg");
        do {
            receive_packets(receiver, records, note_sent_at, &seen);
            now = now_ns();
        } while (seen != sent_at && now - sent_at < PATIENCE_MS * 1000000ull);
        if (seen == sent_at) latencies[received++] = now - sent_at;
        if (now > due + gap) {
            /* The next one is overdue: begin the rhythm again instead of sending in a hurry. */
            late++;
            due = now;
        }
    }
    if (realtime) set_policy(SCHED_OTHER, 0);
    qsort(latencies, received, sizeof *latencies, ascending);
    printf("{\"sent\": %d, \"received\": %d, \"late\": %d", packets, received, late);
    const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
    const char *names[] = {"p50_ns", "p90_ns", "p99_ns", "p999_ns"};
    for (int i = 0; i < 4 && received; i++)
        printf(", \"%s\": %llu", names[i],
               (unsigned long long)latencies[(int)(quantiles[i] * (received - 1))]);
    printf("}\n");
    return 0;
}
