//! Switching MIG mode for itself, as `mica-agent apply` does for a person.

use mica_model::{Generation, Layout, MigMode};
use mica_nvml::{Driver, ModeChange};
use tracing::{info, warn};

use super::{Patience, Run, Taken, Trouble, failed};
use crate::{
    journal::GpuJournal,
    outcome::{Ending, GpuOutcome, StepKind},
    steps::{self, Step},
    usage::Sources,
};

/// Switches MIG mode of one GPU on, which leaves instances alone, or off, which destroys idle ones first and refuses while one is in use.
///
/// When a step fails what stood before is restored. A mode that is accepted and stays pending is a failure too, and is left pending:
/// what holds the GPU may let go, or a reset or a boot puts it in force.
pub fn switch(
    driver: &mut Driver,
    sources: &Sources,
    uuid: &str,
    on: bool,
    journal: Option<&mut GpuJournal>,
    patience: Patience,
    observe: &mut dyn FnMut(&Taken),
) -> GpuOutcome {
    let mut run = Run::new(driver, sources, uuid, patience, observe);
    run.journal = journal;
    run.generation = Generation::default();
    let ending = run.switch(on);
    run.outcome(ending)
}

impl Run<'_> {
    fn switch(&mut self, on: bool) -> Ending {
        let actual = match self.actual() {
            Ok(actual) => actual,
            Err(ending) => return ending,
        };
        let in_use = self.sources.fresh();
        let planned = if on {
            steps::on(&actual, &in_use)
        } else {
            steps::off(&actual, &in_use)
        };
        let steps = match planned {
            Ok(steps) if steps.is_empty() => {
                if !on {
                    // Nothing is to be made again after a reboot.
                    self.end(Some(&Layout::default()));
                }
                return Ending::Holds;
            }
            Ok(steps) => steps,
            Err(refusal) => return Ending::Refused(refusal),
        };
        let former = steps::usable(&actual);
        let wanted = if on {
            former.clone()
        } else {
            Layout::default()
        };
        if let Err(trouble) = self.begin(&wanted, &former) {
            return failed(trouble, true);
        }
        let taken = self
            .take(&steps)
            .and_then(|()| self.observed(StepKind::Verify, |run| run.verify_mode(on)));
        match taken {
            Ok(()) => {
                self.end(Some(&wanted));
                self.note_mode(on);
                Ending::Holds
            }
            Err(trouble) => self.give_up_mode(trouble, &former),
        }
    }

    /// Keeps which mode a person wants, for after a reboot that switches it off.
    fn note_mode(&mut self, on: bool) {
        let Some(journal) = self.journal.as_mut() else {
            return;
        };
        let reboot = journal.reboot().map(str::to_owned);
        if let Err(error) = journal.note(Some(on), reboot.as_deref()) {
            warn!(gpu = self.uuid, %error, "the MIG mode is not in the journal");
        }
    }

    /// Restores what was destroyed, unless the mode was accepted and is only pending.
    fn give_up_mode(&mut self, trouble: Trouble, former: &Layout) -> Ending {
        let asked = matches!(trouble.step, StepKind::EnableMig | StepKind::DisableMig);
        let now = self.readable().ok().filter(|now| {
            asked
                && matches!(
                    now.mig_mode,
                    MigMode::PendingEnable | MigMode::PendingDisable
                )
        });
        let Some(now) = now else {
            return self.give_up(trouble, former);
        };
        warn!(gpu = self.uuid, detail = %trouble.detail, "MIG mode is left pending");
        self.end(Some(&steps::usable(&now)));
        failed(trouble, steps::is_made(&now, former))
    }

    pub(super) fn disable_mig(&mut self) -> Result<(), Trouble> {
        self.last_look()?;
        self.touched = true;
        match self.driver.disable_mig(self.uuid) {
            Ok(ModeChange::Active) => {
                info!(gpu = self.uuid, "MIG mode disabled");
                Ok(())
            }
            Ok(ModeChange::Pending { activation }) => Err(Trouble {
                code: Some(activation),
                ..Trouble::new(
                    StepKind::DisableMig,
                    format!(
                        "MIG mode is off only after a reset ({activation}): stop what holds the GPU and apply again, or reset it or reboot the node"
                    ),
                )
            }),
            Err(error) => Err(Trouble::nvml(StepKind::DisableMig, &error)),
        }
    }

    /// An instance that another program has made meanwhile would not outlive the mode.
    fn last_look(&mut self) -> Result<(), Trouble> {
        let now = self.read()?;
        match steps::off(&now, &self.sources.fresh()) {
            Ok(steps) if matches!(*steps, [] | [Step::DisableMig]) => Ok(()),
            Ok(_) => Err(Trouble::new(
                StepKind::DisableMig,
                "another program changes the instances of this GPU".to_owned(),
            )),
            Err(refusal) => Err(Trouble::refused(StepKind::DisableMig, refusal)),
        }
    }

    fn verify_mode(&mut self, on: bool) -> Result<(), Trouble> {
        let now = self.read().map_err(|trouble| Trouble {
            step: StepKind::Verify,
            ..trouble
        })?;
        let wanted = if on {
            MigMode::Enabled
        } else {
            MigMode::Disabled
        };
        match now.fault {
            Some(fault) => Err(Trouble::new(StepKind::Verify, fault)),
            None if now.mig_mode == wanted => Ok(()),
            None => Err(Trouble::new(
                StepKind::Verify,
                format!(
                    "all steps succeeded, but MIG mode is {}: another program changes it",
                    now.mig_mode.as_str()
                ),
            )),
        }
    }
}
