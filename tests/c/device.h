/* A signer that is not libmusig's: C code that speaks MuSig2 with libsecp256k1, as the firmware of a device would. It takes
 * libsecp256k1 from inside libmusig's static library, so programs with it are linked against that one.
 *
 * It can be told to answer wrongly. */
#ifndef DEVICE_H
#define DEVICE_H

#include "prelude.h"

#include <pthread.h>

/* The version is secp256k1-sys's. */
#define SECP(name) rustsecp256k1_v0_14_##name

typedef struct secp_context secp_context;
typedef struct { uint8_t data[64]; } secp_pubkey;
typedef struct { uint8_t data[96]; } secp_keypair;
typedef struct { uint8_t data[197]; } secp_cache;
typedef struct { uint8_t data[132]; } secp_nonce;
typedef struct { uint8_t data[133]; } secp_session;
typedef struct { uint8_t data[36]; } secp_partial;

secp_context *SECP(context_create)(unsigned flags);
void SECP(context_destroy)(secp_context *context);
int SECP(keypair_create)(const secp_context *, secp_keypair *, const uint8_t *secret);
int SECP(keypair_pub)(const secp_context *, secp_pubkey *, const secp_keypair *);
int SECP(ec_pubkey_parse)(const secp_context *, secp_pubkey *, const uint8_t *, size_t);
int SECP(ec_pubkey_serialize)(const secp_context *, uint8_t *, size_t *, const secp_pubkey *, unsigned);
int SECP(musig_pubkey_agg)(const secp_context *, void *, secp_cache *, const secp_pubkey *const *, size_t);
int SECP(musig_pubkey_get)(const secp_context *, secp_pubkey *, const secp_cache *);
int SECP(musig_pubkey_xonly_tweak_add)(const secp_context *, secp_pubkey *, secp_cache *, const uint8_t *);
int SECP(tagged_sha256)(const secp_context *, uint8_t *, const uint8_t *, size_t, const uint8_t *, size_t);
int SECP(musig_nonce_gen)(const secp_context *, secp_nonce *, secp_nonce *, uint8_t *, const uint8_t *, const secp_pubkey *,
                          const uint8_t *, const secp_cache *, const uint8_t *);
int SECP(musig_pubnonce_serialize)(const secp_context *, uint8_t *, const secp_nonce *);
int SECP(musig_aggnonce_parse)(const secp_context *, secp_nonce *, const uint8_t *);
int SECP(musig_nonce_process)(const secp_context *, secp_session *, const secp_nonce *, const uint8_t *, const secp_cache *);
int SECP(musig_partial_sign)(const secp_context *, secp_partial *, secp_nonce *, const secp_keypair *, const secp_cache *,
                             const secp_session *);
int SECP(musig_partial_sig_serialize)(const secp_context *, uint8_t *, const secp_partial *);

/* What a device does with the next question that this is about. */
enum fault {
    FAULT_NONE,
    /* holds */
    FAULT_HOLDS_FAILS,
    FAULT_HOLDS_NUMBER,
    /* make_nonces */
    FAULT_NONCES_FAIL,
    FAULT_NONCES_LOCKED,
    FAULT_NONCES_NO_POINTS,
    FAULT_NONCES_HANG,
    /* make_partials */
    FAULT_PARTIALS_FAIL,
    FAULT_PARTIALS_WRONG,
    FAULT_PARTIALS_GONE,
    FAULT_PARTIALS_HANG
};

#define DEVICE_NONCES 64

struct device {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    secp_context *context;
    secp_keypair pair;
    secp_pubkey point;
    uint8_t key[33];
    enum fault fault;
    int inside, hangs, released, destroyed;
    long asked;
    /* How often it was asked for a key that is not its own. */
    int strange;
    struct {
        int used;
        uint8_t session[32];
        uint32_t attempt;
        secp_nonce secret;
    } nonces[DEVICE_NONCES];
};

/* The participant key of a signer, which is another than its identity key. */
static void device_init(struct device *device, int index) {
    uint8_t secret[32];
    size_t length = 33;
    memset(device, 0, sizeof *device);
    pthread_mutex_init(&device->lock, NULL);
    pthread_cond_init(&device->changed, NULL);
    secret_of(secret, 20 + index);
    device->context = SECP(context_create)(1);
    REQUIRE(SECP(keypair_create)(device->context, &device->pair, secret));
    REQUIRE(SECP(keypair_pub)(device->context, &device->point, &device->pair));
    REQUIRE(SECP(ec_pubkey_serialize)(device->context, device->key, &length, &device->point, 258));
}

static void device_destroyed(void *user_data) {
    struct device *device = user_data;
    pthread_mutex_lock(&device->lock);
    REQUIRE(device->inside == 0);
    device->destroyed++;
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->lock);
}

