//! Queues.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{date::Date, list::Row, mode::Mode, store::Store};

/// System tag of queues that listings leave out unless they are asked for.
pub(crate) const HIDDEN: &str = "k8s-glue";
/// System tag of the queue that is meant when none is named.
pub(crate) const DEFAULT: &str = "default";

/// A queue, with the fields that the API shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Queue {
    /// Identifier, unique in the server.
    pub id: String,
    /// Name, unique in the company.
    pub name: String,
    /// Name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Company that owns it.
    pub company: String,
    /// When it was made.
    pub created: Date,
    /// Tags of people.
    pub tags: Vec<String>,
    /// Tags of programs.
    pub system_tags: Vec<String>,
    /// What waits, next one first.
    pub entries: Vec<Entry>,
    /// When anything about it changed.
    pub last_update: Date,
    /// Notes of people and programs.
    pub metadata: Map<String, Value>,
}

/// A task that waits in a queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// Identifier of the task.
    pub task: String,
    /// Since when.
    pub added: Date,
}

impl Queue {
    pub(crate) fn new(id: String, company: String, name: String, now: Date) -> Self {
        Self {
            id,
            name,
            display_name: None,
            company,
            created: now.stored(),
            tags: Vec::new(),
            system_tags: Vec::new(),
            entries: Vec::new(),
            last_update: now.stored(),
            metadata: Map::new(),
        }
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.system_tags.iter().any(|tag| tag == HIDDEN)
    }

    /// Puts a task at the end. False when it is there already.
    pub(crate) fn push(&mut self, task: &str, now: Date) -> bool {
        if self.entries.iter().any(|entry| entry.task == task) {
            return false;
        }
        let added = now.stored();
        let task = task.to_owned();
        self.entries.push(Entry { task, added });
        self.last_update = added;
        true
    }

    /// Takes the next task; if `only` is given, only when it is that one.
    pub(crate) fn pop(&mut self, only: Option<&str>, now: Date) -> Option<Entry> {
        let next = self.entries.first()?;
        if only.is_some_and(|only| only != next.task) {
            return None;
        }
        self.last_update = now.stored();
        Some(self.entries.remove(0))
    }

    /// Takes a task out, wherever it stands. False when it is not there.
    pub(crate) fn remove(&mut self, task: &str, now: Date) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.task != task);
        let removed = self.entries.len() < before;
        if removed {
            self.last_update = now.stored();
        }
        removed
    }
}

impl Store {
    /// Takes a task out of the queue that it names as its own; without one, out of all. False when it was in none.
    ///
    /// On the Enterprise server always out of all: its agents leave the queue of origin on a task while it waits in another.
    pub(crate) fn leave_queue(
        &mut self,
        task: &str,
        company: &str,
        queue: Option<&str>,
        now: Date,
    ) -> bool {
        let only = queue.filter(|_| self.mode == Mode::Oss);
        let mut left = false;
        for row in self.queues.iter_mut().filter(|row| row.company == company) {
            if only.is_none_or(|only| row.id == only) {
                left |= row.remove(task, now);
            }
        }
        left
    }
}

impl Row for Queue {
    fn company(&self) -> &str {
        &self.company
    }

    fn text(&self, field: &str) -> Option<&str> {
        match field {
            "id" => Some(&self.id),
            "name" => Some(&self.name),
            _ => None,
        }
    }

    fn tags(&self) -> &[String] {
        &self.tags
    }

    fn system_tags(&self) -> &[String] {
        &self.system_tags
    }
}
