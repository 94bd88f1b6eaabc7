//! The way of one GPU from what is there to what is wanted. Pure: no driver, no clock.

use mica_model::{Gpu, Holder, Instance, Layout, MigMode, Slice, Use};

use crate::{
    outcome::{Busy, Kept, Refusal, StepKind},
    usage::InUse,
};

mod mode;
#[cfg(test)]
mod tests;

pub use mode::{off, on};

/// One change of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Switch MIG mode on, or ask again for it when it is pending.
    EnableMig,
    /// Switch MIG mode off, or ask again for it when it is pending.
    DisableMig,
    /// Destroy the compute instance `ci` of GPU instance `gi`.
    DestroyComputeInstance {
        /// GPU instance id.
        gi: u32,
        /// Compute instance id.
        ci: u32,
        /// What `gi` stands for: ids are reused at once, so that the id alone does not say.
        slice: Slice,
    },
    /// Destroy the GPU instance `gi`, which has no compute instance.
    DestroyGpuInstance {
        /// GPU instance id.
        gi: u32,
        /// What `gi` stands for.
        slice: Slice,
    },
    /// Create a GPU instance at its place.
    CreateGpuInstance {
        /// Profile and place.
        slice: Slice,
    },
    /// Create the compute instance that fills the GPU instance at this place.
    CreateComputeInstance {
        /// Profile and place.
        slice: Slice,
    },
}

impl Step {
    /// What kind of step it is.
    #[must_use]
    pub fn kind(self) -> StepKind {
        match self {
            Self::EnableMig => StepKind::EnableMig,
            Self::DisableMig => StepKind::DisableMig,
            Self::DestroyComputeInstance { .. } => StepKind::DestroyComputeInstance,
            Self::DestroyGpuInstance { .. } => StepKind::DestroyGpuInstance,
            Self::CreateGpuInstance { .. } => StepKind::CreateGpuInstance,
            Self::CreateComputeInstance { .. } => StepKind::CreateComputeInstance,
        }
    }
}

/// The fewest steps from `actual` to `desired`, or why none may be taken: who uses what would go, by every source.
///
/// A slice that is wanted and there is left alone. Half-made GPU instances get their compute instance when wanted and go when not.
/// All destroys come before all creates, and creates come largest first. A compute instance follows its GPU instance at once, so
/// that a crash finds at most one half-made GPU instance.
pub fn steps(actual: &Gpu, desired: &Layout, in_use: &InUse) -> Result<Vec<Step>, Refusal> {
    if let Some(fault) = &actual.fault {
        return Err(Refusal::Faulted(fault.clone()));
    }
    if is_made(actual, desired) {
        return Ok(Vec::new());
    }
    check(actual, desired)?;
    let (staying, leaving): (Vec<_>, Vec<_>) = actual
        .instances
        .iter()
        .partition(|instance| desired.0.contains(&instance.slice));
    let busy = busy(actual, leaving.iter().copied(), in_use);
    if !busy.is_empty() {
        return Err(Refusal::InUse(busy));
    }
    let missing = missing(actual, desired);
    let kept = kept(actual, &missing, in_use);
    if !kept.is_empty() {
        return Err(Refusal::PlaceKept(kept));
    }
    let mut steps = Vec::new();
    if !is_on(actual.mig_mode) {
        mode_is_free(actual, in_use)?;
        steps.push(Step::EnableMig);
    }
    steps.extend(leaving.into_iter().flat_map(destroy));
    steps.extend(
        staying
            .iter()
            .filter(|instance| instance.compute.is_none())
            .map(|instance| Step::CreateComputeInstance {
                slice: instance.slice,
            }),
    );
    steps.extend(missing.into_iter().flat_map(|slice| {
        [
            Step::CreateGpuInstance { slice },
            Step::CreateComputeInstance { slice },
        ]
    }));
    Ok(steps)
}

/// Whether exactly the slices of `layout` stand, each with its compute instance.
#[must_use]
pub fn is_made(gpu: &Gpu, layout: &Layout) -> bool {
    gpu.instances
        .iter()
        .all(|instance| instance.compute.is_some())
        && gpu.layout() == *layout
}

/// The slices that somebody can use: those whose GPU instance has its compute instance.
#[must_use]
pub fn usable(gpu: &Gpu) -> Layout {
    gpu.instances
        .iter()
        .filter(|instance| instance.compute.is_some())
        .map(|instance| instance.slice)
        .collect()
}

