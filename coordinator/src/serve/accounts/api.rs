//! What the API server holds, and the news of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as k8s;
use mica_model::Pod as PodName;
use serde_json::{Value, json};

use crate::serve::{
    index::Write,
    objects::{NodeObject, Objects, Pod},
};

/// A change, as a watch brings it.
#[derive(Clone)]
enum News {
    Pod(PodName, Option<Pod>),
    Node(String, NodeObject),
}

/// The API server.
#[derive(Default)]
pub(super) struct Api {
    pub(super) pods: BTreeMap<PodName, Pod>,
    pub(super) nodes: BTreeMap<String, NodeObject>,
    news: Vec<News>,
    version: u64,
    created: usize,
}

impl Api {
    fn version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    /// A managed node.
    pub(super) fn add_node(&mut self, name: &str) {
        let labels = json!({"mica.dev/partitioning": "dynamic"});
        let allocatable = json!({"cpu": "64", "memory": "64Gi", "pods": "100"});
        let object: k8s::Node = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": labels},
            "status": {"allocatable": allocatable},
        }))
        .unwrap();
        let (_, node) = NodeObject::of(&object).unwrap();
        self.set_node(name, node);
    }

    pub(super) fn set_node(&mut self, name: &str, mut node: NodeObject) {
        node.version = self.version();
        self.news.push(News::Node(name.to_owned(), node.clone()));
        self.nodes.insert(name.to_owned(), node);
    }

    /// A gated pod, whose name was never there.
    pub(super) fn create(&mut self, resource: &str, count: u32) {
        self.created += 1;
        let (name, uid) = (format!("p{}", self.created), format!("u{}", self.created));
        let resources = json!({"limits": {resource: count.to_string()}});
        let object: k8s::Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "uid": uid},
            "spec": {
                "schedulingGates": [{"name": "mica.dev/slice"}],
                "containers": [{"name": "c", "resources": resources}],
            },
        }))
        .unwrap();
        let (name, pod) = Pod::of(&object).unwrap();
        self.set_pod(&name, pod);
    }

    pub(super) fn set_pod(&mut self, name: &PodName, mut pod: Pod) {
        pod.version = self.version();
        self.news.push(News::Pod(name.clone(), Some(pod.clone())));
        self.pods.insert(name.clone(), pod);
    }

    pub(super) fn end(&mut self, name: &PodName) {
        self.pods.remove(name);
        self.news.push(News::Pod(name.clone(), None));
    }

    /// A pod that matches, by number.
    pub(super) fn pick(&self, number: usize, is: impl Fn(&Pod) -> bool) -> Option<(PodName, Pod)> {
        let found: Vec<_> = self.pods.iter().filter(|(_, pod)| is(pod)).collect();
        let (name, pod) = found.get(number % found.len().max(1))?;
        Some(((*name).clone(), (*pod).clone()))
    }

    /// Brings the next news to who has heard so many.
    pub(super) fn tell(&self, heard: &mut usize, objects: &mut Objects) -> bool {
        let Some(news) = self.news.get(*heard) else {
            return false;
        };
        *heard += 1;
        match news.clone() {
            News::Pod(name, pod) => objects.set_pod(&name, pod),
            News::Node(name, node) => objects.set_node(&name, Some(node)),
        }
    }

    /// Brings everything, as a list does.
    pub(super) fn list(&self, heard: &mut usize, objects: &mut Objects) {
        *heard = self.news.len();
        objects.set_namespaces(["ns".to_owned()].into());
        objects.set_nodes(self.nodes.clone());
        objects.set_pods(self.pods.clone());
    }

    /// Whether somebody has heard everything.
    pub(super) fn has_told(&self, heard: usize) -> bool {
        heard >= self.news.len()
    }

    /// Does a write, unless what it tests does not hold.
    pub(super) fn write(&mut self, write: &Write) -> Result<(), ()> {
        match write {
            Write::Devices {
                node: name,
                devices,
            } => {
                let mut node = self.nodes.get(name).cloned().ok_or(())?;
                node.devices.extend(devices.clone());
                self.set_node(name, node);
            }
            Write::Labels { node: name, labels } => {
                let mut node = self.nodes.get(name).cloned().ok_or(())?;
                for (key, value) in labels {
                    node.labels.remove(key);
                    let value = value.clone().map(|value| (key.clone(), value));
                    node.labels.extend(value);
                }
                self.set_node(name, node);
            }
            Write::Condition {
                node: name,
                managed,
                message,
            } => {
                let mut node = self.nodes.get(name).cloned().ok_or(())?;
                let status = if *managed { "True" } else { "False" };
                node.condition = Some((status.to_owned(), message.clone()));
                self.set_node(name, node);
            }
            Write::Release {
                pod: name,
                node,
                patch,
            } => {
                let mut pod = self.pods.get(name).cloned().ok_or(())?;
                let tested = |path: &str| {
                    let mut steps = patch.as_array().unwrap().iter();
                    let step = steps.find(|step| step["op"] == "test" && step["path"] == path);
                    step.map(|step| step["value"].clone())
                };
                let uid = Some(Value::from(pod.uid.clone()));
                let version = Some(Value::from(pod.version.clone()));
                let is_as_seen = tested("/metadata/uid") == uid
                    && tested("/metadata/resourceVersion") == version
                    && tested("/spec/schedulingGates").is_some();
                if !is_as_seen || !pod.gated {
                    return Err(());
                }
                pod.gated = false;
                pod.released_to = Some(node.clone());
                self.set_pod(name, pod);
            }
            Write::Taint { .. } | Write::Tell { .. } => {}
        }
        Ok(())
    }
}
