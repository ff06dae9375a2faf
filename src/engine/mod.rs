//! The engine: what makes containers, images, networks and volumes real on this host. Here are the façade and every rule
//! that crosses two parts.

pub mod containers;
pub mod images;
pub mod monitor;
pub mod networks;
pub mod roles;
pub mod runtime;
pub mod state;
pub mod volumes;
