//! The ready-made sources: what answers mean, and each kind of backend against scripted servers.

mod classify;
mod core;
mod electrum;
mod esplora;
mod hostile;
mod scripted;
mod tls;
