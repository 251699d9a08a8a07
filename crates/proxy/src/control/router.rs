//! What every router can do, whoever forwards the requests.

use std::error::Error;
use std::future::Future;

use super::{Client, ControlError, Refusal, RouteTable, Stats};

/// Puts whole route tables into force and tells what was counted. The words mean the same for every router: a table of
/// weights, counters that only grow, a start time that changes when they begin anew, and the generation in force (0: none).
pub trait Router {
    /// Why it did not do what it was asked.
    type Error: Error + Send + Sync + 'static;

    /// Puts a table into force. When this is done, no new request goes to a backend that the table does not list or lists
    /// with weight 0; requests that such a backend is working on are finished.
    fn set_table(&self, table: RouteTable) -> impl Future<Output = Result<u64, Self::Error>> + Send;

    /// The table in force.
    fn table(&self) -> impl Future<Output = Result<RouteTable, Self::Error>> + Send;

    /// A reading of all counters.
    fn stats(&self) -> impl Future<Output = Result<Stats, Self::Error>> + Send;

    /// The generation in force, where a table was refused because it is not a newer one.
    fn newer(error: &Self::Error) -> Option<u64>;
}

impl Router for Client {
    type Error = ControlError;

    async fn set_table(&self, table: RouteTable) -> Result<u64, ControlError> {
        Client::set_table(self, table).await
    }

    async fn table(&self) -> Result<RouteTable, ControlError> {
        Client::table(self).await
    }

    async fn stats(&self) -> Result<Stats, ControlError> {
        Client::stats(self).await
    }

    fn newer(error: &ControlError) -> Option<u64> {
        match error {
            ControlError::Refused(
                Refusal::StaleGeneration { applied: newer, .. }
                | Refusal::GenerationReused { generation: newer },
            ) => Some(*newer),
            ControlError::Refused(_)
            | ControlError::Connect { .. }
            | ControlError::Frame { .. }
            | ControlError::Timeout { .. }
            | ControlError::Unexpected { .. } => None,
        }
    }
}
