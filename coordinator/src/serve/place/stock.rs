//! The slices that there are to give: a snapshot that becomes what will stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mica_model::{Board, Layout, ProfileId, Slice, resource_name};
use mica_planner::{Availability, CheckedPlan, Demand, DemandClass, GpuId, GpuState, Snapshot};

use crate::serve::objects::Pod;

/// The profiles whose slices have one resource name.
#[derive(Debug)]
struct Profiles {
    accept: BTreeSet<String>,
    /// The most compute slices that one of them has.
    weight: u64,
}

/// What stands, and where.
pub(super) struct Stock<'a> {
    snapshot: &'a mut Snapshot,
    /// Positions of GPUs in the snapshot.
    by_node: BTreeMap<String, Vec<usize>>,
    /// Resource names of each kind of board.
    boards: Vec<(Arc<Board>, BTreeMap<ProfileId, String>)>,
    profiles: BTreeMap<String, Profiles>,
}

impl<'a> Stock<'a> {
    pub(super) fn new(snapshot: &'a mut Snapshot) -> Self {
        let mut by_node: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut boards: Vec<(Arc<Board>, BTreeMap<_, _>)> = Vec::new();
        let mut profiles: BTreeMap<String, Profiles> = BTreeMap::new();
        for (position, gpu) in snapshot.gpus.iter().enumerate() {
            let of_node = by_node.entry(gpu.id.node.clone()).or_default();
            of_node.push(position);
            if boards
                .iter()
                .any(|(board, _)| Arc::ptr_eq(board, &gpu.board))
            {
                continue;
            }
            let mut names = BTreeMap::new();
            for profile in &gpu.board.profiles {
                let name = resource_name(&profile.name);
                let known = profiles.entry(name.clone()).or_insert_with(|| Profiles {
                    accept: BTreeSet::new(),
                    weight: 1,
                });
                known.accept.insert(profile.name.clone());
                known.weight = known.weight.max(u64::from(profile.slices));
                names.insert(profile.id, name);
            }
            boards.push((Arc::clone(&gpu.board), names));
        }
        Self {
            snapshot,
            by_node,
            boards,
            profiles,
        }
    }

    /// The GPU at a position.
    pub(super) fn gpu(&self, position: usize) -> Option<&GpuState> {
        self.snapshot.gpus.get(position)
    }

    /// The GPUs of a node, with their positions.
    pub(super) fn on(&self, node: &str) -> impl Iterator<Item = (usize, &GpuState)> {
        let positions = self.by_node.get(node).into_iter().flatten();
        positions.filter_map(|position| Some((*position, self.gpu(*position)?)))
    }

    /// The idle slices of a node that may be given away, with their resource names, in ascending order of place.
    pub(super) fn idle(&self, node: &str) -> impl Iterator<Item = (&str, usize, Slice)> {
        let usable = |(_, gpu): &(usize, &GpuState)| gpu.availability != Availability::Unavailable;
        self.on(node).filter(usable).flat_map(|(position, gpu)| {
            let names = self.names(&gpu.board);
            let idle = gpu.idle.0.iter();
            idle.filter_map(move |slice| {
                Some((names?.get(&slice.profile)?.as_str(), position, *slice))
            })
        })
    }

    fn names(&self, board: &Arc<Board>) -> Option<&BTreeMap<ProfileId, String>> {
        let mut boards = self.boards.iter();
        let found = boards.find(|(known, _)| Arc::ptr_eq(known, board));
        found.map(|(_, names)| names)
    }

    /// How many slices of a name the GPU could have at most beside those in use.
    pub(super) fn most(&self, gpu: &GpuState, resource: &str) -> u32 {
        if gpu.availability != Availability::Free {
            return 0;
        }
        let profiles = gpu.board.profiles.iter().filter(|profile| {
            let names = self.names(&gpu.board);
            names
                .and_then(|names| names.get(&profile.id))
                .is_some_and(|name| name == resource)
        });
        let most = profiles.map(|profile| {
            // All are of one size: taking each that still fits, from the first on, gives the most.
            let mut taken = gpu.in_use.mask();
            let mut count = 0;
            for placement in &profile.placements {
                if taken.is_disjoint(placement.mask()) {
                    taken = taken.union(placement.mask());
                    count += 1;
                }
            }
            count.min(profile.max_instances)
        });
        most.sum()
    }

