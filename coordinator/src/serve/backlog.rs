//! Looks at the queues of one tenant, again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{cluster::Cluster, index::Backlog, metrics::Metrics};
use crate::{
    clearml::{Client, Error},
    config,
};

/// Longest wait after failures in a row.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
/// A poll may come before its time when slices came into use, since their tasks have left the queues; but not more often than so
/// many times in one interval.
const POLLS_PER_INTERVAL: u32 = 5;

/// Polls until aborted. Each tenant has a task of its own, so that none waits for another.
pub(crate) async fn run(
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    tenant: config::Tenant,
    client: Client,
    interval: Duration,
) {
    let limited: BTreeSet<_> = tenant
        .queues
        .into_iter()
        .filter(|queue| queue.max_running.is_some())
        .map(|queue| queue.name)
        .collect();
    let tenant = tenant.name;
    let mut failures = Failures::default();
    loop {
        let started = Instant::now();
        let usage = cluster.read(|index| index.revision().usage);
        match poll(&client, &limited).await {
            Ok(seen) => {
                metrics.poll(&tenant, None);
                cluster.update(|index| index.backlog(&tenant, seen));
                failures.end(&tenant);
            }
            Err(error) => {
                metrics.poll(&tenant, Some(error.category()));
                let text = chain(&error);
                cluster.update(|index| index.backlog_failed(&tenant, &text));
                failures.add(&tenant, text);
            }
        }
        if failures.count == 0 {
            wait(&cluster, usage, started, interval).await;
        } else {
            tokio::time::sleep(failures.back_off(interval)).await;
        }
    }
}

/// Waits for the next poll: one interval, or less when slices come into use.
async fn wait(cluster: &Cluster, usage: u64, started: Instant, interval: Duration) {
    let mut revisions = cluster.watch();
    let early = async {
        let shortest = started + interval / POLLS_PER_INTERVAL;
        tokio::time::sleep_until(shortest.into()).await;
        if revisions
            .wait_for(|revision| revision.usage != usage)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    };
    let due = tokio::time::sleep_until((started + interval).into());
    tokio::select! {
        () = early => {}
        () = due => {}
    }
}

/// Looks at all queues, and at what runs if some of them are `limited`.
async fn poll(
    client: &Client,
    limited: &BTreeSet<String>,
) -> Result<BTreeMap<String, Backlog>, Error> {
    let queues = client.backlog().await?;
    // Asked last: a task that leaves its queue in between counts twice rather than not at all, and no limit is passed.
    let running = if limited.is_empty() {
        BTreeMap::new()
    } else {
        client.running().await?
    };
    let seen = queues.into_iter().map(|queue| {
        let backlog = Backlog {
            waiting: u32::try_from(queue.entries.len()).unwrap_or(u32::MAX),
            oldest: queue.entries.iter().map(|entry| entry.added).min(),
            running: limited
                .contains(&queue.name)
                .then(|| running.get(&queue.id).copied().unwrap_or(0)),
            id: queue.id,
        };
        (queue.name, backlog)
    });
    Ok(seen.collect())
}

/// An error with its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Failures in a row. Says so once for each error, not once for each poll.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    last: String,
}

impl Failures {
    fn add(&mut self, tenant: &str, error: String) {
        self.count = self.count.saturating_add(1);
        if self.last != error {
            warn!(tenant, error, "cannot see the queues");
            self.last = error;
        }
    }

    fn end(&mut self, tenant: &str) {
        if self.count > 0 {
            info!(tenant, failures = self.count, "can see the queues again");
            *self = Self::default();
        }
    }

    fn back_off(&self, interval: Duration) -> Duration {
        let doublings = self.count.saturating_sub(1).min(16);
        interval
            .saturating_mul(1 << doublings)
            .min(LONGEST_BACK_OFF.max(interval))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::first(5, 1, 5)]
    #[case::doubles(5, 3, 20)]
    #[case::has_an_end(5, 5, 60)]
    #[case::for_years(5, u32::MAX, 60)]
    #[case::never_more_often_than_good_ones(300, 4, 300)]
    fn failures_are_repeated_less_and_less(
        #[case] interval: u64,
        #[case] count: u32,
        #[case] wait: u64,
    ) {
        let last = String::new();
        let failures = Failures { count, last };
        let wait = Duration::from_secs(wait);
        assert_eq!(failures.back_off(Duration::from_secs(interval)), wait);
    }
}
