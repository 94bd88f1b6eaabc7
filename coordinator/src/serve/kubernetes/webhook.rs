//! Lets the API server know by which authority it is to know the admission webhook.
//!
//! Every replica does, not only the one that leads: pods are gated all the time. What is published is read anew each time, so that a
//! replica that has run for long does not bring back an authority that others have replaced.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{REQUEST_TIMEOUT, certificate};

/// Name of the configuration in the chart.
const CONFIGURATION: &str = "mica-slice-gate";
/// Between two looks: somebody may apply the chart's manifests, which have no authority in them.
const INTERVAL: Duration = Duration::from_secs(10);
/// Pause after one that failed; at an installation the configuration may come after the coordinator.
const AGAIN: Duration = Duration::from_secs(1);

/// Where the authority stands.
pub(crate) enum Authority {
    /// In the Secret with our own certificate.
    Own,
    /// In a file, beside the certificate that we were given.
    File(PathBuf),
}

/// Keeps it known. Never returns.
pub(super) async fn keep_known(client: Client, namespace: String, authority: Authority) {
    let mut told = String::new();
    loop {
        let published = timeout(REQUEST_TIMEOUT, publish(&client, &namespace, &authority)).await;
        let published = published.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
        match published {
            Ok(()) => {
                told.clear();
                sleep(INTERVAL).await;
            }
            Err(error) => {
                let error = format!("{error:#}");
                if error != told {
                    warn!(
                        error,
                        "the API server may not know the admission webhook; tried again"
                    );
                    told = error;
                }
                sleep(AGAIN).await;
            }
        }
    }
}

async fn publish(client: &Client, namespace: &str, authority: &Authority) -> anyhow::Result<()> {
    let authority = match authority {
        Authority::Own => certificate::authority(client, namespace).await?,
        Authority::File(path) => tokio::fs::read(path)
            .await
            .with_context(|| format!("cannot read --admission-ca {}", path.display()))?,
    };
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let context = || {
        format!(
            "MutatingWebhookConfiguration {CONFIGURATION}, which the chart makes with admission.mode=webhook"
        )
    };
    let configuration = api.get(CONFIGURATION).await.with_context(context)?;
    let Some(patch) = patch(&configuration, &authority) else {
        return Ok(());
    };
    let patch = serde_json::from_value(patch)?;
    let params = PatchParams::default();
    api.patch(CONFIGURATION, &params, &Patch::<()>::Json(patch))
        .await
        .with_context(context)?;
    info!("the API server knows the admission webhook");
    Ok(())
}

/// The JSON patch that gives the authority to every webhook; `None` when all have it.
fn patch(configuration: &MutatingWebhookConfiguration, authority: &[u8]) -> Option<Value> {
    let bundle = BASE64_STANDARD.encode(authority);
    let version = configuration.metadata.resource_version.as_deref();
    let webhooks = configuration.webhooks.iter().flatten().zip(0_usize..);
    let unknown = webhooks.filter(|(webhook, _)| {
        let known = webhook.client_config.ca_bundle.as_ref();
        known.is_none_or(|known| known.0 != authority)
    });
    // Their order counts: nobody may have changed it meanwhile.
    let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": version});
    let mut steps = vec![test];
    steps.extend(unknown.map(|(_, index)| {
        let path = format!("/webhooks/{index}/clientConfig/caBundle");
        json!({"op": "add", "path": path, "value": bundle})
    }));
    (steps.len() > 1).then_some(Value::Array(steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_webhooks_that_do_not_know_the_authority_are_told() {
        let configuration = |bundles: [Option<&str>; 2]| -> MutatingWebhookConfiguration {
            let webhook = |bundle: Option<&str>| {
                let bundle = bundle.map(|text| BASE64_STANDARD.encode(text));
                json!({"name": "w", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {"caBundle": bundle}})
            };
            let webhooks: Vec<_> = bundles.into_iter().map(webhook).collect();
            let object = json!({"metadata": {"resourceVersion": "7"}, "webhooks": webhooks});
            serde_json::from_value(object).unwrap()
        };
        let told = |bundles| patch(&configuration(bundles), b"new");
        assert_eq!(told([Some("new"), Some("new")]), None);
        let add = |index: usize| {
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            json!({"op": "add", "path": path, "value": "bmV3"})
        };
        let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"});
        assert_eq!(
            told([Some("new"), Some("old")]),
            Some(json!([test, add(1)]))
        );
        assert_eq!(
            told([None, Some("old")]),
            Some(json!([test, add(0), add(1)]))
        );
    }
}
