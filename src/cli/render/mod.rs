//! Values as text for people. Pure: the time of day and colours are handed in.

pub mod containers;
pub mod images;
pub mod resources;
pub mod status;
pub mod steps;
pub mod store;
pub mod table;
