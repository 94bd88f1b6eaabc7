//! The API server of the test cluster, over the Unix socket that `tests/cluster/up` leaves for its owner.

use std::{
    future::Future,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

/// Every wait ends by then; other work may load the machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// An answer that is not a success: its code and the server's message.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: StatusCode,
    pub(crate) message: String,
}

/// A user of the cluster.
#[derive(Clone)]
pub(crate) struct Api {
    http: Client,
    user: Option<String>,
}

impl Api {
    /// The administrator of the cluster that `MICA_TEST_CLUSTER` names.
    pub(crate) fn administrator() -> Self {
        let socket = folder().join("api");
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let http = Client::builder()
            .unix_socket(socket)
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        Self { http, user: None }
    }

    /// Another user, as the API server's impersonation has it.
    pub(crate) fn acting_as(&self, user: &str) -> Self {
        Self {
            http: self.http.clone(),
            user: Some(user.to_owned()),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.call(Method::GET, path, "application/json", None).await
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<Value, Refusal> {
        self.call(Method::POST, path, "application/json", Some(object))
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value, Refusal> {
        let now = json!({"gracePeriodSeconds": 0});
        self.call(Method::DELETE, path, "application/json", Some(&now))
            .await
    }

    /// A JSON patch.
    pub(crate) async fn patch(&self, path: &str, steps: &Value) -> Result<Value, Refusal> {
        self.call(
            Method::PATCH,
            path,
            "application/json-patch+json",
            Some(steps),
        )
        .await
    }

    /// A namespace whose pods Mica manages, with the service account that its pods need.
    pub(crate) async fn managed_namespace(&self, name: &str) {
        let labels = json!({"mica.dev/tenant": name});
        let namespace = json!({"metadata": {"name": name, "labels": labels}});
        self.create("api/v1/namespaces", &namespace).await.unwrap();
        let account = format!("api/v1/namespaces/{name}/serviceaccounts/default");
        wait_for("the service account of a new namespace", async || {
            self.get(&account).await.ok()
        })
        .await;
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let mut request = self
            .http
            .request(method, format!("http://localhost/{path}"));
        if let Some(user) = &self.user {
            request = request.header("Impersonate-User", user);
        }
        if let Some(body) = body {
            request = request
                .header("Content-Type", media_type)
                .body(body.to_string());
        }
        let unreachable = |error: reqwest::Error| Refusal {
            code: StatusCode::SERVICE_UNAVAILABLE,
            message: format!("{error:?}"),
        };
        let answer = request.send().await.map_err(unreachable)?;
        let code = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if code.is_success() {
            return Ok(value);
        }
        let message = value.pointer("/message").and_then(Value::as_str);
        let message = message.map_or_else(|| value.to_string(), str::to_owned);
        Err(Refusal { code, message })
    }
}

/// The folder of the test cluster.
pub(crate) fn folder() -> PathBuf {
    let folder = std::env::var_os("MICA_TEST_CLUSTER");
    folder.map(PathBuf::from).expect(
        "MICA_TEST_CLUSTER names the folder of a cluster that tests/cluster/up brought up: run tests/run",
    )
}

/// The root of the sources.
pub(crate) fn sources() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Asks until there is an answer, and panics with `what` when the deadline is over.
pub(crate) async fn wait_for<T, F: Future<Output = Option<T>>>(
    what: &str,
    ask: impl Fn() -> F,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "waited {DEADLINE:?} in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
