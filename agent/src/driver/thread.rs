//! The loop of the NVML thread: reads the node, and gives the GPUs that are to change to workers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use mica_model::{Generation, Gpu, MigMode};
use mica_nvml::{Activity, Driver, Error};
use mica_proto::v1;
use tokio::sync::{mpsc::UnboundedSender, watch};
use tracing::{debug, error, info, warn};

use super::{
    Care, Command, Pulse, Settings,
    events::Listener,
    pulse::Beat,
    work::{self, Job, Tools},
};
use crate::{inventory::Inventory, metrics::GpuLabels, usage::InUse};

mod care;
mod layouts;
mod reset;
mod tend;

use care::Patients;
pub(super) use care::name_holders;
use layouts::Layouts;
use reset::Reset;

/// After so many polls that found nothing new the node rests: it is then read half as often, until something happens. What changes
/// meanwhile is seen a poll later; before a destroy everything is read anyway.
const QUIET: u32 = 10;

/// How the thread and the others speak.
pub(super) struct Channels {
    pub(super) commands: Receiver<Command>,
    /// Where workers say that they have ended.
    pub(super) done: Sender<Command>,
    pub(super) outcomes: UnboundedSender<v1::Outcome>,
    /// Set when no more work is to be begun.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) pulse: Pulse,
}

/// The state of the thread.
pub(super) struct Thread {
    settings: Settings,
    channels: Channels,
    /// `None` while NVML cannot be opened.
    driver: Option<Driver>,
    inventory: watch::Sender<Arc<Inventory>>,
    beat: Beat,
    /// Polls in a row that found nothing new.
    quiet: u32,
    /// GPUs that a worker has, by UUID. The thread does not read them meanwhile: nobody is to see them half way.
    busy: BTreeSet<String>,
    /// GPUs that are not where their journal says they belong, and could not be brought there yet.
    owing: BTreeSet<String>,
    /// GPUs that were started anew, so that instances are gone.
    anew: BTreeSet<String>,
    layouts: Layouts,
    /// Sick GPUs, and those whose MIG mode is pending.
    patients: Patients,
    reset: Reset,
    /// Waits for events of the driver; `None` when it has not been started yet, or has let go of NVML.
    listener: Option<Listener>,
    /// When it was last started.
    listens_since: Option<Instant>,
}

impl Thread {
    /// Opens NVML and reads the node. Work that a predecessor left is finished or undone.
    pub(super) fn open(
        settings: Settings,
        care: Care,
        channels: Channels,
    ) -> anyhow::Result<(Self, watch::Receiver<Arc<Inventory>>)> {
        let mut driver = Driver::open(&settings.library)?;
        let beat = channels.pulse.begin("node");
        let in_use = settings.sources.fresh();
        let found = read(&mut driver, &in_use, &BTreeMap::new(), |index| {
            beat.at(&gpu_at(index));
        })?;
        found.tell_faults(&Inventory {
            gpus: Vec::new(),
            ..found.clone()
        });
        let owing = recover_all(&settings, &channels, &driver, &found.gpus)?;
        let mut patients = Patients::new(care);
        for gpu in &found.gpus {
            let journal = settings.journal.of(&gpu.uuid)?;
            patients.known(&gpu.uuid).no_reset = journal.reboot().map(str::to_owned);
        }
        let (inventory, watched) = watch::channel(Arc::new(found));
        let mut thread = Self {
            settings,
            channels,
            driver: Some(driver),
            inventory,
            beat,
            quiet: 0,
            busy: BTreeSet::new(),
            owing,
            anew: BTreeSet::new(),
            layouts: Layouts::default(),
            patients,
            reset: Reset::None,
            listener: None,
            listens_since: None,
        };
        let newest = thread.settings.newest.get();
        thread.update(|inventory| (inventory.seen, inventory.finished) = (newest, newest));
        thread.poll();
        let versions = thread.inventory.borrow().versions.clone();
        let gpus = thread.inventory.borrow().gpus.len();
        info!(driver_version = versions.driver, nvml_version = versions.nvml, gpus, generation = %newest, "NVML is open");
        Ok((thread, watched))
    }

