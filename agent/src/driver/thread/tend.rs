//! What the thread does by itself about GPUs that are sick or whose MIG mode is pending.

use std::time::{Duration, Instant};

use mica_model::{Gpu, WaitsFor};
use mica_nvml::{Driver, Event};
use tracing::{debug, info, warn};

use super::Thread;
use crate::{
    driver::{events::Listener, work::Job},
    health::{self, Verdict},
    metrics::GpuLabels,
    mig_mode::{self, Move},
    outcome::{Ending, GpuOutcome, Refusal},
};

/// Pause before events that do not work are tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(30);

impl Thread {
    /// Whether a worker may be given to a GPU.
    pub(super) fn is_free(&self, uuid: &str) -> bool {
        !self.busy.contains(uuid) && !self.reset.is_under_way() && !self.stopping()
    }

    /// Begins what is due, keeps what the successor has to know, and asks for a reboot where only that helps.
    pub(super) fn tend(&mut self) {
        let gpus = self.inventory.borrow().gpus.clone();
        for gpu in &gpus {
            if gpu.waits_for.is_some() && self.is_free(&gpu.uuid) {
                self.treat(gpu);
            }
            if gpu.fault.is_none() && self.is_free(&gpu.uuid) {
                self.keep(gpu);
            }
        }
        let waits = |gpu: &&Gpu| gpu.waits_for == Some(WaitsFor::Reboot);
        let reasons: Vec<_> = gpus
            .iter()
            .filter(waits)
            .map(|gpu| {
                let why = self.patients.no_reset(&gpu.uuid).unwrap_or_default();
                format!("GPU {} ({}): {why}", gpu.index, gpu.uuid)
            })
            .collect();
        if let Some(sentinel) = &mut self.patients.care.sentinel {
            sentinel.ask(&reasons);
        }
    }

    fn treat(&mut self, gpu: &Gpu) {
        match self.patients.next(gpu) {
            Move::Rest => {}
            Move::Ask => {
                info!(
                    gpu = gpu.uuid,
                    "nobody holds the GPU: asking again for MIG mode"
                );
                match self.begin(&gpu.uuid, Job::Ask) {
                    Ok(()) => self.changes(&gpu.uuid),
                    Err(problem) => warn!(gpu = gpu.uuid, problem, "MIG mode is not asked for"),
                }
            }
            Move::Reset => self.want_reset(&gpu.uuid),
        }
    }

    /// Everybody sees that the agent is at work on the GPU.
    pub(super) fn changes(&self, uuid: &str) {
        self.update(|inventory| {
            let gpus = inventory.gpus.iter_mut().filter(|gpu| gpu.uuid == uuid);
            gpus.for_each(|gpu| gpu.waits_for = Some(WaitsFor::Agent));
        });
    }

    /// Keeps the mode, which a reboot may switch off, and that only a reboot helps. Not before what was there has been made again.
    fn keep(&mut self, gpu: &Gpu) {
        if self.owing.contains(&gpu.uuid) || self.anew.contains(&gpu.uuid) {
            return;
        }
        let Some((on, reboot)) = self.patients.news(gpu) else {
            return;
        };
        let journal = self.settings.journal.of(&gpu.uuid);
        let kept = journal.and_then(|mut journal| journal.note(Some(on), reboot.as_deref()));
        if let Err(error) = kept {
            warn!(gpu = gpu.uuid, %error, "the MIG mode is not in the journal");
        }
    }

    /// The driver has told of something.
    pub(super) fn heard(&mut self, event: &Event) {
        let verdict = health::judge(event.kind, &self.patients.care.ignored);
        let words = health::words(event.kind);
        let (gi, ci) = (event.gi, event.ci);
        let gpu = event.gpu.as_deref().unwrap_or("unknown");
        let labels = event
            .gpu
            .as_ref()
            .map_or_else(GpuLabels::default, |uuid| self.labels(uuid));
        self.settings.metrics.event(&labels, event.kind, verdict);
        match verdict {
            Verdict::Ignored => debug!(gpu, gi, ci, event = words, "an application's own error"),
            Verdict::Noted => info!(gpu, gi, ci, event = words, "the driver tells of an event"),
            Verdict::Withdrawn => {
                let at = format!("{:.0}", jiff::Timestamp::now());
                let gpus = self.inventory.borrow().gpus.clone();
                if self.patients.health.withdraw(event, &at, &gpus) {
                    warn!(
                        gpu,
                        gi,
                        ci,
                        event = words,
                        "the hardware is sick: withdrawn"
                    );
                    // Shown at once where nobody works on the GPU; else when that has ended.
                    self.poll();
                } else {
                    debug!(gpu, gi, ci, event = words, "what is sick has another error");
                }
            }
        }
    }

    /// Has somebody wait for events of the driver, unless that was tried a moment ago.
    pub(super) fn listen(&mut self) {
        if self.listener.as_ref().is_some_and(Listener::is_ended) {
            self.listener = None;
        }
        let recently = |since: Instant| since.elapsed() < LISTEN_AGAIN;
        if self.listener.is_some() || self.reset.is_under_way() {
            return;
        }
        if self.listens_since.is_some_and(recently) {
            return;
        }
        let Some(driver) = self.driver.as_ref().map(Driver::another) else {
            return;
        };
        self.listens_since = Some(Instant::now());
        let (commands, pulse) = (self.channels.done.clone(), &self.channels.pulse);
        match Listener::start(driver, commands, pulse) {
            Ok(listener) => self.listener = Some(listener),
            Err(error) => warn!(%error, "cannot start the thread that waits for events"),
        }
    }

    /// NVML is to be let go of; whoever opens it again has events waited for again at once.
    pub(super) fn stop_listening(&mut self) {
        if let Some(listener) = &self.listener {
            listener.stop();
        }
        self.listens_since = None;
    }

    /// Why a layout may not be made on a GPU, as far as the worker cannot see: the GPU is sick, or an instance that would go is.
    pub(super) fn sick(&self, uuid: &str, layout: &mica_model::Layout) -> Option<Refusal> {
        if !self.patients.health.is_sick(uuid) {
            return None;
        }
        let inventory = self.inventory.borrow();
        let gpu = inventory.gpus.iter().find(|gpu| gpu.uuid == uuid)?;
        if let Some(fault) = &gpu.fault {
            return Some(Refusal::Faulted(fault.clone()));
        }
        gpu.instances.iter().find_map(|instance| {
            let fault = instance.fault.as_ref()?;
            let goes = !layout.0.contains(&instance.slice);
            goes.then(|| Refusal::Faulted(format!("GPU instance {} is sick: {fault}", instance.gi)))
        })
    }

    /// Learns from how the work on a GPU ended, and says why it ended so.
    pub(super) fn learn(&mut self, outcome: GpuOutcome) -> GpuOutcome {
        let GpuOutcome { uuid, ending, .. } = &outcome;
        let gpu = {
            let inventory = self.inventory.borrow();
            inventory.gpus.iter().find(|gpu| gpu.uuid == *uuid).cloned()
        };
        let Some(gpu) = gpu else {
            return outcome;
        };
        if let (Some(code), Ending::Failed(failure)) = (mig_mode::refused_by_driver(ending), ending)
            && (code == mica_nvml::Code::RESET_REQUIRED || gpu.holders.is_empty())
        {
            self.patients.refused(uuid, code, &failure.detail);
        }
        let reboot = self.patients.no_reset(uuid);
        GpuOutcome {
            ending: mig_mode::explained(ending.clone(), &gpu, reboot),
            ..outcome
        }
    }
}
