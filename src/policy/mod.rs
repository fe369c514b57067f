//! stub
pub mod dlp;
