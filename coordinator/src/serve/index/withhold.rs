//! Devices that a layout takes away are withheld from the scheduler first: what it has bound a pod to must not go.

use std::collections::{BTreeMap, BTreeSet};

use mica_model::{Layout, MigMode};

use super::{Index, NodeGpu};
use crate::serve::round::Layouts;

impl Index {
    /// Of these layouts, those that may be published now. A device that a layout takes away is first withheld from the scheduler: until
    /// the API server shows so, the layout waits for a later round.
    pub(crate) fn withhold(&mut self, mut layouts: Layouts) -> Layouts {
        let Some(objects) = &self.objects else {
            return layouts;
        };
        let mut withheld = BTreeMap::new();
        for (name, node) in &self.nodes {
            let layouts = layouts.get(name);
            let gone = node.gpus.iter().flat_map(|gpu| {
                let uuid = &gpu.gpu.uuid;
                let coming = layouts.and_then(|it| it.get(uuid)).or(node.under_way(uuid));
                coming
                    .into_iter()
                    .flat_map(move |coming| taken_away(gpu, coming))
            });
            let gone: BTreeSet<_> = gone.collect();
            if !gone.is_empty() {
                withheld.insert(name.clone(), gone);
            }
        }
        let changed = self.keep.withheld != withheld;
        self.keep.withheld = withheld;
        let waits = |name: &String| {
            let shown = objects.nodes().get(name).map(|node| &node.devices);
            let wanted = self.devices(name);
            wanted.iter().any(|(resource, count)| {
                shown
                    .and_then(|shown| shown.get(resource))
                    .copied()
                    .unwrap_or(0)
                    > *count
            })
        };
        layouts.retain(|name, _| !waits(name));
        if changed {
            self.changed(false);
        }
        layouts
    }

    /// How many devices the scheduler should count on, by resource name; empty when that is not known now.
    pub(crate) fn devices(&self, name: &str) -> BTreeMap<String, u32> {
        let node = self.nodes.get(name).filter(|node| node.is_fresh());
        let kubelet = node.and_then(|node| node.kubelet.as_ref());
        let Some(kubelet) = kubelet.filter(|kubelet| !kubelet.silent) else {
            return BTreeMap::new();
        };
        let withheld = self.keep.withheld.get(name);
        let counts = kubelet.allocatable.iter().map(|(resource, devices)| {
            let stays = |uuid: &&String| withheld.is_none_or(|gone| !gone.contains(*uuid));
            let count = devices.iter().filter(stays).count();
            (resource.clone(), u32::try_from(count).unwrap_or(u32::MAX))
        });
        counts.collect()
    }
}

/// UUIDs of the devices of a GPU that are gone once the layout holds.
fn taken_away<'a>(gpu: &'a NodeGpu, coming: &'a Layout) -> impl Iterator<Item = String> + 'a {
    let instances = gpu.gpu.instances.iter();
    let slices = instances
        .filter(|instance| !coming.0.contains(&instance.slice))
        .filter_map(|instance| Some(instance.compute.as_ref()?.uuid.clone()));
    let whole = gpu.gpu.mig_mode != MigMode::Enabled;
    slices.chain(whole.then(|| gpu.gpu.uuid.clone()))
}
