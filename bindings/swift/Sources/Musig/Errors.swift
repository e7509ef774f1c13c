import MusigFFI

extension MusigError {
    /// Message for people: what went wrong, and what to do next.
    public var reason: String {
        switch self {
        case .InvalidArgument(let what, let reason): "\(what): \(reason)"
        case .ProposalRefused(_, let reason), .ConsentRefused(_, let reason), .InputRefused(let reason), .SignerFailed(_, let reason),
            .StoreFailed(_, let reason), .NoSigners(let reason), .IndexOutOfRange(_, _, let reason),
            .UnknownSession(_, let reason), .SessionExists(_, let reason), .WrongState(_, _, let reason),
            .NotSettled(_, _, let reason), .LimitReached(_, _, let reason), .InvalidConfig(let reason), .NetworkFailed(let reason),
            .NodeStopped(let reason), .Suspended(let reason), .ConsumerExists(let reason),
            .WouldDeadlock(let reason), .Forked(let reason), .Internal(let reason),
            .ChainUnreachable(let reason), .CallbackFailed(let reason):
            reason
        }
    }
    /// Whether the same call may succeed later, though nothing in it changes: what failed is outside of it (the network, the
    /// disk, the Bitcoin backend, a device), or ends (a limit that other sessions free, a suspension, a locked signer).
    public var isRetryable: Bool {
        // It throws for an error of the application's own with an id that is none.
        (try? errorIsRetryable(error: self)) ?? false
    }
}
