//! The API server's side: what is read from it and written to it.
//!
//! ```text
//!   API server ── watch ──► index ── rounds ──► index ── write ──► API server
//! ```
//!
//! Watches only ever change the index, and one task does all writes: it compares what should be there with what the index has seen there,
//! and writes the difference, so that nothing is written when nothing changes.

mod certificate;
mod identity;
mod lease;
mod watch;
mod webhook;
mod write;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use jiff::Timestamp;
use kube::Client;
use tokio::{task::JoinSet, time::timeout};
use tracing::warn;

use self::lease::Candidate;
use super::{cluster::Cluster, index::Index, listen::Tls, metrics::Metrics};

pub(crate) use identity::{Doorkeeper, Refusal};
pub(crate) use webhook::Authority;

/// A request takes milliseconds; one without an answer for so long has none. Shorter than a lease lasts beyond its last renewal, so that a
/// coordinator that loses its lease has nothing on the way when the next one begins.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// All pods are listed within this time; then the lease is renewed. Shorter than a leader may go without renewing it.
const CATCHING_UP: Duration = Duration::from_secs(5);

/// A coordinator on Kubernetes.
pub(crate) struct Kubernetes {
    client: Client,
    namespace: String,
    candidate: Candidate,
    doorkeeper: Arc<Doorkeeper>,
    /// When a new certificate is due, if it makes its own.
    renewal: Option<Timestamp>,
}

impl Kubernetes {
    /// Connects as the service account of the pod, or by `KUBECONFIG`.
    pub(crate) async fn connect(namespace: &str, pod: &str) -> anyhow::Result<Self> {
        let config = kube::Config::infer().await.context(
            "found neither a service account of Kubernetes nor a kubeconfig; outside of Kubernetes use --standalone",
        )?;
        let client =
            Client::try_from(config).context("cannot use the configuration of Kubernetes")?;
        Ok(Self {
            namespace: namespace.to_owned(),
            candidate: Candidate::new(&client, namespace, pod),
            doorkeeper: Arc::new(Doorkeeper::new(&client, namespace)),
            client,
            renewal: None,
        })
    }

    /// Lets agents in.
    pub(crate) fn doorkeeper(&self) -> Arc<Doorkeeper> {
        Arc::clone(&self.doorkeeper)
    }

    /// The coordinator's own certificate.
    pub(crate) async fn tls(&mut self) -> anyhow::Result<Tls> {
        let certificate = certificate::certificate(&self.client, &self.namespace).await?;
        self.renewal = Some(certificate.renewal);
        Ok(Tls {
            chain: certificate.chain,
            key: certificate.key,
            client_ca: None,
        })
    }

    /// How long its own certificate is still good for: then the program has to end, and whoever starts it again gets a new one.
    pub(crate) fn renewal(&self) -> Option<Duration> {
        let left = self.renewal?.duration_since(Timestamp::now());
        Some(Duration::try_from(left).unwrap_or_default())
    }

    /// Keeps the authority known to the API server by which it is to know the webhook.
    pub(crate) fn keep_webhook_known(&self, work: &mut JoinSet<()>, authority: Authority) {
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        work.spawn(webhook::keep_known(client, namespace, authority));
    }

    /// Starts to follow the API server. The namespaces that belong to tenants have labels that match the selector.
    pub(crate) fn watch(&self, work: &mut JoinSet<()>, cluster: &Arc<Cluster>, tenants: &str) {
        watch::watch(work, &self.client, cluster, tenants);
    }

    /// Waits until everything has been seen and the lease is won; then agents are let in and what is to be written is written.
    pub(crate) async fn lead(
        &mut self,
        work: &mut JoinSet<()>,
        cluster: &Arc<Cluster>,
        metrics: &Arc<Metrics>,
    ) {
        let mut revisions = cluster.watch();
        while !cluster.read(Index::is_complete) {
            if revisions.changed().await.is_err() {
                return;
            }
        }
        loop {
            self.candidate.win().await;
            // The last writes of the leader before ended with its lease; a watch may not have brought them yet.
            match timeout(CATCHING_UP, watch::catch_up(&self.client, cluster)).await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => warn!(error = watch::error_chain(&error), "cannot list pods yet"),
                Err(_) => warn!("cannot list pods yet: no answer in time"),
            }
        }
        self.doorkeeper.open();
        let writer = write::write(
            self.client.clone(),
            Arc::clone(cluster),
            Arc::clone(metrics),
        );
        work.spawn(writer);
    }

    /// Leads until the lease is lost; the error says why.
    pub(crate) async fn hold(&mut self) -> anyhow::Error {
        self.candidate.hold().await
    }

    /// Lets another lead. Nothing may be written any more.
    pub(crate) async fn give_back(&self) {
        self.candidate.give_back().await;
    }
}
