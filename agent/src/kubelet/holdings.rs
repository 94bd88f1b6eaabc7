//! What the kubelet's answer says of GPUs.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt as _, path::Path};

use mica_model::{Container, Pod, Silence, Source};
use mica_proto::podresources::{ContainerResources, ListPodResourcesResponse, PodResources};

/// NVIDIA's driver for resource claims. What it hands out is not named by UUID.
const CLAIM_DRIVER: &str = "gpu.nvidia.com";

/// Which containers hold which GPUs and MIG devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// By UUID of the GPU or the MIG device.
    by_device: BTreeMap<String, Vec<Container>>,
    /// Containers that hold something of a GPU that cannot be told, so that it may be anything.
    unplaced: Vec<Silence>,
    /// Whether the answer names any pod, with devices or without.
    names_pods: bool,
    /// Which kubelet it is by.
    by: Option<Beginning>,
}

/// Tells one kubelet of a node from the next: each makes its socket anew. The file's number alone may be the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    inode: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl Beginning {
    /// Of the kubelet whose socket this is; `None` when it is not there.
    pub(super) fn of(socket: &Path) -> Option<Self> {
        let file = socket.metadata().ok()?;
        Some(Self {
            inode: file.ino(),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

impl Holdings {
    /// Who holds the GPU or MIG device with this UUID.
    #[must_use]
    pub fn of(&self, uuid: &str) -> &[Container] {
        self.by_device.get(uuid).map_or(&[], Vec::as_slice)
    }

    /// Why it is not known of everything on the node who holds it.
    #[must_use]
    pub fn unplaced(&self) -> &[Silence] {
        &self.unplaced
    }

    /// Whether the answer names any pod, with devices or without. A kubelet that begins anew knows none at first.
    #[must_use]
    pub fn names_pods(&self) -> bool {
        self.names_pods
    }

    /// As answered by this kubelet.
    #[must_use]
    pub(super) fn by(self, by: Option<Beginning>) -> Self {
        Self { by, ..self }
    }

    /// Whether another kubelet answered than `before`.
    #[must_use]
    pub fn is_by_another(&self, before: &Self) -> bool {
        self.by != before.by
    }

    /// With the devices that were held before and that nobody holds by this answer.
    #[must_use]
    pub fn or_as_before(mut self, before: &Self) -> Self {
        for (device, containers) in &before.by_device {
            let holders = self.by_device.entry(device.clone());
            holders.or_insert_with(|| containers.clone());
        }
        self
    }

    /// Adds that a container holds a device.
    pub fn add(&mut self, uuid: &str, container: Container) {
        let holders = self.by_device.entry(uuid.to_owned()).or_default();
        // A device of an init container is given to a later container of the pod again.
        if !holders.contains(&container) {
            holders.push(container);
        }
    }

    fn add_device(&mut self, container: &Container, resource: &str, id: &str) {
        // Devices that are shared carry the number of the share behind the UUID.
        let uuid = id.split_once("::").map_or(id, |(uuid, _share)| uuid);
        if uuid.starts_with("MIG-") || uuid.starts_with("GPU-") {
            // One that is gone is held in name only.
            self.add(uuid, container.clone());
        } else if is_gpu(resource) {
            self.add_unplaced(format!(
                "{container} holds {resource} {id:?}, which is no UUID: have the device plugin name devices by UUID, or end the pod"
            ));
        }
    }

    fn add_unplaced(&mut self, why: String) {
        self.unplaced.push(Silence {
            source: Source::Kubelet,
            age: None,
            why,
        });
    }
}

/// Whether devices of a resource are GPUs or parts of such. NVIDIA's other hardware has the same domain.
fn is_gpu(resource: &str) -> bool {
    resource
        .strip_prefix("nvidia.com/")
        .is_some_and(|name| name == "gpu" || name.starts_with("gpu.") || name.starts_with("mig-"))
}

impl From<ListPodResourcesResponse> for Holdings {
    fn from(answer: ListPodResourcesResponse) -> Self {
        let mut holdings = Self {
            names_pods: !answer.pod_resources.is_empty(),
            ..Self::default()
        };
        for PodResources {
            name,
            namespace,
            containers,
        } in answer.pod_resources
        {
            let pod = Pod { namespace, name };
            for ContainerResources {
                name,
                devices,
                dynamic_resources,
            } in containers
            {
                let pod = pod.clone();
                let container = Container { pod, name };
                for given in &devices {
                    for id in &given.device_ids {
                        holdings.add_device(&container, &given.resource_name, id);
                    }
                }
                let claimed = dynamic_resources.iter().flat_map(|of| &of.claim_resources);
                for claim in claimed.filter(|claim| claim.driver_name == CLAIM_DRIVER) {
                    holdings.add_unplaced(format!(
                        "{container} holds {} of the DRA driver {CLAIM_DRIVER}, which this agent cannot place: let only one of the two serve a node",
                        claim.device_name
                    ));
                }
            }
        }
        holdings
    }
}

#[cfg(test)]
mod tests {
    use mica_proto::podresources::{ClaimResource, ContainerDevices, DynamicResource};

    use super::*;

    fn answer(containers: Vec<ContainerResources>) -> Holdings {
        let pod_resources = vec![PodResources {
            name: "train".to_owned(),
            namespace: "acme".to_owned(),
            containers,
        }];
        ListPodResourcesResponse { pod_resources }.into()
    }

    fn with(resource: &str, ids: &[&str]) -> Holdings {
        answer(vec![container("main", resource, ids)])
    }

    fn container(name: &str, resource: &str, ids: &[&str]) -> ContainerResources {
        ContainerResources {
            name: name.to_owned(),
            devices: vec![ContainerDevices {
                resource_name: resource.to_owned(),
                device_ids: ids.iter().map(|&id| id.to_owned()).collect(),
            }],
            dynamic_resources: Vec::new(),
        }
    }

    fn names(holders: &[Container]) -> Vec<String> {
        holders.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn devices_are_known_by_uuid_whatever_the_resource_is_called() {
        for resource in ["nvidia.com/mig-3g.20gb", "example.org/slice"] {
            let held = with(resource, &["MIG-1", "GPU-2::3"]);
            for uuid in ["MIG-1", "GPU-2"] {
                assert_eq!(names(held.of(uuid)), ["container main of pod acme/train"]);
            }
            assert!(held.of("MIG-2").is_empty() && held.unplaced().is_empty());
        }
    }

    #[test]
    fn a_device_of_two_containers_of_a_pod_has_two_holders_and_one_listed_twice_one() {
        let resource = "nvidia.com/mig-1g.5gb";
        let held = answer(vec![
            container("init", resource, &["MIG-1", "MIG-1"]),
            container("main", resource, &["MIG-1"]),
        ]);
        assert_eq!(held.of("MIG-1").len(), 2);
    }

    #[test]
    fn a_gpu_that_cannot_be_told_may_be_any() {
        for resource in [
            "nvidia.com/gpu",
            "nvidia.com/gpu.shared",
            "nvidia.com/mig-1g.5gb",
        ] {
            let held = with(resource, &["0:3"]);
            let [why] = held.unplaced() else {
                panic!("{resource}: {held:?}");
            };
            let words = format!("container main of pod acme/train holds {resource} \"0:3\"");
            assert!(why.to_string().contains(&words), "{why}");
        }
        let claimed = ContainerResources {
            name: "main".to_owned(),
            devices: Vec::new(),
            dynamic_resources: vec![DynamicResource {
                claim_resources: vec![
                    ClaimResource {
                        driver_name: "gpu.nvidia.com".to_owned(),
                        device_name: "gpu-0-mig-19".to_owned(),
                        ..ClaimResource::default()
                    },
                    ClaimResource {
                        driver_name: "net.example.org".to_owned(),
                        ..ClaimResource::default()
                    },
                ],
                ..DynamicResource::default()
            }],
        };
        assert_eq!(answer(vec![claimed]).unplaced().len(), 1);
    }

    #[test]
    fn what_is_no_gpu_is_nobodys_business() {
        for resource in ["nvidia.com/hostdev", "cpu", "example.org/nic"] {
            assert_eq!(with(resource, &["0000:01:00.0"]), answer(Vec::new()));
        }
    }
}
