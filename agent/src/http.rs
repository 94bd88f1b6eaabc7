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

/// An NVML thread that has neither read a GPU nor finished a step for this long is taken as hung. Generous: look-ups can take 10 s on a
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
    match sources.metrics.text(&inventory) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// That this answers shows that the event loop turns; what is left to ask is the NVML thread.
async fn livez(State(sources): State<Sources>) -> Response {
    let idle = sources.orders.idle();
    if idle < sources.hung {
        "ok\n".into_response()
    } else {
        let text = format!(
            "the NVML thread has neither read a GPU nor finished a step for {} s: an NVML call hangs, or many are slow\n",
            idle.as_secs()
        );
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn readyz(State(sources): State<Sources>) -> Response {
    match &sources.orders.inventory().borrow().fault {
        None => "ok\n".into_response(),
        Some(fault) => (StatusCode::SERVICE_UNAVAILABLE, format!("{fault}\n")).into_response(),
    }
}
