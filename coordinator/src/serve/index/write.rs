//! What is to be written to the API server: the difference between what should be there and what has been seen there.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NodeSelectorTerm;
use mica_model::Pod as PodName;
use serde_json::{Value, json};

use super::Index;
use crate::serve::objects::{
    Objects, Pod, Scheduling,
    names::{GATE, RELEASED_TO},
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
            Self::Release { .. } => "release",
        }
    }

    /// What it changes, to know it again.
    pub(crate) fn subject(&self) -> String {
        let what = self.what();
        match self {
            Self::Devices { node, .. } => format!("{what} {node}"),
            Self::Release { pod, .. } => format!("{what} {}/{}", pod.namespace, pod.name),
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
        writes
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
    let path = format!("/metadata/annotations/{annotation}");
    patch.push(json!({"op": "add", "path": path, "value": node}));
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
