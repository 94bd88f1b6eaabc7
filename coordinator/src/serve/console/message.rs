//! The index as messages.

use mica_model::{Board, MigMode, Slice};
use mica_planner::{GpuChange, GpuId};
use mica_proto::v1;

use super::Now;
use crate::serve::index::{Index, Node, Queue, QueueKey};

/// The cluster as it is.
pub(super) fn cluster(index: &Index, now: Now) -> v1::Cluster {
    let nodes = index.nodes().iter();
    let queues = index.queues().iter();
    v1::Cluster {
        generation: index.newest().0,
        nodes: nodes.map(|(name, it)| node(index, name, it, now)).collect(),
        queues: queues.map(|(key, it)| queue(index, key, it, now)).collect(),
    }
}

fn node(index: &Index, name: &str, node: &Node, now: Now) -> v1::Node {
    let gpus: Vec<_> = node.gpus.iter().map(|gpu| gpu.gpu.clone()).collect();
    let report = v1::Report {
        driver_version: node.driver_version.clone(),
        nvml_version: node.nvml_version.clone(),
        generation: node.observed.0,
        ..v1::Report::of_gpus(&gpus)
    };
    let holds = node.gpus.iter().filter_map(|gpu| {
        let id = GpuId {
            node: name.to_owned(),
            index: gpu.gpu.index,
        };
        Some(v1::GpuHold {
            uuid: gpu.gpu.uuid.clone(),
            reason: index.held(&id, node, gpu)?.reason,
        })
    });
    v1::Node {
        name: name.to_owned(),
        state: node.state().into(),
        agent_version: node.agent_version.clone(),
        desired_generation: node.desired.0,
        observed_generation: node.observed.0,
        last_seen_seconds: now
            .clock
            .saturating_duration_since(node.last_seen)
            .as_secs_f64(),
        holds: holds.collect(),
        report: (!node.driver_version.is_empty() || !gpus.is_empty()).then_some(report),
    }
}

fn queue(index: &Index, key: &QueueKey, queue: &Queue, now: Now) -> v1::Queue {
    let backlog = queue.backlog();
    v1::Queue {
        tenant: key.tenant.clone(),
        name: key.name.clone(),
        profiles: queue.config.profiles.clone(),
        waiting: backlog.waiting,
        running: backlog.running,
        max_running: queue.config.max_running,
        oldest_wait_seconds: backlog.oldest_wait(now.wall).as_secs_f64(),
        unmet: index
            .last_plan(key)
            .map_or_else(Vec::new, |plan| plan.unmet.clone()),
        error: queue.error().unwrap_or_default(),
        id: backlog.id,
    }
}

/// A planned change; `None` when the GPU has gone.
pub(super) fn change(index: &Index, change: &GpuChange) -> Option<v1::GpuChange> {
    let (_, gpu) = index.gpu(&change.gpu)?;
    let board = gpu.gpu.board.as_ref()?;
    let named = |slices: &[Slice]| slices.iter().map(|slice| named(board, *slice)).collect();
    Some(v1::GpuChange {
        node: change.gpu.node.clone(),
        uuid: gpu.gpu.uuid.clone(),
        index: change.gpu.index,
        product: gpu.gpu.product.clone(),
        enable_mig: gpu.gpu.mig_mode == MigMode::Disabled,
        destroy: named(&change.destroy),
        create: named(&change.create),
    })
}

fn named(board: &Board, slice: Slice) -> v1::NamedSlice {
    v1::NamedSlice {
        profile: board.profile_name(slice.profile),
        placement: Some(slice.placement.into()),
    }
}
