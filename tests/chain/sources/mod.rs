//! The ready-made sources: what answers mean, and each kind of backend against scripted servers.

mod classify;
