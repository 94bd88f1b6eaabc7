//! Runs rounds: a little after the index has changed, so that what comes together is planned together, and never without a change.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{debug, error, info, warn};

use super::{
    cluster::Cluster,
    index::Index,
    metrics::{Metrics, RoundResult},
    round::{Round, round},
};

/// When rounds are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Before the first one: nobody knows how many agents there are, and those that have not come back yet have slices too.
    pub(crate) grace: Duration,
    /// Between a change and the round that plans for it.
    pub(crate) debounce: Duration,
}

/// Runs rounds until aborted.
pub(crate) async fn run(cluster: Arc<Cluster>, metrics: Arc<Metrics>, pace: Pace) {
    tokio::time::sleep(pace.grace).await;
    let mut revisions = cluster.watch();
    let mut planned = None;
    loop {
        let wakes_at = cluster.read(Index::wakes_at);
        tokio::select! {
            changed = revisions.wait_for(|revision| Some(revision.inputs) != planned) => {
                if changed.is_err() {
                    return;
                }
            }
            () = sleep_until(wakes_at) => {}
        }
        tokio::time::sleep(pace.debounce).await;
        for node in cluster.update(|index| index.tick(Instant::now())) {
            warn!(
                node,
                "the agent has not said in time how its layout ended; its GPUs are left alone until it does"
            );
        }
        planned = Some(cluster.update(|index| {
            let inputs = index.revision().inputs;
            if index.is_complete() {
                index.keep();
                run_once(index, &metrics);
            }
            inputs
        }));
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

/// One round. It has the index for itself from snapshot to publication, so what it publishes fits what is there.
pub(crate) fn run_once(index: &mut Index, metrics: &Metrics) {
    let started = Instant::now();
    let round = round(index);
    let took = started.elapsed();
    match round {
        Ok(round) => publish(index, round, metrics, took),
        Err(violations) => {
            metrics.round(RoundResult::Refused, took);
            for violation in violations {
                error!(%violation, "the plan breaks a rule and is not published");
            }
        }
    }
}

fn publish(index: &mut Index, round: Round, metrics: &Metrics, took: Duration) {
    let Round {
        changes,
        layouts,
        queues,
        left_out,
        pods,
    } = round;
    for (gpu, reason) in index.note_round(queues, left_out) {
        error!(%gpu, reason, "the GPU is left out of the plan");
    }
    index.note_waiting(pods.waiting);
    index.promise(&pods.placed);
    let layouts = index.withhold(layouts);
    let published = changes
        .iter()
        .filter(|change| layouts.contains_key(&change.gpu.node));
    let (destroyed, created) = published.fold((0, 0), |(destroyed, created), change| {
        (
            destroyed + change.destroy.len(),
            created + change.create.len(),
        )
    });
    let gpus: usize = layouts.values().map(BTreeMap::len).sum();
    let Some(generation) = index.publish(layouts, Instant::now()) else {
        metrics.round(RoundResult::Unchanged, took);
        debug!(?took, "nothing to change");
        return;
    };
    metrics.round(RoundResult::Published, took);
    metrics.planned(destroyed, created);
    info!(%generation, gpus, destroy = destroyed, create = created, ?took, "published layouts");
}
