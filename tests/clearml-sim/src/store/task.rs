//! Tasks and their life.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{date::Date, list::Row};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// Made, and never waited.
    Created,
    /// Waits in a queue, or was taken by a worker that has not started it.
    Queued,
    /// Runs.
    InProgress,
    /// Was stopped.
    Stopped,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
}

impl Status {
    /// As the API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// The status of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        use Status::{Completed, Created, Failed, InProgress, Queued, Stopped};
        let all = [Created, Queued, InProgress, Stopped, Completed, Failed];
        all.into_iter().find(|status| status.name() == name)
    }

    /// Whether the server lets a task go from here to there without force.
    pub(crate) fn may_become(self, new: Self) -> bool {
        use Status::{Completed, Created, Failed, InProgress, Queued, Stopped};
        self == new
            || match self {
                Created => matches!(new, Queued | InProgress),
                Queued => matches!(new, Created | InProgress | Stopped),
                InProgress => matches!(new, Stopped | Failed | Created | Completed),
                Stopped => matches!(new, Created | Failed | Queued | InProgress | Completed),
                Failed => matches!(new, Created | Stopped | Queued | InProgress),
                Completed => matches!(new, Created | Stopped | Queued | InProgress),
            }
    }
}

/// A task, with the fields that the API shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Task {
    /// Identifier, unique in the server.
    pub id: String,
    /// Company that owns it.
    pub company: String,
    /// Who made it.
    pub user: String,
    /// Name, not unique.
    pub name: String,
    /// Kind, e.g. `training`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it stands.
    pub status: Status,
    /// Why.
    pub status_reason: String,
    /// More about why.
    pub status_message: String,
    /// Since when.
    pub status_changed: Date,
    /// When it was made.
    pub created: Date,
    /// When it first ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Date>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<Date>,
    /// Where it runs or waits.
    pub execution: Execution,
    /// What it was before it waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enqueue_status: Option<Status>,
    /// Tags of people.
    pub tags: Vec<String>,
    /// Tags of programs.
    pub system_tags: Vec<String>,
    /// The worker that last spoke for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_worker: Option<String>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_worker_report: Option<Date>,
    /// When anything about it changed.
    pub last_update: Date,
    /// When something other than its reports changed.
    pub last_change: Date,
    /// By whom.
    pub last_changed_by: String,
    /// Fields without a meaning here, shown as they came.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Where a task runs or waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Execution {
    /// Queue it waits in or came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Fields without a meaning here, shown as they came.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Fields that every task has and that nothing here fills.
fn unused() -> Map<String, Value> {
    let fields = json!({
        "report_assets": [],
        "output": {},
        "script": {"binary": "python", "repository": "", "entry_point": "", "requirements": {}},
        "last_iteration": 0,
        "last_metrics": {},
        "hyperparams": {},
        "configuration": {},
        "runtime": {},
        "models": {"input": [], "output": []},
        "container": {},
    });
    if let Value::Object(fields) = fields {
        fields
    } else {
        Map::new()
    }
}

fn unused_execution() -> Map<String, Value> {
    let mut fields = Map::from_iter([("test_split".to_owned(), json!(0))]);
    for (field, value) in [
        ("parameters", json!({})),
        ("model_desc", json!({})),
        ("model_labels", json!({})),
        ("artifacts", json!([])),
    ] {
        fields.insert(field.to_owned(), value);
    }
    fields
}

impl Task {
    pub(crate) fn new(
        id: String,
        company: String,
        user: String,
        name: String,
        kind: String,
        now: Date,
    ) -> Self {
        let date = now.stored();
        Self {
            id,
            company,
            last_changed_by: user.clone(),
            user,
            name,
            kind,
            status: Status::Created,
            status_reason: String::new(),
            status_message: String::new(),
            status_changed: date,
            created: date,
            started: None,
            completed: None,
            execution: Execution {
                queue: None,
                other: unused_execution(),
            },
            enqueue_status: None,
            tags: Vec::new(),
            system_tags: Vec::new(),
            last_worker: None,
            last_worker_report: None,
            last_update: date,
            last_change: date,
            other: unused(),
        }
    }
}

impl Task {
    /// Notes who changed it, and when.
    pub(crate) fn touch(&mut self, user: &str, now: Date) {
        self.last_update = now.stored();
        self.last_change = now.stored();
        user.clone_into(&mut self.last_changed_by);
    }

    /// Notes that a program reported an event of it.
    pub(crate) fn report(&mut self, event: &Value, now: Date) {
        self.last_update = now.stored();
        let worker = event.get("worker").and_then(Value::as_str);
        if let Some(worker) = worker {
            self.last_worker = Some(worker.to_owned());
            self.last_worker_report = Some(now.stored());
        }
        let text = |field: &str| event.get(field).and_then(Value::as_str).unwrap_or_default();
        let kind = text("type").to_owned();
        let stats = self
            .other
            .entry("metric_stats")
            .or_insert_with(|| json!({}));
        // The real server's key is the MD5 sum of the metric's name; that of no name stands for all.
        let stats = stats
            .as_object_mut()
            .map(|stats| stats.entry("d41d8cd98f00b204e9800998ecf8427e"));
        if let Some(stats) = stats {
            let stats = stats.or_insert_with(|| json!({"metric": "", "event_stats_by_type": {}}));
            if let Some(kinds) = stats
                .get_mut("event_stats_by_type")
                .and_then(Value::as_object_mut)
            {
                let last = json!({"last_update": now.0.as_millisecond()});
                kinds.insert(kind, last);
            }
        }
    }
}

impl Row for Task {
    fn company(&self) -> &str {
        &self.company
    }

    fn text(&self, field: &str) -> Option<&str> {
        match field {
            "id" => Some(&self.id),
            "name" => Some(&self.name),
            "user" => Some(&self.user),
            "type" => Some(&self.kind),
            "status" => Some(self.status.name()),
            _ => self.other.get(field)?.as_str(),
        }
    }

    fn tags(&self) -> &[String] {
        &self.tags
    }

    fn system_tags(&self) -> &[String] {
        &self.system_tags
    }
}
