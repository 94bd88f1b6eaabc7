//! What a GPU can be cut into, read once per GPU and kept until its MIG mode changes.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use mica_model::{Board, Profile, ProfileId};
use nvml_wrapper::Device;

use crate::{
    Code, Error,
    call::wrapped,
    raw::{self, ComputeProfile, GpuInstance},
};

/// GPU instance profiles in the header's enumeration, to `NVML_GPU_INSTANCE_PROFILE_3_SLICE_GFX`.
const PROFILES: std::ops::RangeInclusive<u32> = 0..=0x11;
/// Compute instance profiles in the header's enumeration, to `NVML_COMPUTE_INSTANCE_PROFILE_7_SLICE_NVL`.
const COMPUTE_PROFILES: std::ops::RangeInclusive<u32> = 0..=8;
const PROFILE_CALL: &str = "nvmlDeviceGetGpuInstanceProfileInfoV";
const COMPUTE_PROFILE_CALL: &str = "nvmlGpuInstanceGetComputeInstanceProfileInfo";
/// `NVML_COMPUTE_INSTANCE_PROFILE_1_SLICE_REV1`: one slice like `1_SLICE`, at the cost of other instances.
const REV1: u32 = 7;

/// The boards of a node.
#[derive(Clone, Default)]
pub(crate) struct Boards {
    /// By UUID of the GPU.
    known: BTreeMap<String, Known>,
    /// The different ones, to be shared between equal GPUs.
    kinds: Vec<Arc<Board>>,
}

/// What is known of one GPU.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) board: Arc<Board>,
    /// Whether MIG mode was on when it was read.
    mig_on: bool,
    compute: BTreeMap<ProfileId, Vec<Numbered>>,
}

/// A compute instance profile with its number in the header's enumeration.
#[derive(Clone, Copy, PartialEq)]
struct Numbered {
    number: u32,
    profile: ComputeProfile,
}

impl Boards {
    /// The board of a GPU: from memory, or from the driver when it is not known or MIG mode has changed since.
    pub(crate) fn of(
        &mut self,
        device: &Device<'_>,
        uuid: &str,
        mig_on: bool,
    ) -> Result<&mut Known, Error> {
        if self
            .known
            .get(uuid)
            .is_some_and(|known| known.mig_on != mig_on)
        {
            self.forget(uuid);
        }
        match self.known.entry(uuid.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let board = read(device)?;
                let shared = self.kinds.iter().find(|kind| ***kind == board);
                let board = if let Some(shared) = shared {
                    Arc::clone(shared)
                } else {
                    said_twice(PROFILE_CALL, &board, &read(device)?)?;
                    let board = Arc::new(board);
                    self.kinds.push(Arc::clone(&board));
                    board
                };
                Ok(unknown.insert(Known {
                    board,
                    mig_on,
                    compute: BTreeMap::new(),
                }))
            }
        }
    }

    /// Reads the GPU afresh next time.
    pub(crate) fn forget(&mut self, uuid: &str) {
        self.known.remove(uuid);
    }
}

impl Known {
    /// The compute instance profiles of the GPU instances of a profile.
    pub(crate) fn compute_profiles(
        &mut self,
        profile: ProfileId,
        instance: GpuInstance<'_>,
    ) -> Result<Vec<ComputeProfile>, Error> {
        Ok(self
            .numbered(profile, instance)?
            .iter()
            .map(|numbered| numbered.profile)
            .collect())
    }

    /// The compute instance profile that fills the GPU instances of a profile; `None` when the driver offers none.
    pub(crate) fn full_compute_profile(
        &mut self,
        profile: ProfileId,
        instance: GpuInstance<'_>,
    ) -> Result<Option<ComputeProfile>, Error> {
        let slices = self.slices(profile);
        Ok(filling(self.numbered(profile, instance)?, slices))
    }

    /// Compute slices of a GPU instance profile; 0 when the board does not list it.
    pub(crate) fn slices(&self, profile: ProfileId) -> u32 {
        self.board
            .profile(profile)
            .map_or(0, |profile| profile.slices)
    }

    fn numbered(
        &mut self,
        profile: ProfileId,
        instance: GpuInstance<'_>,
    ) -> Result<&[Numbered], Error> {
        if let Entry::Vacant(entry) = self.compute.entry(profile) {
            let found = read_compute(instance)?;
            said_twice(COMPUTE_PROFILE_CALL, &found, &read_compute(instance)?)?;
            entry.insert(found);
        }
        Ok(self.compute.get(&profile).map_or(&[], Vec::as_slice))
    }
}

/// The profile with as many slices as the GPU instance: of several the first in the header's order, never the `REV1` one.
fn filling(offered: &[Numbered], slices: u32) -> Option<ComputeProfile> {
    offered
        .iter()
        .find(|numbered| numbered.number != REV1 && numbered.profile.slices == slices)
        .map(|numbered| numbered.profile)
}

