//! The calls about what was done to stacks and why.

use super::calls::query;
use super::{Client, ClientError};
use crate::reconcile::report::{StepEvent, Why};
use crate::server::native::story::{Found, OfResource, Steps};

impl Client {
    /// Steps in the order in which they began.
    pub async fn steps(&self, steps: &Steps) -> Result<Vec<StepEvent>, ClientError> {
        self.get(&format!("/steps?{}", query(steps)?)).await
    }

    pub async fn find_resource(&self, resource: &OfResource) -> Result<Found, ClientError> {
        self.get(&format!("/resources/find?{}", query(resource)?)).await
    }

    pub async fn why(&self, resource: &OfResource) -> Result<Why, ClientError> {
        self.get(&format!("/resources/why?{}", query(resource)?)).await
    }
}
