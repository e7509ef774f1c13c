@_exported import MusigFFI

/// Event that a node delivered. It is not acknowledged yet: a durable one is delivered again after a restart until
/// ``ack()`` is called.
public struct ReceivedEvent: Sendable {
    /// The node that delivered the event.
    public let node: Node
    /// The event with its number.
    public let received: NodeEvent

    public init(node: Node, received: NodeEvent) {
        self.node = node
        self.received = received
    }

    /// The event itself.
    public var event: Event { received.event }
    /// The session; none for events of the network.
    public var session: SessionId? { received.session }
    /// Whether the event is delivered again after a restart until it is acknowledged.
    public var durable: Bool { received.durable }

    /// Acknowledges the event. False if there was nothing to acknowledge: a notice, or a second call.
    @discardableResult
    public func ack() -> Bool {
        node.eventHandled(id: received.id)
    }
}

/// A node's events, in order for each session. Iterating acknowledges nothing: the body calls `event.ack()`.
///
/// - One iteration at a time; a second one throws `MusigError.ConsumerExists`.
/// - It ends when the node stopped, and throws `CancellationError` when its task is cancelled. No event is lost by
///   that: the next iteration begins with the first one that was not handed out.
/// - It keeps the node alive.
public struct Events: AsyncSequence, Sendable {
    public typealias Element = ReceivedEvent

    fileprivate let node: Node

    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(node: node)
    }

    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let node: Node

        public mutating func next() async throws -> ReceivedEvent? {
            let node = self.node
            while true {
                try Task.checkCancellation()
                do {
                    if let received = try node.takeEvent() {
                        return ReceivedEvent(node: node, received: received)
                    }
                    // UniFFI's calls go on when their task is cancelled: this one has to be woken.
                    try await withTaskCancellationHandler {
                        try await node.waitForEvent()
                    } onCancel: {
                        node.wake()
                    }
                } catch MusigError.NodeStopped {
                    return nil
                }
            }
        }
    }
}

extension Node {
    /// The events of this node.
    public func events() -> Events {
        Events(node: self)
    }

    /// Calls `handler` with each event, one at a time, until the node stops. An event is acknowledged when the handler
    /// returns, and kept when it throws: then it is delivered again after a restart or `redeliver()`. The handler
    /// should be idempotent.
    ///
    /// - Parameter kept: called with each event that was kept, and the error.
    /// - Throws: `CancellationError` when the task is cancelled, which a handler that runs is left to notice itself.
    public func handleEvents(
        kept: @Sendable (NodeEvent, any Error) -> Void = { _, _ in },
        _ handler: @Sendable (NodeEvent) async throws -> Void
    ) async throws {
        for try await event in events() {
            do {
                try await handler(event.received)
                event.ack()
            } catch {
                kept(event.received, error)
            }
        }
    }
}
