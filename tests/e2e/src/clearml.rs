//! What tenants and workers say to ClearML: a few calls, with the tenant's own key.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// A tenant's access to ClearML.
#[derive(Clone, Debug)]
pub struct ClearMl {
    http: reqwest::Client,
    url: String,
    access_key: String,
    secret_key: String,
}

impl ClearMl {
    /// Access to the API server at `url`.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(url: &str, access_key: &str, secret_key: &str) -> anyhow::Result<Self> {
        // The client wants to know whose TLS it would use, even to speak plain HTTP. An error means that one is set already.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build()?;
        let (url, access_key, secret_key) =
            (url.to_owned(), access_key.to_owned(), secret_key.to_owned());
        Ok(Self {
            http,
            url,
            access_key,
            secret_key,
        })
    }

    /// Calls an endpoint, e.g. `queues.get_all`, and returns its `data`.
    ///
    /// # Errors
    /// When the server cannot be reached or answers with an error.
    pub async fn call(&self, endpoint: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self
            .http
            .post(format!("{}/{endpoint}", self.url))
            .json(body);
        let answer = request
            .basic_auth(&self.access_key, Some(&self.secret_key))
            .send()
            .await?;
        let status = answer.status();
        let mut envelope: Value = answer
            .json()
            .await
            .with_context(|| format!("{endpoint}: {status}"))?;
        if !status.is_success() {
            let message = text(&envelope, "/meta/result_msg").unwrap_or_default();
            bail!("{endpoint}: {status}: {message}");
        }
        Ok(envelope
            .get_mut("data")
            .map(Value::take)
            .unwrap_or_default())
    }

    /// Pushes a new task into a queue and returns its id.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn push(&self, queue: &str, name: &str) -> anyhow::Result<String> {
        let task = json!({"name": name, "type": "training"});
        let created = self.call("tasks.create", &task).await?;
        let id = text(&created, "/id")
            .context("tasks.create gave no id")?
            .to_owned();
        self.call("tasks.enqueue", &json!({"task": id, "queue": queue}))
            .await?;
        Ok(id)
    }

    /// Number of entries of each queue, by queue id.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn entries(&self) -> anyhow::Result<Vec<(String, usize)>> {
        let only = json!({"only_fields": ["id", "entries"]});
        let queues = self.call("queues.get_all", &only).await?;
        let rows = queues.get("queues").and_then(Value::as_array);
        rows.context("queues.get_all gave no queues")?
            .iter()
            .map(|queue| {
                let id = text(queue, "/id").context("a queue without id")?;
                let entries = queue.get("entries").and_then(Value::as_array);
                Ok((id.to_owned(), entries.map_or(0, Vec::len)))
            })
            .collect()
    }

    /// Takes the next task from a queue and marks it as started; `None` when the queue is empty.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn take(&self, queue: &str) -> anyhow::Result<Option<String>> {
        let next = self
            .call("queues.get_next_task", &json!({"queue": queue}))
            .await?;
        let Some(task) = text(&next, "/entry/task") else {
            return Ok(None);
        };
        self.call("tasks.started", &json!({"task": task})).await?;
        Ok(Some(task.to_owned()))
    }

    /// Marks a task as completed.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn complete(&self, task: &str) -> anyhow::Result<()> {
        self.call("tasks.completed", &json!({"task": task})).await?;
        Ok(())
    }
}

/// The text at a JSON pointer.
fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}
