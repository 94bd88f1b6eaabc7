//! A GPU and the instances on it.

use std::sync::Arc;

use mica_model::{Board, ComputeInstance, Gpu, Instance, MigMode, ProfileId, Slice, Use};

use super::{Invalid, board::placement, each, given, holder, invalid};
use crate::v1;

impl From<MigMode> for v1::MigMode {
    fn from(mode: MigMode) -> Self {
        match mode {
            MigMode::Unsupported => Self::Unsupported,
            MigMode::Disabled => Self::Disabled,
            MigMode::Enabled => Self::Enabled,
            MigMode::PendingEnable => Self::PendingEnable,
            MigMode::PendingDisable => Self::PendingDisable,
        }
    }
}

fn mig_mode(wire: i32) -> Result<MigMode, Invalid> {
    match v1::MigMode::try_from(wire) {
        Ok(v1::MigMode::Unsupported) => Ok(MigMode::Unsupported),
        Ok(v1::MigMode::Disabled) => Ok(MigMode::Disabled),
        Ok(v1::MigMode::Enabled) => Ok(MigMode::Enabled),
        Ok(v1::MigMode::PendingEnable) => Ok(MigMode::PendingEnable),
        Ok(v1::MigMode::PendingDisable) => Ok(MigMode::PendingDisable),
        Ok(v1::MigMode::Unspecified) | Err(_) => {
            Err(invalid("gpus.mig_mode", format!("{wire} is not a mode")))
        }
    }
}

impl From<Instance> for v1::Instance {
    fn from(instance: Instance) -> Self {
        let Use {
            processes,
            containers,
            reservations,
            unknown,
        } = instance.in_use;
        let (ci, uuid) = instance.compute.map_or((None, String::new()), |compute| {
            (Some(compute.id), compute.uuid)
        });
        Self {
            gi: instance.gi,
            profile: instance.slice.profile.0,
            placement: Some(instance.slice.placement.into()),
            ci,
            uuid,
            pids: processes,
            memory_used_bytes: instance.memory_used_bytes,
            memory_total_bytes: instance.memory_total_bytes,
            fault: instance.fault.unwrap_or_default(),
            silences: unknown.into_iter().map(Into::into).collect(),
            containers: containers.into_iter().map(Into::into).collect(),
            reservations: reservations.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Instance> for Instance {
    type Error = Invalid;

    fn try_from(wire: v1::Instance) -> Result<Self, Invalid> {
        let in_use = Use {
            processes: wire.pids,
            containers: each(wire.containers)?,
            reservations: each(wire.reservations)?,
            unknown: each(wire.silences)?,
        };
        Ok(Self {
            gi: wire.gi,
            slice: Slice {
                profile: ProfileId(wire.profile),
                placement: placement(wire.placement, "gpus.instances.placement")?,
            },
            compute: wire.ci.map(|id| ComputeInstance {
                id,
                uuid: wire.uuid,
            }),
            in_use,
            memory_used_bytes: wire.memory_used_bytes,
            memory_total_bytes: wire.memory_total_bytes,
            fault: given(wire.fault),
        })
    }
}
pub(super) fn unpack_gpu(wire: &v1::Gpu, boards: &[Arc<Board>]) -> Result<Gpu, Invalid> {
    if wire.uuid.is_empty() {
        return Err(invalid("gpus.uuid", format!("GPU {} has none", wire.index)));
    }
    let mig_mode = mig_mode(wire.mig_mode)?;
    let board = usize::try_from(wire.board)
        .ok()
        .and_then(|index| boards.get(index));
    let board = match (mig_mode, board) {
        (MigMode::Unsupported, _) => None,
        (_, Some(board)) => Some(Arc::clone(board)),
        (_, None) => {
            return Err(invalid(
                "gpus.board",
                format!("{} is not in the list of boards", wire.board),
            ));
        }
    };
    Ok(Gpu {
        uuid: wire.uuid.clone(),
        index: wire.index,
        product: wire.product.clone(),
        memory_mib: wire.memory_mib,
        mig_mode,
        board,
        instances: wire
            .instances
            .iter()
            .cloned()
            .map(Instance::try_from)
            .collect::<Result<_, _>>()?,
        in_use: Use {
            processes: wire.pids.clone(),
            containers: each(wire.containers.clone())?,
            // Reservations are of slices.
            reservations: Vec::new(),
            unknown: each(wire.silences.clone())?,
        },
        holders: wire.holders.iter().cloned().map(Into::into).collect(),
        waits_for: holder::read_waits_for(wire.waits_for)?,
        fault: given(wire.fault.clone()),
    })
}
