// libmusig for C++17: header-only, over musig.h.
//
// Objects own one reference and release it when they are destroyed; copying adds another one. Functions throw musig::Error,
// except where they return std::optional for a result that may not be available yet. A C++ exception never crosses into
// the library: a handler that throws keeps its event, a broadcaster that throws counts as unreachable. See docs/c-api.md.
#ifndef MUSIG_HPP
#define MUSIG_HPP

#include "musig.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace musig {

/// Borrowed bytes, as C++17 has no std::span.
class Bytes {
public:
    constexpr Bytes() = default;
    constexpr Bytes(const std::uint8_t *data, std::size_t size) : data_(data), size_(size) {}
    template <std::size_t N>
    constexpr Bytes(const std::array<std::uint8_t, N> &array) : data_(array.data()), size_(N) {}
    Bytes(const std::vector<std::uint8_t> &vector) : data_(vector.data()), size_(vector.size()) {}
    constexpr const std::uint8_t *data() const { return data_; }
    constexpr std::size_t size() const { return size_; }
    constexpr bool empty() const { return size_ == 0; }
    constexpr const std::uint8_t *begin() const { return data_; }
    constexpr const std::uint8_t *end() const { return data_ + size_; }
    constexpr std::uint8_t operator[](std::size_t index) const { return data_[index]; }
    std::vector<std::uint8_t> copy() const { return {begin(), end()}; }

private:
    const std::uint8_t *data_ = nullptr;
    std::size_t size_ = 0;
};

using Hash = std::array<std::uint8_t, 32>;
using SessionId = Hash;
using PublicKey = std::array<std::uint8_t, 33>;
using Signature = std::array<std::uint8_t, 64>;

/// The error of a call.
class Error : public std::runtime_error {
public:
    Error(musig_status status, const std::string &message, bool retryable = false)
        : std::runtime_error(message), status_(status), retryable_(retryable) {}
    /// A musig_status_code.
    musig_status status() const noexcept { return status_; }
    /// Whether the same call may succeed later, though nothing in it changes. See musig_error_is_retryable.
    bool is_retryable() const noexcept { return retryable_; }

private:
    musig_status status_;
    bool retryable_;
};

/// 1 to 99: the caller.
class CallError : public Error {
    using Error::Error;
};
/// 100 to 199: the network.
class NetworkError : public Error {
    using Error::Error;
};
/// 200 to 299: the protocol.
class ProtocolError : public Error {
    using Error::Error;
};
/// 300 to 399: the store.
class StoreError : public Error {
    using Error::Error;
};
/// 400 to 499: the Bitcoin backend.
class ChainError : public Error {
    using Error::Error;
};
/// 900 and above: an internal error of libmusig.
class InternalError : public Error {
    using Error::Error;
};

