//! A simulated ClearML with one company.

use std::{collections::BTreeMap, net::SocketAddr};

use clearml_sim::{Credentials, Server, State};
use serde_json::{Value, json};

/// It ends when dropped.
pub(crate) struct ClearMl {
    pub(crate) address: SocketAddr,
    pub(crate) keys: Credentials,
    state: State,
    company: String,
    queues: BTreeMap<String, String>,
    server: Option<Server>,
}

impl ClearMl {
    /// One with these queues.
    pub(crate) async fn start(queues: &[&str]) -> Self {
        let state = State::new();
        let company = state.add_company("acme");
        let keys = state.add_user(&company, "mica");
        let queues = queues
            .iter()
            .map(|&name| (name.to_owned(), state.add_queue(&company, name)));
        let queues = queues.collect();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(any, state.clone()).await.unwrap();
        Self {
            address: server.address(),
            keys,
            state,
            company,
            queues,
            server: Some(server),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// ClearML's id of a queue.
    pub(crate) fn id(&self, queue: &str) -> &str {
        &self.queues[queue]
    }

    /// So many more tasks wait.
    pub(crate) fn push(&self, queue: &str, count: usize) {
        for _ in 0..count {
            self.state
                .add_task(&self.company, "task", Some(self.id(queue)));
        }
    }

    /// A worker takes a task and starts it.
    pub(crate) async fn run_one(&self, queue: &str) {
        let next = json!({"queue": self.id(queue)});
        let next = self.call("queues.get_next_task", next).await;
        let started = json!({"task": next["entry"]["task"]});
        self.call("tasks.started", started).await;
    }

    async fn call(&self, endpoint: &str, body: Value) -> Value {
        let request = reqwest::Client::new()
            .post(format!("{}/{endpoint}", self.url()))
            .basic_auth(&self.keys.access_key, Some(&self.keys.secret_key))
            .json(&body);
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        answer.json::<Value>().await.unwrap()["data"].take()
    }

    /// Hangs up; nobody can connect any more.
    pub(crate) async fn stop(&mut self) {
        self.server.take().unwrap().shutdown().await.unwrap();
    }

    /// Is there again.
    pub(crate) async fn resume(&mut self) {
        let server = Server::start(self.address, self.state.clone()).await;
        self.server = Some(server.unwrap());
    }
}
