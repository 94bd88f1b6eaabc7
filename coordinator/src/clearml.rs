//! A client of the ClearML API: what waits in the queues of a tenant, and what runs.
//!
//! [`Client`] speaks for one user of one ClearML workspace ("company"); a ClearML server shows a user only the queues of their own
//! workspace, so each tenant has a client of its own. It only reads. [`Error`] says what went wrong and what to do about it.
//!
//! `transport` logs in, sends and repeats; `wire` knows the form of requests and answers; `token` how long a login lasts.

mod error;
mod token;
mod transport;
mod wire;

use std::{
    collections::{BTreeMap, btree_map},
    time::Duration,
};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use self::error::Error;
use self::{transport::Transport, wire::Row};
use crate::config::Credentials;

/// Rows of one answer. The server sends no more, whatever is asked for, and does not say that there are more.
const PAGE_ROWS: usize = 500;

/// Asks a ClearML server in the name of one user.
///
/// Logs in when first used, again before the login expires, and once more when the server forgot it. Calls that fail for want of a
/// connection or because the server is busy are repeated for about ten seconds.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
}

/// A queue and what waits in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueBacklog {
    /// Identifier of the queue, unique in the server.
    pub id: String,
    /// Name, unique in the workspace.
    pub name: String,
    /// Waiting tasks, next one first.
    pub entries: Vec<Entry>,
}

/// A task that waits in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Identifier of the task.
    pub task: String,
    /// When it was put into the queue, by the clock of the server.
    pub added: Timestamp,
}

impl Client {
    /// A client of the API server at `url`, e.g. `https://api.clearml.example.com`. Sends nothing yet.
    pub fn new(url: &str, credentials: Credentials) -> Result<Self, Error> {
        let transport = Transport::new(url, credentials)?;
        Ok(Self { transport })
    }

    /// The same client, which gives up a failing call after this time instead of ten seconds.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.transport.set_patience(patience);
        self
    }

    /// All queues of the workspace, ordered by identifier.
    ///
    /// Hidden queues (system tag `k8s-glue`: the `k8s_scheduler` queue of ClearML's Kubernetes agent) are left out: that agent puts
    /// a task there *after* it took it from its queue and made a pod for it, so it is demand of the pod, not of a queue.
    pub async fn backlog(&self) -> Result<Vec<QueueBacklog>, Error> {
        let ask =
            json!({"only_fields": ["id", "name", "system_tags", "entries"], "search_hidden": true});
        let rows: Vec<wire::Queue> = self.rows("queues.get_all", ask).await?;
        Ok(rows
            .into_iter()
            .filter(|queue| !queue.is_hidden())
            .map(wire::Queue::into_backlog)
            .collect())
    }

    /// Number of running tasks by identifier of the queue they came from; queues without one are absent.
    ///
    /// Running means in ClearML's status `in_progress`. A task that a worker has taken and not yet started is in neither answer.
    pub async fn running(&self) -> Result<BTreeMap<String, u32>, Error> {
        let ask = json!({"status": ["in_progress"], "only_fields": ["id", "execution.queue"]});
        let rows: Vec<wire::Task> = self.rows("tasks.get_all", ask).await?;
        let mut running = BTreeMap::new();
        for queue in rows.into_iter().filter_map(wire::Task::into_queue) {
            let count: &mut u32 = running.entry(queue).or_default();
            *count = count.saturating_add(1);
        }
        Ok(running)
    }

    /// All pages of a listing, each row once, ordered by identifier.
    ///
    /// A row that appears or goes while pages are read may be missed or seen twice; twice does not count.
    async fn rows<T: Row + DeserializeOwned>(
        &self,
        endpoint: &'static str,
        mut ask: Value,
    ) -> Result<Vec<T>, Error> {
        let mut seen = BTreeMap::new();
        for page in 0_u32.. {
            if let Some(fields) = ask.as_object_mut() {
                fields.insert("order_by".to_owned(), json!(["id"]));
                fields.insert("page".to_owned(), json!(page));
                fields.insert("page_size".to_owned(), json!(PAGE_ROWS));
            }
            let rows = self.transport.call::<T::List>(endpoint, &ask).await?;
            let rows = T::rows(rows);
            let full = rows.len() >= PAGE_ROWS;
            let mut news = false;
            for row in rows {
                if let btree_map::Entry::Vacant(place) = seen.entry(row.id().to_owned()) {
                    place.insert(row);
                    news = true;
                }
            }
            // Without news the server does not page at all, and would be asked for ever.
            if !full || !news {
                break;
            }
        }
        Ok(seen.into_values().collect())
    }
}
