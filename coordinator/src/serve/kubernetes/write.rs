//! The writer: the one task that changes the cluster's objects.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::{info, warn};

use super::{REQUEST_TIMEOUT, watch::error_chain};
use crate::serve::{
    cluster::Cluster,
    index::{Index, Write},
    metrics::Metrics,
    objects::{NodeObject, Pod as PodState, names::CONDITION},
};

/// First pause after a write that failed; doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Reasons to wait change with every plan while a cluster is busy; nobody reads them as fast.
const BETWEEN_EVENTS: Duration = Duration::from_secs(5);
/// An event's text is at most so long.
const LONGEST_NOTE: usize = 1000;

/// Writes for ever.
pub(crate) async fn write(client: Client, cluster: Arc<Cluster>, metrics: Arc<Metrics>) {
    let reporter = Reporter {
        controller: "mica-coordinator".to_owned(),
        instance: None,
    };
    let mut writer = Writer {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        cluster,
        metrics,
        pauses: BTreeMap::new(),
    };
    let mut revisions = writer.cluster.watch();
    loop {
        let wakes_at = writer.pauses.values().map(|pause| pause.until).min();
        tokio::select! {
            changed = revisions.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = sleep_until(wakes_at) => {}
        }
        writer.write_all().await;
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

struct Writer {
    client: Client,
    recorder: Recorder,
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    /// Of what failed, by [`Write::subject`].
    pauses: BTreeMap<String, Pause>,
}

struct Pause {
    until: Instant,
    failures: u32,
}

impl Writer {
    /// Writes until nothing is left to be written but what has failed.
    async fn write_all(&mut self) {
        loop {
            let now = Instant::now();
            let writes = self.cluster.read(Index::writes);
            self.pauses.retain(|subject, pause| {
                pause.until > now || writes.iter().any(|it| it.subject() == *subject)
            });
            let is_due = |write: &Write| {
                let pause = self.pauses.get(&write.subject());
                pause.is_none_or(|pause| pause.until <= now)
            };
            let due: Vec<_> = writes.into_iter().filter(is_due).collect();
            if due.is_empty() {
                return;
            }
            for write in due {
                self.write_one(&write).await;
            }
        }
    }

    async fn write_one(&mut self, write: &Write) {
        let subject = write.subject();
        let writing = async {
            match write {
                Write::Devices { node, devices } => self.devices(node, devices).await,
                Write::Labels { node, labels } => self.labels(node, labels).await,
                Write::Condition {
                    node,
                    managed,
                    message,
                } => self.condition(node, *managed, message).await,
                Write::Taint { node, patch } => self.taint(node, patch).await,
                Write::Tell { pod, uid, reason } => self.tell(pod, uid, reason).await,
                Write::Release { pod, node, patch } => self.release(pod, node, patch).await,
            }
        };
        let result = match timeout(REQUEST_TIMEOUT, writing).await {
            Ok(written) => written.map_err(|error| error_chain(&error)),
            Err(_) => Err("the API server does not answer".to_owned()),
        };
        self.metrics.write(write.what(), result.is_ok());
        let Err(error) = result else {
            self.pauses.remove(&subject);
            if matches!(write, Write::Tell { .. }) {
                let until = Instant::now() + BETWEEN_EVENTS;
                self.pauses.insert(subject, Pause { until, failures: 0 });
            }
            return;
        };
        warn!(subject, error, "a write failed and is tried again");
        let failures = self.pauses.get(&subject).map_or(0, |pause| pause.failures);
        let pause = FIRST_PAUSE
            .saturating_mul(1 << failures.min(16))
            .min(LONGEST_PAUSE);
        let pause = Pause {
            until: Instant::now() + pause,
            failures: failures.saturating_add(1),
        };
        self.pauses.insert(subject, pause);
    }

    /// Says how many devices the node has, as its kubelet will at its next tick.
    async fn devices(&self, node: &str, devices: &BTreeMap<String, u32>) -> kube::Result<()> {
        let devices: BTreeMap<_, _> = devices
            .iter()
            .map(|(name, count)| (name, count.to_string()))
            .collect();
        let patch = json!({"status": {"capacity": devices, "allocatable": devices}});
        let api: Api<Node> = Api::all(self.client.clone());
        let params = PatchParams::default();
        let patched = api
            .patch_status(node, &params, &Patch::Merge(patch))
            .await?;
        info!(node, ?devices, "the scheduler knows the devices");
        self.seen_node(&patched);
        Ok(())
    }

    async fn labels(
        &self,
        node: &str,
        labels: &BTreeMap<String, Option<String>>,
    ) -> kube::Result<()> {
        let patch = json!({"metadata": {"labels": labels}});
        let api: Api<Node> = Api::all(self.client.clone());
        let params = PatchParams::default();
        let patched = api.patch(node, &params, &Patch::Merge(patch)).await?;
        self.seen_node(&patched);
        Ok(())
    }

    async fn condition(&self, node: &str, managed: bool, message: &str) -> kube::Result<()> {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (status, reason) = if managed {
            ("True", "Managed")
        } else {
            ("False", "ManagedByOther")
        };
        let condition = json!({
            "type": CONDITION,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        });
        let patch = json!({"status": {"conditions": [condition]}});
        let api: Api<Node> = Api::all(self.client.clone());
        let params = PatchParams::default();
        let patched = api
            .patch_status(node, &params, &Patch::Strategic(patch))
            .await?;
        self.seen_node(&patched);
        Ok(())
    }

    async fn taint(&self, node: &str, patch: &Value) -> kube::Result<()> {
        let patch = serde_json::from_value(patch.clone()).map_err(kube::Error::SerdeError)?;
        let api: Api<Node> = Api::all(self.client.clone());
        let params = PatchParams::default();
        let patched = api.patch(node, &params, &Patch::<()>::Json(patch)).await?;
        self.seen_node(&patched);
        Ok(())
    }

    async fn tell(&self, pod: &mica_model::Pod, uid: &str, reason: &str) -> kube::Result<()> {
        let event = Event {
            type_: EventType::Normal,
            reason: "WaitsForSlice".to_owned(),
            note: Some(reason.chars().take(LONGEST_NOTE).collect()),
            action: "Plan".to_owned(),
            secondary: None,
        };
        let reference = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.namespace.clone()),
            name: Some(pod.name.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        self.recorder.publish(&event, &reference).await?;
        self.cluster
            .update(|index| index.note_told(pod, uid, reason));
        Ok(())
    }

    fn seen_node(&self, object: &Node) {
        if let Some((name, state)) = NodeObject::of(object) {
            self.cluster
                .update(|index| index.observe(|objects| objects.set_node(&name, Some(state))));
        }
    }

    /// Binds the pod to its node and opens the gate, in one step.
    async fn release(&self, pod: &mica_model::Pod, node: &str, patch: &Value) -> kube::Result<()> {
        self.cluster.update(|index| index.asked_to_release(pod));
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let patch = serde_json::from_value(patch.clone()).map_err(kube::Error::SerdeError)?;
        let params = PatchParams::default();
        match api
            .patch(&pod.name, &params, &Patch::<()>::Json(patch))
            .await
        {
            Ok(object) => {
                info!(namespace = pod.namespace, pod = pod.name, node, "released");
                let state = PodState::of(&object).map(|(_, state)| state);
                self.cluster
                    .update(|index| index.observe(|objects| objects.set_pod(pod, state)));
                Ok(())
            }
            Err(error) => {
                // It may have been released all the same, or changed by somebody. While that is not known, its slices stay kept.
                if let Ok(object) = api.get_opt(&pod.name).await {
                    let state = object
                        .as_ref()
                        .and_then(PodState::of)
                        .map(|(_, state)| state);
                    self.cluster.update(|index| {
                        index.observe(|objects| objects.set_pod(pod, state));
                        index.not_released(pod);
                    });
                }
                Err(error)
            }
        }
    }
}
