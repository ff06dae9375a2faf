//! The router over a pipe.
