//! The webhook for API servers without `MutatingAdmissionPolicy` (Kubernetes 1.30 to 1.35): does what the chart's policy
//! `deploy/chart/templates/admission/mutating.yaml` does, and is judged by the same table of cases.
//!
//! It only adds and strips. Refusing is left to validating policies, which every supported API server has and which hold while no
//! coordinator is up.

mod mutate;
#[cfg(test)]
mod tests;

use std::{pin::pin, time::Duration};

use anyhow::Context;
use axum::{Json, Router, extract::DefaultBodyLimit, routing::post};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Where the API server sends its reviews.
const PATH: &str = "/admission";

/// The API server takes no object that is larger than a third of it.
const LARGEST_REVIEW: usize = 8 << 20;
/// How long reviews may take to end when the coordinator shuts down.
const GRACE: Duration = Duration::from_secs(2);

/// Serves the webhook with this certificate and its key (PEM) until `stopped` is ready. The API server asks for HTTP/1.1.
pub(crate) async fn serve(
    listener: TcpListener,
    chain: Vec<u8>,
    key: Vec<u8>,
    stopped: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let tls = RustlsConfig::from_pem(chain, key).await;
    let tls = tls.context("the TLS files are no certificate with its key")?;
    let handle = Handle::new();
    let answering = axum_server::from_tcp_rustls(listener.into_std()?, tls)?
        .handle(handle.clone())
        .serve(router().into_make_service());
    let mut answering = pin!(answering);
    let ended = tokio::select! {
        ended = &mut answering => ended,
        () = stopped => {
            handle.graceful_shutdown(Some(GRACE));
            answering.await
        }
    };
    ended.context("the admission webhook failed")
}

fn router() -> Router {
    let review = post(async |Json(review): Json<Value>| Json(answer(&review)));
    let limit = DefaultBodyLimit::max(LARGEST_REVIEW);
    Router::new().route(PATH, review).layer(limit)
}

/// The answer to an `AdmissionReview` of `admission.k8s.io/v1`: always allowed, with a patch where the pod needs one. A review
/// without a pod in it is refused in words, since an empty answer would let the pod pass without its gate.
fn answer(review: &Value) -> Value {
    let uid = review.pointer("/request/uid").cloned().unwrap_or_default();
    let pod = review.pointer("/request/object");
    let response = match pod.filter(|pod| pod.is_object()).map(mutate::patch) {
        None => {
            let message = "the admission review holds no pod (request.object); the webhook mica-slice-gate is for the creation of pods alone";
            json!({"uid": uid, "allowed": false, "status": {"code": 400, "message": message}})
        }
        Some(patch) if patch.is_empty() => json!({"uid": uid, "allowed": true}),
        Some(patch) => {
            let patch = BASE64_STANDARD.encode(Value::Array(patch).to_string());
            json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch})
        }
    };
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}
