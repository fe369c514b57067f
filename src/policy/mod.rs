//! stub
pub mod access;
