//! The calls about generations of stacks.

use hyper::Method;

use super::calls::query;
use super::{Client, ClientError, Events, json, request, stream};
use crate::reconcile::report::{Comparison, Event, History};
use crate::server::native::generations::{Compare, OfStack, RollbackPlan, RollbackRequest};

impl Client {
    pub async fn generations(&self, of: &OfStack) -> Result<Vec<History>, ClientError> {
        self.get(&format!("/generations?{}", query(of)?)).await
    }

    pub async fn compare_generations(&self, compare: &Compare) -> Result<Comparison, ClientError> {
        self.get(&format!("/generations/compare?{}", query(compare)?)).await
    }

    pub async fn plan_rollback(&self, rollback: &RollbackRequest) -> Result<RollbackPlan, ClientError> {
        self.post("/generations/plan", rollback).await
    }

    pub async fn rollback(&self, rollback: &RollbackRequest) -> Result<impl Events<Event> + use<>, ClientError> {
        let (response, _) = self.send(request(Method::POST, "/generations/rollback", json(rollback)?)?).await?;
        Ok(stream::lines(response.into_body()))
    }
}
