//! What Prometheus sees of the coordinator. Counters move when something happens; gauges are taken from the index at each scrape.

use std::time::Duration;

use jiff::Timestamp;
use mica_proto::v1;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};

use super::{
    demand,
    index::{HeldBy, Index, Verdict},
    kubernetes::Refusal,
};

/// Rounds take from tens of microseconds (a few GPUs) to a second (thousands).
const ROUND_BUCKETS: &[f64] = &[0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoundResult {
    /// Layouts were published.
    Published,
    /// Nothing was to change.
    Unchanged,
    /// The plan failed its check.
    Refused,
}

impl RoundResult {
    const ALL: [Self; 3] = [Self::Published, Self::Unchanged, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// The coordinator's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    round_duration: Histogram,
    rounds: IntCounterVec,
    planned: IntCounterVec,
    outcomes: IntCounterVec,
    clearml_requests: IntCounterVec,
    clearml_failures: IntCounterVec,
    writes: IntCounterVec,
    joins_refused: IntCounterVec,
    gauges: Gauges,
}

#[derive(Debug)]
struct Gauges {
    visible: IntGaugeVec,
    waiting: IntGaugeVec,
    running: IntGaugeVec,
    oldest_wait: GaugeVec,
    wanted: IntGaugeVec,
    unmet: IntGaugeVec,
    demand: IntGaugeVec,
    nodes: IntGaugeVec,
    gpus: IntGaugeVec,
    held: IntGaugeVec,
    generation: Gauge,
}

impl Metrics {
    #[expect(clippy::too_many_lines, reason = "a list of all counters")]
    pub(crate) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("mica_coordinator".to_owned()), None)?;
        let counters = |name, help, labels: &[&str]| {
            add(
                &registry,
                IntCounterVec::new(Opts::new(name, help), labels)?,
            )
        };
        let build_info = IntGaugeVec::new(
            Opts::new("build_info", "The program that runs; always 1."),
            &["version"],
        )?;
        add(&registry, build_info)?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let round_duration = HistogramOpts::new(
            "round_duration_seconds",
            "Time that planning and checking took.",
        )
        .buckets(ROUND_BUCKETS.to_vec());
        let metrics = Self {
            round_duration: add(&registry, Histogram::with_opts(round_duration)?)?,
            rounds: counters("rounds_total", "Rounds, by how they ended.", &["result"])?,
            planned: counters(
                "planned_operations_total",
                "Slices that published plans destroy or create.",
                &["operation"],
            )?,
            outcomes: counters(
                "outcomes_total",
                "Layouts of single GPUs, by how they ended at the agent.",
                &["result", "reason"],
            )?,
            clearml_requests: counters(
                "clearml_polls_total",
                "Polls of ClearML, good and bad.",
                &["tenant"],
            )?,
            clearml_failures: counters(
                "clearml_poll_failures_total",
                "Polls of ClearML that failed, by what was wrong.",
                &["tenant", "category"],
            )?,
            writes: counters(
                "api_writes_total",
                "Writes to the Kubernetes API, by what was written and whether it was taken.",
                &["what", "result"],
            )?,
            joins_refused: counters(
                "joins_refused_total",
                "Agents that were turned away on Kubernetes, by why.",
                &["reason"],
            )?,
            gauges: Gauges::new(&registry)?,
            registry,
        };
        for result in RoundResult::ALL {
            let _counter = metrics.rounds.with_label_values(&[result.as_str()]);
        }
        metrics.planned(0, 0);
        for reason in Refusal::REASONS {
            let _counter = metrics.joins_refused.with_label_values(&[reason]);
        }
        Ok(metrics)
    }

    /// A round has ended.
    pub(crate) fn round(&self, result: RoundResult, took: Duration) {
        self.rounds.with_label_values(&[result.as_str()]).inc();
        self.round_duration.observe(took.as_secs_f64());
    }

    /// A plan was published.
    pub(crate) fn planned(&self, destroyed: usize, created: usize) {
        for (operation, count) in [("destroy", destroyed), ("create", created)] {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.planned.with_label_values(&[operation]).inc_by(count);
        }
    }

    /// A layout has ended.
    pub(crate) fn outcome(&self, verdict: &Verdict) {
        let (result, reason) = verdict.labels();
        self.outcomes.with_label_values(&[result, &reason]).inc();
    }

    /// ClearML was polled; `failure` is the category of the error.
    pub(crate) fn poll(&self, tenant: &str, failure: Option<&str>) {
        self.clearml_requests.with_label_values(&[tenant]).inc();
        if let Some(category) = failure {
            self.clearml_failures
                .with_label_values(&[tenant, category])
                .inc();
        }
    }

    /// An agent was turned away.
    pub(crate) fn join_refused(&self, reason: &str) {
        self.joins_refused.with_label_values(&[reason]).inc();
    }

    /// The API server was asked to write something.
    pub(crate) fn write(&self, what: &str, taken: bool) {
        let result = if taken { "ok" } else { "failed" };
        self.writes.with_label_values(&[what, result]).inc();
    }

    /// Everything in Prometheus's text format.
    pub(crate) fn encode(&self, index: &Index, now: Timestamp) -> prometheus::Result<Vec<u8>> {
        self.gauges.set(index, now);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl Gauges {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauges = |name, help, labels: &[&str]| {
            add(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let queue = ["tenant", "queue"];
        Ok(Self {
            visible: gauges(
                "queue_visible",
                "Whether the last poll saw the queue and its tasks count: 1 or 0.",
                &queue,
            )?,
            waiting: gauges("queue_waiting_tasks", "Tasks waiting in the queue.", &queue)?,
            running: gauges(
                "queue_running_tasks",
                "Tasks of the queue that run; only for queues with a limit.",
                &queue,
            )?,
            oldest_wait: add(
                registry,
                GaugeVec::new(
                    Opts::new(
                        "queue_oldest_wait_seconds",
                        "Time that the oldest waiting task has waited.",
                    ),
                    &queue,
                )?,
            )?,
            wanted: gauges(
                "queue_wanted_slices",
                "Slices that the queue wants now, within its limit.",
                &queue,
            )?,
            unmet: gauges(
                "queue_unmet_slices",
                "Slices that the last round found no place for, by reason.",
                &["tenant", "queue", "reason"],
            )?,
            demand: gauges(
                "demand_slices",
                "Slices that all queues want now, each queue by the first of its profiles.",
                &["profile"],
            )?,
            nodes: gauges("nodes", "Nodes, by state.", &["state"])?,
            gpus: gauges(
                "gpus",
                "GPUs that agents have reported, by model.",
                &["model"],
            )?,
            held: gauges(
                "held_gpus",
                "GPUs that the planner leaves alone for now, by reason.",
                &["reason"],
            )?,
            generation: add(
                registry,
                Gauge::new("plan_generation", "Newest generation of layouts published.")?,
            )?,
        })
    }

    fn set(&self, index: &Index, now: Timestamp) {
        self.set_queues(index, now);
        self.set_nodes(index);
    }

    fn set_queues(&self, index: &Index, now: Timestamp) {
        self.demand.reset();
        self.running.reset();
        let wanted = demand::wanted(index.queues());
        for (key, queue) in index.queues() {
            let labels = [key.tenant.as_str(), key.name.as_str()];
            let backlog = queue.backlog();
            let visible = queue.polled && queue.error().is_none();
            self.visible.with_label_values(&labels).set(visible.into());
            let wanted = wanted.get(key).map_or(0, |wanted| wanted.wanted);
            self.waiting
                .with_label_values(&labels)
                .set(backlog.waiting.into());
            self.wanted.with_label_values(&labels).set(wanted.into());
            self.oldest_wait
                .with_label_values(&labels)
                .set(backlog.oldest_wait(now).as_secs_f64());
            if let Some(running) = backlog.running {
                self.running.with_label_values(&labels).set(running.into());
            }
            if let Some(profile) = queue.config.profiles.first() {
                self.demand.with_label_values(&[profile]).add(wanted.into());
            }
            let unmet = index.last_plan(key).map_or(&[][..], |plan| &plan.unmet);
            for reason in UNMET_REASONS {
                let count: u32 = unmet
                    .iter()
                    .filter(|unmet| unmet.reason() == reason)
                    .map(|unmet| unmet.count)
                    .sum();
                let [tenant, queue] = labels;
                self.unmet
                    .with_label_values(&[tenant, queue, &unmet_label(reason)])
                    .set(count.into());
            }
        }
    }

    fn set_nodes(&self, index: &Index) {
        for state in NODE_STATES {
            let count = index
                .nodes()
                .values()
                .filter(|node| node.state() == state)
                .count();
            let label = state.as_str_name().trim_start_matches("NODE_STATE_");
            self.nodes
                .with_label_values(&[&label.to_lowercase()])
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.gpus.reset();
        self.held.reset();
        for by in HeldBy::ALL {
            let _series = self.held.with_label_values(&[by.as_str()]);
        }
        for (id, node, gpu) in index.gpus() {
            self.gpus.with_label_values(&[&gpu.gpu.product]).inc();
            if let Some(held) = index.held(&id, node, gpu) {
                self.held.with_label_values(&[held.by.as_str()]).inc();
            }
        }
        #[expect(
            clippy::as_conversions,
            clippy::cast_precision_loss,
            reason = "Prometheus has no other numbers"
        )]
        self.generation.set(index.newest().0 as f64);
    }
}

const NODE_STATES: [v1::NodeState; 4] = [
    v1::NodeState::Ready,
    v1::NodeState::Applying,
    v1::NodeState::Starting,
    v1::NodeState::Lost,
];

const UNMET_REASONS: [v1::UnmetReason; 5] = [
    v1::UnmetReason::NoRoom,
    v1::UnmetReason::Fragmented,
    v1::UnmetReason::NoSuchProfile,
    v1::UnmetReason::Limit,
    v1::UnmetReason::GpuUnavailable,
];

fn unmet_label(reason: v1::UnmetReason) -> String {
    let name = reason.as_str_name().trim_start_matches("UNMET_REASON_");
    name.to_lowercase()
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
