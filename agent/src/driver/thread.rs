//! The loop of the NVML thread.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Instant,
};

use mica_model::{Generation, Gpu, MigMode};
use mica_nvml::{Activity, Driver, Error};
use mica_proto::v1;
use tokio::sync::{mpsc::UnboundedSender, watch};
use tracing::{debug, error, info, warn};

use super::{Command, Settings};
use crate::{
    execute::{self, Taken},
    inventory::Inventory,
    metrics::{DriverMetrics, GpuLabels},
    outcome::{Ending, GpuOutcome, Refusal},
};

/// What [`Thread::open`] gives.
type Opened = (
    Thread,
    watch::Receiver<Arc<Inventory>>,
    watch::Receiver<Instant>,
);

/// The state of the thread.
pub(super) struct Thread {
    settings: Settings,
    /// `None` while NVML cannot be opened.
    driver: Option<Driver>,
    commands: Receiver<Command>,
    outcomes: UnboundedSender<v1::Outcome>,
    stop: Arc<AtomicBool>,
    inventory: watch::Sender<Arc<Inventory>>,
    turned: watch::Sender<Instant>,
}

impl Thread {
    /// Opens NVML and reads the node. What was left half made is finished or destroyed.
    pub(super) fn open(
        settings: Settings,
        commands: Receiver<Command>,
        outcomes: UnboundedSender<v1::Outcome>,
        stop: Arc<AtomicBool>,
    ) -> Result<Opened, Error> {
        let mut driver = Driver::open(&settings.library)?;
        let found = read(&mut driver, || {})?;
        found.tell_faults(&Inventory {
            gpus: Vec::new(),
            ..found.clone()
        });
        for gpu in &found.gpus {
            let labels = GpuLabels::of(gpu);
            execute::finish_half_made(&mut driver, gpu, &mut |taken| {
                settings.metrics.taken(&labels, taken);
            });
        }
        let (inventory, watched) = watch::channel(Arc::new(found));
        let (turned, turns) = watch::channel(Instant::now());
        let mut thread = Self {
            settings,
            driver: Some(driver),
            commands,
            outcomes,
            stop,
            inventory,
            turned,
        };
        let newest = thread.settings.newest.get();
        thread.update(|inventory| (inventory.seen, inventory.finished) = (newest, newest));
        thread.poll();
        let versions = thread.inventory.borrow().versions.clone();
        let gpus = thread.inventory.borrow().gpus.len();
        info!(driver_version = versions.driver, nvml_version = versions.nvml, gpus, generation = %newest, "NVML is open");
        Ok((thread, watched, turns))
    }

