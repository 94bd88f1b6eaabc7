//! Short ways to write clusters and demands.

use std::sync::Arc;

use mica_model::{Board, Layout, Slice, testing};

use crate::{
    Availability, CheckedPlan, Demand, DemandClass, GpuId, GpuState, Plan, Snapshot, check, plan,
};

pub(super) fn a100() -> Arc<Board> {
    Arc::new(testing::a100_40gb())
}

/// GPU `node/index` with layouts written as `1g.5gb@0 3g.20gb@4`.
pub(super) fn gpu(board: &Arc<Board>, id: &str, in_use: &str, idle: &str) -> GpuState {
    let (node, index) = id.split_once('/').unwrap();
    GpuState {
        id: GpuId {
            node: node.to_owned(),
            index: index.parse().unwrap(),
        },
        board: Arc::clone(board),
        in_use: layout(board, in_use),
        idle: layout(board, idle),
        availability: Availability::Free,
    }
}

pub(super) fn layout(board: &Board, text: &str) -> Layout {
    testing::layout(board, text).unwrap_or_else(|| panic!("bad layout {text}"))
}

/// Class `id` accepting profiles separated by `|`.
pub(super) fn class(id: &str, accept: &str, weight: u64, count: u32) -> DemandClass {
    DemandClass {
        id: id.to_owned(),
        accept: accept.split('|').map(str::to_owned).collect(),
        weight,
        count,
    }
}

/// The plan, which must pass the check.
pub(super) fn planned(gpus: &[GpuState], classes: &[DemandClass]) -> CheckedPlan {
    let (snapshot, demand) = (
        Snapshot {
            gpus: gpus.to_vec(),
        },
        Demand {
            classes: classes.to_vec(),
        },
    );
    let plan = plan(&snapshot, &demand);
    check(&snapshot, &demand, plan.clone())
        .unwrap_or_else(|violations| panic!("{violations:#?}\n{plan:#?}"))
}

/// The changes as text: `n1/0 -7g.40gb@0 +3g.20gb@4`.
pub(super) fn changes(plan: &Plan, gpus: &[GpuState]) -> Vec<String> {
    let line = |change: &crate::GpuChange| {
        let gpu = gpus.iter().find(|gpu| gpu.id == change.gpu).unwrap();
        let name = |slice: &Slice| {
            let profile = gpu.board.profile_name(slice.profile);
            format!("{profile}@{}", slice.placement.start)
        };
        let destroy = change
            .destroy
            .iter()
            .map(|slice| format!(" -{}", name(slice)));
        let create = change
            .create
            .iter()
            .map(|slice| format!(" +{}", name(slice)));
        let steps: String = destroy.chain(create).collect();
        format!("{}{steps}", change.gpu)
    };
    plan.changes.iter().map(line).collect()
}

pub(super) fn operations(plan: &Plan) -> usize {
    let changes = plan.changes.iter();
    changes.map(|c| c.destroy.len() + c.create.len()).sum()
}
