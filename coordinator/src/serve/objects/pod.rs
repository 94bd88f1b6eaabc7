use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self as k8s, NodeSelectorTerm, Toleration};
use mica_model::{Pod as PodName, SLICE_PREFIX, WHOLE_GPU};

use super::names::{GATE, RELEASED_TO};
use super::quantity;

/// What of a pod matters: where it runs or may run, and what it asks for.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what the API shows of a pod, each by itself"
)]
pub(crate) struct Pod {
    /// Tells it from an earlier pod of the same name.
    pub(crate) uid: String,
    /// Its resource version.
    pub(crate) version: String,
    pub(crate) created: Option<Timestamp>,
    pub(crate) priority: i32,
    /// The node that it is bound to.
    pub(crate) node: Option<String>,
    /// Whether the gate keeps it from the scheduler.
    pub(crate) gated: bool,
    /// Whether something else does.
    pub(crate) gated_by_others: bool,
    /// Whether the scheduler found no node for it.
    pub(crate) unschedulable: bool,
    /// Whether it is being deleted.
    pub(crate) leaving: bool,
    /// The node that a coordinator released it to.
    pub(crate) released_to: Option<String>,
    pub(crate) request: Request,
    /// Where it may run; `None` when it asks for no GPU, since the question is then not ours.
    pub(crate) scheduling: Option<Box<Scheduling>>,
}

/// What a pod takes of a node, as Kubernetes counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// By resource name, e.g. `nvidia.com/mig-3g.20gb`.
    pub(crate) slices: BTreeMap<String, u32>,
    /// `nvidia.com/gpu`.
    pub(crate) gpus: u32,
    pub(crate) cpu_milli: u64,
    pub(crate) memory_bytes: u64,
}

/// What the scheduler looks at before it puts a pod on a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scheduling {
    pub(crate) node_selector: BTreeMap<String, String>,
    /// Terms of the required node affinity, of which one must hold; `None`: there are none to keep.
    pub(crate) terms: Option<Vec<NodeSelectorTerm>>,
    pub(crate) tolerations: Vec<Toleration>,
    /// How much of `spec.affinity` there is, for the patch that adds to it.
    pub(crate) has_affinity: bool,
    pub(crate) has_node_affinity: bool,
    pub(crate) has_annotations: bool,
}

impl Pod {
    /// Its names.
    pub(crate) fn name(object: &k8s::Pod) -> Option<PodName> {
        Some(PodName {
            namespace: object.metadata.namespace.clone()?,
            name: object.metadata.name.clone()?,
        })
    }

    /// Its names and what matters of it; `None` for a pod that takes nothing of any node: it has ended, or is not bound and asks for no GPU.
    pub(crate) fn of(object: &k8s::Pod) -> Option<(PodName, Self)> {
        let meta = &object.metadata;
        let spec = object.spec.as_ref()?;
        let status = object.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        let request = Request::of(spec);
        let node = spec.node_name.clone().filter(|node| !node.is_empty());
        if node.is_none() && !request.wants_gpu() {
            return None;
        }
        let gates = spec.scheduling_gates.as_deref().unwrap_or_default();
        let annotations = meta.annotations.as_ref();
        let name = Self::name(object)?;
        let pod = Self {
            uid: meta.uid.clone()?,
            version: meta.resource_version.clone().unwrap_or_default(),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
            priority: spec.priority.unwrap_or_default(),
            gated: gates.iter().any(|gate| gate.name == GATE),
            gated_by_others: gates.iter().any(|gate| gate.name != GATE),
            unschedulable: status.is_some_and(is_unschedulable),
            leaving: meta.deletion_timestamp.is_some(),
            released_to: annotations.and_then(|all| all.get(RELEASED_TO)).cloned(),
            scheduling: request
                .wants_gpu()
                .then(|| Box::new(Scheduling::of(spec, annotations.is_some()))),
            node,
            request,
        };
        Some((name, pod))
    }

