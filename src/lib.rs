//! Setpoint: YAML manifests become running containers on a Linux host, and stay so. ARCHITECTURE.md is the map.

pub mod cli;
pub mod client;
pub mod daemon;
pub mod engine;
pub mod files;
pub mod manifest;
pub mod model;
pub mod observed;
pub mod plan;
pub mod reconcile;
pub mod server;
pub mod sources;
pub mod sys;
pub mod wire;
