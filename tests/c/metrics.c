/* The metrics of a scripted failover between two nodes that speak by export and import alone: what the script and its
 * broadcasters did, number by number. */
#include "prelude.h"

#include <pthread.h>
#include <unistd.h>

struct way {
    pthread_mutex_t lock;
    int32_t answer;
    uint64_t calls;
};

static int32_t submit(void *user_data, const uint8_t *txid, const uint8_t *transaction, size_t length, char *reason,
                      size_t capacity) {
    struct way *way = user_data;
    (void)txid, (void)transaction, (void)length, (void)reason, (void)capacity;
    pthread_mutex_lock(&way->lock);
    way->calls++;
    pthread_mutex_unlock(&way->lock);
    return way->answer;
}

static const musig_broadcaster BROADCASTER = {sizeof(musig_broadcaster), submit};

/* A series' value; of a histogram how many durations there were. */
static uint64_t value_of(const musig_node *node, const char *name, const char *label_value) {
    musig_metric_samples *samples;
    uint64_t value = UINT64_MAX;
    OK(musig_node_metric_samples(node, &samples, NULL));
    for (uint32_t i = 0; i < musig_metric_samples_count(samples); i++) {
        musig_metric_sample sample = {sizeof sample, 0, 0, 0, 0, 0, 0, 0, 0};
        OK(musig_metric_samples_get(samples, &sample, i, NULL));
        REQUIRE((sample.label == NULL) == (sample.label_value == NULL));
        REQUIRE((sample.kind == MUSIG_METRIC_HISTOGRAM) == (sample.buckets_count > 0));
        if (sample.buckets_count) REQUIRE(sample.buckets[sample.buckets_count - 1].count == sample.value);
        if (strcmp(sample.name, name) == 0 && strcmp(sample.label_value ? sample.label_value : "", label_value) == 0) {
            REQUIRE(value == UINT64_MAX);
            value = sample.value;
        }
    }
    musig_metric_samples_free(samples);
    REQUIRE(value != UINT64_MAX);
    return value;
}

/* Waits until a series has this value. */
static void expect(const musig_node *node, const char *name, const char *label_value, uint64_t wanted) {
    for (int round = 0; round < 3000 && value_of(node, name, label_value) != wanted; round++) usleep(10000);
    if (value_of(node, name, label_value) != wanted) {
        fprintf(stderr, "%s{%s} is %llu, not %llu\n", name, label_value,
                (unsigned long long)value_of(node, name, label_value), (unsigned long long)wanted);
        exit(1);
    }
}

static musig_node *node_of(int index, struct way *way) {
    musig_signer *signer = signer_of(index);
    musig_config *config = config_of(signer);
    musig_node *node;
    OK(musig_config_set_broadcaster(config, &BROADCASTER, way, NULL, NULL));
    OK(musig_node_start(&node, config, NULL));
    musig_config_free(config);
    musig_signer_free(signer);
    return node;
}

static void carry(const musig_session *from, const musig_node *to) {
    musig_bytes *bytes, *ids;
    OK(musig_session_export(from, &bytes, NULL));
    OK(musig_node_import(to, &ids, musig_bytes_data(bytes), musig_bytes_length(bytes), NULL));
    musig_bytes_free(ids);
    musig_bytes_free(bytes);
}

