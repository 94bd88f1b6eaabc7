//! The demand step: what every queue wants now, within its limit.

use std::collections::BTreeMap;

use mica_model::Board;
use mica_planner::{Demand, DemandClass};

use super::index::{Queue, QueueKey};

/// What a step of priority is worth: more than the seven small slices that one large slice displaces at most.
const PRIORITY_FACTOR: u64 = 8;

/// What one queue wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Slices to be found now.
    pub(crate) wanted: u32,
    /// What the queue's limit keeps out.
    pub(crate) limited: Option<Limited>,
}

/// Waiting tasks that may not run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    /// How many.
    pub(crate) count: u32,
    /// Limit and use, for people.
    pub(crate) detail: String,
}

impl Wanted {
    fn of(queue: &Queue) -> Self {
        let backlog = queue.backlog();
        let waiting = backlog.waiting;
        let Some(limit) = queue.config.max_running else {
            return Self {
                wanted: waiting,
                limited: None,
            };
        };
        // Not knowing how many run, none is let in: the limit is the wall, a late slice only a delay.
        let (allowed, run) = match backlog.running {
            Some(running) => (limit.saturating_sub(running), running.to_string()),
            None => (0, "an unknown number".to_owned()),
        };
        let wanted = waiting.min(allowed);
        let limited = (waiting > wanted).then(|| Limited {
            count: waiting - wanted,
            detail: format!("maxRunning is {limit}, {run} of its tasks run"),
        });
        Self { wanted, limited }
    }
}

/// What every queue wants.
pub(crate) fn wanted(queues: &BTreeMap<QueueKey, Queue>) -> BTreeMap<QueueKey, Wanted> {
    queues
        .iter()
        .map(|(key, queue)| (key.clone(), Wanted::of(queue)))
        .collect()
}

/// The same for the planner. Classes are named as the queue key prints.
pub(crate) fn demand(
    queues: &BTreeMap<QueueKey, Queue>,
    wanted: &BTreeMap<QueueKey, Wanted>,
    boards: &[&Board],
) -> Demand {
    let classes = queues.iter().filter_map(|(key, queue)| {
        let count = wanted.get(key)?.wanted;
        (count > 0).then(|| DemandClass {
            id: key.to_string(),
            accept: queue.config.profiles.clone(),
            weight: weight(queue, boards),
            count,
        })
    });
    Demand {
        classes: classes.collect(),
    }
}

/// What one task of the queue is worth: the compute slices of the largest profile it accepts, times the priority.
fn weight(queue: &Queue, boards: &[&Board]) -> u64 {
    let slices = boards
        .iter()
        .flat_map(|board| &board.profiles)
        .filter(|profile| queue.config.profiles.contains(&profile.name))
        .map(|profile| profile.slices)
        .max();
    u64::from(slices.unwrap_or(1)) * PRIORITY_FACTOR.saturating_pow(queue.config.priority.into())
}
