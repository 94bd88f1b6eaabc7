//! The reset of one GPU: everybody lets go of it, this process first.
//!
//! An open NVML holds every GPU of the node. So the work on all GPUs comes to its end, NVML is closed, `nvidia-smi` resets the one GPU, and
//! NVML is opened again. What layouts ask for meanwhile waits.

use mica_model::{Generation, WaitsFor};
use tracing::{error, info, warn};

use super::Thread;
use crate::{
    driver::{Command, events::Listener},
    mig_mode::Move,
    reset, steps,
};

/// Where a reset stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Reset {
    /// None is under way.
    #[default]
    None,
    /// The work on all GPUs comes to its end.
    Finishing(String),
    /// NVML is let go of.
    LettingGo(String),
    /// `nvidia-smi` is at work.
    UnderWay(String),
}

impl Reset {
    pub(super) fn is_under_way(&self) -> bool {
        *self != Self::None
    }
}

impl Thread {
    /// Begins the reset of a GPU that waits for one.
    pub(super) fn want_reset(&mut self, uuid: &str) {
        if !self.reset.is_under_way() && !self.stopping() {
            self.reset = Reset::Finishing(uuid.to_owned());
            self.go_on_with_reset();
        }
    }

    /// Goes on as far as it goes now.
    pub(super) fn go_on_with_reset(&mut self) {
        if let Reset::Finishing(uuid) = &self.reset
            && self.busy.is_empty()
        {
            let uuid = uuid.clone();
            match self.last_look(&uuid) {
                Ok(()) => {
                    self.update(|inventory| {
                        let gpus = inventory.gpus.iter_mut();
                        let gpu = gpus.filter(|gpu| gpu.uuid == uuid);
                        gpu.for_each(|gpu| gpu.waits_for = Some(WaitsFor::Agent));
                    });
                    self.owing.insert(uuid.clone());
                    self.driver = None;
                    self.stop_listening();
                    self.reset = Reset::LettingGo(uuid);
                }
                Err(why) => {
                    info!(gpu = uuid, why, "the GPU is not reset");
                    self.settings.sources.offer_again(&uuid);
                    self.reset = Reset::None;
                    self.make_what_waits();
                }
            }
        }
        if let Reset::LettingGo(uuid) = &self.reset
            && self.listener.as_ref().is_none_or(Listener::is_ended)
        {
            let uuid = uuid.clone();
            self.listener = None;
            self.reset = Reset::UnderWay(uuid.clone());
            if let Err(problem) = self.run_reset(&uuid) {
                let failed = reset::Error::Failed(format!("cannot start a thread: {problem}"));
                self.reset_ended(Err(failed));
            }
        }
    }

    /// Whether nobody uses the GPU still; then what stands there is in the journal, to be made again.
    fn last_look(&mut self, uuid: &str) -> Result<(), String> {
        let driver = self.driver.as_mut().ok_or("NVML is lost")?;
        let mut gpu = driver.gpu(uuid).map_err(|error| error.to_string())?;
        if let Some(fault) = gpu.fault {
            return Err(fault);
        }
        let instances = gpu.instances.iter();
        let slices = instances.filter_map(|known| known.compute.as_ref());
        let devices = slices.map(|compute| compute.uuid.clone());
        let devices = devices.chain([uuid.to_owned()]).collect();
        self.settings
            .sources
            .take_back(uuid, &devices)
            .map_err(|unknown| format!("it {unknown}"))?;
        self.settings.sources.fresh().mark(&mut gpu);
        self.patients.complete(driver, [&mut gpu]);
        if self.patients.due(&gpu) != Move::Reset {
            return Err("it is used, or does not need it any more".to_owned());
        }
        let mut journal = self
            .settings
            .journal
            .of(uuid)
            .map_err(|error| error.to_string())?;
        let stands = steps::usable(&gpu);
        journal
            .begin(Generation::default(), &stands, &stands)
            .map_err(|error| error.to_string())
    }

    fn run_reset(&self, uuid: &str) -> std::io::Result<()> {
        let nvidia_smi = self.patients.care.nvidia_smi.clone().unwrap_or_default();
        let done = self.channels.done.clone();
        let uuid = uuid.to_owned();
        info!(gpu = uuid, nvidia_smi = %nvidia_smi.display(), "resetting the GPU");
        std::thread::Builder::new()
            .name("reset".to_owned())
            .spawn(move || {
                // Else the reset would be under way for ever.
                let result = std::panic::catch_unwind(|| reset::reset(&nvidia_smi, &uuid));
                let panicked =
                    |_| reset::Error::Failed("its thread panicked: see the log".to_owned());
                let result = result.map_err(panicked).flatten();
                if done.send(Command::Reset(result)).is_err() {
                    tracing::debug!("nobody waits for the end of the reset any more");
                }
            })?;
        Ok(())
    }

    /// The reset has ended: NVML is opened again, what stood is made again, and what layouts asked for meanwhile.
    pub(super) fn reset_ended(&mut self, result: Result<(), reset::Error>) {
        let Reset::UnderWay(uuid) = std::mem::take(&mut self.reset) else {
            return;
        };
        self.settings.metrics.reset(&self.labels(&uuid), &result);
        match result {
            Ok(()) => {
                info!(gpu = uuid, "the GPU is reset");
                self.patients.started_anew(&uuid);
            }
            Err(reset::Error::Impossible(why)) => {
                error!(
                    gpu = uuid,
                    why, "the GPU cannot be reset; the node has to be rebooted"
                );
                self.patients.known(&uuid).no_reset = Some(why);
            }
            Err(reset::Error::Failed(why)) => {
                warn!(
                    gpu = uuid,
                    why, "the GPU is not reset; tried again in a minute"
                );
            }
        }
        self.poll();
        self.settings.sources.offer_again(&uuid);
        self.make_what_waits();
    }
}
