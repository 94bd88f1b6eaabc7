//! Watches: pods, nodes and the namespaces of tenants, into the index.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    pin::pin,
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tracing::warn;

use crate::serve::{
    cluster::Cluster,
    objects::{NodeObject, Pod as PodState},
};

/// What has ended holds nothing; that it has ended is a deletion to a watch that asks so.
const LIVING: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Starts the watches. They run until aborted.
pub(crate) fn watch(
    work: &mut JoinSet<()>,
    client: &Client,
    cluster: &Arc<Cluster>,
    tenants: &str,
) {
    work.spawn(pods(Api::all(client.clone()), Arc::clone(cluster)));
    work.spawn(nodes(Api::all(client.clone()), Arc::clone(cluster)));
    let selector = watcher::Config::default().labels(tenants);
    work.spawn(namespaces(
        Api::all(client.clone()),
        selector,
        Arc::clone(cluster),
    ));
}

/// Sees all pods as they are now, whatever the watch has brought so far.
pub(super) async fn catch_up(client: &Client, cluster: &Cluster) -> kube::Result<()> {
    // Without a version asked for, the answer is what the API server has last written.
    let now = ListParams::default().fields(LIVING);
    let pods = Api::<Pod>::all(client.clone()).list(&now).await?;
    let pods = pods.iter().filter_map(PodState::of).collect();
    cluster.update(|index| index.observe(|objects| objects.set_pods(pods)));
    Ok(())
}

async fn pods(api: Api<Pod>, cluster: Arc<Cluster>) {
    let mut listed = BTreeMap::new();
    let config = watcher::Config::default().fields(LIVING);
    follow(api, config, |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(pod) => listed.extend(PodState::of(&pod)),
        Event::InitDone => {
            let pods = std::mem::take(&mut listed);
            cluster.update(|index| index.observe(|objects| objects.set_pods(pods)));
        }
        Event::Apply(pod) => {
            if let Some(name) = PodState::name(&pod) {
                let state = PodState::of(&pod).map(|(_, state)| state);
                cluster.update(|index| index.observe(|objects| objects.set_pod(&name, state)));
            }
        }
        Event::Delete(pod) => {
            if let Some(name) = PodState::name(&pod) {
                cluster.update(|index| index.observe(|objects| objects.set_pod(&name, None)));
            }
        }
    })
    .await;
}

async fn nodes(api: Api<Node>, cluster: Arc<Cluster>) {
    let mut listed = BTreeMap::new();
    follow(api, watcher::Config::default(), |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(node) => listed.extend(NodeObject::of(&node)),
        Event::InitDone => {
            let nodes = std::mem::take(&mut listed);
            cluster.update(|index| index.observe(|objects| objects.set_nodes(nodes)));
        }
        Event::Apply(node) => {
            if let Some((name, node)) = NodeObject::of(&node) {
                cluster.update(|index| index.observe(|it| it.set_node(&name, Some(node))));
            }
        }
        Event::Delete(node) => {
            let name = node.name_any();
            cluster.update(|index| index.observe(|objects| objects.set_node(&name, None)));
        }
    })
    .await;
}

async fn namespaces(api: Api<Namespace>, config: watcher::Config, cluster: Arc<Cluster>) {
    let mut listed = BTreeSet::new();
    let set = |name: String, managed| {
        cluster.update(|index| index.observe(|objects| objects.set_namespace(&name, managed)));
    };
    follow(api, config, |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(namespace) => _ = listed.insert(namespace.name_any()),
        Event::InitDone => {
            let namespaces = std::mem::take(&mut listed);
            cluster.update(|index| index.observe(|it| it.set_namespaces(namespaces)));
        }
        Event::Apply(namespace) => set(namespace.name_any(), true),
        Event::Delete(namespace) => set(namespace.name_any(), false),
    })
    .await;
}

/// Follows a kind of object for ever. What fails is tried again with growing pauses; what was seen stays meanwhile.
async fn follow<K>(api: Api<K>, config: watcher::Config, mut take: impl FnMut(Event<K>))
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => take(event),
            Err(error) => {
                let kind = K::kind(&());
                let error = error_chain(&error);
                warn!(%kind, error, "a watch broke and is taken up again");
            }
        }
    }
}

/// What went wrong and why, in one line.
pub(super) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
