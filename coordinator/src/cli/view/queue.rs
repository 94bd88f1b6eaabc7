//! Queues.

use std::fmt;

use mica_proto::convert::Invalid;
use mica_proto::v1;
use serde::Serialize;

use super::super::table::{Column, age, column, restless, wide};
use super::{Item, some};

/// A queue as shown.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Queue {
    tenant: String,
    name: String,
    /// ClearML's.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    profiles: Vec<String>,
    waiting: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_running: Option<u32>,
    oldest_wait_seconds: f64,
    unmet: Vec<Unmet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Slices that found no place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in super::super) struct Unmet {
    reason: &'static str,
    count: u32,
    detail: String,
}

impl From<&v1::Unmet> for Unmet {
    fn from(unmet: &v1::Unmet) -> Self {
        Self {
            reason: match unmet.reason() {
                v1::UnmetReason::Unspecified => "unknown",
                v1::UnmetReason::NoRoom => "no-room",
                v1::UnmetReason::Fragmented => "fragmented",
                v1::UnmetReason::NoSuchProfile => "no-such-profile",
                v1::UnmetReason::Limit => "limit",
                v1::UnmetReason::GpuUnavailable => "gpu-unavailable",
            },
            count: unmet.count,
            detail: unmet.detail.clone(),
        }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            reason,
            count,
            detail,
        } = self;
        write!(f, "{count} unmet ({reason}): {detail}")
    }
}

/// Cells for what is unmet: how many, why in a word each, why in sentences.
pub(in super::super) fn reasons(unmet: &[Unmet]) -> [String; 3] {
    let count: u32 = unmet
        .iter()
        .fold(0, |sum, unmet| sum.saturating_add(unmet.count));
    let words: Vec<&str> = unmet.iter().map(|unmet| unmet.reason).collect();
    let details: Vec<&str> = unmet
        .iter()
        .map(|unmet| unmet.detail.as_str())
        .filter(|detail| !detail.is_empty())
        .collect();
    [count.to_string(), words.join(","), details.join("; ")]
}

impl Item for Queue {
    const LIST: &'static str = "QueueList";
    const PLURAL: &'static str = "queues";
    const COLUMNS: &'static [Column] = &[
        column("TENANT"),
        column("QUEUE"),
        column("PROFILES"),
        column("WAITING"),
        column("RUNNING"),
        column("LIMIT"),
        restless("OLDEST"),
        column("UNMET"),
        column("REASON"),
        wide("DETAIL"),
    ];

    fn all(cluster: &v1::Cluster) -> Result<Vec<Self>, Invalid> {
        let mut queues: Vec<Self> = cluster
            .queues
            .iter()
            .map(|queue| Self {
                tenant: queue.tenant.clone(),
                name: queue.name.clone(),
                id: some(&queue.id),
                profiles: queue.profiles.clone(),
                waiting: queue.waiting,
                running: queue.running,
                max_running: queue.max_running,
                oldest_wait_seconds: queue.oldest_wait_seconds,
                unmet: queue.unmet.iter().map(Unmet::from).collect(),
                error: some(&queue.error),
            })
            .collect();
        queues.sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
        Ok(queues)
    }

    fn key(&self) -> String {
        format!("{}/{}", self.tenant, self.name)
    }

    fn names(&self) -> Vec<String> {
        vec![self.key(), self.name.clone(), self.tenant.clone()]
    }

    fn row(&self) -> Vec<String> {
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let [unmet, mut reason, mut detail] = reasons(&self.unmet);
        if let Some(error) = &self.error {
            "error".clone_into(&mut reason);
            detail.clone_from(error);
        } else if self.id.is_none() {
            "not-seen".clone_into(&mut reason);
            "ClearML has not been asked yet".clone_into(&mut detail);
        }
        let oldest = (self.waiting > 0).then(|| age(self.oldest_wait_seconds));
        vec![
            self.tenant.clone(),
            self.name.clone(),
            self.profiles.join(","),
            self.waiting.to_string(),
            number(self.running).unwrap_or_default(),
            number(self.max_running).unwrap_or_default(),
            oldest.unwrap_or_default(),
            unmet,
            reason,
            detail,
        ]
    }
}
