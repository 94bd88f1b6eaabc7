//! The boards that can be simulated: facts from `boards.json`, which names their sources.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// Chip generation of a board; it decides how MIG mode changes and whether GPM exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// A100, A30: a mode change resets the GPU; no GPM.
    Ampere,
    /// L4: no MIG and no GPM.
    Ada,
    /// H100, H200: no reset.
    Hopper,
    /// RTX PRO 6000: no reset.
    Blackwell,
}

/// Consecutive slots `[start, start + size)`: memory slots of a GPU, or compute slices of a GPU instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// First slot.
    pub start: u32,
    /// Number of slots.
    pub size: u32,
}

impl Span {
    /// The slots as bits.
    #[must_use]
    pub fn mask(self) -> u32 {
        let bits = 1u32.checked_shl(self.size).map_or(u32::MAX, |bit| bit - 1);
        bits.checked_shl(self.start).unwrap_or(0)
    }

    /// Whether a slot is in both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.mask() & other.mask() != 0
    }
}

/// A GPU instance profile of a board.
#[derive(Clone, Debug, Deserialize)]
pub struct Profile {
    /// Name without the driver's "MIG " prefix, e.g. `3g.20gb`.
    pub name: String,
    /// Argument of the profile queries (`NVML_GPU_INSTANCE_PROFILE_*`).
    #[serde(rename = "enum")]
    pub query: u32,
    /// What every later call takes.
    pub id: u32,
    /// Compute slices.
    pub slices: u32,
    /// How many may exist on one GPU.
    pub instances: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Streaming multiprocessors.
    pub sm: u32,
    /// Copy, decoder, encoder, JPEG and OFA engines that one instance takes.
    pub engines: [u32; 5],
    /// Memory slots of one instance.
    pub size: u32,
    /// Where it may start.
    pub starts: Vec<u32>,
}

impl Profile {
    /// Where it may stand.
    pub fn placements(&self) -> impl Iterator<Item = Span> {
        let size = self.size;
        self.starts.iter().map(move |&start| Span { start, size })
    }
}

/// A compute instance profile, of GPU instances with a certain number of slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ComputeProfile {
    /// Compute slices.
    pub slices: u32,
    /// Argument of the profile query and of create; NVML uses one number for both here.
    pub id: u32,
    /// How many fit in one GPU instance.
    pub count: u32,
}

impl ComputeProfile {
    /// Where it may stand among the compute slices of its GPU instance: steps of the next power of two, `count` of them
    /// (3 slices stand at 0 and 4).
    pub fn placements(self) -> impl Iterator<Item = Span> {
        let size = self.slices;
        (0..self.count).map(move |i| Span {
            start: i * size.next_power_of_two(),
            size,
        })
    }
}

/// One kind of GPU board.
#[derive(Clone, Debug, Deserialize)]
pub struct Board {
    /// What `nvml-sim create --gpu` takes, e.g. `a100-40gb`.
    pub key: String,
    /// Name the driver reports.
    pub product: String,
    /// Chip generation.
    pub architecture: Architecture,
    /// CUDA compute capability, major and minor.
    pub compute_capability: (i32, i32),
    /// Memory of the whole board, MiB.
    pub memory_mib: u64,
    /// Memory slots that placements count in; 0 when it has no MIG.
    pub slots: u32,
    /// Most compute instances at a time.
    pub max_mig_devices: u32,
    /// PCI device and vendor id, as NVML packs them.
    pub pci_device_id: u32,
    /// GPU instance profiles; none when it has no MIG.
    pub profiles: Vec<Profile>,
}

impl Board {
    /// The board with this key.
    #[must_use]
    pub fn named(key: &str) -> Option<&'static Self> {
        all().iter().find(|board| board.key == key)
    }

    /// The GPU instance profile with this id.
    #[must_use]
    pub fn profile(&self, id: u32) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.id == id)
    }

    /// Engines of the whole board: those of the profile that takes all of it.
    #[must_use]
    pub fn engines(&self) -> [u32; 5] {
        self.profiles
            .iter()
            .find(|profile| profile.size == self.slots)
            .map_or([0; 5], |profile| profile.engines)
    }

    /// Multiprocessors of a compute instance: all of its GPU instance's, or those of as many 1g slices. The latter is a guess on
    /// boards whose larger instances have more than that sum.
    #[must_use]
    pub fn compute_multiprocessors(&self, within: &Profile, slices: u32) -> u32 {
        if slices == within.slices {
            return within.sm;
        }
        let one = self.profiles.iter().find(|profile| profile.slices == 1);
        one.map_or(0, |one| one.sm * slices)
    }

    /// Whether it can be cut up at all.
    #[must_use]
    pub fn has_mig(&self) -> bool {
        !self.profiles.is_empty()
    }

    /// Whether changing the MIG mode resets the GPU.
    #[must_use]
    pub fn mode_needs_reset(&self) -> bool {
        self.architecture == Architecture::Ampere
    }
}

/// Whether some board has a GPU instance profile with this id.
#[must_use]
pub fn is_known_profile(id: u32) -> bool {
    all().iter().any(|board| board.profile(id).is_some())
}

#[derive(Deserialize)]
struct Table {
    compute_profiles: std::collections::BTreeMap<u32, Vec<(u32, u32, u32)>>,
    boards: Vec<Board>,
}

/// The text of the table; a node remembers its fingerprint.
pub(crate) const TEXT: &str = include_str!("../boards.json");

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    #[expect(
        clippy::expect_used,
        reason = "the table is part of the program and every test reads it"
    )]
    serde_json::from_str(TEXT).expect("boards.json is a board table")
});

/// Every board, in the order of the table.
#[must_use]
pub fn all() -> &'static [Board] {
    &TABLE.boards
}

/// The compute instance profiles inside a GPU instance with this many compute slices.
pub fn compute_profiles(slices: u32) -> impl Iterator<Item = ComputeProfile> {
    TABLE
        .compute_profiles
        .get(&slices)
        .into_iter()
        .flatten()
        .map(|&(slices, id, count)| ComputeProfile { slices, id, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// go-nvlib computes names from memory: a simulator whose numbers disagree with its names confuses its clients.
    #[test]
    fn names_follow_from_memory() {
        for board in all() {
            for profile in &board.profiles {
                let eighths = (8 * profile.memory_mib).div_ceil(board.memory_mib);
                let gib = (eighths * board.memory_mib.div_ceil(1024) + 4) / 8;
                let want = format!("{}g.{gib}gb", profile.slices);
                assert!(
                    profile.name.starts_with(&want),
                    "{}: {} is not {want}",
                    board.key,
                    profile.name
                );
            }
        }
    }

    #[test]
    fn placements_lie_on_the_board() {
        for board in all() {
            for place in board.profiles.iter().flat_map(Profile::placements) {
                assert!(
                    place.start + place.size <= board.slots,
                    "{}: {place:?}",
                    board.key
                );
            }
        }
    }

    #[test]
    fn compute_placements_as_listed() {
        let places = |slices, id| -> Vec<_> {
            compute_profiles(slices)
                .find(|profile| profile.id == id)
                .map(|profile| {
                    profile
                        .placements()
                        .map(|place| (place.start, place.size))
                        .collect()
                })
                .unwrap_or_default()
        };
        assert_eq!(places(7, 2), [(0, 3), (4, 3)]);
        assert_eq!(places(7, 1), [(0, 2), (2, 2), (4, 2)]);
        assert_eq!(places(3, 2), [(0, 3)]);
        assert_eq!(places(2, 4), []);
    }
}
