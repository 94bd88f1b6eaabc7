//! What is to be done to take a node over, pure: labels to be set and taken away, what ends with them, what is left to people, and why it may
//! not be done at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::managers::{DEVICE_PLUGIN_IMAGE, MANAGERS, Manager};
use crate::serve::objects::{
    Pod as PodState,
    names::{DEVICE_PLUGIN, MANAGED, MANAGED_VALUE, MIG_CONFIG},
};

/// Label by which the GPU Operator runs its mig-manager on a node.
const MIG_MANAGER: &str = "nvidia.com/gpu.deploy.mig-manager";
/// Label in which mig-manager says how far it is.
const MIG_CONFIG_STATE: &str = "nvidia.com/mig.config.state";
/// Label of GPU Feature Discovery: whether the node's GPUs can be cut.
const MIG_CAPABLE: &str = "nvidia.com/mig.capable";

/// The way from what a node is to a node of Mica's.
#[derive(Debug)]
pub(super) struct Switch {
    node: String,
    version: String,
    from: Vec<&'static Manager>,
    /// Labels as they are, which are to change.
    before: BTreeMap<&'static str, Option<String>>,
    /// As they are to be.
    after: BTreeMap<&'static str, Option<&'static str>>,
    /// Programs of others on the node that end when the labels change.
    ending: Vec<String>,
    /// And those that do not.
    staying: Vec<String>,
    /// Pods that hold devices, each with what it asks for.
    holders: Vec<String>,
    /// Why the labels would not stay.
    undone_by: Option<String>,
    /// Whether its GPUs cannot be cut.
    incapable: bool,
}

impl Switch {
    /// By the node, the pods on it, and what the GPU Operator is told.
    pub(super) fn of(node: &Node, pods: &[Pod], policies: &[Value]) -> Self {
        let labels = node.labels();
        let from = MANAGERS.iter().filter(|it| labels.contains_key(it.label));
        let from: Vec<_> = from.collect();
        let mut after = BTreeMap::from([
            (MANAGED, Some(MANAGED_VALUE)),
            (DEVICE_PLUGIN, Some("false")),
        ]);
        after.extend(from.iter().map(|manager| (manager.label, None)));
        let has_mig_manager = labels.contains_key(MIG_CONFIG);
        if has_mig_manager || labels.contains_key(MIG_MANAGER) {
            after.insert(MIG_MANAGER, Some("false"));
        }
        if labels.contains_key(MIG_CONFIG_STATE) {
            after.insert(MIG_CONFIG_STATE, None);
        }
        after.retain(|key, value| labels.get(*key).map(String::as_str) != *value);
        let before = after.keys().map(|key| (*key, labels.get(*key).cloned()));
        let before = before.collect();
        let changed: BTreeSet<&str> = after.keys().copied().collect();
        let (mut ending, mut staying) = (Vec::new(), Vec::new());
        for pod in pods.iter().filter(|pod| is_others(pod)) {
            let selector = pod.spec.as_ref().and_then(|it| it.node_selector.as_ref());
            let mut selected_by = selector.into_iter().flatten();
            if selected_by.any(|(key, _)| changed.contains(key.as_str())) {
                ending.push(shown(pod));
            } else if pod.metadata.deletion_timestamp.is_none() {
                staying.push(shown(pod));
            }
        }
        let was_managed = labels.get(MANAGED).map(String::as_str) == Some(MANAGED_VALUE);
        let is_ours = was_managed && from.is_empty();
        Self {
            node: node.name_any(),
            version: node.resource_version().unwrap_or_default(),
            undone_by: undone_by(policies).filter(|_| !is_ours),
            incapable: labels.get(MIG_CAPABLE).is_some_and(|is| is == "false"),
            // Of a node that is Mica's already they hold what Mica made.
            holders: pods.iter().filter(|_| !is_ours).filter_map(holds).collect(),
            from,
            before,
            after,
            ending,
            staying,
        }
    }

    /// Whether nothing is to be changed.
    pub(super) fn is_done(&self) -> bool {
        self.after.is_empty()
    }

