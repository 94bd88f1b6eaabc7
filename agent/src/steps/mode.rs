//! MIG mode for itself, without a layout: as a person wants it, with `mica-agent apply`.

use mica_model::{Gpu, MigMode};

use super::{Step, busy, destroy, mode_held, mode_is_free};
use crate::{outcome::Refusal, usage::InUse};

/// The steps to MIG mode on, whatever stands there. A switching off that is pending is taken back, unless something is in use.
pub fn on(actual: &Gpu, in_use: &InUse) -> Result<Vec<Step>, Refusal> {
    usable(actual)?;
    match actual.mig_mode {
        MigMode::Unsupported => Err(Refusal::MigUnsupported {
            product: actual.product.clone(),
        }),
        MigMode::Enabled => Ok(Vec::new()),
        MigMode::PendingDisable => idle(actual, in_use).map(|()| vec![Step::EnableMig]),
        MigMode::Disabled | MigMode::PendingEnable if !actual.in_use.processes.is_empty() => {
            Err(mode_held(actual))
        }
        MigMode::Disabled | MigMode::PendingEnable => {
            mode_is_free(actual, in_use).map(|()| vec![Step::EnableMig])
        }
    }
}

/// The steps to MIG mode off: idle instances go first. While one is in use nothing is touched.
pub fn off(actual: &Gpu, in_use: &InUse) -> Result<Vec<Step>, Refusal> {
    usable(actual)?;
    match actual.mig_mode {
        MigMode::Unsupported | MigMode::Disabled => Ok(Vec::new()),
        // Not yet on: nothing stands there.
        MigMode::PendingEnable => Ok(vec![Step::DisableMig]),
        MigMode::Enabled | MigMode::PendingDisable => {
            idle(actual, in_use)?;
            let destroys = actual.instances.iter().flat_map(destroy);
            Ok(destroys.chain([Step::DisableMig]).collect())
        }
    }
}

fn usable(actual: &Gpu) -> Result<(), Refusal> {
    match &actual.fault {
        Some(fault) => Err(Refusal::Faulted(fault.clone())),
        None => Ok(()),
    }
}

fn idle(actual: &Gpu, in_use: &InUse) -> Result<(), Refusal> {
    let busy = busy(actual, &actual.instances, in_use);
    if busy.is_empty() {
        Ok(())
    } else {
        Err(Refusal::InUse(busy))
    }
}
