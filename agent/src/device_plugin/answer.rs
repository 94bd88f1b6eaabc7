//! What a device is to a container, as NVIDIA's own device plugin answers, so that everything behind it is as people know it.

use std::collections::BTreeMap;

use clap::ValueEnum;
use mica_proto::deviceplugin::{CdiDevice, ContainerAllocateResponse, DeviceSpec, Mount};

use super::{cdi, nodes, offer::Device};

/// Tells NVIDIA's container runtime which devices a container gets.
const ENVIRONMENT: &str = "NVIDIA_VISIBLE_DEVICES";

/// Below it there is a mount named after each device of a container; the runtime must be set to read them.
const MOUNTS: &str = "/var/run/nvidia-container-devices";

/// How a container's devices are said to the container runtime; words of NVIDIA's device plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Strategy {
    /// In the environment variable `NVIDIA_VISIBLE_DEVICES`.
    Envvar,
    /// As mounts, which a user cannot forge as an environment variable can be.
    VolumeMounts,
    /// By the field of the kubelet's runtime interface for the Container Device Interface.
    CdiCri,
    /// By an annotation for the Container Device Interface.
    CdiAnnotations,
}

impl Strategy {
    /// Whether it is by the Container Device Interface.
    #[must_use]
    pub fn is_cdi(self) -> bool {
        match self {
            Self::CdiCri | Self::CdiAnnotations => true,
            Self::Envvar | Self::VolumeMounts => false,
        }
    }
}

/// How containers' requests are answered.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) strategies: Vec<Strategy>,
    /// Where device nodes are seen when they are to be passed to containers without privileges.
    pub(super) nodes: Option<nodes::Source>,
}

impl Answers {
    /// For a container that gets these devices. `Err` says what is missing for it.
    pub(super) fn to(&self, devices: &[&Device]) -> Result<ContainerAllocateResponse, String> {
        let mut answer = ContainerAllocateResponse::default();
        let ids: Vec<_> = devices.iter().map(|device| &*device.id).collect();
        let has = |wanted: Strategy| self.strategies.contains(&wanted);
        if has(Strategy::CdiCri) {
            let device = |id: &&str| CdiDevice {
                name: cdi::qualified(id),
            };
            answer.cdi_devices = ids.iter().map(device).collect();
        }
        if has(Strategy::CdiAnnotations)
            && let Some(first) = ids.first()
        {
            let names: Vec<_> = ids.iter().map(|id| cdi::qualified(id)).collect();
            let annotation = (format!("cdi.k8s.io/mica_{first}"), names.join(","));
            answer.annotations = BTreeMap::from([annotation]).into_iter().collect();
        }
        if self.strategies.iter().all(|strategy| strategy.is_cdi()) {
            return Ok(answer);
        }
        if has(Strategy::Envvar) {
            answer.envs.insert(ENVIRONMENT.to_owned(), ids.join(","));
        }
        if has(Strategy::VolumeMounts) {
            answer
                .envs
                .insert(ENVIRONMENT.to_owned(), MOUNTS.to_owned());
            let mount = |id: &&str| Mount {
                container_path: format!("{MOUNTS}/{id}"),
                host_path: "/dev/null".to_owned(),
                read_only: false,
            };
            answer.mounts = ids.iter().map(mount).collect();
        }
        if let Some(nodes) = &self.nodes {
            let spec = |node: nodes::Node| DeviceSpec {
                container_path: node.path,
                host_path: node.host_path,
                permissions: "rw".to_owned(),
            };
            let needed = nodes.of(devices.iter().copied())?;
            answer.devices = needed.into_iter().map(spec).collect();
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
