//! `/metrics`, `/livez` and `/readyz`.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{driver::Orders, metrics::Metrics};

/// A thread that calls NVML and has neither read a GPU nor finished a step for this long is taken as hung. Generous: look-ups can take 10 s on a
/// loaded node, and being restarted helps only when the driver truly hangs.
pub const HUNG: Duration = Duration::from_secs(60);

/// What the handlers read from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The NVML thread.
    pub orders: Orders,
    /// How long that may be silent: [`HUNG`].
    pub hung: Duration,
}

impl Sources {
    /// With the usual patience.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, orders: Orders) -> Self {
        Self {
            metrics,
            orders,
            hung: HUNG,
        }
    }
}

/// The routes.
pub fn router(sources: Sources) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(sources)
}

async fn metrics(State(sources): State<Sources>) -> Response {
    let inventory = sources.orders.inventory().borrow().clone();
    match sources
        .metrics
        .text(&inventory, &sources.orders.pulse().all())
    {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// That this answers shows that the event loop turns; what is left to ask is the NVML thread.
async fn livez(State(sources): State<Sources>) -> Response {
    match hanging(&sources) {
        None => "ok\n".into_response(),
        Some(hanging) => (StatusCode::SERVICE_UNAVAILABLE, hanging).into_response(),
    }
}

async fn readyz(State(sources): State<Sources>) -> Response {
    let fault = sources.orders.inventory().borrow().fault.clone();
    match fault
        .map(|fault| format!("{fault}\n"))
        .or_else(|| hanging(&sources))
    {
        None => "ok\n".into_response(),
        Some(fault) => (StatusCode::SERVICE_UNAVAILABLE, fault).into_response(),
    }
}

/// Who does not come back from NVML.
fn hanging(sources: &Sources) -> Option<String> {
    let slowest = sources.orders.pulse().slowest()?;
    (slowest.silent >= sources.hung).then(|| {
        let silent = slowest.silent.as_secs();
        format!(
            "NVML, {slowest}: neither a GPU read nor a step finished for {silent} s: a call hangs, or many are slow\n"
        )
    })
}
