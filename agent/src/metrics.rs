//! What Prometheus scrapes: an own registry, and a struct per component that owns its part of it.
//!
//! Counters and histograms live on; everything that describes the present (GPUs, instances, generations) is written anew from the
//! inventory when that is another one than at the last scrape, so that the series of what has gone go with it. Every series carries the label `node`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use mica_model::Gpu;
use mica_nvml::EventKind;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    core::Collector,
};

use crate::{
    driver::Silent,
    execute::Taken,
    health::{self, Verdict},
    inventory::Inventory,
    outcome::Ending,
    reset,
};

mod present;

use present::Present;

/// Registering a metric or writing the text failed.
pub type Error = prometheus::Error;

/// Labels that name a GPU.
const GPU: [&str; 3] = ["gpu", "gpu_index", "model"];

/// Seconds; a driver takes from milliseconds (simulated) to several seconds (a loaded node) for one change.
const STEP_BUCKETS: [f64; 9] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// All metrics of the agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    present: Present,
    /// The inventory that the gauges show. Locked during a scrape: another one is not to find them half written.
    shown: Mutex<Option<Arc<Inventory>>>,
    /// The metrics of the thread that owns NVML.
    pub driver: DriverMetrics,
    /// The metrics of the stream to the coordinator.
    pub uplink: UplinkMetrics,
}

impl Metrics {
    /// Registers everything.
    pub fn new(node: &str) -> Result<Self, Error> {
        let labels = HashMap::from([("node".to_owned(), node.to_owned())]);
        let registry = Registry::new_custom(Some("mica_agent".to_owned()), Some(labels))?;
        Ok(Self {
            present: Present::register(&registry)?,
            shown: Mutex::default(),
            driver: DriverMetrics::register(&registry)?,
            uplink: UplinkMetrics::register(&registry)?,
            registry,
        })
    }

    /// The text of a scrape. `silent` are the threads that call NVML.
    pub fn text(&self, inventory: &Arc<Inventory>, silent: &[Silent]) -> Result<String, Error> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        self.present.set_threads(silent);
        if !shown.as_ref().is_some_and(|it| Arc::ptr_eq(it, inventory)) {
            self.present.set(inventory);
            *shown = Some(Arc::clone(inventory));
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// The values of the labels that name a GPU.
#[derive(Clone, Debug, Default)]
pub struct GpuLabels {
    uuid: String,
    index: String,
    model: String,
}

impl GpuLabels {
    /// Of a GPU.
    #[must_use]
    pub fn of(gpu: &Gpu) -> Self {
        Self {
            uuid: gpu.uuid.clone(),
            index: gpu.index.to_string(),
            model: gpu.product.clone(),
        }
    }

    /// NVML index, as a label.
    #[must_use]
    pub fn index(&self) -> &str {
        &self.index
    }

    /// In the order of the names, followed by `more`.
    fn and<'a, const N: usize>(&'a self, more: [&'a str; N]) -> Vec<&'a str> {
        [&*self.uuid, &*self.index, &*self.model]
            .into_iter()
            .chain(more)
            .collect()
    }
}

/// Layouts, steps and failures.
#[derive(Clone, Debug)]
pub struct DriverMetrics {
    layouts: IntCounterVec,
    steps: HistogramVec,
    failures: IntCounterVec,
    events: IntCounterVec,
    resets: IntCounterVec,
}

impl DriverMetrics {
    fn register(registry: &Registry) -> Result<Self, Error> {
        let duration = HistogramOpts::new(
            "step_duration_seconds",
            "Time that a step of a layout took, last look and repeated attempts included.",
        )
        .buckets(STEP_BUCKETS.to_vec());
        Ok(Self {
            layouts: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "layouts_total",
                        "Layouts of a GPU that were executed, by outcome: holds, refused (nothing was touched), rolled_back or failed.",
                    ),
                    &names(["outcome"]),
                )?,
            )?,
            steps: register(registry, HistogramVec::new(duration, &names(["step"]))?)?,
            failures: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "step_failures_total",
                        "Steps that failed, by step and NVML return code; none where it was not NVML that failed.",
                    ),
                    &names(["step", "code"]),
                )?,
            )?,
            events: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "gpu_events_total",
                        "Errors that the driver told of, by kind, number of the XID, and what they came to: ignored, noted or withdrawn.",
                    ),
                    &names(["event", "xid", "result"]),
                )?,
            )?,
            resets: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "gpu_resets_total",
                        "Resets of the GPU by the agent, by result: done, failed or impossible.",
                    ),
                    &names(["result"]),
                )?,
            )?,
        })
    }

    /// Counts an event.
    pub fn event(&self, gpu: &GpuLabels, kind: EventKind, verdict: Verdict) {
        let (event, xid) = health::labels(kind);
        self.events
            .with_label_values(&gpu.and([event, &*xid, verdict.as_str()]))
            .inc();
    }

    /// Counts a reset.
    pub fn reset(&self, gpu: &GpuLabels, result: &Result<(), reset::Error>) {
        let result = match result {
            Ok(()) => "done",
            Err(reset::Error::Failed(_)) => "failed",
            Err(reset::Error::Impossible(_)) => "impossible",
        };
        self.resets.with_label_values(&gpu.and([result])).inc();
    }

    /// Counts a step.
    pub fn taken(&self, gpu: &GpuLabels, taken: &Taken) {
        let step = taken.step.as_str();
        self.steps
            .with_label_values(&gpu.and([step]))
            .observe(taken.duration.as_secs_f64());
        if let Err(code) = taken.result {
            let code = code.map_or_else(|| "none".to_owned(), |code| code.0.to_string());
            self.failures
                .with_label_values(&gpu.and([step, &*code]))
                .inc();
        }
    }

    /// Counts a layout that has ended.
    pub fn ended(&self, gpu: &GpuLabels, ending: &Ending) {
        self.layouts
            .with_label_values(&gpu.and([ending.as_str()]))
            .inc();
    }
}

/// The stream to the coordinator.
#[derive(Clone, Debug)]
pub struct UplinkMetrics {
    connected: IntGauge,
    connections: IntCounter,
    last_report: IntGauge,
}

impl UplinkMetrics {
    fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            connected: register(
                registry,
                IntGauge::new(
                    "coordinator_connected",
                    "Whether the stream to the coordinator stands.",
                )?,
            )?,
            connections: register(
                registry,
                IntCounter::new(
                    "coordinator_connections_total",
                    "Streams to the coordinator that were opened.",
                )?,
            )?,
            last_report: register(
                registry,
                IntGauge::new(
                    "last_report_timestamp_seconds",
                    "When the last report was sent to the coordinator, in seconds since 1970. Reports are sent on changes only.",
                )?,
            )?,
        })
    }

    /// The stream stands.
    pub fn connected(&self) {
        self.connected.set(1);
        self.connections.inc();
    }

    /// The stream is gone.
    pub fn disconnected(&self) {
        self.connected.set(0);
    }

    /// A report was sent.
    pub fn reported(&self) {
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap_or_default();
        self.last_report
            .set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }
}

/// The labels of a GPU, followed by `more`.
fn names<const N: usize>(more: [&'static str; N]) -> Vec<&'static str> {
    GPU.into_iter().chain(more).collect()
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