    /// Executes and polls until it is told to stop.
    pub(super) fn run(mut self) {
        let mut next = Instant::now() + self.settings.poll_interval;
        loop {
            // First, so that many layouts in a row do not keep the rest of the node from being read.
            if Instant::now() >= next {
                self.poll();
                next = Instant::now() + self.settings.poll_interval;
            }
            let wait = next.saturating_duration_since(Instant::now());
            match self.commands.recv_timeout(wait) {
                Ok(Command::Execute(desired)) => self.execute(&desired),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Executes a layout of the node and says how it ended.
    fn execute(&mut self, desired: &v1::Desired) {
        let generation = Generation(desired.generation);
        if let Err(refusal) = self.settings.newest.admit(generation) {
            warn!(%generation, %refusal, "layout refused");
            self.say(v1::Outcome {
                generation: generation.0,
                refusal: Some((&refusal).into()),
                gpus: Vec::new(),
            });
            return;
        }
        if let Err(error) = self.settings.newest.advance(generation) {
            error!(%generation, %error, "layout not executed");
            // Not seen, since it is not kept, but dealt with: the coordinator need not wait for it.
            self.update(|inventory| inventory.finished = generation);
            self.say(not_kept(desired, &error.to_string()));
            return;
        }
        self.update(|inventory| inventory.seen = generation);
        info!(%generation, gpus = desired.gpus.len(), "layout begins");
        let mut outcomes = Vec::with_capacity(desired.gpus.len());
        for layout in &desired.gpus {
            if self.stop.load(Ordering::Relaxed) {
                info!(%generation, "layout left between two GPUs: stopping");
                return;
            }
            outcomes.push(v1::GpuOutcome::from(&self.execute_one(layout)));
        }
        self.update(|inventory| inventory.finished = generation);
        info!(%generation, "layout ends");
        self.say(v1::Outcome {
            generation: generation.0,
            refusal: None,
            gpus: outcomes,
        });
    }

    fn execute_one(&mut self, wanted: &v1::GpuLayout) -> GpuOutcome {
        let labels = self.labels(&wanted.uuid);
        let outcome = match (wanted.layout(), &mut self.driver) {
            (Err(invalid), _) => GpuOutcome::refused(
                wanted.uuid.clone(),
                Refusal::IllegalLayout(invalid.to_string()),
            ),
            (Ok(_), None) => {
                let fault = self.inventory.borrow().fault.clone().unwrap_or_default();
                GpuOutcome::refused(wanted.uuid.clone(), Refusal::Faulted(fault))
            }
            (Ok(layout), Some(driver)) => execute::execute(
                driver,
                &wanted.uuid,
                &layout,
                &mut observer(&self.settings.metrics, &labels, &self.turned),
            ),
        };
        self.settings.metrics.ended(&labels, &outcome.ending);
        let GpuOutcome {
            uuid,
            ending,
            created,
            destroyed,
        } = &outcome;
        match ending {
            Ending::Holds => info!(gpu = uuid, created, destroyed, "layout holds"),
            Ending::Refused(refusal) => warn!(gpu = uuid, %refusal, "layout refused"),
            Ending::Failed(failure) => warn!(
                gpu = uuid,
                created,
                destroyed,
                step = failure.step.as_str(),
                rolled_back = failure.rolled_back,
                "layout failed"
            ),
        }
        // Others see at once what has changed, also while further GPUs are worked on.
        self.refresh(&outcome.uuid);
        outcome
    }

    /// Reads one GPU and publishes what is new. The next poll sees to what cannot be read.
    fn refresh(&mut self, uuid: &str) {
        let Some(Ok(read)) = self.driver.as_mut().map(|driver| driver.gpu(uuid)) else {
            return self.poll();
        };
        self.update(|inventory| {
            // Ids are reused at once: what was measured may be of another instance.
            inventory.activity.retain(|(gpu, _), _| gpu != uuid);
            for known in &mut inventory.gpus {
                if known.uuid == uuid {
                    known.clone_from(&read);
                }
            }
        });
        self.turned.send_replace(Instant::now());
    }

    /// Reads the node and publishes what is new. Opens NVML again when it was lost.
    fn poll(&mut self) {
        let result = match self.driver.take() {
            Some(driver) => Ok(driver),
            None => Driver::open(&self.settings.library),
        }
        .and_then(|mut driver| {
            let read = read(&mut driver, || {
                self.turned.send_replace(Instant::now());
            });
            // A stale NVML is dropped here and opened again by the next poll.
            if !read.as_ref().is_err_and(Error::is_stale) {
                self.driver = Some(driver);
            }
            read
        });
        match result {
            Ok(read) => {
                if self.inventory.borrow().fault.is_some() {
                    info!("NVML can be read again");
                }
                self.update(|inventory| {
                    *inventory = Inventory {
                        seen: inventory.seen,
                        finished: inventory.finished,
                        ..read
                    };
                });
            }
            Err(error) => {
                let fault = format!("NVML cannot be read: {error}");
                if self.inventory.borrow().fault.as_ref() != Some(&fault) {
                    error!("{fault}");
                }
                self.update(|inventory| inventory.lose(&fault));
            }
        }
        self.turned.send_replace(Instant::now());
    }

    /// Publishes a change of the inventory; watchers wake only when something is different.
    fn update(&self, change: impl FnOnce(&mut Inventory)) {
        self.inventory.send_if_modified(|current| {
            let mut changed = Inventory::clone(current);
            change(&mut changed);
            let news = changed != **current;
            if news {
                changed.tell_faults(current);
                *current = Arc::new(changed);
            }
            news
        });
    }

    fn say(&self, outcome: v1::Outcome) {
        if self.outcomes.send(outcome).is_err() {
            debug!("nobody waits for the outcome any more");
        }
    }

    fn labels(&self, uuid: &str) -> GpuLabels {
        let inventory = self.inventory.borrow();
        inventory
            .gpus
            .iter()
            .find(|gpu| gpu.uuid == uuid)
            .map_or_else(GpuLabels::default, GpuLabels::of)
    }
}

/// Counts each step, and tells that the thread turns.
fn observer<'a>(
    metrics: &'a DriverMetrics,
    labels: &'a GpuLabels,
    turned: &'a watch::Sender<Instant>,
) -> impl FnMut(&Taken) + use<'a> {
    move |taken| {
        metrics.taken(labels, taken);
        turned.send_replace(Instant::now());
    }
}

/// The outcome of a layout whose generation could not be kept: executing it could be undone by a late one after a restart.
fn not_kept(desired: &v1::Desired, problem: &str) -> v1::Outcome {
    let failed = |layout: &v1::GpuLayout| v1::GpuOutcome {
        uuid: layout.uuid.clone(),
        failure: Some(v1::Failure {
            step: v1::FailedStep::Unspecified.into(),
            nvml_code: None,
            detail: format!("not executed: {problem}"),
            rolled_back: true,
        }),
        ..v1::GpuOutcome::default()
    };
    v1::Outcome {
        generation: desired.generation,
        refusal: None,
        gpus: desired.gpus.iter().map(failed).collect(),
    }
}

/// Reads everything; `turn` is called after each GPU.
pub(super) fn read(driver: &mut Driver, turn: impl Fn()) -> Result<Inventory, Error> {
    let versions = driver.versions()?;
    let mut gpus = Vec::new();
    let mut activity = BTreeMap::new();
    for index in 0..driver.count()? {
        let gpu = driver.gpu_at(index)?;
        read_activity(driver, &gpu, &mut activity);
        gpus.push(gpu);
        turn();
    }
    Ok(Inventory {
        versions,
        gpus,
        activity,
        fault: None,
        seen: Generation::default(),
        finished: Generation::default(),
    })
}

/// Activity of the instances of one GPU. What cannot be read is left out: a metric that is absent says so better than a zero.
fn read_activity(driver: &mut Driver, gpu: &Gpu, activity: &mut BTreeMap<(String, u32), Activity>) {
    if gpu.mig_mode != MigMode::Enabled || gpu.fault.is_some() || gpu.instances.is_empty() {
        return;
    }
    match driver.activities(gpu) {
        Ok(read) => activity.extend(
            read.into_iter()
                .map(|(gi, activity)| ((gpu.uuid.clone(), gi), activity)),
        ),
        Err(error) => debug!(gpu = gpu.uuid, %error, "activity cannot be read"),
    }
}
