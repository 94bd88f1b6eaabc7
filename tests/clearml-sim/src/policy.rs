//! The policy manager of the Enterprise edition: whether a task may leave its queue.
//!
//! Known of the real one: the two reasons that it leaves on tasks. Modelled: a task leaves when the policy's usage and its cost stay
//! within the policy's limit; pools and reservations of others hold nobody back.

use crate::{
    date::Date,
    store::{
        Store,
        resources::{Connection, Resources},
        task::{Status, Task},
    },
};

const ALLOCATED: &str = "allocated by policy manager";
const PUSHED_BACK: &str = "pushed back by policy manager";

/// Decides about the task that is next in a queue, and leaves the reason on it. True: it may go.
pub(crate) fn admits(store: &mut Store, company: &str, queue: &str, now: Date) -> bool {
    let resources = store.tenant(company).resources;
    let mut connections = resources.connections.iter();
    let connection = connections.find(|connection| connection.queue == queue);
    let Some(connection) = connection.filter(|_| resources.enabled) else {
        return true;
    };
    let next = store.queues.get(queue).and_then(|row| row.entries.first());
    let Some(next) = next.map(|entry| entry.task.clone()) else {
        return true;
    };
    let mut policies = resources.policies.iter();
    let policy = policies.find(|policy| policy.id == connection.policy);
    let limit = policy.and_then(|policy| policy.limit);
    let needed = usage(store, &resources, &connection.policy) + cost(&resources, connection);
    let fits = limit.is_none_or(|limit| needed <= limit);
    if let Some(task) = store.tasks.get_mut(&next) {
        let reason = if fits { ALLOCATED } else { PUSHED_BACK };
        reason.clone_into(&mut task.status_reason);
        task.last_update = now.stored();
    }
    fits
}

/// What a task that comes through a connection takes, in units of resource.
fn cost(resources: &Resources, connection: &Connection) -> f64 {
    let mut profiles = resources.published.profiles.iter();
    let profile = profiles.find(|profile| profile.id == connection.profile);
    profile.map_or(0.0, |profile| profile.cost)
}

/// What the tasks of some connections take.
fn taken(store: &Store, resources: &Resources, of: impl Fn(&Connection) -> bool) -> f64 {
    let connections = resources.connections.iter().filter(|one| of(one));
    connections
        .map(|one| {
            let running = u32::try_from(running(store, &one.queue)).unwrap_or(u32::MAX);
            cost(resources, one) * f64::from(running)
        })
        .sum()
}

/// What the tasks of a policy take.
pub(crate) fn usage(store: &Store, resources: &Resources, policy: &str) -> f64 {
    taken(store, resources, |connection| connection.policy == policy)
}

/// What is taken from a pool: by tasks whose profile names it first.
pub(crate) fn pool_usage(store: &Store, resources: &Resources, pool: &str) -> f64 {
    taken(store, resources, |connection| {
        let mut profiles = resources.published.profiles.iter();
        let profile = profiles.find(|profile| profile.id == connection.profile);
        let first = profile.and_then(|profile| profile.pool_links.first());
        first.is_some_and(|first| first == pool)
    })
}

/// How many tasks wait in a queue.
pub(crate) fn waiting(store: &Store, queue: &str) -> usize {
    store.queues.get(queue).map_or(0, |row| row.entries.len())
}

/// How many tasks of a queue were taken and have not ended.
pub(crate) fn running(store: &Store, queue: &str) -> usize {
    let waits = |task: &Task| {
        let row = store.queues.get(queue);
        row.is_some_and(|row| row.entries.iter().any(|entry| entry.task == task.id))
    };
    let runs = |task: &&Task| {
        task.execution.queue.as_deref() == Some(queue)
            && (task.status == Status::InProgress || task.status == Status::Queued && !waits(task))
    };
    store.tasks.iter().filter(runs).count()
}
