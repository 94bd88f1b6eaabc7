//! The thread that waits for what the driver tells by itself.
//!
//! It blocks in NVML, and shares the open NVML with the thread that reads the node: when that is stale, or has to be let go of for
//! the reset of a GPU, this thread ends, and is started again with the next one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use mica_nvml::{Code, Driver, Error, Events};
use tracing::{debug, warn};

use super::{
    Command,
    pulse::{Beat, Pulse},
};

/// How long one wait takes: as long as it may take until NVML is let go of.
const WAIT: Duration = Duration::from_secs(1);

/// Waits in which nothing comes until GPUs that could not be registered are tried again.
const QUIET: u32 = 10;

/// Pause before others are made of events that do not work: each misses what comes meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// The running thread.
#[derive(Debug)]
pub(super) struct Listener {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Listener {
    /// Starts to wait for the events of all GPUs of an open NVML; they come as [`Command::Event`].
    pub(super) fn start(
        driver: Driver,
        commands: Sender<Command>,
        pulse: &Pulse,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let pulse = pulse.clone();
        let thread = thread::Builder::new()
            .name("nvml events".to_owned())
            .spawn(move || {
                let beat = pulse.begin("events");
                match listen(&driver, &commands, &stopped, &beat) {
                    Ok(()) => {}
                    Err(error) if error.is_stale() => debug!(%error, "events end"),
                    Err(error) => warn!(
                        %error,
                        "the driver does not tell of errors: a sick GPU is seen only when it cannot be read"
                    ),
                }
            })?;
        Ok(Self { stop, thread })
    }

    /// Has it let go of NVML, which it does within a second.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it has let go of NVML.
    pub(super) fn is_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Nobody waits for its end then: it holds nothing that has to be put in order.
impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(
    driver: &Driver,
    commands: &Sender<Command>,
    stop: &AtomicBool,
    beat: &Beat,
) -> Result<(), Error> {
    let mut events = driver.events()?;
    let mut all = events.register()?;
    let mut quiet = 0;
    while !stop.load(Ordering::Relaxed) {
        beat.waits(WAIT);
        match events.wait(WAIT) {
            Ok(Some(event)) => {
                if commands.send(Command::Event(event)).is_err() {
                    return Ok(());
                }
            }
            Ok(None) => {
                quiet += 1;
                if !all && quiet % QUIET == 0 {
                    all = events.register()?;
                }
            }
            // A lost GPU among them spoils the set for the others. Should NVML as a whole be lost, this says so.
            Err(error) if error.code() == Some(Code::GPU_IS_LOST) => {
                thread::park_timeout(PAUSE);
                (events, all) = again(driver)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn again(driver: &Driver) -> Result<(Events, bool), Error> {
    let mut events = driver.events()?;
    let all = events.register()?;
    Ok((events, all))
}
