//! One-shot secret nonces.
