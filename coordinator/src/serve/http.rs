//! `/metrics`, `/livez`, `/readyz`.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;

use super::{cluster::Cluster, kubernetes::Doorkeeper, metrics::Metrics};

/// Prometheus's text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone)]
struct Shared {
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    /// `None` without Kubernetes.
    doorkeeper: Option<Arc<Doorkeeper>>,
}

/// What is served beside gRPC.
pub(crate) fn router(
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    doorkeeper: Option<Arc<Doorkeeper>>,
) -> Router {
    Router::new()
        .route("/metrics", get(metrics_text))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(Shared {
            cluster,
            metrics,
            doorkeeper,
        })
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    let now = Timestamp::now();
    match shared
        .cluster
        .read(|index| shared.metrics.encode(index, now))
    {
        Ok(text) => ([(CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The answer itself is the sign of life: it needs the executor and the index's lock.
async fn livez(State(shared): State<Shared>) -> &'static str {
    shared.cluster.read(|_| "ok\n")
}

/// One that leads is ready once it has asked for every queue; one that does not asks for none, and is ready to take over.
async fn readyz(State(shared): State<Shared>) -> (StatusCode, String) {
    if shared
        .doorkeeper
        .is_some_and(|doorkeeper| !doorkeeper.is_open())
    {
        return (StatusCode::OK, "ok, does not lead\n".to_owned());
    }
    let waiting: Vec<_> = shared.cluster.read(|index| {
        let queues = index.queues().iter();
        queues
            .filter(|(_, queue)| !queue.polled)
            .map(|(key, _)| key.to_string())
            .collect()
    });
    if waiting.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        let text = format!("not polled yet: {}\n", waiting.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}
