//! Tables of manifests: what they come to, and what is said of those that are wrong.
