//! What `apply` will do to a GPU. Pure.

use mica_model::{Board, Gpu, Layout, MigMode, Slice};

use crate::{
    mig_parted::Wanted,
    outcome::Refusal,
    placements::place,
    steps::{self, Step},
    usage::InUse,
};

/// The way of one GPU to what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where it leads.
    pub goal: Goal,
    /// The steps, as they are planned now.
    pub steps: Vec<Step>,
}

/// Where a plan leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// MIG mode on, whatever stands, or off.
    Mode(bool),
    /// This layout, and MIG mode with it.
    Layout(Layout),
    /// MIG mode on, then this layout: it asks for no mode when it is empty, and takes back no switching off that is pending.
    ModeThenLayout(Layout),
}

/// Plans one GPU, or says why nothing may be done to it.
pub fn plan(gpu: &Gpu, in_use: &InUse, wanted: &Wanted, mode_only: bool) -> Result<Plan, Refusal> {
    let counts = match wanted {
        Wanted::Off => {
            return Ok(Plan {
                goal: Goal::Mode(false),
                steps: steps::off(gpu, in_use)?,
            });
        }
        Wanted::On(_) if mode_only => {
            return Ok(Plan {
                goal: Goal::Mode(true),
                steps: steps::on(gpu, in_use)?,
            });
        }
        Wanted::On(counts) => counts,
    };
    if let Some(fault) = &gpu.fault {
        return Err(Refusal::Faulted(fault.clone()));
    }
    let board = gpu.board.as_ref().ok_or_else(|| Refusal::MigUnsupported {
        product: gpu.product.clone(),
    })?;
    let layout = place(board, counts, &gpu.instances, |known| {
        in_use.of(gpu, known).is_idle()
    })
    .map_err(|impossible| Refusal::IllegalLayout(impossible.to_string()))?;
    let mode_first = match gpu.mig_mode {
        MigMode::Unsupported | MigMode::Enabled => false,
        MigMode::Disabled | MigMode::PendingEnable => layout.0.is_empty(),
        MigMode::PendingDisable => true,
    };
    if !mode_first {
        return Ok(Plan {
            steps: steps::steps(gpu, &layout, in_use)?,
            goal: Goal::Layout(layout),
        });
    }
    let mut steps = steps::on(gpu, in_use)?;
    let on = Gpu {
        mig_mode: MigMode::Enabled,
        ..gpu.clone()
    };
    steps.extend(steps::steps(&on, &layout, in_use)?);
    Ok(Plan {
        goal: Goal::ModeThenLayout(layout),
        steps,
    })
}

/// A step for people.
pub(super) fn describe(step: Step, board: Option<&Board>) -> String {
    let what = |slice: Slice| {
        let profile = slice.profile;
        let name = board.map_or_else(
            || format!("profile {profile}"),
            |board| board.profile_name(profile),
        );
        format!("{name} at {}", slice.placement)
    };
    match step {
        Step::EnableMig => "enable MIG mode".to_owned(),
        Step::DisableMig => "disable MIG mode".to_owned(),
        Step::DestroyComputeInstance { gi, ci, slice } => format!(
            "destroy compute instance {ci} of GPU instance {gi} ({})",
            what(slice)
        ),
        Step::DestroyGpuInstance { gi, slice } => {
            format!("destroy GPU instance {gi} ({})", what(slice))
        }
        Step::CreateGpuInstance { slice } => format!("create GPU instance {}", what(slice)),
        Step::CreateComputeInstance { slice } => {
            format!("create the compute instance of {}", what(slice))
        }
    }
}
