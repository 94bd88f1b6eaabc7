//! What `apply` will do to a GPU. Pure.

use mica_model::{Board, Gpu, Layout, MigMode, Slice};

use crate::{
    mig_parted::Wanted,
    outcome::Refusal,
    placements::place,
    steps::{self, Step},
};

/// The way of one GPU to what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// MIG mode to be switched for itself, before anything else: off, or on where the layout alone would not do it.
    pub switch: Option<bool>,
    /// What shall stand then; `None`: whatever stands.
    pub layout: Option<Layout>,
    /// All steps, as they are planned now.
    pub steps: Vec<Step>,
}

/// Plans one GPU, or says why nothing may be done to it.
pub fn plan(gpu: &Gpu, wanted: &Wanted, mode_only: bool) -> Result<Plan, Refusal> {
    match wanted {
        Wanted::Off => Ok(Plan {
            switch: Some(false),
            layout: None,
            steps: steps::off(gpu)?,
        }),
        Wanted::On(_) if mode_only => Ok(Plan {
            switch: Some(true),
            layout: None,
            steps: steps::on(gpu)?,
        }),
        Wanted::On(counts) => {
            if let Some(fault) = &gpu.fault {
                return Err(Refusal::Faulted(fault.clone()));
            }
            let board = gpu.board.as_ref().ok_or_else(|| Refusal::MigUnsupported {
                product: gpu.product.clone(),
            })?;
            let layout = place(board, counts, &gpu.instances)
                .map_err(|impossible| Refusal::IllegalLayout(impossible.to_string()))?;
            let alone = match gpu.mig_mode {
                MigMode::Unsupported | MigMode::Enabled => false,
                MigMode::Disabled | MigMode::PendingEnable => layout.0.is_empty(),
                MigMode::PendingDisable => true,
            };
            let steps = if alone {
                let on = Gpu {
                    mig_mode: MigMode::Enabled,
                    ..gpu.clone()
                };
                let mut steps = steps::on(gpu)?;
                steps.extend(steps::steps(&on, &layout)?);
                steps
            } else {
                steps::steps(gpu, &layout)?
            };
            Ok(Plan {
                switch: alone.then_some(true),
                layout: Some(layout),
                steps,
            })
        }
    }
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
