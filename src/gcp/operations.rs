//! Long-running operations: work that Google goes on with after its answer.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::call::resource;
use super::client::Client;
use super::endpoint::Base;
use super::error::{Error, Status, clean};
use super::retry::Idempotency;

/// The first wait between two looks, and the longest; on the build's clock.
const FIRST_POLL: Duration = Duration::from_secs(5);
const LONGEST_POLL: Duration = Duration::from_secs(20);

/// An operation, at first still under way as a rule.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Operation {
    /// As in `projects/NUMBER/locations/L/models/ID/operations/OP`; the resource is known before it
    /// is there.
    pub name: String,
    #[serde(default)]
    pub done: bool,
    pub error: Option<Status>,
    pub response: Option<Value>,
    /// The method that began it, for messages.
    #[serde(skip)]
    pub(super) method: &'static str,
}

impl Operation {
    pub(super) fn begun_by(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// How it ended; `None` while it has not.
    fn outcome(&self) -> Option<Result<Value, Error>> {
        match &self.error {
            Some(status) => Some(Err(Error::new(
                self.method,
                &self.name,
                status.name(),
                clean(&status.message),
            ))),
            None => self
                .done
                .then(|| Ok(self.response.clone().unwrap_or(Value::Null))),
        }
    }
}

/// Looks at an operation until it is done, `at_most` so long on the build's clock.
pub(super) async fn wait(
    client: &Client,
    base: &Base,
    operation: &Operation,
    at_most: Duration,
) -> Result<Value, Error> {
    let clock = client.clock();
    let began = clock.now();
    let mut pause = FIRST_POLL;
    let mut operation = operation.clone();
    loop {
        if let Some(outcome) = operation.outcome() {
            return outcome;
        }
        let left = at_most.saturating_sub(clock.now().since(began));
        if left.is_zero() {
            let message = format!("the operation was not done within {} s", at_most.as_secs());
            return Err(Error::new(
                operation.method,
                &operation.name,
                "DEADLINE_EXCEEDED",
                message,
            ));
        }
        clock.sleep(pause.min(left)).await;
        pause = pause.mul_f64(1.5).min(LONGEST_POLL);
        let path = format!("/v1/{}", resource(&operation.name));
        let call = base.call(
            "operations.get",
            &operation.name,
            Method::GET,
            &path,
            Idempotency::Always,
        );
        let seen: Operation = client.json(&call).await?;
        operation = seen.begun_by(operation.method);
    }
}