    /// The node whose slices it has or will have: it is bound to it, or was released to it.
    pub(crate) fn destination(&self) -> Option<&str> {
        let released = self.released_to.as_deref().filter(|_| !self.gated);
        self.node.as_deref().or(released)
    }
}

fn is_unschedulable(status: &k8s::PodStatus) -> bool {
    let conditions = status.conditions.iter().flatten();
    conditions
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .any(|condition| condition.reason.as_deref() == Some("Unschedulable"))
}

impl Request {
    /// The containers' sum, or what an init container needs beside the sidecars that are running by then, whichever is more.
    fn of(spec: &k8s::PodSpec) -> Self {
        let mut sum = Self::default();
        for container in &spec.containers {
            sum.add(&Self::of_container(container.resources.as_ref()));
        }
        let mut sidecars = Self::default();
        let mut peak = Self::default();
        for container in spec.init_containers.iter().flatten() {
            let own = Self::of_container(container.resources.as_ref());
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars.add(&own);
                peak.raise(&sidecars);
            } else {
                let mut beside = sidecars.clone();
                beside.add(&own);
                peak.raise(&beside);
            }
        }
        sum.add(&sidecars);
        sum.raise(&peak);
        sum.set_for_pod(spec);
        sum
    }

    fn of_container(resources: Option<&k8s::ResourceRequirements>) -> Self {
        let mut request = Self::default();
        let Some(resources) = resources else {
            return request;
        };
        // What has a limit and no request asks for its limit.
        let named = resources.limits.iter().chain(&resources.requests).flatten();
        for (name, quantity) in named {
            request.set(name, &quantity.0);
        }
        request
    }

    /// `spec.resources` states CPU and memory of the pod as a whole and then wins over its containers.
    fn set_for_pod(&mut self, spec: &k8s::PodSpec) {
        let Some(resources) = &spec.resources else {
            return;
        };
        for (name, quantity) in resources.limits.iter().chain(&resources.requests).flatten() {
            if name == "cpu" || name == "memory" {
                self.set(name, &quantity.0);
            }
        }
    }

    fn set(&mut self, name: &str, quantity: &str) {
        let count =
            || quantity::whole(quantity).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        match name {
            "cpu" => self.cpu_milli = quantity::milli(quantity).unwrap_or(u64::MAX),
            "memory" => self.memory_bytes = quantity::whole(quantity).unwrap_or(u64::MAX),
            WHOLE_GPU => self.gpus = count().unwrap_or(u32::MAX),
            slice if slice.starts_with(SLICE_PREFIX) => {
                let count = count().unwrap_or(u32::MAX);
                if count > 0 {
                    self.slices.insert(slice.to_owned(), count);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, other: &Self) {
        self.merge(other, u32::saturating_add, u64::saturating_add);
    }

    fn raise(&mut self, other: &Self) {
        self.merge(other, u32::max, u64::max);
    }

    fn merge(&mut self, other: &Self, count: fn(u32, u32) -> u32, amount: fn(u64, u64) -> u64) {
        for (name, other) in &other.slices {
            let own = self.slices.entry(name.clone()).or_default();
            *own = count(*own, *other);
        }
        self.gpus = count(self.gpus, other.gpus);
        self.cpu_milli = amount(self.cpu_milli, other.cpu_milli);
        self.memory_bytes = amount(self.memory_bytes, other.memory_bytes);
    }

    /// Whether it asks for a slice or a whole GPU.
    pub(crate) fn wants_gpu(&self) -> bool {
        self.gpus > 0 || !self.slices.is_empty()
    }
}

impl Scheduling {
    fn of(spec: &k8s::PodSpec, has_annotations: bool) -> Self {
        let affinity = spec.affinity.as_ref();
        let node = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let required = node.and_then(|node| {
            node.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        Self {
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            terms: required.map(|required| required.node_selector_terms.clone()),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            has_affinity: affinity.is_some(),
            has_node_affinity: node.is_some(),
            has_annotations,
        }
    }
}
