//! The last look before a destroy.

use mica_model::Gpu;

use super::Trouble;
use crate::{
    outcome::{Refusal, StepKind},
    steps::{self, Step},
    usage::InUse,
};

/// Minds that what `step` destroys is still what was planned with, and idle. All that is to go in the steps `ahead` is minded, so that
/// the work stops before the first destroy rather than half way.
pub(super) fn mind(gpu: &Gpu, in_use: &InUse, step: Step, ahead: &[Step]) -> Result<(), Trouble> {
    if let Some(fault) = &gpu.fault {
        return Err(Trouble::new(StepKind::Read, fault.clone()));
    }
    let goes = |known: u32| ahead.iter().any(|step| destroys(*step) == Some(known));
    let leaving = gpu.instances.iter().filter(|known| goes(known.gi));
    let busy = steps::busy(gpu, leaving, in_use);
    if !busy.is_empty() {
        return Err(Trouble::refused(step.kind(), Refusal::InUse(busy)));
    }
    match destroys(step).filter(|_| !stands(gpu, step)) {
        None => Ok(()),
        Some(gi) => Err(Trouble::new(
            step.kind(),
            format!(
                "GPU instance {gi} is not what it was: another program changes the instances of this GPU"
            ),
        )),
    }
}

/// The GPU instance that a step destroys, or whose compute instance it destroys.
fn destroys(step: Step) -> Option<u32> {
    match step {
        Step::DestroyComputeInstance { gi, .. } | Step::DestroyGpuInstance { gi, .. } => Some(gi),
        Step::EnableMig
        | Step::DisableMig
        | Step::CreateGpuInstance { .. }
        | Step::CreateComputeInstance { .. } => None,
    }
}

/// Whether what a step destroys is there, as the step says it is.
fn stands(gpu: &Gpu, step: Step) -> bool {
    let expected = match step {
        Step::DestroyComputeInstance { gi, ci, slice } => (gi, Some(ci), slice),
        Step::DestroyGpuInstance { gi, slice } => (gi, None, slice),
        Step::EnableMig
        | Step::DisableMig
        | Step::CreateGpuInstance { .. }
        | Step::CreateComputeInstance { .. } => return true,
    };
    gpu.instances.iter().any(|known| {
        let compute = known.compute.as_ref().map(|compute| compute.id);
        (known.gi, compute, known.slice) == expected
    })
}
