//! Finishing or undoing what a predecessor left, and making again what a reboot took away.

use mica_model::{Gpu, Layout, MigMode};
use mica_nvml::Driver;
use tracing::{info, warn};

use super::{Patience, Run, Taken};
use crate::{
    journal::{GpuJournal, Record},
    outcome::{Ending, GpuOutcome, Refusal, StepKind},
    steps::{self, Step},
    usage::Sources,
};

/// What [`recover`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// There was nothing to do, or what stands was adopted.
    Nothing,
    /// A layout was made or undone; it says how it ended.
    Done(GpuOutcome),
    /// The GPU cannot be read now, so that it is not known what to do; or something would have to go of which some source does not tell
    /// whether it is in use. The journal is left as it is: try again later.
    Later(GpuOutcome),
}

/// Brings one GPU to where its journal says it belongs.
///
/// - Work under way when the agent died: it is finished; where that cannot be, what stood before is restored.
/// - A reboot, or `reloaded`, the driver was loaded anew: no instance outlives that. What was last wanted is made again, unless
///   something stands already: that is somebody's, and is adopted. MIG mode is switched on again when it was on, also when
///   nothing stood: from Hopper on a reboot switches it off.
/// - Else: half-made GPU instances, which nobody can use and nobody else sees, get their compute instance or go.
pub fn recover(
    driver: &mut Driver,
    sources: &Sources,
    uuid: &str,
    journal: &mut GpuJournal,
    reloaded: bool,
    patience: Patience,
    observe: &mut dyn FnMut(&Taken),
) -> Recovered {
    let began_anew = reloaded || journal.is_of_former_boot();
    let Record {
        layout, work, mig, ..
    } = journal.record().clone();
    let mut run = Run::new(driver, sources, uuid, patience, observe);
    let actual = match run.readable() {
        Ok(actual) => actual,
        Err(ending) => return Recovered::Later(run.outcome(ending)),
    };
    run.journal = Some(journal);
    if began_anew {
        let wanted = work.map(|work| work.wanted).or(layout);
        return run.make_again(&actual, wanted.as_ref(), mig == Some(true));
    }
    match work {
        Some(work) => {
            info!(gpu = uuid, generation = %work.generation, step = work.step.map(|step| step.step), "finishing what was under way");
            run.generation = work.generation;
            run.finish(&work.wanted, &work.former)
        }
        None => run.finish_half_made(&actual),
    }
}

impl Run<'_> {
    /// What stands, or why that cannot be told.
    pub(super) fn readable(&mut self) -> Result<Gpu, Ending> {
        let gpu = self
            .read()
            .map_err(|trouble| super::failed(trouble, true))?;
        match gpu.fault {
            Some(fault) => Err(Ending::Refused(Refusal::Faulted(fault))),
            None => Ok(gpu),
        }
    }

    /// Makes a layout again on a GPU that was started anew.
    fn make_again(&mut self, actual: &Gpu, wanted: Option<&Layout>, mig: bool) -> Recovered {
        let wanted = wanted.filter(|wanted| !wanted.0.is_empty());
        let Some(wanted) = wanted.filter(|_| actual.instances.is_empty()) else {
            if mig && actual.mig_mode == MigMode::Disabled {
                info!(gpu = self.uuid, "switching MIG mode on again");
                self.take_what_can(&[Step::EnableMig]);
            }
            self.drop_half_made();
            let stands = steps::usable(actual);
            self.end(Some(&stands));
            return Recovered::Nothing;
        };
        info!(
            gpu = self.uuid,
            slices = wanted.0.len(),
            "making again what stood before the GPU was started anew"
        );
        let ending = self.make(wanted);
        self.concluded(ending)
    }

    /// Finishes a layout of which some steps may have been taken.
    fn finish(&mut self, wanted: &Layout, former: &Layout) -> Recovered {
        // The former layout is that of the journal, not what stands half way.
        let ending = match self.read().map(|actual| self.steps(&actual, wanted)) {
            Err(trouble) => super::failed(trouble, false),
            Ok(Ok(steps)) => match self.take_and_verify(&steps, wanted) {
                Ok(()) => {
                    self.end(Some(wanted));
                    Ending::Holds
                }
                Err(trouble) => {
                    self.touched = true;
                    self.give_up(trouble, former)
                }
            },
            Ok(Err(refusal)) if refusal.is_for_silence() => Ending::Refused(refusal),
            Ok(Err(refusal)) => {
                warn!(gpu = self.uuid, %refusal, "not finished: going back");
                self.roll_back(former);
                self.end_as_it_stands();
                Ending::Refused(refusal)
            }
        };
        self.concluded(ending)
    }

    /// Gives half-made GPU instances their compute instance; where that fails they go.
    fn finish_half_made(&mut self, actual: &Gpu) -> Recovered {
        let usable = |mode| matches!(mode, MigMode::Enabled | MigMode::PendingDisable);
        if !usable(actual.mig_mode) || actual.instances.iter().all(|known| known.compute.is_some())
        {
            return Recovered::Nothing;
        }
        info!(gpu = self.uuid, "finishing half-made GPU instances");
        match self.steps(actual, &actual.layout()) {
            Ok(steps) => self.take_what_can(&steps),
            Err(refusal) => {
                warn!(gpu = self.uuid, %refusal, "half-made GPU instances are not finished");
            }
        }
        self.drop_half_made();
        let ending = Ending::Holds;
        Recovered::Done(self.outcome(ending))
    }

    fn concluded(&self, ending: Ending) -> Recovered {
        let unread = match &ending {
            Ending::Failed(failure) => failure.step == StepKind::Read && !failure.rolled_back,
            Ending::Refused(Refusal::Faulted(_)) => true,
            Ending::Refused(refusal) => refusal.is_for_silence(),
            Ending::Holds => false,
        };
        let outcome = self.outcome(ending);
        if unread {
            Recovered::Later(outcome)
        } else {
            Recovered::Done(outcome)
        }
    }
}
