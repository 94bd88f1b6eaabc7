//! The threads that call NVML.
//!
//! NVML calls block, some for seconds, so none is made on the async side. It sends layouts to one thread, which has a further one work
//! on each GPU that is to change, and watches what that thread reads: the inventory, after each poll and after each GPU that was
//! worked on.
//!
//! ```text
//! uplink ──Desired──► thread ──Outcome──► uplink
//!                     │ ▲  └──Inventory──► uplink, /metrics, /readyz
//!                    Job Done
//!                     ▼ │
//!                    work: one thread per GPU that changes
//! ```

use std::{
    collections::BTreeMap,
    ffi::OsString,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc as commands,
    },
    thread::JoinHandle,
    time::Duration,
};

use mica_nvml::Driver;
use mica_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    generation::Newest, health::Ignored, holders::Processes, inventory::Inventory,
    journal::Journal, metrics::DriverMetrics, mig_mode::View, reset, sentinel::Sentinel,
    usage::Sources,
};

mod events;
mod pulse;
mod thread;
mod work;

pub use pulse::{Pulse, Silent};
use thread::Thread;

/// What the thread works with.
#[derive(Debug)]
pub struct Settings {
    /// Name or path of the NVML library.
    pub library: OsString,
    /// Time between two reads of the inventory.
    pub poll_interval: Duration,
    /// The newest generation seen.
    pub newest: Newest,
    /// What is done to each GPU.
    pub journal: Journal,
    /// Who uses what, beside processes.
    pub sources: Sources,
    /// Where steps and outcomes are counted.
    pub metrics: DriverMetrics,
}

/// What is done about GPUs that are sick, or whose MIG mode is pending.
#[derive(Debug)]
pub struct Care {
    /// Where it is seen who holds a GPU.
    pub processes: Processes,
    /// XIDs that make no GPU sick.
    pub ignored: Ignored,
    /// The program that resets a GPU; `None` when none is to be reset.
    pub nvidia_smi: Option<OsString>,
    /// Where a reboot of the node is asked for, when it is.
    pub sentinel: Option<Sentinel>,
}

/// What the thread is told.
#[derive(Debug)]
enum Command {
    /// Execute a layout.
    Execute(v1::Desired),
    /// The work on a GPU has ended.
    Done(Box<work::Done>),
    /// The driver has told of something.
    Event(mica_nvml::Event),
    /// The reset of a GPU has ended.
    Reset(Result<(), reset::Error>),
    /// End.
    Stop,
}

/// What the async side holds of the running thread.
#[derive(Debug)]
pub struct Handle {
    orders: Orders,
    /// Tells by being closed.
    ended: watch::Receiver<()>,
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

/// Sends layouts to the thread and watches what it reads.
#[derive(Clone, Debug)]
pub struct Orders {
    commands: commands::Sender<Command>,
    inventory: watch::Receiver<Arc<Inventory>>,
    pulse: Pulse,
}

impl Orders {
    /// Has a layout executed, on each GPU after those sent before. How it ended comes on the channel of [`start`].
    ///
    /// `Err` when the thread has ended.
    pub fn execute(&self, desired: v1::Desired) -> Result<(), Ended> {
        self.commands
            .send(Command::Execute(desired))
            .map_err(|_| Ended)
    }

    /// What was last read.
    #[must_use]
    pub fn inventory(&self) -> watch::Receiver<Arc<Inventory>> {
        self.inventory.clone()
    }

    /// When the threads last finished to read a GPU, or a step.
    #[must_use]
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }
}

/// The thread that owns NVML has ended.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the thread that owns NVML has ended; see the log before this line")]
pub struct Ended;

/// Opens NVML, finishes half-made GPU instances, reads the inventory, and goes on reading and executing on a thread of its own.
/// Outcomes come on the channel, each after the inventory that shows what it led to.
pub async fn start(
    settings: Settings,
    care: Care,
) -> anyhow::Result<(Handle, mpsc::UnboundedReceiver<v1::Outcome>)> {
    let (commands, received) = commands::channel();
    let (outcomes, ended_layouts) = mpsc::unbounded_channel();
    let (ready, opened) = oneshot::channel();
    let (end, ended) = watch::channel(());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let pulse = Pulse::default();
    let channels = thread::Channels {
        done: commands.clone(),
        commands: received,
        outcomes,
        stop: stopped,
        pulse: pulse.clone(),
    };
    let thread = std::thread::Builder::new()
        .name("nvml".to_owned())
        .spawn(move || {
            match Thread::open(settings, care, channels) {
                Ok((thread, inventory)) => {
                    if ready.send(Ok(inventory)).is_ok() {
                        thread.run();
                    }
                }
                // The one who waits for it has gone when this fails.
                Err(error) => drop(ready.send(Err(error))),
            }
            drop(end);
        })?;
    let inventory = opened.await.map_err(|_| Ended)??;
    let handle = Handle {
        orders: Orders {
            commands,
            inventory,
            pulse,
        },
        ended,
        thread,
        stop,
    };
    Ok((handle, ended_layouts))
}

impl Handle {
    /// Sends layouts to the thread and watches what it reads.
    #[must_use]
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Returns when the thread has ended, which it does by itself only when it is broken.
    pub async fn ended(&mut self) {
        while self.ended.changed().await.is_ok() {}
    }

    /// Lets the work on GPUs that is under way come to its end, and returns when it has.
    pub async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // When it cannot be told any more it has ended.
        self.orders.commands.send(Command::Stop).unwrap_or_default();
        self.ended().await;
        if self.thread.join().is_err() {
            tracing::error!("the thread that owns NVML panicked");
        }
    }
}

/// Opens NVML, reads everything once, and who holds each GPU, and asks the sources of use, for `inspect`.
pub fn look(
    library: &std::ffi::OsStr,
    processes: &Processes,
    sources: &Sources,
) -> Result<Inventory, mica_nvml::Error> {
    let mut driver = Driver::open(library)?;
    let mut inventory = thread::read(&mut driver, &sources.fresh(), &BTreeMap::new(), |_| {})?;
    thread::name_holders(&driver, processes, inventory.gpus.iter_mut());
    for gpu in &mut inventory.gpus {
        let hardware = driver.hardware(&gpu.uuid);
        let view = View {
            resetless: hardware.is_ok_and(|known| known.resetless),
            ..View::of(gpu)
        };
        gpu.waits_for = view.waits_for();
    }
    Ok(inventory)
}