/* The signer's data is destroyed once no node uses it, which a thread of the library may be the last to do. */
static void device_free(struct device *device) {
    pthread_mutex_lock(&device->lock);
    while (!device->destroyed) pthread_cond_wait(&device->changed, &device->lock);
    REQUIRE(device->destroyed == 1);
    pthread_mutex_unlock(&device->lock);
    SECP(context_destroy)(device->context);
    pthread_mutex_destroy(&device->lock);
    pthread_cond_destroy(&device->changed);
}

/* Takes this fault if it is the one to commit now. */
static int device_fault(struct device *device, enum fault fault) {
    if (device->fault != fault) return 0;
    device->fault = FAULT_NONE;
    return 1;
}

static void device_enter(struct device *device) {
    pthread_mutex_lock(&device->lock);
    REQUIRE(device->inside == 0 && device->destroyed == 0);
    device->inside = 1;
    device->asked++;
}

static musig_status device_leave(struct device *device, musig_status status) {
    device->inside = 0;
    pthread_mutex_unlock(&device->lock);
    return status;
}

static void device_hang(struct device *device) {
    device->hangs = 1;
    pthread_cond_broadcast(&device->changed);
    while (!device->released) pthread_cond_wait(&device->changed, &device->lock);
    device->hangs = 0;
}

/* This device has one key, and needs no origin to find it. */
static musig_status device_holds(void *user_data, int32_t *holds, const uint8_t *key, const uint8_t *fingerprint,
                                 const uint32_t *path, size_t path_count) {
    struct device *device = user_data;
    device_enter(device);
    REQUIRE(*holds == 0 && (key[0] == 2 || key[0] == 3));
    if (fingerprint) REQUIRE(fingerprint[0] == 0x34 && path_count == 2 && path[0] == 0x80000000 && path[1] == 1);
    if (!fingerprint) REQUIRE(!path && path_count == 0);
    if (device_fault(device, FAULT_HOLDS_FAILS)) return device_leave(device, -3);
    *holds = memcmp(key, device->key, 33) == 0;
    if (!*holds) device->strange++;
    if (device_fault(device, FAULT_HOLDS_NUMBER)) *holds = 7;
    return device_leave(device, MUSIG_STATUS_OK);
}

static int compare_keys(const void *a, const void *b) { return memcmp(a, b, 33); }

/* The aggregate key of one message, with BIP-341 where it asks for that: from the terms, which a real device would show to
 * its user. */
static secp_cache device_cache(struct device *device, const musig_terms *terms, uint32_t message) {
    musig_message signed_one;
    musig_key_set *key_set;
    musig_bytes *bytes;
    secp_pubkey points[16], aggregate;
    const secp_pubkey *pointers[16];
    secp_cache cache;
    uint8_t keys[16 * 33], compressed[33], scalar[32];
    size_t length, count, compressed_length = sizeof compressed;
    int32_t order;
    signed_one.struct_size = sizeof signed_one;
    OK(musig_terms_message(terms, &signed_one, message, NULL));
    OK(musig_terms_key_set(terms, &key_set, signed_one.key_set, NULL));
    OK(musig_key_set_keys(key_set, &bytes, NULL));
    OK(musig_key_set_order(key_set, &order, NULL));
    musig_key_set_free(key_set);
    length = musig_bytes_length(bytes);
    count = length / 33;
    REQUIRE(length <= sizeof keys);
    memcpy(keys, musig_bytes_data(bytes), length);
    musig_bytes_free(bytes);
    if (order == MUSIG_KEY_ORDER_SORTED) qsort(keys, count, 33, compare_keys);
    for (size_t i = 0; i < count; i++) {
        REQUIRE(SECP(ec_pubkey_parse)(device->context, &points[i], keys + 33 * i, 33));
        pointers[i] = &points[i];
    }
    REQUIRE(SECP(musig_pubkey_agg)(device->context, NULL, &cache, pointers, count));
    /* This device derives no children, and knows outputs without scripts. */
    REQUIRE(signed_one.derivation.path_count == 0);
    if (signed_one.derivation.taproot == MUSIG_TAPROOT_NONE) return cache;
    REQUIRE(signed_one.derivation.taproot == MUSIG_TAPROOT_KEY_PATH);
    REQUIRE(SECP(musig_pubkey_get)(device->context, &aggregate, &cache));
    REQUIRE(SECP(ec_pubkey_serialize)(device->context, compressed, &compressed_length, &aggregate, 258));
    REQUIRE(SECP(tagged_sha256)(device->context, scalar, (const uint8_t *)"TapTweak", 8, compressed + 1, 32));
    REQUIRE(SECP(musig_pubkey_xonly_tweak_add)(device->context, &aggregate, &cache, scalar));
    return cache;
}

static int device_find(struct device *device, const uint8_t *session, uint32_t attempt) {
    for (int i = 0; i < DEVICE_NONCES; i++)
        if (device->nonces[i].used && device->nonces[i].attempt == attempt &&
            memcmp(device->nonces[i].session, session, 32) == 0)
            return i;
    return -1;
}