    /// Why it may not be done; a sentence with the remedy.
    pub(super) fn refusal(&self, with_running_pods: bool) -> Option<String> {
        let node = &self.node;
        if self.incapable {
            return Some(format!(
                "{node} has the label {MIG_CAPABLE}=false: its GPUs cannot be cut into slices; take a node whose GPUs have MIG"
            ));
        }
        if let Some(why) = &self.undone_by {
            return Some(format!("{node} would not stay Mica's: {why}"));
        }
        if self.holders.is_empty() || with_running_pods {
            return None;
        }
        let (count, holders) = (self.holders.len(), self.holders.join(", "));
        Some(format!(
            "pods on {node} hold devices that another program made or gave out ({count}): {holders}; wait until they have ended (`kubectl cordon {node}` keeps \
             others away meanwhile), or take it over --with-running-pods: they keep their devices until they end"
        ))
    }

    /// The merge patch; it fails when the node has changed since.
    pub(super) fn patch(&self) -> Value {
        json!({"metadata": {"resourceVersion": self.version, "labels": self.after}})
    }

    fn by_hand(&self) -> Vec<String> {
        let staying = self.staying.iter().map(|pod| {
            format!("{pod} does not go by these labels: keep it off the node, since two programs must not offer the same devices")
        });
        let managers = self.from.iter().flat_map(|manager| manager.by_hand);
        staying
            .chain(managers.map(|step| (*step).to_owned()))
            .collect()
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = &self.node;
        let names: Vec<_> = self.from.iter().map(|manager| manager.name).collect();
        match (self.is_done(), names.as_slice()) {
            (true, _) => return writeln!(f, "{node} is Mica's already: nothing to do."),
            (false, []) => writeln!(f, "{node} is nobody's yet.")?,
            (false, names) => writeln!(f, "{node} belongs to {}.", names.join(" and "))?,
        }
        writeln!(f, "Labels:")?;
        for (key, before) in &self.before {
            if let Some(value) = before {
                writeln!(f, "  - {key}={value}")?;
            }
            if let Some(value) = self.after.get(key).copied().flatten() {
                writeln!(f, "  + {key}={value}")?;
            }
        }
        let lists = [
            ("Ends with these labels:", &self.ending),
            ("By hand:", &self.by_hand()),
            ("Keeps its devices until it ends:", &self.holders),
        ];
        for (title, lines) in lists.iter().filter(|(_, lines)| !lines.is_empty()) {
            writeln!(f, "{title}")?;
            for line in *lines {
                writeln!(f, "  * {line}")?;
            }
        }
        Ok(())
    }
}

fn shown(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// Whether the pod is a program that partitions GPUs or offers them.
fn is_others(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut images = containers.filter_map(|container| container.image.as_deref());
    // The last part alone: registries and folders have names of many kinds.
    images.any(|image| {
        let name = image.rsplit('/').next().unwrap_or(image);
        name.contains(DEVICE_PLUGIN_IMAGE) || MANAGERS.iter().any(|it| name.contains(it.image))
    })
}

/// The pod with the devices that it asks for; `None` when it holds none.
fn holds(pod: &Pod) -> Option<String> {
    let (_, state) = PodState::of(pod)?;
    let mut devices: Vec<_> = state
        .request
        .slices
        .iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if state.request.gpus > 0 {
        devices.push(format!("{} nvidia.com/gpu", state.request.gpus));
    }
    (!devices.is_empty()).then(|| format!("{} ({})", shown(pod), devices.join(", ")))
}

/// Why the labels would not stay: a GPU Operator with mig-manager labels every node with MIG that lacks the label, unless it is told otherwise.
fn undone_by(policies: &[Value]) -> Option<String> {
    let labels_nodes = |policy: &&Value| {
        let manager = policy.pointer("/spec/migManager");
        let at = |path: &str| manager.and_then(|manager| manager.pointer(path));
        let enabled = at("/enabled").and_then(Value::as_bool).unwrap_or(true);
        let default = at("/config/default").and_then(Value::as_str);
        enabled && default == Some("all-disabled")
    };
    let policy = policies.iter().find(labels_nodes)?;
    let name = policy.pointer("/metadata/name").and_then(Value::as_str);
    let name = name.unwrap_or("cluster-policy");
    Some(format!(
        "NVIDIA's GPU Operator labels every node that lacks it nvidia.com/mig.config=all-disabled, and its mig-manager then takes all slices away; first say \
         `kubectl patch clusterpolicy {name} --type=merge -p '{{\"spec\":{{\"migManager\":{{\"enabled\":false}}}}}}'`"
    ))
}
