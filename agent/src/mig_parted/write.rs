//! What stands on a node, as a file that mig-parted reads too.

use std::collections::{BTreeMap, BTreeSet};

use mica_model::{Gpu, MigMode};
use serde::Serialize;
use serde_saphyr::{DoubleQuoted, FlowSeq};

use super::{PciId, Wanted, select::Seen};
use crate::placements::Counts;

/// The file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Document {
    version: &'static str,
    mig_configs: BTreeMap<String, Vec<EntryDocument>>,
}

/// An entry of the config.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct EntryDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    device_filter: Option<FlowSeq<Vec<DoubleQuoted<String>>>>,
    devices: DevicesDocument,
    mig_enabled: bool,
    mig_devices: Counts,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum DevicesDocument {
    All(&'static str),
    These(FlowSeq<Vec<u32>>),
}

/// What stands, as one config called `label`. GPUs of which the same stands share an entry; it names boards where the node has several,
/// and says `all` where it is for all of its boards.
#[must_use]
pub fn document(node: &[Seen], label: &str) -> Document {
    // By what stands, in order of the first GPU.
    let mut groups: Vec<(Wanted, Vec<&Seen>)> = Vec::new();
    for seen in node {
        let stands = stands(&seen.gpu);
        match groups.iter_mut().find(|(wanted, _)| *wanted == stands) {
            Some((_, group)) => group.push(seen),
            None => groups.push((stands, vec![seen])),
        }
    }
    let boards: BTreeSet<Option<PciId>> = node.iter().map(|seen| seen.pci).collect();
    let named = boards.len() > 1 && groups.len() > 1;
    let entries = groups
        .into_iter()
        .map(|(wanted, group)| {
            let boards: BTreeSet<_> = group.iter().map(|seen| seen.pci).collect();
            let of_boards = node.iter().filter(|seen| boards.contains(&seen.pci));
            let indexes = group.iter().map(|seen| seen.gpu.index);
            let quoted = |id: &Option<PciId>| id.map(|id| DoubleQuoted(id.to_string()));
            let (mig_enabled, mig_devices) = match wanted {
                Wanted::Off => (false, Counts::new()),
                Wanted::On(counts) => (true, counts),
            };
            EntryDocument {
                device_filter: named.then(|| FlowSeq(boards.iter().filter_map(quoted).collect())),
                devices: if of_boards.count() == group.len() {
                    DevicesDocument::All("all")
                } else {
                    DevicesDocument::These(FlowSeq(indexes.collect()))
                },
                mig_enabled,
                mig_devices,
            }
        })
        .collect();
    Document {
        version: "v1",
        mig_configs: BTreeMap::from([(label.to_owned(), entries)]),
    }
}

impl Document {
    /// As YAML.
    pub fn yaml(&self) -> Result<String, serde_saphyr::SerializeError> {
        serde_saphyr::to_string(self)
    }

    /// As JSON, with a line break at the end.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }
}

/// What a GPU is now: whether MIG mode is on, and how many there are of each profile. GPU instances without compute instance are
/// nothing that anybody could use, and do not count.
#[must_use]
pub fn stands(gpu: &Gpu) -> Wanted {
    match gpu.mig_mode {
        MigMode::Unsupported | MigMode::Disabled | MigMode::PendingEnable => Wanted::Off,
        MigMode::Enabled | MigMode::PendingDisable => {
            let mut counts = Counts::new();
            let whole = gpu.instances.iter().filter(|known| known.compute.is_some());
            for instance in whole {
                let profile = instance.slice.profile;
                let name = gpu.board.as_ref().map_or_else(
                    || format!("profile {profile}"),
                    |board| board.profile_name(profile),
                );
                *counts.entry(name).or_default() += 1;
            }
            Wanted::On(counts)
        }
    }
}