/// A profile, or `None` when the driver says that there is none: "not supported" for one that the board does not offer, "invalid
/// argument" for a number that the driver is too old to know.
fn offered<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(profile) => Ok(Some(profile)),
        Err(error) => match error.code() {
            Some(Code::NOT_SUPPORTED | Code::INVALID_ARGUMENT) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Whether the driver says the same at two times. "Not supported" may also be the answer of a driver in trouble, and a profile that is
/// taken for missing would hide the instances that have it for as long as the answer is remembered.
fn said_twice<T: PartialEq>(call: &'static str, first: &T, second: &T) -> Result<(), Error> {
    if first == second {
        return Ok(());
    }
    Err(Error::Answer {
        call,
        problem: "the profiles are others than a moment ago; they are read again".to_owned(),
    })
}

fn read_compute(instance: GpuInstance<'_>) -> Result<Vec<Numbered>, Error> {
    let mut found = Vec::new();
    for number in COMPUTE_PROFILES {
        if let Some(profile) = offered(instance.compute_profile(number))? {
            found.push(Numbered { number, profile });
        }
    }
    Ok(found)
}

fn read(device: &Device<'_>) -> Result<Board, Error> {
    let product = wrapped("nvmlDeviceGetName", || device.name())?;
    let total = wrapped("nvmlDeviceGetMemoryInfo_v2", || device.memory_info())?.total;
    let mut profiles = Vec::new();
    for number in PROFILES {
        let Some(info) = offered(raw::profile(device, number))? else {
            continue;
        };
        let name = match info.name.as_deref().map(short) {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => computed_name(number, info.slices, info.memory_mib, total),
        };
        profiles.push(Profile {
            id: info.id,
            name,
            slices: info.slices,
            max_instances: info.max_instances,
            memory_mib: info.memory_mib,
            multiprocessors: info.multiprocessors,
            engines: info.engines,
            placements: raw::placements(device, info.id)?,
        });
    }
    Ok(Board::new(product, profiles))
}

/// A profile's name without the driver's "MIG " before it.
fn short(name: &str) -> &str {
    name.strip_prefix("MIG ").unwrap_or(name).trim()
}

/// The name that NVIDIA's tools give to a profile of a driver that does not tell names: memory is rounded up to eighths of the GPU's,
/// those of its whole GiB rounded to the nearest GB.
fn computed_name(number: u32, slices: u32, memory_mib: u64, total_bytes: u64) -> String {
    let attribute = match number {
        0x7 | 0x8 => "+me",
        0xa..=0xc | 0x11 => "+gfx",
        0xd | 0xe => "-me",
        0xf | 0x10 => "+me.all",
        _ => "",
    };
    let memory = memory_mib.saturating_mul(8).saturating_mul(1 << 20);
    let eighths = memory.div_ceil(total_bytes.max(1));
    let gib = total_bytes.div_ceil(1 << 30);
    let gb = (eighths.saturating_mul(gib).saturating_add(4)) / 8;
    format!("{slices}g.{gb}gb{attribute}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory sizes as listed on the boards; the whole GPU's is what `nvidia-smi` prints for it.
    #[test]
    fn names_are_computed_like_nvidias_tools_do() {
        let name =
            |number, slices, mib, total: u64| computed_name(number, slices, mib, total << 20);
        // A100 40 GB
        assert_eq!(name(0, 1, 4_864, 40_960), "1g.5gb");
        assert_eq!(name(7, 1, 4_864, 40_960), "1g.5gb+me");
        assert_eq!(name(9, 1, 9_856, 40_960), "1g.10gb");
        assert_eq!(name(2, 3, 19_968, 40_960), "3g.20gb");
        assert_eq!(name(4, 7, 40_192, 40_960), "7g.40gb");
        // A30
        assert_eq!(name(8, 2, 11_968, 24_576), "2g.12gb+me");
        // RTX PRO 6000
        assert_eq!(name(0xa, 1, 24_192, 97_887), "1g.24gb+gfx");
        assert_eq!(name(0xd, 1, 24_192, 97_887), "1g.24gb-me");
        assert_eq!(name(0xf, 1, 24_192, 97_887), "1g.24gb+me.all");
        assert_eq!(name(0, 1, 1, 0), "1g.0gb", "nonsense does not panic");
    }

    #[test]
    fn what_fills_a_gpu_instance_is_the_first_plain_profile_of_its_size() {
        let numbered = |(number, id, slices)| Numbered {
            number,
            profile: ComputeProfile {
                id,
                slices,
                max_instances: 1,
            },
        };
        let offered = [(0, 0, 1), (2, 2, 3), (4, 4, 7), (7, 7, 1), (8, 8, 7)].map(numbered);
        let id = |offered, slices| filling(offered, slices).map(|profile| profile.id);
        assert_eq!(id(&offered, 1), Some(0));
        assert_eq!(id(&offered, 3), Some(2));
        assert_eq!(id(&offered, 7), Some(4), "not the NVL one behind it");
        assert_eq!(id(&offered, 2), None);
        assert_eq!(id(&offered[3..], 1), None, "REV1 does not stand in");
    }

    #[test]
    fn driver_names_lose_their_prefix() {
        assert_eq!(short("MIG 1g.5gb+me"), "1g.5gb+me");
        assert_eq!(short("1g.5gb"), "1g.5gb");
        assert_eq!(short(""), "");
    }
}
