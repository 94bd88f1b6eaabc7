//! Workers: programs that take tasks from queues.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::date::Date;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) company: String,
    pub(crate) user: String,
    pub(crate) ip: String,
    pub(crate) queues: Vec<String>,
    pub(crate) task: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) system_tags: Vec<String>,
    pub(crate) registered: Date,
    /// How long it may be silent.
    pub(crate) timeout: Duration,
    pub(crate) last_activity: Date,
}

impl Worker {
    /// Whether it was heard of lately.
    pub(crate) fn is_alive(&self, now: Date) -> bool {
        self.silence(now) <= self.timeout
    }

    pub(crate) fn silence(&self, now: Date) -> Duration {
        let silence = now.0.duration_since(self.last_activity.0);
        silence.unsigned_abs()
    }
}