namespace detail {

inline void fail(musig_status status, musig_error *error) {
    std::string message;
    try {
        message = musig_error_message(error);
        if (message.empty()) message = musig_status_string(status);
    } catch (...) {
        musig_error_free(error);
        throw;
    }
    const bool retryable = musig_error_is_retryable(error) != 0;
    musig_error_free(error);
    if (status < 100) throw CallError(status, message, retryable);
    if (status < 200) throw NetworkError(status, message, retryable);
    if (status < 300) throw ProtocolError(status, message, retryable);
    if (status < 400) throw StoreError(status, message, retryable);
    if (status < 500) throw ChainError(status, message, retryable);
    if (status >= 900) throw InternalError(status, message, retryable);
    throw Error(status, message, retryable);
}

/// Calls a fallible function; throws its error.
template <class F, class... A>
void call(F function, A... arguments) {
    musig_error *error = nullptr;
    musig_status status = function(arguments..., &error);
    if (status != MUSIG_STATUS_OK) fail(status, error);
}

/// The same, but returns false for one status that is not an error here.
template <class F, class... A>
bool try_call(musig_status none, F function, A... arguments) {
    musig_error *error = nullptr;
    musig_status status = function(arguments..., &error);
    if (status == MUSIG_STATUS_OK) return true;
    if (status != none) fail(status, error);
    musig_error_free(error);
    return false;
}

/// One reference to an object of the library.
template <class T, T *(*Ref)(T *), void (*Free)(T *)>
class Handle {
public:
    Handle() = default;
    explicit Handle(T *owned) : pointer_(owned) {}
    Handle(const Handle &other) : pointer_(Ref(other.pointer_)) {}
    Handle(Handle &&other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
    Handle &operator=(Handle other) noexcept {
        std::swap(pointer_, other.pointer_);
        return *this;
    }
    ~Handle() { Free(pointer_); }
    /// Adds a reference to a borrowed object.
    static Handle share(T *lent) { return Handle(Ref(lent)); }
    /// The object, still owned by this handle.
    T *get() const noexcept { return pointer_; }
    explicit operator bool() const noexcept { return pointer_ != nullptr; }

private:
    T *pointer_ = nullptr;
};

using BytesHandle = Handle<musig_bytes, musig_bytes_ref, musig_bytes_free>;

/// Copies a musig_bytes result, and releases it.
inline std::vector<std::uint8_t> bytes(musig_bytes *bytes) {
    BytesHandle handle(bytes);
    const std::uint8_t *data = musig_bytes_data(bytes);
    return std::vector<std::uint8_t>(data, data + musig_bytes_length(bytes));
}

/// The same of a function.
template <class F, class O, class... A>
std::vector<std::uint8_t> take(F function, O object, A... arguments) {
    musig_bytes *result = nullptr;
    call(function, object, &result, arguments...);
    return bytes(result);
}

inline std::string text(const std::vector<std::uint8_t> &bytes) { return std::string(bytes.begin(), bytes.end()); }

template <std::size_t N>
std::vector<std::array<std::uint8_t, N>> split(const std::vector<std::uint8_t> &bytes) {
    std::vector<std::array<std::uint8_t, N>> parts(bytes.size() / N);
    for (std::size_t i = 0; i < parts.size(); i++) std::memcpy(parts[i].data(), bytes.data() + i * N, N);
    return parts;
}

template <std::size_t N>
std::vector<std::uint8_t> join(const std::vector<std::array<std::uint8_t, N>> &parts) {
    std::vector<std::uint8_t> bytes;
    bytes.reserve(parts.size() * N);
    for (const auto &part : parts) bytes.insert(bytes.end(), part.begin(), part.end());
    return bytes;
}

} // namespace detail

/// The version of the loaded library.
inline std::string_view version() { return musig_version_string(); }

/// The name of a kind of event, such as "SESSION_PROPOSED": see musig_event_kind_string.
inline std::string_view kind_name(musig_event_kind kind) {
    return musig_event_kind_string(static_cast<std::int32_t>(kind));
}

/// The name of a phase, such as "SIGNING": see musig_phase_string. musig_session_status has the number.
inline std::string_view phase_name(std::int32_t phase) { return musig_phase_string(phase); }

/// The origin of a key.
struct KeyOrigin {
    std::array<std::uint8_t, 4> fingerprint;
    std::vector<std::uint32_t> path;
};

/// Participant keys in another process or a device: see musig_signer_callbacks. An exception fails the call; musig::Error
/// with MUSIG_STATUS_SIGNER_LOCKED or MUSIG_STATUS_NONCE_GONE states the cause.
struct SignerCallbacks {
    std::function<bool(const PublicKey &key, const std::optional<KeyOrigin> &origin)> holds;
    /// Returns 66 bytes per message.
    std::function<std::vector<std::uint8_t>(const musig_signing_request &)> make_nonces;
    /// Returns 32 bytes per message.
    std::function<std::vector<std::uint8_t>(const musig_signing_request &)> make_partials;
    /// May be empty.
    std::function<void(const SessionId &session, std::uint32_t attempt)> forget;
};

namespace detail {

/// Runs a callback: no exception leaves it.
template <class F>
musig_status guard(F function) noexcept {
    try {
        function();
        return MUSIG_STATUS_OK;
    } catch (const Error &error) {
        return error.status() == MUSIG_STATUS_OK ? MUSIG_STATUS_SIGNER : error.status();
    } catch (...) {
        return MUSIG_STATUS_SIGNER;
    }
}

/// Copies the result of a callback, if it has the expected length.
inline void give(const std::vector<std::uint8_t> &bytes, std::uint8_t *out, std::size_t length) {
    if (bytes.size() != length) throw std::length_error("a signer callback returned a result of the wrong length");
    std::memcpy(out, bytes.data(), length);
}

} // namespace detail

/// Participant keys in another process or a device: see musig_signer_from_callbacks.
class ForeignSigner {
public:
    explicit ForeignSigner(SignerCallbacks callbacks) {
        musig_signer_callbacks table{};
        table.struct_size = sizeof table;
        table.holds = [](void *data, std::int32_t *holds, const std::uint8_t *key, const std::uint8_t *fingerprint,
                         const std::uint32_t *path, std::size_t path_count) {
            return detail::guard([&] {
                PublicKey copy;
                std::memcpy(copy.data(), key, copy.size());
                std::optional<KeyOrigin> origin;
                if (fingerprint) {
                    origin.emplace();
                    std::memcpy(origin->fingerprint.data(), fingerprint, origin->fingerprint.size());
                    if (path) origin->path.assign(path, path + path_count);
                }
                *holds = static_cast<SignerCallbacks *>(data)->holds(copy, origin) ? 1 : 0;
            });
        };
        table.make_nonces = [](void *data, const musig_signing_request *request, std::uint8_t *nonces) {
            return detail::guard([&] {
                detail::give(static_cast<SignerCallbacks *>(data)->make_nonces(*request), nonces,
                             std::size_t{66} * request->messages_count);
            });
        };
        table.make_partials = [](void *data, const musig_signing_request *request, std::uint8_t *partials) {
            return detail::guard([&] {
                detail::give(static_cast<SignerCallbacks *>(data)->make_partials(*request), partials,
                             std::size_t{32} * request->messages_count);
            });
        };
        table.forget = [](void *data, const std::uint8_t *session, std::uint32_t attempt) {
            detail::guard([&] {
                SessionId id;
                std::memcpy(id.data(), session, id.size());
                auto &forget = static_cast<SignerCallbacks *>(data)->forget;
                if (forget) forget(id, attempt);
            });
        };
        auto owned = std::make_unique<SignerCallbacks>(std::move(callbacks));
        musig_signer *signer = nullptr;
        detail::call(musig_signer_from_callbacks, &signer, static_cast<const musig_signer_callbacks *>(&table),
                     static_cast<void *>(owned.get()),
                     static_cast<musig_destroy>([](void *data) { delete static_cast<SignerCallbacks *>(data); }));
        owned.release();
        handle_ = decltype(handle_)(signer);
    }
    const musig_signer *get() const { return handle_.get(); }

private:
    detail::Handle<musig_signer, musig_signer_ref, musig_signer_free> handle_;
};

/// See musig_signer.
class Signer {
public:
    explicit Signer(const Hash &secret) {
        musig_signer *signer = nullptr;
        detail::call(musig_signer_new, &signer, secret.data());
        handle_ = decltype(handle_)(signer);
    }
    /// See musig_signer_generate.
    static Signer generate() {
        musig_signer *signer = nullptr;
        detail::call(musig_signer_generate, &signer);
        return Signer(signer);
    }
    PublicKey public_key() const {
        PublicKey key;
        detail::call(musig_signer_public_key, get(), key.data());
        return key;
    }
    /// See musig_signer_add_key.
    PublicKey add_key(const Hash &secret) const {
        PublicKey key;
        detail::call(musig_signer_add_key, get(), key.data(), secret.data());
        return key;
    }
    /// See musig_signer_add_xprv.
    void add_xprv(const std::string &xprv, const KeyOrigin &origin) const {
        detail::call(musig_signer_add_xprv, get(), xprv.c_str(), origin.fingerprint.data(), origin.path.data(),
                     origin.path.size());
    }
    /// See musig_signer_holds.
    bool holds(const PublicKey &key, const std::optional<KeyOrigin> &origin = {}) const {
        std::int32_t holds = 0;
        auto path = origin ? origin->path : std::vector<std::uint32_t>();
        const std::uint8_t *fingerprint = origin ? origin->fingerprint.data() : nullptr;
        detail::call(musig_signer_holds, get(), &holds, key.data(), fingerprint, path.data(), path.size());
        return holds != 0;
    }
    void lock() const { detail::call(musig_signer_lock, get()); }
    void unlock(const Hash &secret) const { detail::call(musig_signer_unlock, get(), secret.data()); }
    bool is_locked() const {
        std::int32_t locked = 0;
        detail::call(musig_signer_is_locked, get(), &locked);
        return locked != 0;
    }
    const musig_signer *get() const { return handle_.get(); }

private:
    explicit Signer(musig_signer *owned) : handle_(owned) {}
    detail::Handle<musig_signer, musig_signer_ref, musig_signer_free> handle_;
};

/// See musig_election.
class Election {
public:
    Election(const std::vector<PublicKey> &signers, musig_election_method method, const SessionId &session) {
        musig_election *election = nullptr;
        auto keys = detail::join(signers);
        detail::call(musig_election_new, &election, keys.data(), signers.size(), static_cast<std::int32_t>(method),
                     session.data());
        handle_ = decltype(handle_)(election);
    }
    explicit Election(musig_election *owned) : handle_(owned) {}
    std::uint32_t coordinator() const { return musig_election_coordinator(handle_.get()); }
    std::vector<std::uint32_t> priority_list() const {
        std::vector<std::uint32_t> list(musig_election_signers(handle_.get()));
        detail::call(musig_election_priority_list, static_cast<const musig_election *>(handle_.get()), list.data(),
                     list.size());
        return list;
    }
    /// Empty if no signer follows.
    std::optional<std::uint32_t> backup_after(std::uint32_t index) const {
        std::uint32_t backup = 0;
        if (!detail::try_call(MUSIG_STATUS_NOT_READY, musig_election_backup_after,
                              static_cast<const musig_election *>(handle_.get()), &backup, index))
            return std::nullopt;
        return backup;
    }
    std::string proof() const { return musig_election_proof(handle_.get()); }
    /// Verifies a claimed election: see musig_election_verify.
    static bool verify(const std::vector<PublicKey> &signers, musig_election_method method, const SessionId &session,
                       std::uint32_t coordinator, const std::vector<std::uint32_t> &priority_list,
                       const std::string &proof) {
        auto keys = detail::join(signers);
        return detail::try_call(MUSIG_STATUS_ELECTION_MISMATCH, musig_election_verify,
                                static_cast<const std::uint8_t *>(keys.data()), signers.size(),
                                static_cast<std::int32_t>(method), session.data(), coordinator, priority_list.data(),
                                priority_list.size(), proof.c_str());
    }

private:
    detail::Handle<musig_election, musig_election_ref, musig_election_free> handle_;
};

/// A derivation: child numbers (BIP-328), then BIP-341. By default the aggregate key itself.
inline musig_derivation derivation(const std::vector<std::uint32_t> &path = {},
                                   musig_taproot taproot = MUSIG_TAPROOT_NONE, const Hash &merkle_root = {}) {
    musig_derivation derivation{};
    derivation.struct_size = sizeof derivation;
    derivation.taproot = taproot;
    // Too many are refused by the call that takes it.
    derivation.path_count = static_cast<std::uint32_t>(path.size());
    for (std::size_t i = 0; i < path.size() && i < MUSIG_MAX_CHILD_NUMBERS; i++) derivation.path[i] = path[i];
    std::memcpy(derivation.merkle_root, merkle_root.data(), merkle_root.size());
    return derivation;
}

/// The derivation of an output without scripts, whose internal key is the child along this path.
inline musig_derivation key_path(const std::vector<std::uint32_t> &path = {}) {
    return derivation(path, MUSIG_TAPROOT_KEY_PATH);
}

/// See musig_key_set.
class KeySet {
public:
    explicit KeySet(musig_key_set *owned) : handle_(owned) {}
    /// See musig_key_set_new.
    explicit KeySet(const std::vector<PublicKey> &keys, musig_key_order order = MUSIG_KEY_ORDER_SORTED)
        : handle_(make(keys, order)) {}
    KeySet &origin(std::uint32_t signer, const KeyOrigin &origin) {
        detail::call(musig_key_set_set_origin, get(), signer, origin.fingerprint.data(), origin.path.data(),
                     origin.path.size());
        return *this;
    }
    std::optional<KeyOrigin> origin(std::uint32_t signer) const {
        KeyOrigin origin{{}, std::vector<std::uint32_t>(16)};
        std::size_t count = 0;
        if (!detail::try_call(MUSIG_STATUS_NO_SUCH_FIELD, musig_key_set_origin, get(), origin.fingerprint.data(),
                              origin.path.data(), origin.path.size(), &count, signer))
            return std::nullopt;
        origin.path.resize(count);
        return origin;
    }
    std::vector<PublicKey> keys() const {
        return detail::split<33>(detail::take(musig_key_set_keys, get()));
    }
    musig_key_order order() const {
        std::int32_t order = 0;
        detail::call(musig_key_set_order, get(), &order);
        return static_cast<musig_key_order>(order);
    }
    /// See musig_key_set_final_key.
    PublicKey final_key(const musig_derivation &derivation = musig::derivation()) const {
        PublicKey key;
        detail::call(musig_key_set_final_key, get(), key.data(), &derivation);
        return key;
    }
    /// See musig_key_set_address.
    std::string address(const musig_derivation &derivation, musig_network network) const {
        return detail::text(
            detail::take(musig_key_set_address, get(), &derivation, static_cast<std::int32_t>(network)));
    }
    const musig_key_set *get() const { return handle_.get(); }

private:
    static musig_key_set *make(const std::vector<PublicKey> &keys, musig_key_order order) {
        musig_key_set *key_set = nullptr;
        auto joined = detail::join(keys);
        detail::call(musig_key_set_new, &key_set, static_cast<const std::uint8_t *>(joined.data()), keys.size(),
                     static_cast<std::int32_t>(order));
        return key_set;
    }
    detail::Handle<musig_key_set, musig_key_set_ref, musig_key_set_free> handle_;
};

/// See musig_descriptor.
class Descriptor {
public:
    explicit Descriptor(musig_descriptor *owned) : handle_(owned) {}
    /// See musig_descriptor_new.
    explicit Descriptor(const std::string &text) : handle_(make(text)) {}
    std::string text() const { return detail::text(detail::take(musig_descriptor_text, get())); }
    std::uint32_t branches() const {
        std::uint32_t branches = 0;
        detail::call(musig_descriptor_branches, get(), &branches);
        return branches;
    }
    /// See musig_descriptor_address.
    std::string address(musig_network network, std::uint32_t index, std::uint32_t branch = 0) const {
        return detail::text(
            detail::take(musig_descriptor_address, get(), static_cast<std::int32_t>(network), branch, index));
    }
    /// See musig_descriptor_keys.
    std::pair<KeySet, musig_derivation> keys(std::uint32_t index, std::uint32_t branch = 0) const {
        musig_key_set *key_set = nullptr;
        musig_derivation derivation = musig::derivation();
        detail::call(musig_descriptor_keys, get(), &key_set, &derivation, branch, index);
        return {KeySet(key_set), derivation};
    }
    const musig_descriptor *get() const { return handle_.get(); }

private:
    static musig_descriptor *make(const std::string &text) {
        musig_descriptor *descriptor = nullptr;
        detail::call(musig_descriptor_new, &descriptor, text.c_str());
        return descriptor;
    }
    detail::Handle<musig_descriptor, musig_descriptor_ref, musig_descriptor_free> handle_;
};

/// See musig_signer_card.
class SignerCard {
public:
    explicit SignerCard(musig_signer_card *owned) : handle_(owned) {}
    /// See musig_signer_card_new.
    SignerCard(const Signer &signer, const std::string &xpub, const KeyOrigin &origin,
               const std::optional<std::string> &name = {}, const std::vector<std::string> &addresses = {}) {
        musig_signer_card *card = nullptr;
        std::vector<const char *> texts;
        for (const auto &address : addresses) texts.push_back(address.c_str());
        detail::call(musig_signer_card_new, &card, signer.get(), xpub.c_str(), origin.fingerprint.data(),
                     origin.path.data(), origin.path.size(), name ? name->c_str() : static_cast<const char *>(nullptr),
                     static_cast<const char *const *>(texts.data()), texts.size());
        handle_ = decltype(handle_)(card);
    }
    /// See musig_signer_card_parse.
    static SignerCard parse(const std::string &text) {
        musig_signer_card *card = nullptr;
        detail::call(musig_signer_card_parse, &card, text.c_str());
        return SignerCard(card);
    }
    std::string text() const { return detail::text(detail::take(musig_signer_card_text, get())); }
    PublicKey identity() const {
        PublicKey key;
        detail::call(musig_signer_card_identity, get(), key.data());
        return key;
    }
    std::string xpub() const { return detail::text(detail::take(musig_signer_card_xpub, get())); }
    KeyOrigin origin() const {
        KeyOrigin origin{{}, std::vector<std::uint32_t>(16)};
        std::size_t count = 0;
        detail::call(musig_signer_card_origin, get(), origin.fingerprint.data(), origin.path.data(),
                     origin.path.size(), &count);
        origin.path.resize(count);
        return origin;
    }
    /// Nobody checked it; escape it before it is shown.
    std::optional<std::string> name() const {
        musig_bytes *name = nullptr;
        if (!detail::try_call(MUSIG_STATUS_NO_SUCH_FIELD, musig_signer_card_name, get(), &name)) return std::nullopt;
        return detail::text(detail::bytes(name));
    }
    std::vector<std::string> addresses() const {
        std::vector<std::string> addresses;
        musig_bytes *address = nullptr;
        while (detail::try_call(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_signer_card_address, get(), &address,
                                static_cast<std::uint32_t>(addresses.size())))
            addresses.push_back(detail::text(detail::bytes(address)));
        return addresses;
    }
    const musig_signer_card *get() const { return handle_.get(); }

private:
    detail::Handle<musig_signer_card, musig_signer_card_ref, musig_signer_card_free> handle_;
};

/// See musig_group.
class Group {
public:
    /// See musig_group_new.
    explicit Group(const std::vector<SignerCard> &cards) {
        musig_group *group = nullptr;
        std::vector<const musig_signer_card *> given;
        for (const auto &card : cards) given.push_back(card.get());
        detail::call(musig_group_new, &group, static_cast<const musig_signer_card *const *>(given.data()),
                     given.size());
        handle_ = decltype(handle_)(group);
    }
    /// See musig_group_from_json.
    static Group from_json(const std::string &text) {
        musig_group *group = nullptr;
        detail::call(musig_group_from_json, &group, text.c_str());
        return Group(group);
    }
    std::string to_json() const { return detail::text(detail::take(musig_group_to_json, get())); }
    /// The identity keys, by signer index.
    std::vector<PublicKey> signers() const { return detail::split<33>(detail::take(musig_group_signers, get())); }
    /// The card of a signer, by its index.
    SignerCard card(std::uint32_t signer) const {
        musig_signer_card *card = nullptr;
        detail::call(musig_group_card, get(), &card, signer);
        return SignerCard(card);
    }
    /// See musig_group_check_phrase.
    std::string check_phrase() const { return detail::text(detail::take(musig_group_check_phrase, get())); }
    Descriptor descriptor() const {
        musig_descriptor *descriptor = nullptr;
        detail::call(musig_group_descriptor, get(), &descriptor);
        return Descriptor(descriptor);
    }
    /// See musig_group_keys.
    std::pair<KeySet, musig_derivation> keys(std::uint32_t index, bool change = false) const {
        musig_key_set *key_set = nullptr;
        musig_derivation derivation = musig::derivation();
        detail::call(musig_group_keys, get(), &key_set, &derivation, static_cast<std::int32_t>(change), index);
        return {KeySet(key_set), derivation};
    }
    /// See musig_group_address.
    std::string address(musig_network network, std::uint32_t index, bool change = false) const {
        return detail::text(detail::take(musig_group_address, get(), static_cast<std::int32_t>(network),
                                         static_cast<std::int32_t>(change), index));
    }
    const musig_group *get() const { return handle_.get(); }

private:
    explicit Group(musig_group *owned) : handle_(owned) {}
    detail::Handle<musig_group, musig_group_ref, musig_group_free> handle_;
};

/// A device, or another wallet, that adds what it can to a PSBT: see musig_psbt_device. An exception fails the call;
/// musig::Error with MUSIG_STATUS_NOT_READY says that the device was not reached.
struct PsbtDevice {
    /// Returns the PSBT with public nonces.
    std::function<std::vector<std::uint8_t>(const musig_psbt_request &)> add_nonces;
    /// Returns the PSBT with partial signatures.
    std::function<std::vector<std::uint8_t>(const musig_psbt_request &)> add_partials;
    /// Whether a request can be waited for again after a restart.
    bool keeps_requests = false;
};

/// See musig_psbt_signer.
class PsbtSigner {
public:
    /// See musig_psbt_signer_new.
    explicit PsbtSigner(PsbtDevice device, std::uint32_t psbt_version = 0) {
        musig_psbt_device table{};
        table.struct_size = sizeof table;
        table.keeps_requests = device.keeps_requests;
        table.add_nonces = [](void *data, const musig_psbt_request *request, musig_bytes **answer) {
            return detail::guard([&] { give(static_cast<PsbtDevice *>(data)->add_nonces(*request), answer); });
        };
        table.add_partials = [](void *data, const musig_psbt_request *request, musig_bytes **answer) {
            return detail::guard([&] { give(static_cast<PsbtDevice *>(data)->add_partials(*request), answer); });
        };
        auto owned = std::make_unique<PsbtDevice>(std::move(device));
        musig_psbt_signer *signer = nullptr;
        detail::call(musig_psbt_signer_new, &signer, static_cast<const musig_psbt_device *>(&table), psbt_version,
                     static_cast<void *>(owned.get()),
                     static_cast<musig_destroy>([](void *data) { delete static_cast<PsbtDevice *>(data); }));
        owned.release();
        handle_ = decltype(handle_)(signer);
    }
    /// See musig_psbt_signer_new_folder.
    static PsbtSigner folder(const std::string &folder, std::uint32_t psbt_version = 0) {
        musig_psbt_signer *signer = nullptr;
        detail::call(musig_psbt_signer_new_folder, &signer, folder.c_str(), psbt_version);
        return PsbtSigner(signer);
    }
    /// See musig_psbt_signer_add_key.
    PsbtSigner &key(const PublicKey &key) {
        detail::call(musig_psbt_signer_add_key, get(), key.data());
        return *this;
    }
    /// See musig_psbt_signer_add_xpub.
    PsbtSigner &xpub(const std::string &xpub, const KeyOrigin &origin) {
        detail::call(musig_psbt_signer_add_xpub, get(), xpub.c_str(), origin.fingerprint.data(), origin.path.data(),
                     origin.path.size());
        return *this;
    }
    /// See musig_psbt_signer_ask_again.
    bool ask_again(const SessionId &session) const {
        std::int32_t asked = 0;
        detail::call(musig_psbt_signer_ask_again, get(), &asked, session.data());
        return asked != 0;
    }
    const musig_psbt_signer *get() const { return handle_.get(); }

private:
    explicit PsbtSigner(musig_psbt_signer *owned) : handle_(owned) {}
    static void give(const std::vector<std::uint8_t> &psbt, musig_bytes **answer) {
        detail::call(musig_bytes_new, answer, psbt.data(), psbt.size());
    }
    detail::Handle<musig_psbt_signer, musig_psbt_signer_ref, musig_psbt_signer_free> handle_;
};

/// The PSBT with the signatures of a session over it. See musig_psbt_add_signatures.
inline std::vector<std::uint8_t> add_signatures(Bytes psbt, const std::vector<Signature> &signatures) {
    auto joined = detail::join(signatures);
    musig_bytes *bytes = nullptr;
    detail::call(musig_psbt_add_signatures, &bytes, psbt.data(), psbt.size(),
                 static_cast<const std::uint8_t *>(joined.data()), signatures.size());
    return detail::bytes(bytes);
}

/// See musig_psbt_update.
inline std::vector<std::uint8_t> update_psbt(Bytes psbt, const Descriptor &descriptor, std::uint32_t indices = 1000) {
    musig_bytes *bytes = nullptr;
    detail::call(musig_psbt_update, &bytes, psbt.data(), psbt.size(), descriptor.get(), indices);
    return detail::bytes(bytes);
}

/// See musig_psbt_combine.
inline std::vector<std::uint8_t> combine_psbts(Bytes psbt, Bytes other) {
    musig_bytes *bytes = nullptr;
    detail::call(musig_psbt_combine, &bytes, psbt.data(), psbt.size(), other.data(), other.size());
    return detail::bytes(bytes);
}

/// See musig_psbt_finalize.
inline std::vector<std::uint8_t> finalize_psbt(Bytes psbt) {
    musig_bytes *bytes = nullptr;
    detail::call(musig_psbt_finalize, &bytes, psbt.data(), psbt.size());
    return detail::bytes(bytes);
}

/// See musig_psbt_extract.
inline std::vector<std::uint8_t> extract_psbt(Bytes psbt) {
    musig_bytes *bytes = nullptr;
    detail::call(musig_psbt_extract, &bytes, psbt.data(), psbt.size());
    return detail::bytes(bytes);
}

/// See musig_source.
class Source {
public:
    /// A Bitcoin node with a cookie file. See musig_source_new_core.
    static Source core(const std::string &address, const std::string &cookie_file,
                       const musig_source_options *options = nullptr) {
        musig_source *source = nullptr;
        const char *none = nullptr;
        detail::call(musig_source_new_core, &source, address.c_str(), cookie_file.c_str(), none, none, options);
        return Source(source);
    }
    /// A Bitcoin node with a user and a password.
    static Source core(const std::string &address, const std::string &user, const std::string &password,
                       const musig_source_options *options = nullptr) {
        musig_source *source = nullptr;
        const char *none = nullptr;
        detail::call(musig_source_new_core, &source, address.c_str(), none, user.c_str(), password.c_str(), options);
        return Source(source);
    }
    static Source esplora(const std::string &address, const musig_source_options *options = nullptr) {
        musig_source *source = nullptr;
        detail::call(musig_source_new_esplora, &source, address.c_str(), options);
        return Source(source);
    }
    static Source electrum(const std::string &address, const musig_source_options *options = nullptr) {
        musig_source *source = nullptr;
        detail::call(musig_source_new_electrum, &source, address.c_str(), options);
        return Source(source);
    }
    /// Several as one. See musig_source_new_combined.
    static Source combined(const std::vector<Source> &trusted, const std::vector<Source> &submit_to = {}) {
        musig_source *source = nullptr;
        std::vector<const musig_source *> looks, only;
        for (const auto &one : trusted) looks.push_back(one.get());
        for (const auto &one : submit_to) only.push_back(one.get());
        detail::call(musig_source_new_combined, &source, static_cast<const musig_source *const *>(looks.data()),
                     looks.size(), static_cast<const musig_source *const *>(only.data()), only.size());
        return Source(source);
    }
    std::string name() const { return detail::text(detail::take(musig_source_name, get())); }
    const musig_source *get() const { return handle_.get(); }

private:
    explicit Source(musig_source *owned) : handle_(owned) {}
    detail::Handle<musig_source, musig_source_ref, musig_source_free> handle_;
};

/// See musig_terms.
class Terms {
public:
    explicit Terms(musig_terms *owned) : handle_(owned) {}
    /// See musig_terms_decode.
    static Terms decode(Bytes encoded) {
        musig_terms *terms = nullptr;
        detail::call(musig_terms_decode, &terms, encoded.data(), encoded.size());
        return Terms(terms);
    }
    musig_terms_info info() const {
        musig_terms_info info{};
        info.struct_size = sizeof info;
        detail::call(musig_terms_get_info, get(), &info);
        return info;
    }
    /// Valid as long as these terms.
    Bytes bytes(musig_terms_field field) const {
        const std::uint8_t *data = nullptr;
        std::size_t size = 0;
        detail::call(musig_terms_bytes, get(), &data, &size, static_cast<std::int32_t>(field));
        return {data, size};
    }
    musig_message message(std::uint32_t index) const {
        musig_message message{};
        message.struct_size = sizeof message;
        detail::call(musig_terms_message, get(), &message, index);
        return message;
    }
    /// The key set of this index: see musig_message's key_set.
    KeySet key_set(std::uint32_t index) const {
        musig_key_set *key_set = nullptr;
        detail::call(musig_terms_key_set, get(), &key_set, index);
        return KeySet(key_set);
    }
    musig_spent_output spent_output(std::uint32_t index) const {
        musig_spent_output output{};
        detail::call(musig_terms_spent_output, get(), &output, index);
        return output;
    }
    const musig_terms *get() const { return handle_.get(); }

private:
    detail::Handle<musig_terms, musig_terms_ref, musig_terms_free> handle_;
};

/// See musig_summary.
class Summary {
public:
    /// Takes ownership of a reference.
    explicit Summary(musig_summary *owned) : handle_(owned) {}
    std::string text() const {
        const char *data = nullptr;
        std::size_t size = 0;
        detail::call(musig_summary_text, get(), &data, &size);
        return std::string(data, size);
    }
    musig_summary_info info() const {
        musig_summary_info info{};
        info.struct_size = sizeof info;
        detail::call(musig_summary_get_info, get(), &info);
        return info;
    }
    musig_message_summary message(std::uint32_t index) const { return part<musig_message_summary>(musig_summary_message, index); }
    /// Its script and address are valid as long as this summary.
    musig_input_summary input(std::uint32_t index) const { return part<musig_input_summary>(musig_summary_input, index); }
    /// Its script and address are valid as long as this summary.
    musig_output_summary output(std::uint32_t index) const { return part<musig_output_summary>(musig_summary_output, index); }
    musig_warning warning(std::uint32_t index) const { return part<musig_warning>(musig_summary_warning, index); }
    const musig_summary *get() const { return handle_.get(); }

private:
    template <class Part, class Function> Part part(Function function, std::uint32_t index) const {
        Part found{};
        found.struct_size = sizeof found;
        detail::call(function, get(), &found, index);
        return found;
    }
    detail::Handle<musig_summary, musig_summary_ref, musig_summary_free> handle_;
};

/// See musig_event.
class Event {
public:
    explicit Event(musig_event *owned) : handle_(owned) {}
    static Event share(musig_event *lent) { return Event(musig_event_ref(lent)); }
    std::uint64_t id() const { return musig_event_id(get()); }
    musig_event_kind kind() const { return static_cast<musig_event_kind>(musig_event_kind_of(get())); }
    bool is_durable() const { return musig_event_is_durable(get()) != 0; }
    std::optional<SessionId> session() const {
        SessionId id;
        if (!detail::try_call(MUSIG_STATUS_NO_SUCH_FIELD, musig_event_session_id, get(), id.data())) return std::nullopt;
        return id;
    }
    std::optional<std::uint64_t> number(musig_event_number_field field) const {
        std::uint64_t value = 0;
        if (!detail::try_call(MUSIG_STATUS_NO_SUCH_FIELD, musig_event_number, get(), &value,
                              static_cast<std::int32_t>(field)))
            return std::nullopt;
        return value;
    }
    std::optional<std::vector<std::uint32_t>> list(musig_event_list_field field) const {
        const std::uint32_t *data = nullptr;
        std::size_t size = 0;
        if (!detail::try_call(MUSIG_STATUS_NO_SUCH_FIELD, musig_event_list, get(), &data, &size,
                              static_cast<std::int32_t>(field)))
            return std::nullopt;
        return std::vector<std::uint32_t>(data, data + size);
    }
    /// Valid as long as this event.
    std::optional<Bytes> bytes(musig_event_bytes_field field) const {
        const std::uint8_t *data = nullptr;
        std::size_t size = 0;
        if (!detail::try_call(MUSIG_STATUS_NO_SUCH_FIELD, musig_event_bytes, get(), &data, &size,
                              static_cast<std::int32_t>(field)))
            return std::nullopt;
        return Bytes(data, size);
    }
    /// Valid as long as this event.
    std::optional<std::string_view> text(musig_event_bytes_field field) const {
        auto found = bytes(field);
        if (!found) return std::nullopt;
        return std::string_view(reinterpret_cast<const char *>(found->data()), found->size());
    }
    /// The state of the signer at this position in the list MUSIG_EVENT_LIST_MISSING.
    musig_signer_status signer_status(std::uint32_t index) const {
        musig_signer_status status{};
        status.struct_size = sizeof status;
        detail::call(musig_event_signer_status, get(), &status, index);
        return status;
    }
    Terms terms() const {
        musig_terms *terms = nullptr;
        detail::call(musig_event_terms, get(), &terms);
        return Terms(terms);
    }
    const musig_event *get() const { return handle_.get(); }

private:
    detail::Handle<musig_event, musig_event_ref, musig_event_free> handle_;
};

/// See musig_proposal.
class Proposal {
public:
    static Proposal messages(const std::vector<PublicKey> &signers, const std::vector<Hash> &messages) {
        musig_proposal *proposal = nullptr;
        auto keys = detail::join(signers), digests = detail::join(messages);
        detail::call(musig_proposal_new_messages, &proposal, static_cast<const std::uint8_t *>(keys.data()),
                     signers.size(), static_cast<const std::uint8_t *>(digests.data()), messages.size());
        return Proposal(proposal);
    }
    static Proposal transaction(const std::vector<PublicKey> &signers, Bytes transaction,
                                const std::vector<musig_spent_output> &spent) {
        musig_proposal *proposal = nullptr;
        auto keys = detail::join(signers);
        detail::call(musig_proposal_new_transaction, &proposal, static_cast<const std::uint8_t *>(keys.data()),
                     signers.size(), transaction.data(), transaction.size(), spent.data(), spent.size());
        return Proposal(proposal);
    }
    /// See musig_proposal_new_psbt.
    static Proposal psbt(const std::vector<PublicKey> &signers, Bytes psbt, const std::vector<KeySet> &key_sets = {}) {
        return psbt_of(signers, psbt, nullptr, key_sets);
    }
    static Proposal psbt(const std::vector<PublicKey> &signers, Bytes psbt, const Descriptor &descriptor) {
        return psbt_of(signers, psbt, descriptor.get(), {});
    }
    /// See musig_proposal_new_group.
    static Proposal group(const Group &group, Bytes psbt) {
        musig_proposal *proposal = nullptr;
        detail::call(musig_proposal_new_group, &proposal, group.get(), psbt.data(), psbt.size());
        return Proposal(proposal);
    }
    Proposal &key_order(musig_key_order order) {
        detail::call(musig_proposal_set_key_order, get(), static_cast<std::int32_t>(order));
        return *this;
    }
    Proposal &sighash(musig_sighash sighash) {
        detail::call(musig_proposal_set_sighash, get(), static_cast<std::int32_t>(sighash));
        return *this;
    }
    Proposal &election_method(musig_election_method method) {
        detail::call(musig_proposal_set_election_method, get(), static_cast<std::int32_t>(method));
        return *this;
    }
    Proposal &failover(std::chrono::milliseconds timeout, musig_tiers tiers = MUSIG_TIERS_SINGLE,
                       std::uint32_t width = 0) {
        detail::call(musig_proposal_set_failover, get(), static_cast<std::uint64_t>(timeout.count()),
                     static_cast<std::int32_t>(tiers), width);
        return *this;
    }
    Proposal &coordinator_only() {
        detail::call(musig_proposal_set_coordinator_only, get());
        return *this;
    }
    Proposal &sign_only() {
        detail::call(musig_proposal_set_sign_only, get());
        return *this;
    }
    Proposal &expires_in(std::chrono::milliseconds time) {
        detail::call(musig_proposal_set_expires_in, get(), static_cast<std::uint64_t>(time.count()));
        return *this;
    }
    Proposal &metadata(Bytes metadata) {
        detail::call(musig_proposal_set_metadata, get(), metadata.data(), metadata.size());
        return *this;
    }
    Proposal &replaces(const SessionId &session) {
        detail::call(musig_proposal_set_replaces, get(), session.data());
        return *this;
    }
    /// flags: values of musig_join, combined.
    Proposal &consent(std::uint32_t flags) {
        detail::call(musig_proposal_set_consent, get(), flags);
        return *this;
    }
    /// The index of the key set in this proposal; 0 is the identity keys.
    std::uint32_t add_key_set(const KeySet &key_set) {
        std::uint32_t index = 0;
        detail::call(musig_proposal_add_key_set, get(), &index, key_set.get());
        return index;
    }
    Proposal &message(const Hash &digest, std::uint32_t key_set, const musig_derivation &derivation) {
        detail::call(musig_proposal_add_message, get(), digest.data(), key_set, &derivation);
        return *this;
    }
    Proposal &derive(std::uint32_t key_set, const musig_derivation &derivation) {
        detail::call(musig_proposal_add_derivation, get(), key_set, &derivation);
        return *this;
    }
    const musig_proposal *get() const { return handle_.get(); }

private:
    explicit Proposal(musig_proposal *owned) : handle_(owned) {}
    static Proposal psbt_of(const std::vector<PublicKey> &signers, Bytes psbt, const musig_descriptor *descriptor,
                            const std::vector<KeySet> &key_sets) {
        musig_proposal *proposal = nullptr;
        auto keys = detail::join(signers);
        std::vector<const musig_key_set *> known;
        for (const auto &key_set : key_sets) known.push_back(key_set.get());
        detail::call(musig_proposal_new_psbt, &proposal, static_cast<const std::uint8_t *>(keys.data()),
                     signers.size(), psbt.data(), psbt.size(), descriptor,
                     static_cast<const musig_key_set *const *>(known.data()), known.size());
        return Proposal(proposal);
    }
    detail::Handle<musig_proposal, musig_proposal_ref, musig_proposal_free> handle_;
};

/// See musig_session.
class Session {
public:
    explicit Session(musig_session *owned) : handle_(owned) {}
    SessionId id() const {
        SessionId id;
        detail::call(musig_session_id, get(), id.data());
        return id;
    }
    /// What to show before join: addresses of this network, and what is among these scripts is own.
    Summary summary(musig_network network, const std::vector<Bytes> &own_scripts = {}) const {
        std::vector<musig_script> scripts;
        for (const auto &script : own_scripts) scripts.push_back({script.data(), script.size()});
        musig_summary_options options{};
        options.struct_size = sizeof options;
        options.network = network;
        options.own_scripts = scripts.data();
        options.own_scripts_count = scripts.size();
        musig_summary *summary = nullptr;
        detail::call(musig_session_summary, get(), &summary, static_cast<const musig_summary_options *>(&options));
        return Summary(summary);
    }
    /// flags: values of musig_join, combined.
    void join(std::uint32_t flags = 0) const { detail::call(musig_session_join_with, get(), flags); }
    void decline(const std::string &reason) const { detail::call(musig_session_decline, get(), reason.c_str()); }
    void abort(const std::string &reason) const { detail::call(musig_session_abort, get(), reason.c_str()); }
    /// Refused with MUSIG_STATUS_NOT_SETTLED while that would give the transaction up, which abandon() does.
    void close() const { detail::call(musig_session_close, get()); }
    /// Gives the transaction up for this node, and closes the session.
    void abandon() const { detail::call(musig_session_abandon, get()); }
    /// The state of a signer: connected, last seen, consented.
    musig_signer_status signer_status(std::uint32_t signer) const {
        musig_signer_status status{};
        status.struct_size = sizeof status;
        detail::call(musig_session_signer_status, get(), &status, signer);
        return status;
    }
    /// How long a signer that is to broadcast is waited for, why, and when its turn opens.
    musig_coordinator_status coordinator_status(std::uint32_t signer) const {
        musig_coordinator_status status{};
        status.struct_size = sizeof status;
        detail::call(musig_session_coordinator_status, get(), &status, signer);
        return status;
    }
    musig_session_status status() const {
        musig_session_status status{};
        status.struct_size = sizeof status;
        detail::call(musig_session_get_status, get(), &status);
        return status;
    }
    Terms terms() const {
        musig_terms *terms = nullptr;
        detail::call(musig_session_terms, get(), &terms);
        return Terms(terms);
    }
    /// Empty until they are complete.
    std::optional<std::vector<Signature>> final_signatures() const {
        musig_bytes *bytes = nullptr;
        if (!detail::try_call(MUSIG_STATUS_NOT_READY, musig_session_final_signatures, get(), &bytes)) return std::nullopt;
        detail::BytesHandle handle(bytes);
        const std::uint8_t *data = musig_bytes_data(bytes);
        return detail::split<64>(std::vector<std::uint8_t>(data, data + musig_bytes_length(bytes)));
    }
    /// Its id and its bytes; empty until it is complete.
    std::optional<std::pair<Hash, std::vector<std::uint8_t>>> final_transaction() const {
        musig_bytes *bytes = nullptr;
        Hash txid;
        if (!detail::try_call(MUSIG_STATUS_NOT_READY, musig_session_final_transaction, get(), &bytes, txid.data()))
            return std::nullopt;
        detail::BytesHandle handle(bytes);
        const std::uint8_t *data = musig_bytes_data(bytes);
        return std::make_pair(txid, std::vector<std::uint8_t>(data, data + musig_bytes_length(bytes)));
    }
    Election election() const {
        musig_election *election = nullptr;
        detail::call(musig_session_election, get(), &election);
        return Election(election);
    }
    bool is_coordinator() const {
        std::int32_t is = 0;
        detail::call(musig_session_is_coordinator, get(), &is);
        return is != 0;
    }
    bool is_current_coordinator() const {
        std::int32_t is = 0;
        detail::call(musig_session_is_current_coordinator, get(), &is);
        return is != 0;
    }
    std::optional<std::string> coordinator_peer_id() const {
        musig_bytes *bytes = nullptr;
        if (!detail::try_call(MUSIG_STATUS_NOT_READY, musig_session_coordinator_peer_id, get(), &bytes))
            return std::nullopt;
        detail::BytesHandle handle(bytes);
        return std::string(reinterpret_cast<const char *>(musig_bytes_data(bytes)), musig_bytes_length(bytes));
    }
    void notify_broadcast_complete(std::optional<Hash> txid = std::nullopt) const {
        detail::call(musig_session_notify_broadcast_complete, get(),
                     static_cast<const std::uint8_t *>(txid ? txid->data() : nullptr));
    }
    void report_broadcast_failed(const std::string &reason) const {
        detail::call(musig_session_report_broadcast_failed, get(), reason.c_str());
    }
    void broadcast_now() const { detail::call(musig_session_broadcast_now, get()); }
    std::vector<std::uint8_t> export_session() const { return detail::take(musig_session_export, get()); }
    const musig_session *get() const { return handle_.get(); }

private:
    detail::Handle<musig_session, musig_session_ref, musig_session_free> handle_;
};

class Node;

/// Handles each event; returning acknowledges it, throwing keeps it.
using EventHandler = std::function<void(Node &, const Event &)>;

/// Submits a transaction: its id, its bytes, and the reason of a rejection.
using Broadcaster = std::function<musig_submit(Bytes txid, Bytes transaction, std::string &reason)>;

/// Queries the chain; throws if the Bitcoin backend cannot be reached.
using ChainObserver = std::function<void(const musig_chain_query &, musig_chain_answer &)>;

/// Looks an output up; throws if the Bitcoin backend cannot be reached.
using CoinObserver = std::function<void(const musig_outpoint &, musig_coin_answer &)>;

/// Looks the last block up; throws if the Bitcoin backend cannot be reached.
using TipObserver = std::function<void(musig_chain_tip &)>;

/// Says whether the chain is congested; throws if the Bitcoin backend cannot be reached.
using CongestionObserver = std::function<bool()>;

/// Logs a line.
using LogSink = std::function<void(musig_log_level, std::string_view target, std::string_view message)>;

/// See musig_config.
class Config {
public:
    Config() {
        musig_config *config = nullptr;
        detail::call(musig_config_new, &config);
        handle_ = decltype(handle_)(config);
    }
    Config &signer(const Signer &signer) {
        detail::call(musig_config_set_signer, get(), signer.get());
        return *this;
    }
    /// See musig_config_set_foreign_signer.
    Config &foreign_signer(const ForeignSigner &signer) {
        detail::call(musig_config_set_foreign_signer, get(), signer.get());
        return *this;
    }
    Config &store_path(const std::string &path) {
        detail::call(musig_config_set_store_path, get(), path.c_str());
        return *this;
    }
    Config &store_memory() {
        detail::call(musig_config_set_store_memory, get());
        return *this;
    }
    Config &listen(const std::string &address) {
        detail::call(musig_config_add_listen_address, get(), address.c_str());
        return *this;
    }
    Config &peer(const std::string &address) {
        detail::call(musig_config_add_peer_address, get(), address.c_str());
        return *this;
    }
    Config &bootstrap_peer(const std::string &address) {
        detail::call(musig_config_add_bootstrap_address, get(), address.c_str());
        return *this;
    }
    Config &relay(const std::string &address) {
        detail::call(musig_config_add_relay_address, get(), address.c_str());
        return *this;
    }
    Config &external(const std::string &address) {
        detail::call(musig_config_add_external_address, get(), address.c_str());
        return *this;
    }
    /// A SOCKS 5 proxy for every connection that the node opens: see musig_config_set_proxy.
    Config &proxy(const std::string &address) {
        detail::call(musig_config_set_proxy, get(), address.c_str());
        return *this;
    }
    Config &dht(musig_dht_mode mode) { return number(MUSIG_OPTION_DHT, mode); }
    /// Whether only who looks for the node's key, and whom it knows, learns whose it is: see MUSIG_OPTION_HIDES.
    Config &hides(bool on) { return number(MUSIG_OPTION_HIDES, on); }
    /// How many connections others may open to the node: see MUSIG_OPTION_MAX_CONNECTIONS.
    Config &max_connections(std::uint64_t connections) { return number(MUSIG_OPTION_MAX_CONNECTIONS, connections); }
    /// The same from one IP address: see MUSIG_OPTION_MAX_CONNECTIONS_PER_IP.
    Config &max_connections_per_ip(std::uint64_t connections) {
        return number(MUSIG_OPTION_MAX_CONNECTIONS_PER_IP, connections);
    }
    Config &offline() {
        detail::call(musig_config_set_offline, get());
        return *this;
    }
    /// See musig_config_set_psbt_signer.
    Config &psbt_signer(const PsbtSigner &signer) {
        detail::call(musig_config_set_psbt_signer, get(), signer.get());
        return *this;
    }
    /// See musig_config_set_source.
    Config &source(const Source &source) {
        detail::call(musig_config_set_source, get(), source.get());
        return *this;
    }
    Config &without_observer() {
        detail::call(musig_config_set_without_observer, get());
        return *this;
    }
    Config &accepted_proposers(const std::vector<PublicKey> &proposers) {
        auto keys = detail::join(proposers);
        detail::call(musig_config_set_accepted_proposers, get(), static_cast<const std::uint8_t *>(keys.data()),
                     proposers.size());
        return *this;
    }
    Config &number(musig_option option, std::uint64_t value) {
        detail::call(musig_config_set_number, get(), static_cast<std::int32_t>(option), value);
        return *this;
    }
    inline Config &event_handler(EventHandler handler);
    Config &broadcaster(Broadcaster broadcaster) {
        musig_broadcaster table{};
        table.struct_size = sizeof table;
        table.submit = [](void *data, const std::uint8_t *txid, const std::uint8_t *transaction, std::size_t length,
                          char *reason, std::size_t capacity) -> std::int32_t {
            std::string words;
            std::int32_t answer = MUSIG_SUBMIT_UNREACHABLE;
            try {
                answer = (*static_cast<Broadcaster *>(data))(Bytes(txid, 32), Bytes(transaction, length), words);
            } catch (const std::exception &error) {
                return write(reason, capacity, error.what()), MUSIG_SUBMIT_UNREACHABLE;
            } catch (...) {
                return MUSIG_SUBMIT_UNREACHABLE;
            }
            write(reason, capacity, words.c_str());
            return answer;
        };
        return with(std::move(broadcaster), [&](void *data, musig_destroy destroy) {
            detail::call(musig_config_set_broadcaster, get(), static_cast<const musig_broadcaster *>(&table), data,
                         destroy);
        });
    }
    /// An empty function of coin, tip or congested: the observer cannot tell.
    Config &observer(ChainObserver status, CoinObserver coin = {}, TipObserver tip = {},
                     CongestionObserver congested = {}) {
        struct Observer {
            ChainObserver status;
            CoinObserver coin;
            TipObserver tip;
            CongestionObserver congested;
        };
        musig_chain_observer table{};
        table.struct_size = sizeof table;
        table.status = [](void *data, const musig_chain_query *query, musig_chain_answer *answer) -> std::int32_t {
            return answered([&] { static_cast<Observer *>(data)->status(*query, *answer); });
        };
        if (coin)
            table.coin = [](void *data, const musig_outpoint *outpoint, musig_coin_answer *answer) -> std::int32_t {
                return answered([&] { static_cast<Observer *>(data)->coin(*outpoint, *answer); });
            };
        if (tip)
            table.tip = [](void *data, musig_chain_tip *answer) -> std::int32_t {
                return answered([&] { static_cast<Observer *>(data)->tip(*answer); });
            };
        if (congested)
            table.congested = [](void *data, std::int32_t *answer) -> std::int32_t {
                return answered([&] { *answer = static_cast<Observer *>(data)->congested(); });
            };
        Observer observer{std::move(status), std::move(coin), std::move(tip), std::move(congested)};
        return with(std::move(observer), [&](void *data, musig_destroy destroy) {
            detail::call(musig_config_set_observer, get(), static_cast<const musig_chain_observer *>(&table), data,
                         destroy);
        });
    }
    Config &log_sink(musig_log_level level, LogSink sink) {
        musig_log_sink table{};
        table.struct_size = sizeof table;
        table.level = level;
        table.log = [](void *data, std::int32_t of, const char *target, const char *message) {
            try {
                (*static_cast<LogSink *>(data))(static_cast<musig_log_level>(of), target, message);
            } catch (...) {
            }
        };
        return with(std::move(sink), [&](void *data, musig_destroy destroy) {
            detail::call(musig_config_set_log_sink, get(), static_cast<const musig_log_sink *>(&table), data, destroy);
        });
    }
    const musig_config *get() const { return handle_.get(); }

private:
    template <class Call> static std::int32_t answered(Call call) noexcept {
        try {
            call();
            return MUSIG_STATUS_OK;
        } catch (...) {
            return MUSIG_STATUS_CHAIN;
        }
    }
    static void write(char *reason, std::size_t capacity, const char *words) {
        std::strncpy(reason, words, capacity - 1);
        reason[capacity - 1] = 0;
    }
    /// Passes a copy of the function to the library, which owns it if the call succeeds.
    template <class F, class S>
    Config &with(F function, S set) {
        auto owned = std::make_unique<F>(std::move(function));
        set(owned.get(), [](void *data) { delete static_cast<F *>(data); });
        owned.release();
        return *this;
    }
    detail::Handle<musig_config, musig_config_ref, musig_config_free> handle_;
};

/// A sample of a metric: see musig_metric_sample. Without a label, label and label_value are empty.
struct MetricSample {
    std::string name;
    /// A musig_metric_kind.
    std::int32_t kind;
    std::string label;
    std::string label_value;
    std::uint64_t value;
    double sum;
    std::vector<musig_metric_bucket> buckets;
};

/// See musig_node.
class Node {
public:
    explicit Node(const Config &config) {
        musig_node *node = nullptr;
        detail::call(musig_node_start, &node, config.get());
        handle_ = decltype(handle_)(node);
    }
    /// Adds a reference, to keep the node of a handler.
    static Node share(musig_node *lent) { return Node(musig_node_ref(lent)); }
    void stop() const { detail::call(musig_node_stop, get()); }
    void request_stop() const { detail::call(musig_node_request_stop, get()); }
    Session create_session(const Proposal &proposal) const {
        musig_session *session = nullptr;
        detail::call(musig_node_create_session, get(), &session, proposal.get());
        return Session(session);
    }
    Session session(const SessionId &id) const {
        musig_session *session = nullptr;
        detail::call(musig_node_session, get(), &session, id.data());
        return Session(session);
    }
    std::vector<SessionId> sessions() const { return detail::split<32>(detail::take(musig_node_sessions, get())); }
    std::vector<SessionId> import_sessions(Bytes bytes) const {
        musig_bytes *ids = nullptr;
        detail::call(musig_node_import, get(), &ids, bytes.data(), bytes.size());
        detail::BytesHandle handle(ids);
        const std::uint8_t *data = musig_bytes_data(ids);
        return detail::split<32>(std::vector<std::uint8_t>(data, data + musig_bytes_length(ids)));
    }
    void add_peer(const std::string &address) const { detail::call(musig_node_add_peer, get(), address.c_str()); }
    std::vector<std::string> listen_addresses() const {
        std::vector<std::string> addresses;
        std::string line;
        for (std::uint8_t byte : detail::take(musig_node_listen_addresses, get())) {
            if (byte != '\n') line += static_cast<char>(byte);
            else addresses.push_back(std::exchange(line, {}));
        }
        if (!line.empty()) addresses.push_back(line);
        return addresses;
    }
    std::vector<PublicKey> connected_signers() const {
        return detail::split<33>(detail::take(musig_node_connected_signers, get()));
    }
    PublicKey signer_key() const {
        PublicKey key;
        detail::call(musig_node_signer_key, get(), key.data());
        return key;
    }
    std::string peer_id() const { return detail::text(detail::take(musig_node_peer_id, get())); }
    /// Empty on timeout.
    std::optional<Event> next_event(std::chrono::milliseconds timeout) const {
        musig_event *event = nullptr;
        if (!detail::try_call(MUSIG_STATUS_NO_EVENT, musig_node_next_event, get(), &event,
                              static_cast<std::int64_t>(timeout.count())))
            return std::nullopt;
        return Event(event);
    }
    void event_handled(const Event &event) const { detail::call(musig_node_event_handled, get(), event.id()); }
    int event_descriptor() const {
        std::int32_t descriptor = -1;
        detail::call(musig_node_event_descriptor, get(), &descriptor);
        return descriptor;
    }
    /// A HANDLE, on Windows alone.
    void *event_handle() const {
        void *handle = nullptr;
        detail::call(musig_node_event_handle, get(), &handle);
        return handle;
    }
    void redeliver() const { detail::call(musig_node_redeliver, get()); }
    void announce() const { detail::call(musig_node_announce, get()); }
    /// None for nobody's proposals: accept_all_proposers takes everybody's.
    /// See musig_node_add_descriptor.
    void add_descriptor(const Descriptor &descriptor, std::uint32_t next_index = 0, std::uint32_t gap_limit = 20) const {
        detail::call(musig_node_add_descriptor, get(), descriptor.get(), next_index, gap_limit);
    }
    /// See musig_node_remove_descriptor.
    void remove_descriptor(const Descriptor &descriptor) const {
        detail::call(musig_node_remove_descriptor, get(), descriptor.get());
    }
    /// The descriptors of the own wallet, each with next_index and gap_limit.
    std::vector<std::tuple<Descriptor, std::uint32_t, std::uint32_t>> descriptors() const {
        std::vector<std::tuple<Descriptor, std::uint32_t, std::uint32_t>> all;
        musig_descriptor *descriptor = nullptr;
        std::uint32_t next_index = 0, gap_limit = 0;
        while (detail::try_call(MUSIG_STATUS_INDEX_OUT_OF_RANGE, musig_node_descriptor, get(), &descriptor, &next_index,
                                &gap_limit, static_cast<std::uint32_t>(all.size())))
            all.emplace_back(Descriptor(descriptor), next_index, gap_limit);
        return all;
    }
    void set_accepted_proposers(const std::vector<PublicKey> &proposers) const {
        auto keys = detail::join(proposers);
        detail::call(musig_node_set_accepted_proposers, get(), static_cast<const std::uint8_t *>(keys.data()),
                     proposers.size());
    }
    void accept_all_proposers() const { detail::call(musig_node_accept_all_proposers, get()); }
    void network_changed() const { detail::call(musig_node_network_changed, get()); }
    void suspend() const { detail::call(musig_node_suspend, get()); }
    void resume() const { detail::call(musig_node_resume, get()); }
    musig_metrics metrics() const {
        musig_metrics metrics{};
        metrics.struct_size = sizeof metrics;
        detail::call(musig_node_metrics, get(), &metrics);
        return metrics;
    }
    /// The record of a signer as a coordinator, as this node saw it itself.
    musig_reputation reputation(const PublicKey &signer) const {
        musig_reputation reputation{};
        reputation.struct_size = sizeof reputation;
        detail::call(musig_node_reputation, get(), &reputation, signer.data());
        return reputation;
    }
    void forget_signer(const PublicKey &signer) const { detail::call(musig_node_forget_signer, get(), signer.data()); }
    /// Samples of all metrics, for any monitoring system.
    std::vector<MetricSample> metric_samples() const {
        musig_metric_samples *owned = nullptr;
        detail::call(musig_node_metric_samples, get(), &owned);
        detail::Handle<musig_metric_samples, musig_metric_samples_ref, musig_metric_samples_free> samples(owned);
        std::vector<MetricSample> out;
        for (std::uint32_t index = 0; index < musig_metric_samples_count(samples.get()); index++) {
            musig_metric_sample sample{};
            sample.struct_size = sizeof sample;
            detail::call(musig_metric_samples_get, samples.get(), &sample, index);
            out.push_back({sample.name, sample.kind, sample.label ? sample.label : "",
                           sample.label_value ? sample.label_value : "", sample.value, sample.sum,
                           {sample.buckets, sample.buckets + sample.buckets_count}});
        }
        return out;
    }
    /// The text of all metrics, for Prometheus and what reads its formats.
    std::string metrics_text(musig_metrics_format format = MUSIG_METRICS_FORMAT_PROMETHEUS) const {
        musig_bytes *owned = nullptr;
        detail::call(musig_node_metrics_text, get(), &owned, static_cast<std::int32_t>(format));
        detail::BytesHandle text(owned);
        return std::string(reinterpret_cast<const char *>(musig_bytes_data(owned)), musig_bytes_length(owned));
    }
    const musig_node *get() const { return handle_.get(); }

private:
    explicit Node(musig_node *owned) : handle_(owned) {}
    detail::Handle<musig_node, musig_node_ref, musig_node_free> handle_;
};

inline Config &Config::event_handler(EventHandler handler) {
    return with(std::move(handler), [&](void *owned, musig_destroy destroy) {
        musig_event_handler call = [](void *data, musig_node *node, musig_event *event) -> std::int32_t {
            try {
                Node shared = Node::share(node);
                (*static_cast<EventHandler *>(data))(shared, Event::share(event));
                return 0;
            } catch (...) {
                return 1;
            }
        };
        detail::call(musig_config_set_event_handler, get(), call, owned, destroy);
    });
}

/// See musig_aggregate_key.
inline PublicKey aggregate_key(const std::vector<PublicKey> &signers, musig_key_order order = MUSIG_KEY_ORDER_SORTED) {
    PublicKey key;
    auto keys = detail::join(signers);
    detail::call(musig_aggregate_key, key.data(), static_cast<const std::uint8_t *>(keys.data()), signers.size(),
                 static_cast<std::int32_t>(order));
    return key;
}

} // namespace musig

#endif
