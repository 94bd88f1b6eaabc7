//! The demand step: what every queue wants now, within its limit.

use std::collections::BTreeMap;

use mica_model::Board;
use mica_planner::{Demand, DemandClass};

use super::index::{Queue, QueueKey};

/// What a step of priority is worth: more than the seven small slices that one large slice displaces at most.
const PRIORITY_FACTOR: u64 = 8;

/// What one queue wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Slices to be found now.
    pub(crate) wanted: u32,
    /// Waiting tasks that the queue's limit keeps out.
    pub(crate) limited: u32,
}

impl Wanted {
    fn of(queue: &Queue) -> Self {
        let waiting = queue.backlog.waiting;
        // Not knowing how many run, none is let in: the limit is the wall, a late slice only a delay.
        let allowed = match (queue.config.max_running, queue.backlog.running) {
            (None, _) => waiting,
            (Some(limit), Some(running)) => limit.saturating_sub(running),
            (Some(_), None) => 0,
        };
        let wanted = waiting.min(allowed);
        Self {
            wanted,
            limited: waiting - wanted,
        }
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