    /// Executes and polls until it is told to stop, and the work under way has ended.
    pub(super) fn run(mut self) {
        let mut next = Instant::now() + self.pause();
        loop {
            // First, so that many layouts in a row do not keep the rest of the node from being read.
            if Instant::now() >= next {
                self.poll();
                next = Instant::now() + self.pause();
            }
            let wait = next.saturating_duration_since(Instant::now());
            match self.channels.commands.recv_timeout(wait) {
                Ok(Command::Execute(desired)) if !self.stopping() => self.execute(&desired),
                Ok(Command::Done(done)) => self.done(*done),
                Ok(Command::Event(event)) => self.heard(&event),
                Ok(Command::Reset(result)) => self.reset_ended(result),
                Ok(Command::Execute(_) | Command::Stop) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.go_on_with_reset();
            if self.stopping() && self.busy.is_empty() && !self.reset.is_under_way() {
                return;
            }
        }
    }

    /// Until the next poll.
    fn pause(&self) -> Duration {
        let calm = self.busy.is_empty() && self.owing.is_empty();
        let rests = self.quiet >= QUIET && calm;
        self.settings.poll_interval * if rests { 2 } else { 1 }
    }

    fn stopping(&self) -> bool {
        self.channels.stop.load(Ordering::Relaxed)
    }

    /// Gives a GPU to a worker. `Err` says why that cannot be.
    fn begin(&mut self, uuid: &str, job: Job) -> Result<(), String> {
        let Some(driver) = &self.driver else {
            let fault = self.inventory.borrow().fault.clone();
            return Err(fault.unwrap_or_default());
        };
        let journal = self.settings.journal.of(uuid);
        let tools = Tools {
            driver: driver.another(),
            journal: journal.map_err(|error| error.to_string())?,
            sources: self.settings.sources.clone(),
            metrics: self.settings.metrics.clone(),
            labels: self.labels(uuid),
            pulse: self.channels.pulse.clone(),
        };
        work::begin(uuid, job, tools, self.channels.done.clone())
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        self.busy.insert(uuid.to_owned());
        Ok(())
    }

    /// Reads one GPU and publishes what is new. The next poll sees to what cannot be read.
    fn refresh(&mut self, uuid: &str) {
        let Some(driver) = &mut self.driver else {
            return self.poll();
        };
        driver.forget_activity(uuid);
        let Ok(mut read) = driver.gpu(uuid) else {
            return self.poll();
        };
        self.settings.sources.known().mark(&mut read);
        self.patients.complete(driver, [&mut read]);
        let hardware = driver.hardware(uuid).ok();
        self.update(|inventory| {
            // A change of the mode may have given it another number.
            inventory.hardware.remove(uuid);
            inventory.place(|known| hardware.filter(|_| known == uuid));
            // Ids are reused at once: what was measured may be of another instance.
            inventory.activity.retain(|(gpu, _), _| gpu != uuid);
            for known in &mut inventory.gpus {
                if known.uuid == uuid {
                    known.clone_from(&read);
                }
            }
        });
        self.beat.beat();
    }

    /// Reads the node and publishes what is new. Opens NVML again when it was lost.
    fn poll(&mut self) {
        if self.driver.is_none() && !self.may_open() {
            return self.beat.beat();
        }
        match self.read_all() {
            Ok(read) => {
                if self.inventory.borrow().fault.is_some() {
                    info!("NVML can be read again");
                }
                let news = self.update(|inventory| {
                    *inventory = Inventory {
                        seen: inventory.seen,
                        finished: inventory.finished,
                        ..read
                    };
                });
                self.quiet = if news {
                    0
                } else {
                    self.quiet.saturating_add(1)
                };
                self.settle();
                self.tend();
                self.listen();
            }
            Err(error) => {
                let fault = format!("NVML cannot be read: {error}");
                if self.inventory.borrow().fault.as_ref() != Some(&fault) {
                    error!("{fault}");
                }
                self.update(|inventory| inventory.lose(&fault));
            }
        }
        self.beat.beat();
    }

    /// Reads every GPU but those that workers have, which stay as they were last seen.
    fn read_all(&mut self) -> Result<Inventory, Error> {
        let known = self.inventory.borrow().clone();
        let busy = known
            .gpus
            .iter()
            .filter(|gpu| self.busy.contains(&gpu.uuid));
        let busy: BTreeMap<_, _> = busy.map(|gpu| (gpu.index, gpu.clone())).collect();
        let mut driver = match self.driver.take() {
            Some(driver) => driver,
            None => Driver::open(&self.settings.library)?,
        };
        let in_use = self.settings.sources.known();
        let beat = |index| self.beat.at(&gpu_at(index));
        let read = read(&mut driver, &in_use, &busy, beat);
        let mut read = match read {
            // A stale NVML is dropped here and opened again by the next poll.
            Err(error) if error.is_stale() => {
                self.anew
                    .extend(known.gpus.iter().map(|gpu| gpu.uuid.clone()));
                self.patients.all_started_anew();
                self.stop_listening();
                return Err(error);
            }
            Err(error) => {
                self.driver = Some(driver);
                return Err(error);
            }
            Ok(read) => read,
        };
        let fresh = read.gpus.iter_mut();
        let fresh = fresh.filter(|gpu| !self.busy.contains(&gpu.uuid));
        self.anew.extend(self.patients.complete(&driver, fresh));
        read.hardware.clone_from(&known.hardware);
        read.place(|uuid| driver.hardware(uuid).ok());
        self.driver = Some(driver);
        Ok(read)
    }

    /// NVML begins anew only when the last user of the stale one has let go.
    fn may_open(&self) -> bool {
        let listening = self
            .listener
            .as_ref()
            .is_some_and(|known| !known.is_ended());
        self.busy.is_empty() && !listening && !self.reset.is_under_way()
    }

    /// Brings GPUs to where they belong that could not be brought there before, or that a driver loaded anew has left empty.
    fn settle(&mut self) {
        let readable: Vec<_> = {
            let inventory = self.inventory.borrow();
            let readable = inventory.gpus.iter().filter(|gpu| gpu.fault.is_none());
            readable.map(|gpu| gpu.uuid.clone()).collect()
        };
        for uuid in readable {
            let reloaded = self.anew.contains(&uuid);
            let wanted = reloaded || self.owing.contains(&uuid);
            if !wanted || !self.is_free(&uuid) {
                continue;
            }
            match self.begin(&uuid, Job::Recover { reloaded }) {
                Ok(()) => {
                    self.owing.remove(&uuid);
                    self.anew.remove(&uuid);
                }
                Err(problem) => warn!(gpu = uuid, problem, "the GPU cannot be recovered"),
            }
        }
    }

    /// Publishes a change of the inventory; watchers wake only when something is different. Whether it is.
    fn update(&self, change: impl FnOnce(&mut Inventory)) -> bool {
        self.inventory.send_if_modified(|current| {
            let mut changed = Inventory::clone(current);
            change(&mut changed);
            let news = changed != **current;
            if news {
                changed.tell_faults(current);
                *current = Arc::new(changed);
            }
            news
        })
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

/// Brings all GPUs to where their journals say they belong, at once. Gives those for which it is too early.
fn recover_all(
    settings: &Settings,
    channels: &Channels,
    driver: &Driver,
    gpus: &[Gpu],
) -> anyhow::Result<BTreeSet<String>> {
    let mut tools = Vec::with_capacity(gpus.len());
    for gpu in gpus {
        tools.push(Tools {
            driver: driver.another(),
            journal: settings.journal.of(&gpu.uuid)?,
            sources: settings.sources.clone(),
            metrics: settings.metrics.clone(),
            labels: GpuLabels::of(gpu),
            pulse: channels.pulse.clone(),
        });
    }
    let job = || Job::Recover { reloaded: false };
    let ended = std::thread::scope(|scope| {
        let workers: Vec<_> = gpus
            .iter()
            .zip(tools)
            .map(|(gpu, tools)| scope.spawn(move || work::work(gpu.uuid.clone(), job(), tools)))
            .collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, work::Done>| {
            worker.join().map_err(|_| {
                anyhow::anyhow!(
                    "a thread that recovered a GPU panicked; see the log before this line"
                )
            })
        };
        workers.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    })?;
    let owing = ended.into_iter().filter(|done| done.owing);
    Ok(owing.map(|done| done.uuid).collect())
}

fn gpu_at(index: u32) -> String {
    format!("GPU {index}")
}

/// Reads everything but the GPUs in `keep`, which are by index; `turn` is called before each GPU.
pub(super) fn read(
    driver: &mut Driver,
    in_use: &InUse,
    keep: &BTreeMap<u32, Gpu>,
    turn: impl Fn(u32),
) -> Result<Inventory, Error> {
    let versions = driver.versions()?;
    let mut gpus = Vec::new();
    let mut activity = BTreeMap::new();
    for index in 0..driver.count()? {
        if let Some(kept) = keep.get(&index) {
            gpus.push(kept.clone());
            continue;
        }
        turn(index);
        let mut gpu = driver.gpu_at(index)?;
        in_use.mark(&mut gpu);
        read_activity(driver, &gpu, &mut activity);
        gpus.push(gpu);
    }
    Ok(Inventory {
        versions,
        gpus,
        activity,
        hardware: BTreeMap::new(),
        fault: None,
        silences: in_use.silences_at_rest(),
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
