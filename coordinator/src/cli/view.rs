//! What `mica get` shows, as plain data: the stable form of `-o json`, and a row of a table.
//!
//! Everything here is made from the coordinator's messages by pure functions, and sorted, so that the same cluster looks the same.

mod gpu;
mod node;
mod queue;
mod slice;

use mica_proto::convert::Invalid;
use mica_proto::v1;
use serde::Serialize;

use super::table::Column;

pub(super) use gpu::Gpu;
pub(super) use node::Node;
pub(super) use queue::{Queue, Unmet, reasons};
pub(super) use slice::{Place, Slice};

/// A kind of thing that can be shown.
pub(super) trait Item: Serialize + Sized {
    /// `kind` of the list in JSON.
    const LIST: &'static str;
    /// What several of them are called.
    const PLURAL: &'static str;
    /// The table.
    const COLUMNS: &'static [Column];

    /// All of them in a cluster, in order.
    fn all(cluster: &v1::Cluster) -> Result<Vec<Self>, Invalid>;

    /// What tells it from the others.
    fn key(&self) -> String;

    /// What people may call it, or what it belongs to: `mica get slices NODE` shows those of the node.
    fn names(&self) -> Vec<String>;

    /// Names that items could go by though none does: there is a node, and it has no slice.
    fn scopes(_cluster: &v1::Cluster) -> Result<Vec<String>, Invalid> {
        Ok(Vec::new())
    }

    /// A cell for each column.
    fn row(&self) -> Vec<String>;
}

/// A list in JSON.
#[derive(Serialize)]
pub(super) struct List<'a, T> {
    pub items: &'a [T],
}

/// How many slices there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Count {
    /// Whole ones that nobody uses.
    idle: usize,
    /// Those whose use is unknown included, and sick ones.
    in_use: usize,
}

impl Count {
    fn of(instances: &[mica_model::Instance]) -> Self {
        let (idle, in_use): (Vec<_>, Vec<_>) =
            instances.iter().partition(|instance| instance.is_free());
        Self {
            idle: idle
                .iter()
                .filter(|instance| instance.compute.is_some())
                .count(),
            in_use: in_use.len(),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            idle: self.idle + other.idle,
            in_use: self.in_use + other.in_use,
        }
    }
}

/// The nodes by name, each with the GPUs it reports.
fn nodes(cluster: &v1::Cluster) -> Result<Vec<(&v1::Node, Vec<mica_model::Gpu>)>, Invalid> {
    let mut nodes: Vec<&v1::Node> = cluster.nodes.iter().collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    nodes
        .into_iter()
        .map(|node| {
            let mut gpus = node
                .report
                .as_ref()
                .map_or_else(|| Ok(Vec::new()), v1::Report::to_gpus)?;
            gpus.sort_by_key(|gpu| gpu.index);
            Ok((node, gpus))
        })
        .collect()
}

/// `NODE/INDEX`.
fn gpu_name(node: &str, index: u32) -> String {
    format!("{node}/{index}")
}

/// A product as one word without the maker: `A100-SXM4-40GB`.
pub(super) fn model(product: &str) -> String {
    product
        .trim_start_matches("NVIDIA ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join("-")
}

/// Some text, or nothing.
fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
