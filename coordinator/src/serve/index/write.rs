//! What is to be written to the API server: the difference between what should be there and what has been seen there.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorTerm, Taint};
use mica_model::Pod as PodName;
use serde_json::{Value, json};

use super::{Index, Node};
use crate::serve::objects::{
    NodeObject, Objects, Pod, Scheduling,
    names::{GATE, MODE_CHANGE_TAINT, RELEASED_TO},
};

/// A change of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    /// The devices of a node, in its status.
    Devices {
        /// Its name.
        node: String,
        /// Counts by resource name.
        devices: BTreeMap<String, u32>,
    },
    /// Labels of a node: those to set, and with `None` those to take away.
    Labels {
        /// Its name.
        node: String,
        /// By key.
        labels: BTreeMap<String, Option<String>>,
    },
    /// Whether Mica cuts the node's GPUs, as a condition in its status.
    Condition {
        /// Its name.
        node: String,
        /// Whether it does.
        managed: bool,
        /// Why; a sentence for people.
        message: String,
    },
    /// The taint that keeps pods away while a GPU changes MIG mode.
    Taint {
        /// Its name.
        node: String,
        /// JSON patch (RFC 6902).
        patch: Value,
    },
    /// Why a pod waits, as an event.
    Tell {
        /// Its name.
        pod: PodName,
        /// Its UID.
        uid: String,
        /// A sentence for people.
        reason: String,
    },
    /// Release of a gated pod.
    Release {
        /// Its name.
        pod: PodName,
        /// Where it is to run.
        node: String,
        /// JSON patch (RFC 6902).
        patch: Value,
    },
}

impl Write {
    /// The metric label `what`.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Devices { .. } => "devices",
            Self::Labels { .. } => "labels",
            Self::Condition { .. } => "condition",
            Self::Taint { .. } => "taint",
            Self::Tell { .. } => "event",
            Self::Release { .. } => "release",
        }
    }

    /// What it changes, to know it again.
    pub(crate) fn subject(&self) -> String {
        let what = self.what();
        match self {
            Self::Devices { node, .. }
            | Self::Labels { node, .. }
            | Self::Condition { node, .. }
            | Self::Taint { node, .. } => format!("{what} {node}"),
            Self::Release { pod, .. } | Self::Tell { pod, .. } => {
                format!("{what} {}/{}", pod.namespace, pod.name)
            }
        }
    }
}

impl Index {
    /// Everything that is to be written now. Devices come before pods that need them.
    pub(crate) fn writes(&self) -> Vec<Write> {
        let Some(objects) = self.objects.as_ref().filter(|it| it.are_complete()) else {
            return Vec::new();
        };
        let mut writes = self.device_writes(objects);
        writes.extend(
            self.releasable()
                .into_iter()
                .map(|(name, pod, node)| Write::Release {
                    pod: name.clone(),
                    node: node.to_owned(),
                    patch: release(pod, node),
                }),
        );
        for (name, node) in objects.nodes().iter().filter(|(_, node)| node.is_wanted()) {
            writes.extend(self.labels(name, node));
            writes.extend(condition(name, node));
            writes.extend(self.taint(name, node));
        }
        writes.extend(self.untold(objects));
        writes
    }

    fn taint(&self, name: &str, node: &NodeObject) -> Option<Write> {
        let changes = self.nodes.get(name).is_some_and(Node::changes_mode);
        let is_ours = |taint: &&Taint| taint.key == MODE_CHANGE_TAINT;
        if node.taints.iter().any(|taint| is_ours(&taint)) == changes {
            return None;
        }
        let mut taints: Vec<_> = node
            .taints
            .iter()
            .filter(|taint| !is_ours(taint))
            .cloned()
            .collect();
        if changes {
            taints.push(Taint {
                key: MODE_CHANGE_TAINT.to_owned(),
                effect: "NoSchedule".to_owned(),
                ..Taint::default()
            });
        }
        Some(Write::Taint {
            node: name.to_owned(),
            patch: json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": node.version},
                {"op": "add", "path": "/spec/taints", "value": taints},
            ]),
        })
    }

    /// Pods that have not been told why they wait.
    fn untold(&self, objects: &Objects) -> Vec<Write> {
        let waiting = self.waiting.iter().filter_map(|(name, reason)| {
            let uid = &objects.pods().get(name)?.uid;
            let told = self.told.get(name);
            let known = told.is_some_and(|(known, said)| known == uid && said == reason);
            (!known).then(|| Write::Tell {
                pod: name.clone(),
                uid: uid.clone(),
                reason: reason.clone(),
            })
        });
        waiting.collect()
    }

    /// Keeps why pods wait, to be told.
    pub(crate) fn note_waiting(&mut self, waiting: BTreeMap<PodName, String>) {
        if self.waiting != waiting {
            self.waiting = waiting;
            self.changed(false);
        }
    }

    /// A pod has been told why it waits.
    pub(crate) fn note_told(&mut self, pod: &PodName, uid: &str, reason: &str) {
        let said = (uid.to_owned(), reason.to_owned());
        self.told.insert(pod.clone(), said);
        let waiting = &self.waiting;
        self.told.retain(|name, _| waiting.contains_key(name));
    }

    fn device_writes(&self, objects: &Objects) -> Vec<Write> {
        let managed = objects.nodes().iter().filter(|(_, node)| node.is_managed());
        managed
            .filter_map(|(name, node)| {
                let differing: BTreeMap<_, _> = self
                    .devices(name)
                    .into_iter()
                    .filter(|(resource, count)| node.devices.get(resource) != Some(count))
                    .collect();
                (!differing.is_empty()).then(|| Write::Devices {
                    node: name.clone(),
                    devices: differing,
                })
            })
            .collect()
    }
}

