//! A server with one company, one user and one queue.

use std::{net::SocketAddr, time::Duration};

use clearml_sim::{Credentials, Server, State};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) http: Client,
    pub(crate) company: String,
    pub(crate) keys: Credentials,
}

impl World {
    pub(crate) async fn new() -> Self {
        let state = State::new();
        let company = state.add_company("acme");
        let keys = state.add_user(&company, "worker");
        state.add_queue(&company, "gpu-fraction-0_50");
        let server = start(state).await;
        let http = client();
        Self {
            server,
            http,
            company,
            keys,
        }
    }

    pub(crate) fn state(&self) -> &State {
        self.server.state()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let url = format!("{}/{path}", self.server.url());
        self.http.post(url).json(body)
    }

    pub(crate) async fn send(
        &self,
        endpoint: &str,
        body: &Value,
    ) -> reqwest::Result<reqwest::Response> {
        let request = self.post(endpoint, body);
        let (access, secret) = (&self.keys.access_key, &self.keys.secret_key);
        request.basic_auth(access, Some(secret)).send().await
    }

    /// HTTP status; 0 when the connection was cut.
    pub(crate) async fn status(&self, endpoint: &str) -> u16 {
        let answer = self.send(endpoint, &json!({})).await;
        answer.map_or(0, |answer| answer.status().as_u16())
    }

    /// The status of the same with a token.
    pub(crate) async fn status_with(&self, token: &str) -> u16 {
        let request = self.post("queues.get_all", &json!({})).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn login(&self) -> String {
        let answer = self.send("auth.login", &json!({})).await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["data"]["token"].as_str().unwrap().to_owned()
    }

    /// Status and body of a control path.
    pub(crate) async fn control(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let url = format!("{}/_sim/{path}", self.server.url());
        let answer = self.http.request(method, url).json(body).send().await;
        let answer = answer.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }
}

pub(crate) async fn start(state: State) -> Server {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Server::start(address, state).await.unwrap()
}

fn client() -> Client {
    // Another test may have done it.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let client = Client::builder().no_proxy();
    client.timeout(Duration::from_secs(20)).build().unwrap()
}
