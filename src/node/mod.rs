//! Sessions and their handles.
