//! Just enough of ClearML to be polled: queues of which a test says how many tasks wait and run.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

/// Keys whose access part ends in this are refused.
const BAD: &str = "bad";

/// Waiting and running tasks by name of the queue.
type Queues = Arc<Mutex<BTreeMap<String, (usize, usize)>>>;

/// A server; it ends when dropped.
pub(crate) struct ClearMl {
    pub(crate) url: String,
    queues: Queues,
    address: SocketAddr,
    server: Option<(oneshot::Sender<()>, JoinSet<()>)>,
}

impl ClearMl {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut clearml = Self {
            url: format!("http://{address}"),
            queues: Queues::default(),
            address,
            server: None,
        };
        clearml.serve(listener);
        clearml
    }

    fn serve(&mut self, listener: TcpListener) {
        let router = Router::new()
            .route("/{version}/{endpoint}", post(answer))
            .with_state(Arc::clone(&self.queues));
        let (stop, stopped) = oneshot::channel::<()>();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let stopped = async { drop(stopped.await) };
            let served = axum::serve(listener, router).with_graceful_shutdown(stopped);
            served.await.unwrap();
        });
        self.server = Some((stop, server));
    }

    /// Hangs up; nobody can connect any more.
    pub(crate) async fn stop(&mut self) {
        let (stop, mut server) = self.server.take().unwrap();
        drop(stop);
        server.join_next().await.unwrap().unwrap();
    }

    /// Is there again.
    pub(crate) async fn resume(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    /// The queue exists, with so many tasks.
    pub(crate) fn set(&self, queue: &str, waiting: usize, running: usize) {
        let mut queues = self.queues.lock().unwrap();
        queues.insert(queue.to_owned(), (waiting, running));
    }
}

async fn answer(
    State(queues): State<Queues>,
    Path((_, endpoint)): Path<(String, String)>,
    headers: HeaderMap,
) -> (StatusCode, Json<Value>) {
    let envelope = |status: StatusCode, message: &str, data: Value| {
        let code = status.as_u16();
        let meta = json!({"result_code": code, "result_subcode": 0, "result_msg": message});
        (status, Json(json!({"meta": meta, "data": data})))
    };
    // Basic authorization: base64 of "…bad:…", which ends a group of three letters.
    let authorization = headers["authorization"].to_str().unwrap().to_owned();
    if authorization.starts_with("Basic") && authorization.contains("YmFk") {
        return envelope(
            StatusCode::UNAUTHORIZED,
            "Unauthorized (invalid credentials)",
            json!({}),
        );
    }
    let queues = queues.lock().unwrap().clone();
    let data = match endpoint.as_str() {
        "auth.login" => json!({"token": "t"}),
        "queues.get_all" => {
            let rows = queues.iter().map(|(name, (waiting, _))| {
                let entries = (0..*waiting).map(
                    |task| json!({"task": task.to_string(), "added": "2026-11-24T02:35:50.506000+00:00"}),
                );
                let entries: Vec<_> = entries.collect();
                json!({"id": format!("id-{name}"), "name": name, "system_tags": [], "entries": entries})
            });
            json!({"queues": rows.collect::<Vec<_>>()})
        }
        "tasks.get_all" => {
            let rows = queues.iter().flat_map(|(name, (_, running))| {
                (0..*running).map(move |task| {
                    json!({"id": format!("{name}-{task}"), "execution": {"queue": format!("id-{name}")}})
                })
            });
            json!({"tasks": rows.collect::<Vec<_>>()})
        }
        _ => return envelope(StatusCode::NOT_FOUND, "Unable to find endpoint", json!({})),
    };
    envelope(StatusCode::OK, "OK", data)
}

/// Keys that the server accepts, or not.
pub(crate) fn access_key(good: bool) -> &'static str {
    if good { "key" } else { BAD }
}
