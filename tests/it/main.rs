//! The product on the real kernel, as its users meet it: every test has a host of its own (private mount and network
//! namespaces, own roots) and types commands into it. Needs root and the Debian packages that `make test` installs; what
//! is missing is a failure, never a skip.

#[cfg(test)]
mod adopt;
#[cfg(test)]
mod attach;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod build;
#[cfg(test)]
mod build_attest;
#[cfg(test)]
mod build_caches;
#[cfg(test)]
mod build_forms;
#[cfg(test)]
mod build_layouts;
#[cfg(test)]
mod build_manifests;
#[cfg(test)]
mod build_peers;
#[cfg(test)]
mod build_platforms;
#[cfg(test)]
mod build_stages;
#[cfg(test)]
mod build_views;
#[cfg(test)]
mod build_web;
#[cfg(test)]
mod classes;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod complaints;
#[cfg(test)]
mod copy;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod devices;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod failpoints;
#[cfg(test)]
mod generations;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod health;
#[cfg(test)]
mod image_flags;
#[cfg(test)]
mod images;
#[cfg(test)]
mod init;
#[cfg(test)]
mod ipv6;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod namespaces;
#[cfg(test)]
mod own_users;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod rootless;
#[cfg(test)]
mod run_flags;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod store;
#[cfg(test)]
mod story;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod updates;
#[cfg(test)]
mod verbs;