int main(void) {
    struct way ways[2] = {{PTHREAD_MUTEX_INITIALIZER, MUSIG_SUBMIT_UNREACHABLE, 0},
                          {PTHREAD_MUTEX_INITIALIZER, MUSIG_SUBMIT_ACCEPTED, 0}};
    musig_node *nodes[2];
    musig_session *sessions[2];
    musig_proposal *proposal;
    musig_bytes *text;
    uint8_t keys[66], id[32];
    char names[2][9];
    for (int i = 0; i < 2; i++) {
        nodes[i] = node_of(i, &ways[i]);
        OK(musig_node_signer_key(nodes[i], keys + 33 * i, NULL));
        for (int byte = 0; byte < 4; byte++) snprintf(names[i] + 2 * byte, 3, "%02x", keys[33 * i + byte]);
    }
    /* The first signer cannot broadcast, and says so; the second one does, an hour early. */
    proposal = transaction_for(keys, 2, 1);
    OK(musig_proposal_set_election_method(proposal, MUSIG_ELECTION_FIRST_SIGNER, NULL));
    OK(musig_proposal_set_failover(proposal, 3600000, MUSIG_TIERS_SINGLE, 0, NULL));
    OK(musig_node_create_session(nodes[0], &sessions[0], proposal, NULL));
    musig_proposal_free(proposal);
    OK(musig_session_id(sessions[0], id, NULL));
    OK(musig_node_session(nodes[1], &sessions[1], id, NULL));
    carry(sessions[0], nodes[1]);
    musig_event_free(wait_event(nodes[1], MUSIG_EVENT_SESSION_PROPOSED));
    OK(musig_session_join(sessions[1], NULL));
    for (int round = 0; value_of(nodes[1], "musig_submissions_total", "accepted") == 0; round++) {
        REQUIRE(round < 3000);
        carry(sessions[1], nodes[0]);
        carry(sessions[0], nodes[1]);
        usleep(5000);
    }
    /* The second one's claim comes to the first, which then hears of its application, and submits no more. */
    for (int round = 0; value_of(nodes[0], "musig_broadcasts_total", names[1]) == 0; round++) {
        REQUIRE(round < 3000);
        carry(sessions[1], nodes[0]);
        usleep(5000);
    }
    OK(musig_session_notify_broadcast_complete(sessions[0], NULL, NULL));

    for (int i = 0; i < 2; i++) {
        expect(nodes[i], "musig_sessions_proposed_total", "proposer", i == 0);
        expect(nodes[i], "musig_sessions_proposed_total", "signer", i == 1);
        expect(nodes[i], "musig_sessions_completed_total", "", 1);
        expect(nodes[i], "musig_sessions_ended_total", "notified", i == 0);
        expect(nodes[i], "musig_sessions", "watching", i == 1);
        expect(nodes[i], "musig_failover_sessions_total", "", 1);
        expect(nodes[i], "musig_failover_turns_total", "nack", 1);
        expect(nodes[i], "musig_failover_turns_total", "timeout", 0);
        expect(nodes[i], "musig_failover_own_turns_total", "", i == 1);
        expect(nodes[i], "musig_failover_exhaustions_total", "", 0);
        expect(nodes[i], "musig_coordinator_failures_total", names[0], 0);
        expect(nodes[i], "musig_coordinator_failures_total", names[1], 0);
        expect(nodes[i], "musig_broadcasts_total", names[1], 1);
        expect(nodes[i], "musig_broadcasts_total", "other", 0);
        expect(nodes[i], "musig_submissions_total", i ? "unreachable" : "accepted", 0);
        expect(nodes[i], "musig_submissions_total", i ? "accepted" : "unreachable", ways[i].calls);
        expect(nodes[i], "musig_submission_seconds", "", ways[i].calls);
        expect(nodes[i], "musig_store_failures_total", "", 0);
        REQUIRE(value_of(nodes[i], "musig_store_commits_total", "yes") > 0);
    }
    REQUIRE(ways[0].calls >= 1 && ways[1].calls == 1);
    OK(musig_node_metrics_text(nodes[1], &text, MUSIG_METRICS_FORMAT_OPENMETRICS, NULL));
    REQUIRE(strstr((const char *)musig_bytes_data(text), "\nmusig_failover_turns_total{cause=\"nack\"} 1\n"));
    REQUIRE(strstr((const char *)musig_bytes_data(text), "# EOF\n"));
    musig_bytes_free(text);
    for (int i = 0; i < 2; i++) {
        musig_session_free(sessions[i]);
        OK(musig_node_stop(nodes[i], NULL));
        musig_node_free(nodes[i]);
    }
    printf("as the script did\n");
    return 0;
}
