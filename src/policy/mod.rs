//! stub
pub mod framework;
