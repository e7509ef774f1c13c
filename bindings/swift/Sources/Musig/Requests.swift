@_exported import MusigFFI

extension SessionRequest {
    /// The same request for a session that only signs: nobody is asked to broadcast, and `sessionComplete` is the end.
    public func signOnly() -> SessionRequest {
        var request = self
        request.broadcast = .signOnly
        return request
    }

    /// The same request for a session whose coordinator alone is to broadcast: nobody takes over. After five minutes each
    /// node raises the alarm, `failoverExhausted`.
    public func coordinatorOnly() -> SessionRequest {
        var request = self
        request.broadcast = .coordinatorOnly
        return request
    }
}
