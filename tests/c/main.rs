//! The C library: its header, its symbols, and C and C++ programs that use it.

mod header;
