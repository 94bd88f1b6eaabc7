//! A server with one company, one user and one queue.

use std::net::SocketAddr;

use clearml_sim::{Credentials, Server, State};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) http: Client,
    pub(crate) company: String,
    pub(crate) keys: Credentials,
    pub(crate) queue: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        let state = State::new();
        let company = state.add_company("acme");
        let keys = state.add_user(&company, "worker");
        let queue = state.add_queue(&company, "gpu-fraction-0_50");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(address, state).await.unwrap();
        Self {
            server,
            http: client(),
            company,
            keys,
            queue,
        }
    }

    pub(crate) fn state(&self) -> &State {
        self.server.state()
    }

    pub(crate) async fn send(
        &self,
        endpoint: &str,
        body: &Value,
    ) -> reqwest::Result<reqwest::Response> {
        self.http
            .post(format!("{}/{endpoint}", self.server.url()))
            .basic_auth(&self.keys.access_key, Some(&self.keys.secret_key))
            .json(body)
            .send()
            .await
    }

    /// The whole envelope.
    pub(crate) async fn call(&self, endpoint: &str, body: Value) -> Value {
        let response = self.send(endpoint, &body).await.unwrap();
        response.json().await.unwrap()
    }

    pub(crate) async fn data(&self, endpoint: &str, body: Value) -> Value {
        let envelope = self.call(endpoint, body).await;
        assert_eq!(
            envelope["meta"]["result_code"], 200,
            "{endpoint}: {envelope}"
        );
        envelope["data"].clone()
    }

    pub(crate) async fn login(&self) -> String {
        let data = self.data("auth.login", json!({})).await;
        data["token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn status_with_token(&self, token: &str) -> StatusCode {
        let request = self
            .http
            .post(format!("{}/queues.get_all", self.server.url()));
        request.bearer_auth(token).send().await.unwrap().status()
    }

    pub(crate) fn task(&self, id: &str) -> clearml_sim::Task {
        self.state().task(id).unwrap()
    }
}

fn client() -> Client {
    // Another test may have done it.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    Client::builder().no_proxy().build().unwrap()
}
