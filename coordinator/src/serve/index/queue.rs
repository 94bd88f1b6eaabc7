use std::{collections::BTreeMap, fmt, ops::BitOrAssign};

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
    /// Where it stands in the configuration.
    position: usize,
    /// What the last good poll saw.
    backlog: Backlog,
    /// Why the last poll brought nothing new: a sentence for people. The figures are then those of the last good poll.
    error: Option<String>,
    /// An earlier queue of the configuration that is the same one in ClearML. It alone counts.
    twin: Option<QueueKey>,
    /// Whether a poll has been tried.
    pub(crate) polled: bool,
}

/// What a poll changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Something that is shown.
    pub(super) shown: bool,
    /// What is wanted.
    pub(super) demand: bool,
    /// Which queue of ClearML it is.
    pub(super) id: bool,
}

impl BitOrAssign for News {
    fn bitor_assign(&mut self, other: Self) {
        self.shown |= other.shown;
        self.demand |= other.demand;
        self.id |= other.id;
    }
}

impl Queue {
    /// A queue of which nothing is known yet.
    pub(super) fn new(config: config::Queue, position: usize) -> Self {
        Self {
            config,
            position,
            backlog: Backlog::default(),
            error: None,
            twin: None,
            polled: false,
        }
    }

    /// What counts of what the last good poll saw: nothing, when an earlier queue is the same one in ClearML.
    pub(crate) fn backlog(&self) -> Backlog {
        match self.twin {
            None => self.backlog.clone(),
            Some(_) => Backlog {
                id: self.backlog.id.clone(),
                ..Backlog::default()
            },
        }
    }

    /// Why the figures are not those of now, or are not counted: a sentence for people.
    pub(crate) fn error(&self) -> Option<String> {
        let twin = |twin: &QueueKey| {
            format!(
                "this queue and {twin} are one and the same in ClearML (id {}), which counts there only; \
                 give each tenant keys of its own workspace, or name the queue once",
                self.backlog.id
            )
        };
        self.error.clone().or_else(|| self.twin.as_ref().map(twin))
    }

    /// A poll has seen it.
    pub(super) fn seen(&mut self, backlog: Backlog) -> News {
        self.polled(backlog, None)
    }

    /// A poll has seen others and not this one.
    pub(super) fn missing(&mut self, key: &QueueKey) -> News {
        let error = format!(
            "ClearML has no queue {} for tenant {}; create it, or correct its name in the configuration",
            key.name, key.tenant
        );
        self.polled(Backlog::default(), Some(error))
    }

    /// A poll has failed. What the last good one saw stays.
    pub(super) fn failed(&mut self, error: &str) -> News {
        self.polled(self.backlog.clone(), Some(error.to_owned()))
    }

    fn polled(&mut self, backlog: Backlog, error: Option<String>) -> News {
        let known = &self.backlog;
        let id = known.id != backlog.id;
        let news = News {
            shown: !self.polled || self.error != error || *known != backlog,
            demand: id || (known.waiting, known.running) != (backlog.waiting, backlog.running),
            id,
        };
        self.polled = true;
        self.backlog = backlog;
        self.error = error;
        news
    }
}

/// Finds the queues that are one and the same in ClearML, as when two tenants have keys of one workspace.
pub(super) fn find_twins(queues: &mut BTreeMap<QueueKey, Queue>) {
    let mut first: BTreeMap<String, (usize, QueueKey)> = BTreeMap::new();
    for (key, queue) in queues
        .iter()
        .filter(|(_, queue)| !queue.backlog.id.is_empty())
    {
        let this = (queue.position, key.clone());
        let first = first
            .entry(queue.backlog.id.clone())
            .or_insert_with(|| this.clone());
        if this < *first {
            *first = this;
        }
    }
    for (key, queue) in queues {
        let first = first.get(&queue.backlog.id).map(|(_, first)| first);
        queue.twin = first.filter(|first| *first != key).cloned();
    }
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