/* One message is enough for a test. */
static musig_status device_make_nonces(void *user_data, const musig_signing_request *request, uint8_t *nonces) {
    struct device *device = user_data;
    int slot = 0;
    uint8_t random[32];
    secp_nonce public_nonce;
    FILE *source;
    device_enter(device);
    REQUIRE(request->struct_size == sizeof *request && request->messages_count == 1 && !request->aggregate_nonces);
    REQUIRE(memcmp(request->participant_keys, device->key, 33) == 0);
    REQUIRE(request->messages[0] == 0 && request->key_sets[0] == 0);
    if (device_fault(device, FAULT_NONCES_FAIL)) return device_leave(device, -7);
    if (device_fault(device, FAULT_NONCES_LOCKED)) return device_leave(device, MUSIG_STATUS_SIGNER_LOCKED);
    /* Never twice for one attempt. */
    if (device_find(device, request->session_id, request->attempt) >= 0)
        return device_leave(device, MUSIG_STATUS_NONCE_GONE);
    while (slot < DEVICE_NONCES && device->nonces[slot].used) slot++;
    REQUIRE(slot < DEVICE_NONCES);
    device->nonces[slot].used = 1;
    device->nonces[slot].attempt = request->attempt;
    memcpy(device->nonces[slot].session, request->session_id, 32);
    source = fopen("/dev/urandom", "rb");
    REQUIRE(source && fread(random, 32, 1, source) == 1);
    fclose(source);
    REQUIRE(SECP(musig_nonce_gen)(device->context, &device->nonces[slot].secret, &public_nonce, random, NULL,
                                  &device->point, request->digests, NULL, NULL));
    REQUIRE(SECP(musig_pubnonce_serialize)(device->context, nonces, &public_nonce));
    if (device_fault(device, FAULT_NONCES_NO_POINTS)) memset(nonces, 0xee, 66);
    if (device_fault(device, FAULT_NONCES_HANG)) device_hang(device);
    return device_leave(device, MUSIG_STATUS_OK);
}

static musig_status device_make_partials(void *user_data, const musig_signing_request *request, uint8_t *partials) {
    struct device *device = user_data;
    musig_terms *terms;
    secp_cache cache;
    secp_nonce aggregate;
    secp_session session;
    secp_partial partial;
    int slot;
    device_enter(device);
    REQUIRE(request->messages_count == 1 && request->aggregate_nonces);
    if (device_fault(device, FAULT_PARTIALS_FAIL)) return device_leave(device, 9999);
    slot = device_find(device, request->session_id, request->attempt);
    if (slot < 0 || device_fault(device, FAULT_PARTIALS_GONE)) return device_leave(device, MUSIG_STATUS_NONCE_GONE);
    /* Used up: signed with once, whatever comes of it. libsecp256k1 wipes it. */
    if (memcmp(&device->nonces[slot].secret, &(secp_nonce){{0}}, sizeof(secp_nonce)) == 0)
        return device_leave(device, MUSIG_STATUS_NONCE_GONE);
    OK(musig_terms_decode(&terms, request->proposal, request->proposal_length, NULL));
    cache = device_cache(device, terms, 0);
    musig_terms_free(terms);
    REQUIRE(SECP(musig_aggnonce_parse)(device->context, &aggregate, request->aggregate_nonces));
    REQUIRE(SECP(musig_nonce_process)(device->context, &session, &aggregate, request->digests, &cache));
    REQUIRE(SECP(musig_partial_sign)(device->context, &partial, &device->nonces[slot].secret, &device->pair, &cache,
                                     &session));
    REQUIRE(SECP(musig_partial_sig_serialize)(device->context, partials, &partial));
    if (device_fault(device, FAULT_PARTIALS_WRONG)) partials[31] ^= 1;
    if (device_fault(device, FAULT_PARTIALS_HANG)) device_hang(device);
    return device_leave(device, MUSIG_STATUS_OK);
}

static void device_forget(void *user_data, const uint8_t *session, uint32_t attempt) {
    struct device *device = user_data;
    device_enter(device);
    for (int i = 0; i < DEVICE_NONCES; i++)
        if (device->nonces[i].used && device->nonces[i].attempt <= attempt &&
            memcmp(device->nonces[i].session, session, 32) == 0)
            memset(&device->nonces[i].secret, 0, sizeof device->nonces[i].secret);
    device_leave(device, MUSIG_STATUS_OK);
}

static musig_signer *device_signer(struct device *device) {
    musig_signer_callbacks table = {sizeof table, device_holds, device_make_nonces, device_make_partials, device_forget};
    musig_signer *signer;
    OK(musig_signer_from_callbacks(&signer, &table, device, device_destroyed, NULL));
    return signer;
}

#endif