    /// What pods ask for, as classes by resource name.
    pub(super) fn demand<'p>(&self, pods: impl IntoIterator<Item = &'p Pod>) -> Demand {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for pod in pods {
            for (resource, count) in &pod.request.slices {
                let sum = counts.entry(resource).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        let classes = counts.into_iter().map(|(name, count)| {
            let (accept, weight) = match self.profiles.get(name) {
                Some(known) => (known.accept.iter().cloned().collect(), known.weight),
                None => (vec![name.to_owned()], 1),
            };
            DemandClass {
                id: name.to_owned(),
                accept,
                weight,
                count,
            }
        });
        Demand {
            classes: classes.collect(),
        }
    }

    /// The snapshot of some nodes alone.
    pub(super) fn part<'n>(&self, nodes: impl IntoIterator<Item = &'n str>) -> Snapshot {
        let gpus = nodes.into_iter().flat_map(|node| self.on(node));
        Snapshot {
            gpus: gpus.map(|(_, gpu)| gpu.clone()).collect(),
        }
    }

    /// Makes a plan for a part true; the idle slices as they were, where it changes them.
    pub(super) fn apply(&mut self, part: Snapshot, plan: &CheckedPlan) -> BTreeMap<GpuId, Layout> {
        // What planning could not cope with.
        let left_out = part.gpus.into_iter();
        let left_out = left_out.filter(|gpu| gpu.availability == Availability::Unavailable);
        let left_out: BTreeSet<_> = left_out.map(|gpu| gpu.id).collect();
        for gpu in &mut self.snapshot.gpus {
            if left_out.contains(&gpu.id) {
                gpu.availability = Availability::Unavailable;
            }
        }
        apply(self.snapshot, plan)
    }

    /// Takes back what a plan makes and nobody got.
    pub(super) fn undo_needless(&mut self, before: &BTreeMap<GpuId, Layout>) {
        if before.is_empty() {
            return;
        }
        for gpu in &mut self.snapshot.gpus {
            let Some(idle) = before.get(&gpu.id) else {
                continue;
            };
            let taken = gpu.in_use.mask();
            gpu.idle.0.retain(|slice| idle.0.contains(slice));
            // What was destroyed stays where nothing has come in its place.
            let back = idle
                .0
                .iter()
                .filter(|slice| taken.is_disjoint(slice.placement.mask()));
            let mut restored = gpu.idle.clone();
            restored.0.extend(back.copied());
            let all = restored.0.union(&gpu.in_use.0).copied().collect();
            if gpu.board.check(&all).is_ok() {
                gpu.idle = restored;
            }
        }
    }

    /// Slices come into use.
    pub(super) fn take(&mut self, slices: Vec<(usize, Slice)>) -> Vec<(GpuId, Slice)> {
        let mut taken = Vec::new();
        for (position, slice) in slices {
            if let Some(gpu) = self.snapshot.gpus.get_mut(position) {
                gpu.idle.0.remove(&slice);
                gpu.in_use.0.insert(slice);
                taken.push((gpu.id.clone(), slice));
            }
        }
        taken
    }
}

/// Makes the plan true in the snapshot; the idle slices as they were, where it changes them.
pub(crate) fn apply(snapshot: &mut Snapshot, plan: &CheckedPlan) -> BTreeMap<GpuId, Layout> {
    let mut before = BTreeMap::new();
    if plan.changes.is_empty() {
        return before;
    }
    let changes = plan.changes.iter().map(|change| (&change.gpu, change));
    let changes: BTreeMap<_, _> = changes.collect();
    for gpu in &mut snapshot.gpus {
        if let Some(change) = changes.get(&gpu.id) {
            before.insert(gpu.id.clone(), gpu.idle.clone());
            for slice in &change.destroy {
                gpu.idle.0.remove(slice);
            }
            gpu.idle.0.extend(&change.create);
        }
    }
    before
}
