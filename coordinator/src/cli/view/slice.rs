//! Slices: GPU instances.

use mica_model::{Container, Gpu, Instance, Placement, Reservation, Use};
use mica_proto::convert::Invalid;
use mica_proto::v1;
use serde::Serialize;

use super::super::table::{Column, column, wide};
use super::{Item, gpu_name, nodes};

/// Bytes in a MiB.
const MIB: u64 = 1 << 20;

/// A slice as shown.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Slice {
    node: String,
    gpu_index: u32,
    gpu_uuid: String,
    gi: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ci: Option<u32>,
    profile: String,
    profile_id: u32,
    placement: Place,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Of the MIG device.
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    pids: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Holder>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reserved_for: Vec<Awaited>,
    memory: Memory,
}

/// A container that the slice was given to.
#[derive(Debug, PartialEq, Serialize)]
struct Holder {
    namespace: String,
    pod: String,
    name: String,
}

impl From<&Container> for Holder {
    fn from(Container { pod, name }: &Container) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            name: name.clone(),
        }
    }
}

/// A pod that the slice is kept for.
#[derive(Debug, PartialEq, Serialize)]
struct Awaited {
    namespace: String,
    pod: String,
}

impl From<&Reservation> for Awaited {
    fn from(Reservation { pod, .. }: &Reservation) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
        }
    }
}

/// Memory slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(in super::super) struct Place {
    start: u32,
    size: u32,
}

impl From<Placement> for Place {
    fn from(Placement { start, size }: Placement) -> Self {
        Self { start, size }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { start, size } = *self;
        Placement { start, size }.fmt(f)
    }
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    used_bytes: u64,
    total_bytes: u64,
}

impl Slice {
    fn new(node: &str, gpu: &Gpu, instance: &Instance) -> Self {
        let profile = instance.slice.profile;
        let Use {
            processes,
            containers,
            reservations,
            unknown,
        } = &instance.in_use;
        let state = match &instance.compute {
            _ if instance.fault.is_some() => "fault",
            None => "half-made",
            Some(_) if instance.in_use.is_idle() => "idle",
            Some(_) if instance.in_use.is_unused() => "unknown",
            Some(_) => "in-use",
        };
        let unknown = unknown.iter().map(ToString::to_string);
        let reasons: Vec<_> = instance.fault.iter().cloned().chain(unknown).collect();
        Self {
            node: node.to_owned(),
            gpu_index: gpu.index,
            gpu_uuid: gpu.uuid.clone(),
            gi: instance.gi,
            ci: instance.compute.as_ref().map(|compute| compute.id),
            profile: gpu.board.as_ref().map_or_else(
                || format!("profile {profile}"),
                |board| board.profile_name(profile),
            ),
            profile_id: profile.0,
            placement: instance.slice.placement.into(),
            state,
            reason: (!reasons.is_empty()).then(|| reasons.join(", ")),
            uuid: instance
                .compute
                .as_ref()
                .map(|compute| compute.uuid.clone()),
            pids: processes.clone(),
            containers: containers.iter().map(Holder::from).collect(),
            reserved_for: reservations.iter().map(Awaited::from).collect(),
            memory: Memory {
                used_bytes: instance.memory_used_bytes,
                total_bytes: instance.memory_total_bytes,
            },
        }
    }
}

impl Item for Slice {
    const LIST: &'static str = "SliceList";
    const PLURAL: &'static str = "slices";
    const COLUMNS: &'static [Column] = &[
        column("NODE"),
        column("GPU"),
        column("GI"),
        column("CI"),
        column("PROFILE"),
        column("PLACEMENT"),
        column("STATE"),
        column("UUID"),
        wide("PIDS"),
        wide("PODS"),
        wide("MEMORY"),
        wide("REASON"),
    ];

    fn all(cluster: &v1::Cluster) -> Result<Vec<Self>, Invalid> {
        let mut items = Vec::new();
        for (node, gpus) in nodes(cluster)? {
            for gpu in gpus {
                let mut instances: Vec<&Instance> = gpu.instances.iter().collect();
                instances.sort_by_key(|instance| (instance.slice, instance.gi));
                items.extend(
                    instances
                        .into_iter()
                        .map(|instance| Self::new(&node.name, &gpu, instance)),
                );
            }
        }
        Ok(items)
    }

    fn key(&self) -> String {
        let uuid = self.uuid.as_deref().unwrap_or_default();
        format!("{}/{}/{uuid}", self.gpu_uuid, self.gi)
    }

    fn names(&self) -> Vec<String> {
        let mut names = vec![
            gpu_name(&self.node, self.gpu_index),
            self.gpu_uuid.clone(),
            self.node.clone(),
        ];
        names.extend(self.uuid.clone());
        names
    }

    fn scopes(cluster: &v1::Cluster) -> Result<Vec<String>, Invalid> {
        let nodes = nodes(cluster)?.into_iter().flat_map(|(node, gpus)| {
            let gpus = gpus.into_iter();
            let gpus = gpus.flat_map(|gpu| [gpu_name(&node.name, gpu.index), gpu.uuid]);
            gpus.chain([node.name.clone()]).collect::<Vec<_>>()
        });
        Ok(nodes.collect())
    }

    fn row(&self) -> Vec<String> {
        let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
        let held = self.containers.iter();
        let held = held.map(|held| format!("{}/{}", held.namespace, held.pod));
        let kept = self.reserved_for.iter();
        let kept = kept.map(|kept| format!("({}/{})", kept.namespace, kept.pod));
        let mut holders: Vec<_> = held.chain(kept).collect();
        holders.dedup();
        vec![
            self.node.clone(),
            self.gpu_index.to_string(),
            self.gi.to_string(),
            self.ci.map(|ci| ci.to_string()).unwrap_or_default(),
            self.profile.clone(),
            self.placement.to_string(),
            self.state.to_owned(),
            self.uuid.clone().unwrap_or_default(),
            pids.join(","),
            holders.join(","),
            format!(
                "{}/{}Mi",
                self.memory.used_bytes / MIB,
                self.memory.total_bytes / MIB
            ),
            self.reason.clone().unwrap_or_default(),
        ]
    }
}
