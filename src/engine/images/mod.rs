//! The image store and the registry client.
