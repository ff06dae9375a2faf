//! The native API, a file a resource: requests become typed actions, and what comes of them is sent as it is.

mod build;
pub mod containers;
pub mod generations;
mod images;
mod logs;
mod networks;
pub(crate) mod session;
pub mod stacks;
mod store;
pub mod story;
mod system;
mod verbs;
mod volumes;

use axum::Router;

use super::Handles;

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .merge(containers::routes())
        .merge(verbs::routes())
        .merge(build::routes())
        .merge(images::routes())
        .merge(store::routes())
        .merge(networks::routes())
        .merge(volumes::routes())
        .merge(stacks::routes())
        .merge(generations::routes())
        .merge(story::routes())
        .merge(system::routes())
}
