use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{self as k8s, Taint},
    apimachinery::pkg::api::resource::Quantity,
};

use mica_model::{SLICE_PREFIX, WHOLE_GPU};

use super::names::{CONDITION, MANAGED, MANAGED_VALUE, OTHER_MANAGERS};
use super::quantity;

/// What of a node matters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeObject {
    /// Its resource version.
    pub(crate) version: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) cpu_milli: u64,
    pub(crate) memory_bytes: u64,
    /// How many pods it takes.
    pub(crate) pods: u64,
    /// How many devices the scheduler may give away, by resource name: slices and whole GPUs.
    pub(crate) devices: BTreeMap<String, u32>,
    /// What the node says of Mica: status and message of the condition.
    pub(crate) condition: Option<(String, String)>,
}

impl NodeObject {
    /// Its name and what matters of it.
    pub(crate) fn of(object: &k8s::Node) -> Option<(String, Self)> {
        let meta = &object.metadata;
        let allocatable = object
            .status
            .as_ref()
            .and_then(|status| status.allocatable.as_ref());
        let amount = |name: &str, read: fn(&str) -> Option<u64>| {
            let quantity: Option<&Quantity> = allocatable.and_then(|all| all.get(name));
            quantity.and_then(|quantity| read(&quantity.0)).unwrap_or(0)
        };
        let devices = allocatable
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name == WHOLE_GPU || name.starts_with(SLICE_PREFIX))
            .filter_map(|(name, quantity)| {
                let count = u32::try_from(quantity::whole(&quantity.0)?).ok()?;
                Some((name.clone(), count))
            });
        let node = Self {
            version: meta.resource_version.clone().unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
            taints: object
                .spec
                .as_ref()
                .and_then(|spec| spec.taints.clone())
                .unwrap_or_default(),
            cpu_milli: amount("cpu", quantity::milli),
            memory_bytes: amount("memory", quantity::whole),
            pods: amount("pods", quantity::whole),
            devices: devices.collect(),
            condition: condition(object),
        };
        Some((meta.name.clone()?, node))
    }

    /// Whether somebody wants Mica to cut the node's GPUs, and nobody else does.
    pub(crate) fn is_managed(&self) -> bool {
        self.is_wanted() && self.other_manager().is_none()
    }

    /// Whether it carries the label that asks for Mica.
    pub(crate) fn is_wanted(&self) -> bool {
        self.labels
            .get(MANAGED)
            .is_some_and(|value| value == MANAGED_VALUE)
    }

    /// The label by which another program cuts the node's GPUs, as `KEY=VALUE`.
    pub(crate) fn other_manager(&self) -> Option<String> {
        OTHER_MANAGERS.iter().find_map(|key| {
            let value = self.labels.get(*key)?;
            Some(format!("{key}={value}"))
        })
    }
}

impl NodeObject {
    /// Whether it is the same but for its version: kubelets write their heartbeats into the object.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let version = self.version.clone();
        *self
            == Self {
                version,
                ..other.clone()
            }
    }
}

fn condition(object: &k8s::Node) -> Option<(String, String)> {
    let conditions = object.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|it| it.type_ == CONDITION)?;
    let message = condition.message.clone().unwrap_or_default();
    Some((condition.status.clone(), message))
}
