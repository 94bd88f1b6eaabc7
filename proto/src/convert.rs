//! Wire messages into the vocabulary of [`mica_model`], and back.
//!
//! Reading checks: whatever a peer sends, it becomes a value that makes sense or an [`Invalid`] that names the field.

use std::sync::Arc;

use mica_model::{
    Board, ComputeInstance, Engines, Gpu, Instance, Layout, MigMode, Placement, Profile, ProfileId,
    Slice, Use,
};

use crate::v1;

mod holder;
mod usage;

/// A message that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field, e.g. `gpus.placement`.
    pub field: &'static str,
    /// What is wrong with its value.
    pub problem: String,
}

fn invalid(field: &'static str, problem: impl Into<String>) -> Invalid {
    Invalid {
        field,
        problem: problem.into(),
    }
}

/// Converts a list, and stops at the first that makes no sense.
fn each<Wire, T: TryFrom<Wire, Error = Invalid>>(wire: Vec<Wire>) -> Result<Vec<T>, Invalid> {
    wire.into_iter().map(T::try_from).collect()
}

fn wire_of<T: Clone + Into<Wire>, Wire>(list: &[T]) -> Vec<Wire> {
    list.iter().cloned().map(Into::into).collect()
}

/// Most slots a board may have on the wire; the masks of [`mica_model::SlotMask`] hold as many.
const MAX_SLOTS: u32 = 64;

impl From<Engines> for v1::Engines {
    fn from(
        Engines {
            copy,
            decoders,
            encoders,
            jpeg,
            ofa,
        }: Engines,
    ) -> Self {
        Self {
            copy,
            decoders,
            encoders,
            jpeg,
            ofa,
        }
    }
}

impl From<v1::Engines> for Engines {
    fn from(
        v1::Engines {
            copy,
            decoders,
            encoders,
            jpeg,
            ofa,
        }: v1::Engines,
    ) -> Self {
        Self {
            copy,
            decoders,
            encoders,
            jpeg,
            ofa,
        }
    }
}

impl From<Placement> for v1::Placement {
    fn from(Placement { start, size }: Placement) -> Self {
        Self { start, size }
    }
}

impl TryFrom<v1::Placement> for Placement {
    type Error = Invalid;

    fn try_from(v1::Placement { start, size }: v1::Placement) -> Result<Self, Invalid> {
        let placement = Self { start, size };
        if size == 0 || placement.end() > MAX_SLOTS {
            return Err(invalid(
                "placement",
                format!("{placement} is not a range of slots below {MAX_SLOTS}"),
            ));
        }
        Ok(placement)
    }
}

/// A text of the wire that may be missing, which it says by being empty.
fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn placement(wire: Option<v1::Placement>, field: &'static str) -> Result<Placement, Invalid> {
    wire.ok_or_else(|| invalid(field, "missing"))?.try_into()
}

impl From<Slice> for v1::Slice {
    fn from(slice: Slice) -> Self {
        Self {
            profile: slice.profile.0,
            placement: Some(slice.placement.into()),
        }
    }
}

impl TryFrom<v1::Slice> for Slice {
    type Error = Invalid;

    fn try_from(wire: v1::Slice) -> Result<Self, Invalid> {
        Ok(Self {
            profile: ProfileId(wire.profile),
            placement: placement(wire.placement, "slices.placement")?,
        })
    }
}

impl v1::GpuLayout {
    /// The layout of one GPU as a message.
    #[must_use]
    pub fn new(uuid: String, layout: &Layout) -> Self {
        Self {
            uuid,
            slices: layout.0.iter().copied().map(Into::into).collect(),
        }
    }

    /// The layout. Whether it is legal is for the board to say.
    pub fn layout(&self) -> Result<Layout, Invalid> {
        let layout: Layout = self
            .slices
            .iter()
            .copied()
            .map(Slice::try_from)
            .collect::<Result<_, _>>()?;
        if layout.0.len() != self.slices.len() {
            return Err(invalid(
                "slices",
                format!("the layout of {} names a slice twice", self.uuid),
            ));
        }
        Ok(layout)
    }
}

