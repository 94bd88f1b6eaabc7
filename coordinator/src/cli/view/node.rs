//! Nodes.

use mica_proto::convert::Invalid;
use mica_proto::v1;
use serde::Serialize;

use super::super::table::{Column, age, column, restless, sentence, wide};
use super::{Count, Item, gpu, nodes, some};

/// A node as shown.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Node {
    name: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nvml_version: Option<String>,
    gpus: usize,
    /// GPUs that cannot be used or changed now.
    held: Vec<HeldGpu>,
    slices: Count,
    generation: Generations,
    last_seen_seconds: f64,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct HeldGpu {
    gpu_index: u32,
    state: &'static str,
    reason: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Generations {
    desired: u64,
    observed: u64,
}

/// The word for the state of a node.
pub(super) fn state(node: &v1::Node) -> &'static str {
    match node.state() {
        v1::NodeState::Unspecified => "unknown",
        v1::NodeState::Ready => "ready",
        v1::NodeState::Applying => "applying",
        v1::NodeState::Lost => "lost",
        v1::NodeState::Starting => "starting",
    }
}

fn held(node: &v1::Node, gpus: &[mica_model::Gpu]) -> Vec<HeldGpu> {
    gpus.iter()
        .filter_map(|gpu| {
            let (state, reason) = gpu::state(node, gpu);
            Some(HeldGpu {
                gpu_index: gpu.index,
                state,
                reason: reason?,
            })
        })
        .collect()
}

impl Node {
    /// Why GPUs are held, each reason once: `0,3: fell off the bus; 5: …`.
    fn reasons(&self) -> String {
        let mut gpus: Vec<(&str, Vec<String>)> = Vec::new();
        for held in &self.held {
            let index = held.gpu_index.to_string();
            match gpus.iter_mut().find(|(reason, _)| *reason == held.reason) {
                Some((_, indices)) => indices.push(index),
                None => gpus.push((&held.reason, vec![index])),
            }
        }
        let reasons: Vec<_> = gpus
            .iter()
            .map(|(reason, indices)| format!("{}: {reason}", indices.join(",")))
            .collect();
        reasons.join("; ")
    }
}

impl Item for Node {
    const LIST: &'static str = "NodeList";
    const PLURAL: &'static str = "nodes";
    const COLUMNS: &'static [Column] = &[
        column("NAME"),
        column("STATE"),
        column("GPUS"),
        column("HELD"),
        column("IDLE"),
        column("IN-USE"),
        column("GENERATION"),
        column("VERSION"),
        restless("LAST-SEEN"),
        wide("DRIVER"),
        wide("NVML"),
        sentence("REASON"),
    ];

    fn all(cluster: &v1::Cluster) -> Result<Vec<Self>, Invalid> {
        let item = |(node, gpus): (&v1::Node, Vec<mica_model::Gpu>)| {
            let version = |of: fn(&v1::Report) -> &str| {
                node.report.as_ref().and_then(|report| some(of(report)))
            };
            Self {
                name: node.name.clone(),
                state: state(node),
                agent_version: some(&node.agent_version),
                driver_version: version(|report| &report.driver_version),
                nvml_version: version(|report| &report.nvml_version),
                gpus: gpus.len(),
                held: held(node, &gpus),
                slices: gpus
                    .iter()
                    .map(|gpu| Count::of(&gpu.instances))
                    .fold(Count::default(), Count::plus),
                generation: Generations {
                    desired: node.desired_generation,
                    observed: node.observed_generation,
                },
                last_seen_seconds: node.last_seen_seconds,
            }
        };
        Ok(nodes(cluster)?.into_iter().map(item).collect())
    }

    fn key(&self) -> String {
        self.name.clone()
    }

    fn names(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    fn row(&self) -> Vec<String> {
        let Generations { desired, observed } = self.generation;
        let generation = if desired == observed {
            observed.to_string()
        } else {
            format!("{observed}/{desired}")
        };
        vec![
            self.name.clone(),
            self.state.to_owned(),
            self.gpus.to_string(),
            self.held.len().to_string(),
            self.slices.idle.to_string(),
            self.slices.in_use.to_string(),
            generation,
            self.agent_version.clone().unwrap_or_default(),
            age(self.last_seen_seconds),
            self.driver_version.clone().unwrap_or_default(),
            self.nvml_version.clone().unwrap_or_default(),
            self.reasons(),
        ]
    }
}