/// As much of `former` as can stand beside what may not be destroyed now: where the way back is blocked, it is gone as far as it goes.
#[must_use]
pub fn restorable(now: &Gpu, former: &Layout, in_use: &InUse) -> Layout {
    let used = now.instances.iter();
    let used = used.filter(|instance| !in_use.of(now, instance).is_idle());
    let kept: Layout = used.map(|instance| instance.slice).collect();
    let Some(board) = &now.board else {
        return kept;
    };
    let there = now.layout();
    let free = |slice: Slice| there.0.contains(&slice) || in_use.place_kept(now, slice).is_none();
    let former = former.0.iter().filter(|slice| free(**slice));
    former.fold(kept, |kept, &slice| {
        let mut more = kept.clone();
        more.0.insert(slice);
        if board.check(&more).is_ok() {
            more
        } else {
            kept
        }
    })
}

/// Whether the GPU can be cut into `desired` at all, and now.
fn check(actual: &Gpu, desired: &Layout) -> Result<(), Refusal> {
    let unsupported = || Refusal::MigUnsupported {
        product: actual.product.clone(),
    };
    let board = actual.board.as_deref().ok_or_else(unsupported)?;
    board
        .check(desired)
        .map_err(|error| Refusal::IllegalLayout(error.to_string()))?;
    match actual.mig_mode {
        MigMode::Unsupported => Err(unsupported()),
        // Somebody has asked for it to be switched off.
        pending @ MigMode::PendingDisable => Err(Refusal::ResetRequired(pending)),
        // A mode that is pending because somebody held the GPU comes into force when it is asked for again.
        MigMode::Disabled | MigMode::PendingEnable if !actual.in_use.processes.is_empty() => {
            Err(mode_held(actual))
        }
        MigMode::Disabled | MigMode::PendingEnable | MigMode::Enabled => Ok(()),
    }
}

fn mode_held(actual: &Gpu) -> Refusal {
    let holders = actual.in_use.processes.iter().copied().map(Holder::process);
    Refusal::MigModeHeld(holders.collect())
}

fn is_on(mode: MigMode) -> bool {
    match mode {
        MigMode::Enabled | MigMode::PendingDisable => true,
        MigMode::Unsupported | MigMode::Disabled | MigMode::PendingEnable => false,
    }
}

/// Those of `leaving` that may not go.
pub(crate) fn busy<'gpu>(
    gpu: &Gpu,
    leaving: impl IntoIterator<Item = &'gpu Instance>,
    in_use: &InUse,
) -> Vec<Busy> {
    leaving
        .into_iter()
        .map(|instance| as_busy(gpu, instance, in_use.of(gpu, instance)))
        .filter(|busy| !busy.in_use.is_idle())
        .collect()
}

/// An instance with who uses it.
pub(crate) fn as_busy(gpu: &Gpu, instance: &Instance, in_use: Use) -> Busy {
    Busy {
        gi: instance.gi,
        profile: profile_name(gpu, instance.slice),
        placement: instance.slice.placement,
        in_use,
    }
}

/// Those of `coming` whose place is kept for another slice.
fn kept(gpu: &Gpu, coming: &[Slice], in_use: &InUse) -> Vec<Kept> {
    let kept = |&slice: &Slice| {
        let (kept, reservation) = in_use.place_kept(gpu, slice)?;
        Some(Kept {
            profile: profile_name(gpu, slice),
            placement: slice.placement,
            kept_profile: profile_name(gpu, kept),
            kept_placement: kept.placement,
            reservation: reservation.clone(),
        })
    };
    coming.iter().filter_map(kept).collect()
}

/// The mode of a GPU is not changed under a container that holds it as a whole. Processes are the driver's to mind.
pub(crate) fn mode_is_free(gpu: &Gpu, in_use: &InUse) -> Result<(), Refusal> {
    let holders = in_use.of_whole(gpu);
    if holders.is_idle() {
        Ok(())
    } else {
        Err(Refusal::GpuInUse(holders))
    }
}

fn profile_name(gpu: &Gpu, slice: Slice) -> String {
    let id = slice.profile;
    gpu.board
        .as_ref()
        .map_or_else(|| format!("profile {id}"), |board| board.profile_name(id))
}

fn destroy(instance: &Instance) -> impl Iterator<Item = Step> + use<> {
    let (gi, slice) = (instance.gi, instance.slice);
    let compute = instance
        .compute
        .as_ref()
        .map(|compute| Step::DestroyComputeInstance {
            gi,
            ci: compute.id,
            slice,
        });
    compute
        .into_iter()
        .chain([Step::DestroyGpuInstance { gi, slice }])
}

/// Slices that are wanted and not there, largest first, then by place.
fn missing(actual: &Gpu, desired: &Layout) -> Vec<Slice> {
    let there = actual.layout();
    let mut missing: Vec<_> = desired.0.difference(&there.0).copied().collect();
    missing.sort_by_key(|slice| (std::cmp::Reverse(slice.placement.size), *slice));
    missing
}
