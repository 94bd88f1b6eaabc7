//! Layouts by name, in the file format of NVIDIA's mig-parted, which operators have at hand.
//!
//! ```yaml
//! version: v1
//! mig-configs:
//!   half-and-half:
//!     - devices: [0, 1]                              # or "all", or UUIDs of GPUs
//!       device-filter: ["0x20B010DE"]                # only boards with these PCI ids; may be left out
//!       mig-enabled: true
//!       mig-devices: {3g.20gb: 1, 1g.5gb: 3}         # by profile, how many
//! ```
//!
//! [`File::read`] reads such a file, [`select()`] finds what it says of the GPUs of a node, [`write`](mod@write) writes one.

mod read;
mod select;
#[cfg(test)]
mod tests;
pub mod write;

use std::{collections::BTreeMap, fmt};

pub use read::{Mistake, Mistakes};
pub use select::{Chosen, Seen, name, select};

use crate::placements::Counts;

/// A file of layouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// By name; each has at least one entry.
    pub configs: BTreeMap<String, Vec<Entry>>,
}

/// What a config says of some GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Boards that it is for; all when empty.
    pub filter: Vec<PciId>,
    /// GPUs that it is for, of those boards.
    pub devices: Devices,
    /// What they shall be.
    pub wanted: Wanted,
}

/// Which GPUs of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// `all`.
    All,
    /// These.
    These(Vec<Device>),
}

/// A GPU of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// NVML index.
    Index(u32),
    /// `GPU-…`; mig-parted itself knows indexes only.
    Uuid(String),
}

/// What a GPU shall be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// MIG mode off.
    Off,
    /// MIG mode on, and so many of each profile.
    On(Counts),
}

/// What PCI calls a model: device id above, vendor id below. Written `0x20B010DE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciId(pub u32);

impl fmt::Display for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08X}", self.0)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => index.fmt(f),
            Self::Uuid(uuid) => uuid.fmt(f),
        }
    }
}

/// Why none of the configs of a file is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotChosen {
    /// None is named, and there are several.
    #[error("the file has {} configs: choose one with -c: {}", .0.len(), .0.join(", "))]
    Several(Vec<String>),
    /// There is none of that name.
    #[error("the file has no config {name:?}; it has {}", .known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}

impl File {
    /// The config of this name, or the only one.
    pub fn config(&self, name: Option<&str>) -> Result<(&str, &[Entry]), NotChosen> {
        let known = || self.configs.keys().cloned().collect();
        let found = match name {
            Some(name) => self.configs.get_key_value(name),
            None if self.configs.len() == 1 => self.configs.first_key_value(),
            None => return Err(NotChosen::Several(known())),
        };
        found
            .map(|(name, entries)| (name.as_str(), entries.as_slice()))
            .ok_or_else(|| NotChosen::Unknown {
                name: name.unwrap_or_default().to_owned(),
                known: known(),
            })
    }
}