impl From<Profile> for v1::Profile {
    fn from(profile: Profile) -> Self {
        Self {
            id: profile.id.0,
            name: profile.name,
            slices: profile.slices,
            max_instances: profile.max_instances,
            memory_mib: profile.memory_mib,
            multiprocessors: profile.multiprocessors,
            engines: Some(profile.engines.into()),
            placements: profile.placements.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Profile> for Profile {
    type Error = Invalid;

    fn try_from(wire: v1::Profile) -> Result<Self, Invalid> {
        if wire.name.is_empty() {
            return Err(invalid(
                "boards.profiles.name",
                format!("profile {} has no name", wire.id),
            ));
        }
        Ok(Self {
            id: ProfileId(wire.id),
            name: wire.name,
            slices: wire.slices,
            max_instances: wire.max_instances,
            memory_mib: wire.memory_mib,
            multiprocessors: wire.multiprocessors,
            engines: wire.engines.unwrap_or_default().into(),
            placements: wire
                .placements
                .into_iter()
                .map(Placement::try_from)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<Board> for v1::Board {
    fn from(board: Board) -> Self {
        Self {
            product: board.product,
            slots: board.slots,
            engines: Some(board.engines.into()),
            profiles: board.profiles.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Board> for Board {
    type Error = Invalid;

    /// Slots and engines are derived again from the profiles, so that a board means the same on both sides.
    fn try_from(wire: v1::Board) -> Result<Self, Invalid> {
        let profiles = wire
            .profiles
            .into_iter()
            .map(Profile::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Self::new(wire.product, profiles))
    }
}

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

impl v1::Report {
    /// Packs what an agent saw. Equal boards are sent once. `driver_version`, `nvml_version` and `generation` are the caller's to set.
    #[must_use]
    pub fn of_gpus(gpus: &[Gpu]) -> Self {
        let mut boards: Vec<&Arc<Board>> = Vec::new();
        let mut wire = Vec::with_capacity(gpus.len());
        for gpu in gpus {
            let board = gpu.board.as_ref().map_or(0, |board| {
                boards
                    .iter()
                    .position(|known| *known == board)
                    .unwrap_or_else(|| {
                        boards.push(board);
                        boards.len() - 1
                    })
            });
            wire.push(v1::Gpu {
                uuid: gpu.uuid.clone(),
                index: gpu.index,
                board: u32::try_from(board).unwrap_or(u32::MAX),
                product: gpu.product.clone(),
                memory_mib: gpu.memory_mib,
                mig_mode: v1::MigMode::from(gpu.mig_mode).into(),
                instances: wire_of(&gpu.instances),
                pids: gpu.in_use.processes.clone(),
                containers: wire_of(&gpu.in_use.containers),
                silences: wire_of(&gpu.in_use.unknown),
                fault: gpu.fault.clone().unwrap_or_default(),
                holders: wire_of(&gpu.holders),
                waits_for: holder::waits_for(gpu.waits_for).into(),
            });
        }
        let boards = boards
            .into_iter()
            .map(|board| Board::clone(board).into())
            .collect();
        Self {
            boards,
            gpus: wire,
            ..Self::default()
        }
    }

    /// Unpacks the GPUs of a report.
    pub fn to_gpus(&self) -> Result<Vec<Gpu>, Invalid> {
        let boards: Vec<Arc<Board>> = self
            .boards
            .iter()
            .cloned()
            .map(|board| Board::try_from(board).map(Arc::new))
            .collect::<Result<_, _>>()?;
        self.gpus
            .iter()
            .map(|gpu| unpack_gpu(gpu, &boards))
            .collect()
    }
}

fn unpack_gpu(wire: &v1::Gpu, boards: &[Arc<Board>]) -> Result<Gpu, Invalid> {
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

#[cfg(test)]
mod tests {
    use mica_model::{Container, Generation, Pod, Reservation, Source};

    use super::*;

    fn pod(name: &str) -> Pod {
        Pod {
            namespace: "acme".to_owned(),
            name: name.to_owned(),
        }
    }

    fn reservation() -> Reservation {
        Reservation {
            pod: pod("next"),
            generation: Generation(5),
        }
    }

    fn gpu() -> Gpu {
        let profile = Profile {
            id: ProfileId(9),
            name: "3g.20gb".to_owned(),
            slices: 3,
            max_instances: 2,
            memory_mib: 19_968,
            multiprocessors: 42,
            engines: Engines {
                copy: 3,
                decoders: 2,
                ..Engines::default()
            },
            placements: vec![
                Placement { start: 0, size: 4 },
                Placement { start: 4, size: 4 },
            ],
        };
        let slice = Slice {
            profile: ProfileId(9),
            placement: Placement { start: 4, size: 4 },
        };
        Gpu {
            uuid: "GPU-1".to_owned(),
            index: 0,
            product: "A100".to_owned(),
            memory_mib: 40_960,
            mig_mode: MigMode::Enabled,
            board: Some(Arc::new(Board::new("A100".to_owned(), vec![profile]))),
            instances: vec![
                Instance {
                    gi: 2,
                    slice,
                    compute: Some(ComputeInstance {
                        id: 0,
                        uuid: "MIG-1".to_owned(),
                    }),
                    in_use: Use {
                        processes: vec![7, 8],
                        containers: vec![Container {
                            pod: pod("train"),
                            name: "main".to_owned(),
                        }],
                        reservations: vec![reservation()],
                        unknown: Vec::new(),
                    },
                    memory_used_bytes: 1,
                    memory_total_bytes: 2,
                    fault: Some("XID 94".to_owned()),
                },
                Instance {
                    gi: 1,
                    slice: Slice {
                        placement: Placement { start: 0, size: 4 },
                        ..slice
                    },
                    compute: None,
                    in_use: Use::untold(Source::Kubelet, "silent".to_owned()),
                    memory_used_bytes: 0,
                    memory_total_bytes: 0,
                    fault: None,
                },
            ],
            in_use: Use::untold(Source::Kubelet, "silent".to_owned()),
            holders: vec![mica_model::Holder {
                pid: 9,
                command: "nv-hostengine".to_owned(),
                pod_uid: Some("8f".to_owned()),
                container_id: None,
            }],
            waits_for: Some(mica_model::WaitsFor::Release),
            fault: None,
        }
    }

    #[test]
    fn a_report_comes_back_as_it_went() {
        let without_mig = Gpu {
            mig_mode: MigMode::Unsupported,
            board: None,
            instances: Vec::new(),
            fault: Some("fell off the bus".to_owned()),
            ..gpu()
        };
        let gpus = vec![gpu(), gpu(), without_mig];
        let report = v1::Report::of_gpus(&gpus);
        assert_eq!(report.boards.len(), 1, "equal boards are sent once");
        assert_eq!(report.to_gpus().unwrap(), gpus);
    }

    #[test]
    fn nonsense_is_named() {
        let broken = |change: fn(&mut v1::Gpu)| {
            let mut report = v1::Report::of_gpus(&[gpu()]);
            change(&mut report.gpus[0]);
            report.to_gpus().unwrap_err().field
        };
        assert_eq!(broken(|gpu| gpu.uuid.clear()), "gpus.uuid");
        assert_eq!(broken(|gpu| gpu.board = 7), "gpus.board");
        assert_eq!(broken(|gpu| gpu.mig_mode = 99), "gpus.mig_mode");
        assert_eq!(broken(|gpu| gpu.waits_for = 99), "gpus.waits_for");
        assert_eq!(
            broken(|gpu| gpu.instances[0].placement = None),
            "gpus.instances.placement"
        );
        assert_eq!(
            broken(|gpu| gpu.instances[0].placement = Some(v1::Placement {
                start: u32::MAX,
                size: 9
            })),
            "placement"
        );
        assert_eq!(
            broken(|gpu| gpu.instances[0].containers[0].pod = None),
            "containers.pod"
        );
        assert_eq!(
            broken(|gpu| gpu.instances[0].reservations[0].pod = Some(v1::Pod::default())),
            "reservations.pod"
        );
        assert_eq!(
            broken(|gpu| gpu.instances[1].silences[0].source = 0),
            "silences.source"
        );
    }

    #[test]
    fn a_reserved_slice_comes_back_as_it_went_or_is_named() {
        let slice = Slice {
            profile: ProfileId(9),
            placement: Placement { start: 0, size: 4 },
        };
        let wire = v1::ReservedSlice::new("GPU-1".to_owned(), slice, reservation());
        assert_eq!(wire.unpack().unwrap(), ("GPU-1", slice, reservation()));
        let broken = |change: fn(&mut v1::ReservedSlice)| {
            let mut wire = wire.clone();
            change(&mut wire);
            wire.unpack().unwrap_err().field
        };
        assert_eq!(broken(|wire| wire.gpu.clear()), "reservations.slices.gpu");
        assert_eq!(
            broken(|wire| wire.slice = None),
            "reservations.slices.slice"
        );
        assert_eq!(
            broken(|wire| wire.slice.as_mut().unwrap().placement = None),
            "slices.placement"
        );
        assert_eq!(
            broken(|wire| wire.reservation = None),
            "reservations.slices.reservation"
        );
        assert_eq!(
            broken(|wire| wire.reservation.as_mut().unwrap().pod = None),
            "reservations.pod"
        );
    }

    #[test]
    fn a_layout_that_names_a_slice_twice_is_refused() {
        let slice = v1::Slice {
            profile: 9,
            placement: Some(v1::Placement { start: 0, size: 4 }),
        };
        let layout = v1::GpuLayout {
            uuid: "GPU-1".to_owned(),
            slices: vec![slice, slice],
        };
        assert_eq!(layout.layout().unwrap_err().field, "slices");
    }
}
