//! Values as text for people. Pure: the time of day and colours are handed in.

pub mod build;
pub mod containers;
pub mod generations;
pub mod images;
pub mod inspect;
pub mod resources;
pub mod stats;
pub mod status;
pub mod steps;
pub mod store;
pub mod story;
pub mod table;
