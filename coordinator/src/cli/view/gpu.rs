//! GPUs.

use mica_proto::convert::Invalid;
use mica_proto::v1;
use serde::Serialize;

use super::super::table::{Column, column, sentence, wide};
use super::{Count, Item, gpu_name, model, nodes};

/// A GPU as shown.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Gpu {
    node: String,
    index: u32,
    uuid: String,
    product: String,
    memory_mib: u64,
    mig: &'static str,
    /// Absent when it has no MIG, or cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<Slots>,
    slices: Count,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Names of what it can be cut into.
    profiles: Vec<String>,
    /// Processes outside any slice.
    pids: Vec<u32>,
    /// Who has it open, while that matters.
    holders: Vec<mica_model::Holder>,
    /// What a pending MIG mode or a sick GPU waits for: `agent`, `release`, `reset` or `reboot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<mica_model::WaitsFor>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Slots {
    used: u32,
    total: u32,
}

/// What keeps a GPU from being changed: the gravest first.
pub(super) fn state(node: &v1::Node, gpu: &mica_model::Gpu) -> (&'static str, Option<String>) {
    let hold = node.holds.iter().find(|hold| hold.uuid == gpu.uuid);
    if let Some(fault) = &gpu.fault {
        ("fault", Some(fault.clone()))
    } else if node.state() == v1::NodeState::Lost {
        let reason = hold.map_or("the agent of its node is lost", |hold| &hold.reason);
        ("lost", Some(reason.to_owned()))
    } else if let Some(hold) = hold {
        ("held", Some(hold.reason.clone()))
    } else {
        ("ready", None)
    }
}

/// Not known of a GPU that cannot be read.
fn slots(gpu: &mica_model::Gpu) -> Option<Slots> {
    let board = gpu.board.as_ref().filter(|_| gpu.fault.is_none())?;
    Some(Slots {
        used: gpu.layout().mask().count(),
        total: board.slots,
    })
}

impl Item for Gpu {
    const LIST: &'static str = "GpuList";
    const PLURAL: &'static str = "GPUs";
    const COLUMNS: &'static [Column] = &[
        column("NODE"),
        column("GPU"),
        column("MODEL"),
        column("MIG"),
        column("SLOTS"),
        column("IDLE"),
        column("IN-USE"),
        column("STATE"),
        wide("UUID"),
        wide("MEMORY"),
        sentence("REASON"),
    ];

    fn all(cluster: &v1::Cluster) -> Result<Vec<Self>, Invalid> {
        let mut items = Vec::new();
        for (node, gpus) in nodes(cluster)? {
            for gpu in gpus {
                let (state, reason) = state(node, &gpu);
                items.push(Self {
                    node: node.name.clone(),
                    index: gpu.index,
                    mig: gpu.mig_mode.as_str(),
                    slots: slots(&gpu),
                    slices: Count::of(&gpu.instances),
                    state,
                    reason,
                    profiles: gpu
                        .board
                        .iter()
                        .flat_map(|board| &board.profiles)
                        .map(|profile| profile.name.clone())
                        .collect(),
                    uuid: gpu.uuid,
                    product: gpu.product,
                    memory_mib: gpu.memory_mib,
                    pids: gpu.in_use.processes,
                    holders: gpu.holders,
                    waits_for: gpu.waits_for,
                });
            }
        }
        Ok(items)
    }

    fn key(&self) -> String {
        self.uuid.clone()
    }

    fn names(&self) -> Vec<String> {
        vec![
            gpu_name(&self.node, self.index),
            self.uuid.clone(),
            self.node.clone(),
        ]
    }

    fn scopes(cluster: &v1::Cluster) -> Result<Vec<String>, Invalid> {
        Ok(cluster.nodes.iter().map(|node| node.name.clone()).collect())
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.node.clone(),
            self.index.to_string(),
            model(&self.product),
            self.mig.to_owned(),
            self.slots
                .as_ref()
                .map(|slots| format!("{}/{}", slots.used, slots.total))
                .unwrap_or_default(),
            self.slices.idle.to_string(),
            self.slices.in_use.to_string(),
            self.state.to_owned(),
            self.uuid.clone(),
            format!("{}Mi", self.memory_mib),
            self.reason.clone().unwrap_or_default(),
        ]
    }
}
