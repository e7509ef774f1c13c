//! BIP-327 key aggregation: sorted or given order, tweaks per message, BIP-341 and BIP-328 helpers.
