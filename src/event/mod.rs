//! Events, and the threads that enter foreign code.

pub mod lane;
