import MusigFFI

extension ChainObserver {
    /// An observer that does not say otherwise cannot tell of outputs.
    public func coin(outpoint: OutPoint) throws -> CoinStatus? { nil }

    /// An observer that does not say otherwise cannot tell of the last block.
    public func tip() throws -> ChainTip? { nil }

    /// An observer that does not say otherwise cannot tell whether the chain is congested.
    public func congested() throws -> Bool? { nil }
}
