//! Leader election by a Lease: one coordinator plans and writes, the others wait.
//!
//! Clocks of machines are not compared. A lease that is not renewed for its duration, by the clock of who watches it, is free; who
//! holds it and could not renew it for [`DEADLINE`] by its own clock stops before that. Writes carry the resource version that was read,
//! so of two that reach for it one fails.

use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::timeout;
use tracing::{info, warn};

use super::REQUEST_TIMEOUT;

/// Name of the Lease.
const NAME: &str = "mica-coordinator";
/// Label on the coordinators' pods, by which their Service finds the one that leads.
const ROLE: &str = "mica.dev/role";
/// How long a lease holds after it was renewed.
const DURATION: Duration = Duration::from_secs(15);
/// How long it may fail to be renewed until its holder stops. What it has on the way by then ends within [`REQUEST_TIMEOUT`], which is
/// before the lease does.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at it.
const INTERVAL: Duration = Duration::from_secs(1);

/// A coordinator that wants the lease, or has it.
pub(crate) struct Candidate {
    leases: Api<Lease>,
    pods: Api<Pod>,
    /// The name of its pod. A container that is started again in its pod may go on at once: the one before is dead.
    me: String,
    seen: Option<Seen>,
    /// When it was last asked for and got.
    renewed: Instant,
    role: Option<&'static str>,
}

/// A lease as it was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    version: String,
    at: Instant,
}

/// What may be done with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is mine.
    Mine,
    /// Nobody's, or its holder is gone.
    Free,
    /// Another's.
    Taken,
}

/// How the lease stands at this moment; `seen` is brought up to date.
fn standing(
    holder: Option<&str>,
    version: &str,
    me: &str,
    seen: &mut Option<Seen>,
    now: Instant,
) -> Standing {
    match holder {
        None | Some("") => return Standing::Free,
        Some(holder) if holder == me => return Standing::Mine,
        Some(_) => {}
    }
    let since = match seen {
        Some(seen) if seen.version == version => seen.at,
        Some(_) | None => {
            let version = version.to_owned();
            *seen = Some(Seen { version, at: now });
            now
        }
    };
    if now.saturating_duration_since(since) >= DURATION {
        Standing::Free
    } else {
        Standing::Taken
    }
}

