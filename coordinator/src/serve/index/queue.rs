use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::config;

/// Names a queue: two tenants may have queues of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueueKey {
    /// The tenant's name.
    pub(crate) tenant: String,
    /// The queue's name in ClearML.
    pub(crate) name: String,
}

impl fmt::Display for QueueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

/// A configured queue, and what is known of its backlog.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    /// Which profiles serve it, and its limits.
    pub(crate) config: config::Queue,
    /// What the last good poll saw.
    pub(crate) backlog: Backlog,
    /// Why the last poll brought nothing new: a sentence for people. The figures are then those of the last good poll.
    pub(crate) error: Option<String>,
    /// Whether a poll has been tried.
    pub(crate) polled: bool,
}

/// What a poll saw of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// ClearML's id of the queue; empty while it has not been seen.
    pub(crate) id: String,
    /// Tasks waiting.
    pub(crate) waiting: u32,
    /// When the oldest of them was added.
    pub(crate) oldest: Option<Timestamp>,
    /// Tasks running; `None` when nobody asked, since there is no limit.
    pub(crate) running: Option<u32>,
}

impl Backlog {
    /// How long the oldest task has waited; 0 when none waits, or when ClearML's clock is ahead of ours.
    pub(crate) fn oldest_wait(&self, now: Timestamp) -> SignedDuration {
        let wait = self.oldest.map(|oldest| now.duration_since(oldest));
        wait.unwrap_or_default().max(SignedDuration::ZERO)
    }
}
