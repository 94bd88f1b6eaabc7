//! `mica adopt`: takes a node over from another program that partitions its GPUs.
//!
//! It speaks to the API server as the person who runs it, and changes labels of the node alone, in one patch: [`switch`] says which, and what
//! is left to be done by hand.

mod managers;
mod switch;
#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    config::KubeConfigOptions,
};
use serde_json::Value;

use super::{fail::Fail, output};
use crate::names::near;
use switch::Switch;

/// Said when it was done.
const DONE: &str =
    "Done. The coordinator says in the node's condition MicaManaged that it has taken it.\n";
/// Where NVIDIA's GPU Operator says what it runs.
const CLUSTER_POLICIES: &str = "/apis/nvidia.com/v1/clusterpolicies";

/// A node to be taken over.
#[derive(Debug, Args)]
pub(super) struct Adopt {
    /// The node
    node: String,
    /// Say what would be done, have the API server check it, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take it over although pods on it hold devices that another program made or gave out; they keep them until they end
    #[arg(long)]
    with_running_pods: bool,
    /// Context of the kubeconfig; without one the current context, or the service account of the pod
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl Adopt {
    /// Does it, unless there is a reason not to.
    pub(super) async fn run(&self, deadline: Duration) -> Result<(), Fail> {
        let done = tokio::time::timeout(deadline, self.adopt()).await;
        done.unwrap_or(Err(Fail::Timeout {
            server: "the API server".to_owned(),
            seconds: deadline.as_secs_f64(),
        }))
    }

    async fn adopt(&self) -> Result<(), Fail> {
        let client = connect(self.context.as_deref()).await?;
        let nodes: Api<Node> = Api::all(client.clone());
        let node = nodes.get_opt(&self.node).await.map_err(failed)?;
        let Some(node) = node else {
            return Err(self.unknown(&nodes).await);
        };
        let on_it = ListParams::default().fields(&format!("spec.nodeName={}", self.node));
        let pods = Api::<Pod>::all(client.clone()).list(&on_it).await;
        let pods = pods.map_err(failed)?.items;
        let policies = cluster_policies(&client).await?;
        let switch = Switch::of(&node, &pods, &policies);
        output::print(&switch.to_string())?;
        if let Some(refusal) = switch.refusal(self.with_running_pods) {
            return Err(Fail::Refused(refusal));
        }
        if switch.is_done() {
            return Ok(());
        }
        let params = PatchParams {
            dry_run: self.dry_run,
            ..PatchParams::default()
        };
        let patch = Patch::Merge(switch.patch());
        match nodes.patch(&self.node, &params, &patch).await {
            Ok(_) if self.dry_run => output::print("Nothing was changed (--dry-run).\n"),
            Ok(_) => output::print(DONE),
            Err(kube::Error::Api(status)) if status.is_conflict() => Err(Fail::Refused(format!(
                "node {} has just been changed by somebody; nothing was done: try again",
                self.node
            ))),
            Err(error) => Err(failed(error)),
        }
    }

    async fn unknown(&self, nodes: &Api<Node>) -> Fail {
        let known = nodes.list_metadata(&ListParams::default()).await;
        let names = known.into_iter().flat_map(|list| list.items);
        let near = near(&self.node, names.map(|node| node.name_any()));
        let hint = if near.is_empty() {
            "`kubectl get nodes` shows all".to_owned()
        } else {
            format!("did you mean {}?", near.join(", "))
        };
        Fail::NotFound(format!("no node {:?}; {hint}", self.node))
    }
}

async fn connect(context: Option<&str>) -> Result<Client, Fail> {
    let config = match context {
        None => kube::Config::infer().await.map_err(anyhow::Error::from),
        Some(context) => {
            let options = KubeConfigOptions {
                context: Some(context.to_owned()),
                ..KubeConfigOptions::default()
            };
            let config = kube::Config::from_kubeconfig(&options).await;
            config.map_err(anyhow::Error::from)
        }
    };
    let client = config.and_then(|config| Ok(Client::try_from(config)?));
    client.map_err(Fail::Kubeconfig)
}

/// What NVIDIA's GPU Operator is told, where there is one that we may look at.
async fn cluster_policies(client: &Client) -> Result<Vec<Value>, Fail> {
    let request = axum::http::Request::get(CLUSTER_POLICIES).body(Vec::new());
    let request = request.map_err(|error| Fail::Kubernetes(error.into()))?;
    match client.request::<Value>(request).await {
        Ok(mut list) => Ok(match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        }),
        // By the code alone: of an API that is not there the answer has no words.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: kube::Error) -> Fail {
    if let kube::Error::Api(status) = &error
        && status.is_forbidden()
    {
        return Fail::Refused(format!(
            "the API server refuses: {}; adopting a node takes the rights to get and patch nodes and to list pods",
            status.message
        ));
    }
    Fail::Kubernetes(error.into())
}