impl Candidate {
    pub(crate) fn new(client: &Client, namespace: &str, pod: &str) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            me: pod.to_owned(),
            seen: None,
            renewed: Instant::now(),
            role: None,
        }
    }

    /// Waits until the lease is ours, or renews it.
    pub(crate) async fn win(&mut self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            // What is asked for counts from before it was asked for.
            let asked = Instant::now();
            match self.try_hold().await {
                Ok(true) => {
                    self.renewed = asked;
                    info!(holder = self.me, "leads");
                    self.play("leader").await;
                    return;
                }
                Ok(false) => self.play("standby").await,
                Err(error) => warn!(error = format!("{error:#}"), "cannot get the lease"),
            }
        }
    }

    /// Holds the lease until it is lost; the error says why.
    pub(crate) async fn hold(&mut self) -> anyhow::Error {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.play("leader").await;
            let asked = Instant::now();
            match self.try_hold().await {
                Ok(true) => self.renewed = asked,
                Ok(false) => return anyhow::anyhow!("another coordinator has taken the lease"),
                Err(error) if self.renewed.elapsed() > DEADLINE.saturating_sub(REQUEST_TIMEOUT) => {
                    return error.context("the lease could not be renewed in time");
                }
                Err(error) => warn!(error = format!("{error:#}"), "cannot renew the lease yet"),
            }
        }
    }

    /// Gives the lease back, so that the next one need not wait.
    pub(crate) async fn give_back(&self) {
        let patch = json!({"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}});
        let held = async {
            let lease = self.leases.get(NAME).await?;
            let spec = lease.spec.unwrap_or_default();
            if spec.holder_identity.as_deref() == Some(&self.me) {
                let params = PatchParams::default();
                self.leases
                    .patch(NAME, &params, &Patch::Merge(patch))
                    .await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Ok(Err(error)) = timeout(REQUEST_TIMEOUT, held).await {
            warn!(%error, "the lease could not be given back and runs out by itself");
        }
    }

    /// Takes or renews the lease if that may be; whether it is ours.
    async fn try_hold(&mut self) -> anyhow::Result<bool> {
        timeout(REQUEST_TIMEOUT, self.ask())
            .await
            .context("the API server does not answer")?
    }

    async fn ask(&mut self) -> anyhow::Result<bool> {
        let Some(lease) = self.leases.get_opt(NAME).await? else {
            let mut lease: Lease = serde_json::from_value(self.claim(true, 0))?;
            lease.metadata.name = Some(NAME.to_owned());
            let created = self.leases.create(&PostParams::default(), &lease).await;
            return or_conflict(created);
        };
        let spec = lease.spec.unwrap_or_default();
        let version = lease.metadata.resource_version.unwrap_or_default();
        let holder = spec.holder_identity.as_deref();
        let standing = standing(holder, &version, &self.me, &mut self.seen, Instant::now());
        let transitions = spec.lease_transitions.unwrap_or_default();
        let mut claim = match standing {
            Standing::Taken => return Ok(false),
            Standing::Mine => self.claim(false, transitions),
            Standing::Free => self.claim(true, transitions.saturating_add(1)),
        };
        // The version makes the patch fail when somebody was faster.
        if let Some(metadata) = claim.get_mut("metadata") {
            *metadata = json!({"resourceVersion": version});
        }
        let params = PatchParams::default();
        let patched = self.leases.patch(NAME, &params, &Patch::Merge(claim)).await;
        or_conflict(patched)
    }

    fn claim(&self, anew: bool, transitions: i32) -> serde_json::Value {
        let now = Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
            .to_string();
        let mut spec = json!({
            "holderIdentity": self.me,
            "leaseDurationSeconds": DURATION.as_secs(),
            "renewTime": now,
            "leaseTransitions": transitions,
        });
        if anew && let Some(spec) = spec.as_object_mut() {
            spec.insert("acquireTime".to_owned(), now.into());
        }
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {},
            "spec": spec,
        })
    }

    /// Labels our pod. Tried again with the next look at the lease when it fails.
    async fn play(&mut self, role: &'static str) {
        if self.role == Some(role) {
            return;
        }
        let patch = Patch::Merge(json!({"metadata": {"labels": {ROLE: role}}}));
        let params = PatchParams::default();
        let labelled = self.pods.patch_metadata(&self.me, &params, &patch);
        match timeout(REQUEST_TIMEOUT, labelled).await {
            Ok(Ok(_)) => self.role = Some(role),
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {
                warn!(
                    pod = self.me,
                    "there is no such pod to be labelled; agents may not find this coordinator"
                );
                self.role = Some(role);
            }
            Ok(Err(error)) => warn!(%error, role, "cannot label the pod yet"),
            Err(_) => warn!(role, "cannot label the pod yet: no answer"),
        }
    }
}

/// Whether the write was done; `false` when somebody else's came first.
fn or_conflict<T>(written: kube::Result<T>) -> anyhow::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_free_when_it_stays_the_same_for_its_duration() {
        let start = Instant::now();
        let mut seen = None;
        let mut at = |holder, version, after| {
            let now = start + Duration::from_secs(after);
            standing(holder, version, "me", &mut seen, now)
        };
        assert_eq!(at(Some("other"), "1", 0), Standing::Taken);
        assert_eq!(at(Some("other"), "1", 14), Standing::Taken);
        assert_eq!(at(Some("other"), "2", 15), Standing::Taken, "renewed");
        assert_eq!(at(Some("other"), "2", 29), Standing::Taken);
        assert_eq!(at(Some("other"), "2", 30), Standing::Free);
        assert_eq!(at(Some("me"), "3", 30), Standing::Mine);
        assert_eq!(at(Some("third"), "4", 31), Standing::Taken);
        assert_eq!(at(None, "5", 31), Standing::Free);
        assert_eq!(at(Some(""), "5", 31), Standing::Free);
    }

    #[test]
    fn a_holder_stops_before_its_lease_ends() {
        assert!(DEADLINE + REQUEST_TIMEOUT < DURATION);
        assert!(INTERVAL + REQUEST_TIMEOUT < DEADLINE);
    }
}
