//! What stands, as the simulated driver says. Knows nothing of the agent.

use std::collections::{BTreeMap, BTreeSet};

use mica_model::{Layout, Placement, ProfileId, Slice};
use nvml_sim::{InstanceView, Node};

/// GPU 0 at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) mig: bool,
    /// Slices that somebody could use.
    pub(crate) usable: Layout,
    /// The same by GPU instance id.
    pub(crate) instances: BTreeMap<u32, Slice>,
    /// GPU instances without compute instance, by id.
    pub(crate) half: BTreeSet<u32>,
    /// By process, the slice that it is on; `None`: on the whole GPU.
    pub(crate) processes: BTreeMap<u32, Option<(u32, Slice)>>,
}

impl Seen {
    pub(crate) fn of(node: &Node) -> Self {
        let gpu = node.gpus().remove(0);
        let usable = |instance: &&InstanceView| instance.ci.is_some();
        let on_instances = gpu.instances.iter().flat_map(|instance| {
            let place = Some((instance.gi, slice(instance)));
            instance
                .processes
                .iter()
                .map(move |process| (process.pid, place))
        });
        let on_gpu = gpu.processes.iter().map(|process| (process.pid, None));
        Self {
            mig: gpu.mig,
            usable: gpu.instances.iter().filter(usable).map(slice).collect(),
            instances: gpu
                .instances
                .iter()
                .filter(usable)
                .map(|instance| (instance.gi, slice(instance)))
                .collect(),
            half: gpu
                .instances
                .iter()
                .filter(|instance| instance.ci.is_none())
                .map(|instance| instance.gi)
                .collect(),
            processes: on_instances.chain(on_gpu).collect(),
        }
    }

    /// Whether a process is on something that `wanted` does not have.
    pub(crate) fn blocks(&self, wanted: &Layout) -> bool {
        self.processes.values().any(|on| match on {
            Some((_, slice)) => !wanted.0.contains(slice),
            None => true,
        })
    }

    /// Every process of `before` is still where it was.
    pub(crate) fn keeps(&self, before: &Self) -> bool {
        let stays = |(pid, on)| self.processes.get(pid) == Some(on);
        before.processes.iter().all(stays)
    }
}

pub(crate) fn slice(instance: &InstanceView) -> Slice {
    Slice {
        placement: Placement {
            start: instance.start,
            size: instance.size,
        },
        profile: ProfileId(instance.profile),
    }
}
