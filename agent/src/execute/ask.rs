//! Asking again for a MIG mode that stayed pending.

use mica_model::MigMode;
use mica_nvml::Driver;

use super::{Patience, Run, Taken, failed};
use crate::{
    outcome::{Ending, GpuOutcome, Refusal, StepKind},
    steps::Step,
    usage::Sources,
};

/// Asks the driver again for MIG mode where that is pending and nobody computes on the GPU; elsewhere nothing is touched. There
/// are no instances on such a GPU.
pub fn ask(
    driver: &mut Driver,
    sources: &Sources,
    uuid: &str,
    patience: Patience,
    observe: &mut dyn FnMut(&Taken),
) -> GpuOutcome {
    let mut run = Run::new(driver, sources, uuid, patience, observe);
    let ending = match run.observed(StepKind::Read, Run::read) {
        Err(trouble) => failed(trouble, true),
        Ok(gpu) => match gpu.fault {
            Some(fault) => Ending::Refused(Refusal::Faulted(fault)),
            None if gpu.mig_mode == MigMode::PendingEnable && gpu.in_use.is_idle() => {
                match run.take(&[Step::EnableMig]) {
                    Ok(()) => Ending::Holds,
                    Err(trouble) => match trouble.refusal {
                        Some(refusal) => Ending::Refused(*refusal),
                        None => failed(trouble, true),
                    },
                }
            }
            None => Ending::Holds,
        },
    };
    run.outcome(ending)
}
