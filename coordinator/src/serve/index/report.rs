use std::collections::{BTreeMap, BTreeSet};

use mica_model::{Generation, Gpu};
use mica_proto::{convert::Invalid, v1};

/// No coordinator gets here by counting. A generation above it would leave no room for newer ones, and newer than what one agent
/// has seen is what every node is told.
const LAST_GENERATION: u64 = u64::MAX / 2;

/// Whether an agent may have seen this generation.
pub(crate) fn check_generation(field: &'static str, generation: u64) -> Result<(), Invalid> {
    if generation > LAST_GENERATION {
        return Err(Invalid {
            field,
            problem: format!(
                "{generation} was given out by no coordinator; the agent's state is damaged: stop it, empty its --state-dir and start it again"
            ),
        });
    }
    Ok(())
}

/// A checked [`v1::Report`].
#[derive(Clone, Debug)]
pub(crate) struct Reported {
    pub(crate) driver_version: String,
    pub(crate) nvml_version: String,
    pub(crate) generation: Generation,
    /// In ascending order of index; no index and no UUID twice.
    pub(crate) gpus: Vec<Gpu>,
    pub(crate) kubelet: Option<Kubelet>,
}

/// What the kubelet of a node knows of its devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kubelet {
    /// UUIDs of the devices that pods can get or have, by resource name.
    pub(crate) allocatable: BTreeMap<String, BTreeSet<String>>,
    /// Whether it does not tell now; what it last told may be old.
    pub(crate) silent: bool,
}

impl TryFrom<v1::Kubelet> for Kubelet {
    type Error = Invalid;

    fn try_from(wire: v1::Kubelet) -> Result<Self, Invalid> {
        let mut allocatable = BTreeMap::new();
        for resource in wire.resources {
            let name = resource.name.clone();
            let devices = resource.allocatable.into_iter().collect();
            if allocatable.insert(resource.name, devices).is_some() {
                return Err(Invalid {
                    field: "report.kubelet.resources.name",
                    problem: format!("{name} is named twice"),
                });
            }
        }
        Ok(Self {
            allocatable,
            silent: !wire.fault.is_empty(),
        })
    }
}

impl TryFrom<v1::Report> for Reported {
    type Error = Invalid;

    fn try_from(wire: v1::Report) -> Result<Self, Invalid> {
        check_generation("report.generation", wire.generation)?;
        let mut gpus = wire.to_gpus()?;
        gpus.sort_by_key(|gpu| gpu.index);
        let mut uuids = BTreeSet::new();
        let mut indices = BTreeSet::new();
        for gpu in &gpus {
            let twice = |field, value: String| Invalid {
                field,
                problem: format!("{value} is named twice"),
            };
            if !uuids.insert(gpu.uuid.as_str()) {
                return Err(twice("report.gpus.uuid", gpu.uuid.clone()));
            }
            if !indices.insert(gpu.index) {
                return Err(twice("report.gpus.index", gpu.index.to_string()));
            }
        }
        Ok(Self {
            kubelet: wire.kubelet.map(Kubelet::try_from).transpose()?,
            driver_version: wire.driver_version,
            nvml_version: wire.nvml_version,
            generation: Generation(wire.generation),
            gpus,
        })
    }
}