fn condition(name: &str, node: &NodeObject) -> Option<Write> {
    let (managed, message) = match node.other_manager() {
        None => (true, "Mica cuts the GPUs of this node".to_owned()),
        Some(label) => (
            false,
            format!(
                "the label {label} gives the GPUs of this node to another program; when that is off, take the label away"
            ),
        ),
    };
    let known = node.condition.as_ref();
    let status = if managed { "True" } else { "False" };
    if known.is_some_and(|(was, said)| was == status && *said == message) {
        return None;
    }
    Some(Write::Condition {
        node: name.to_owned(),
        managed,
        message,
    })
}

/// The patch that releases a pod: it fails when the pod is not as it was seen, so that no two coordinators release one pod, and none a pod that
/// somebody has changed.
fn release(pod: &Pod, node: &str) -> Value {
    let scheduling = pod.scheduling.as_deref().cloned().unwrap_or_default();
    let mut patch = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": pod.uid}),
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": pod.version}),
        json!({"op": "test", "path": "/spec/schedulingGates", "value": [{"name": GATE}]}),
    ];
    patch.extend(affinity(&scheduling, node));
    if !scheduling.has_annotations {
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    let annotation = RELEASED_TO.replace('/', "~1");
    let place = format!("/metadata/annotations/{annotation}");
    patch.push(json!({"op": "add", "path": place, "value": node}));
    patch.push(json!({"op": "remove", "path": "/spec/schedulingGates"}));
    Value::Array(patch)
}

/// Adds to the required node affinity that the node has this name. While a pod is gated, its terms may be narrowed: of several terms one
/// has to hold, so the name is added to each.
fn affinity(scheduling: &Scheduling, node: &str) -> Vec<Value> {
    const NODE_AFFINITY: &str = "/spec/affinity/nodeAffinity";
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let name = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    let required = json!({"nodeSelectorTerms": [{"matchFields": [name]}]});
    let add = |path: String, value: Value| json!({"op": "add", "path": path, "value": value});
    match &scheduling.terms {
        None if !scheduling.has_affinity => {
            vec![add(
                "/spec/affinity".to_owned(),
                json!({"nodeAffinity": {REQUIRED: required}}),
            )]
        }
        None if !scheduling.has_node_affinity => {
            vec![add(NODE_AFFINITY.to_owned(), json!({REQUIRED: required}))]
        }
        None => vec![add(format!("{NODE_AFFINITY}/{REQUIRED}"), required)],
        Some(terms) => {
            let has_fields = |term: &NodeSelectorTerm| {
                term.match_fields.as_ref().is_some_and(|it| !it.is_empty())
            };
            let narrowed = terms.iter().zip(0_usize..).filter(|(term, _)| {
                has_fields(term)
                    || term
                        .match_expressions
                        .as_ref()
                        .is_some_and(|it| !it.is_empty())
            });
            narrowed
                .map(|(term, position)| {
                    let path = format!(
                        "{NODE_AFFINITY}/{REQUIRED}/nodeSelectorTerms/{position}/matchFields"
                    );
                    if has_fields(term) {
                        add(format!("{path}/-"), name.clone())
                    } else {
                        add(path, json!([name]))
                    }
                })
                .collect()
        }
    }
}
