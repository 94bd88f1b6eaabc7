//! Replays exchanges recorded from the real open-source server 2.3.0 (`recorded.json`).
//!
//! Answers must be equal but for identifiers, dates and the order of keys. In the file `$name` is an identifier that the answer in
//! which it first appears makes known, `<date>` any date in ClearML's form, `<text>` any text.

#![cfg(test)]

use std::{collections::BTreeMap, net::SocketAddr};

use clearml_sim::{Credentials, Role, Server, State};
use reqwest::{Client, Method, RequestBuilder};
use rstest::rstest;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Recording {
    scenes: Vec<Scene>,
}

#[derive(Deserialize)]
struct Scene {
    name: String,
    exchanges: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Exchange {
    name: String,
    method: String,
    path: String,
    /// Whose keys; `token`: the known token.
    #[serde(rename = "as")]
    proof: Option<Proof>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    query: BTreeMap<String, Value>,
    body: Option<Value>,
    raw: Option<String>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Proof {
    Basic(String),
    Header(String),
    #[serde(untagged)]
    Known(String),
}

#[derive(Deserialize)]
struct Expect {
    status: u16,
    /// `None`: not looked at. The version may be null.
    #[serde(default, deserialize_with = "present")]
    version: Option<Value>,
    requested: Option<Value>,
    code: Option<u16>,
    subcode: Option<u32>,
    message: Option<String>,
    data: Option<Value>,
    /// Whether objects in `data` name only some of their keys.
    #[serde(default)]
    subset: bool,
    /// Of an answer without envelope.
    text: Option<String>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// One run of a scene.
struct World {
    server: Server,
    http: Client,
    keys: BTreeMap<&'static str, Credentials>,
    /// Identifiers by name.
    known: BTreeMap<String, String>,
}

impl World {
    /// The companies and users of the recorded server.
    async fn new() -> Self {
        let state = State::new();
        let (company, other) = (state.add_company("clearml"), state.add_company("tenant-b"));
        let default = state.add_queue_with_tags(&company, "default", &["default"]);
        let mut keys = BTreeMap::new();
        let mut known = BTreeMap::new();
        for (user, company, name, role) in [
            ("tests", &company, "tests", Role::User),
            ("alice", &company, "Alice Admin", Role::Admin),
            ("supervisor", &company, "supervisor", Role::System),
            ("root", &company, "rootadm", Role::Root),
            ("bob", &other, "Bob B", Role::Admin),
        ] {
            let pair = Credentials {
                access_key: format!("{user}-key"),
                secret_key: format!("{user}-secret"),
            };
            let id = state.add_user_with_keys(company, name, role, &pair);
            known.insert(user.to_owned(), id);
            keys.insert(user, pair);
        }
        known.insert("company".to_owned(), company);
        known.insert("other_company".to_owned(), other);
        known.insert("default".to_owned(), default);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            server: Server::start(address, state).await.unwrap(),
            http: client(),
            keys,
            known,
        }
    }

    async fn play(&mut self, exchange: &Exchange) {
        let response = self.request(exchange).send().await.unwrap();
        let Expect { status, text, .. } = &exchange.expect;
        assert_eq!(response.status().as_u16(), *status, "status");
        let answer = response.text().await.unwrap();
        if let Some(text) = text {
            assert_eq!(answer, *text);
            return;
        }
        let answer: Value = serde_json::from_str(&answer).unwrap();
        self.judge(exchange, &answer);
    }

    fn request(&self, exchange: &Exchange) -> RequestBuilder {
        let method = Method::from_bytes(exchange.method.as_bytes()).unwrap();
        let url = format!("{}{}", self.server.url(), exchange.path);
        let mut url = reqwest::Url::parse(&url).unwrap();
        for (key, value) in &exchange.query {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            url.query_pairs_mut().append_pair(key, &text);
        }
        let mut request = self.http.request(method, url);
        request = match &exchange.proof {
            None => request,
            Some(Proof::Header(value)) => request.header("Authorization", value),
            Some(Proof::Basic(pair)) => {
                let (access, secret) = pair.split_once(':').unwrap();
                request.basic_auth(access, Some(secret))
            }
            Some(Proof::Known(name)) if name == "token" => {
                request.bearer_auth(&self.known["token"])
            }
            Some(Proof::Known(name)) => {
                let keys = &self.keys[name.as_str()];
                request.basic_auth(&keys.access_key, Some(&keys.secret_key))
            }
        };
        for (name, value) in &exchange.headers {
            request = request.header(name, self.fill(value));
        }
        match (&exchange.body, &exchange.raw) {
            (Some(body), _) => request.body(self.fill(&body.to_string())),
            (None, Some(raw)) => request.body(raw.clone()),
            (None, None) => request,
        }
    }

    /// Puts identifiers in the place of their names.
    fn fill(&self, text: &str) -> String {
        // Longer names first: one may begin with another.
        let mut names: Vec<_> = self.known.iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        names.iter().fold(text.to_owned(), |text, (name, id)| {
            text.replace(&format!("${name}"), id)
        })
    }

    fn judge(&mut self, exchange: &Exchange, answer: &Value) {
        let expect = &exchange.expect;
        let meta = &answer["meta"];
        if let Some(version) = &expect.version {
            assert_eq!(meta["endpoint"]["actual_version"], *version);
        }
        if let Some(requested) = &expect.requested {
            assert_eq!(meta["endpoint"]["requested_version"], *requested);
        }
        if let Some(code) = expect.code {
            assert_eq!(meta["result_code"], code);
            assert_eq!(meta["result_subcode"], expect.subcode.unwrap());
            assert_eq!(meta["error_stack"], Value::Null);
            assert_eq!(meta["error_data"], serde_json::json!({}));
            let message = self.fill(expect.message.as_deref().unwrap());
            assert_eq!(meta["result_msg"], message);
        }
        let trx = exchange.headers.get("X-Clearml-Trx").map(String::as_str);
        assert_eq!(meta["trx"].as_str(), trx.or(meta["id"].as_str()));
        if let Some(data) = &expect.data {
            self.compare("data", data, &answer["data"], expect.subset);
        }
    }

    fn compare(&mut self, place: &str, expected: &Value, found: &Value, subset: bool) {
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => {
                if !subset {
                    let keys = |object: &serde_json::Map<String, Value>| {
                        object.keys().cloned().collect::<Vec<_>>()
                    };
                    assert_eq!(keys(found), keys(expected), "keys of {place}");
                }
                for (key, value) in expected {
                    let found = found.get(key).unwrap_or(&Value::Null);
                    self.compare(&format!("{place}.{key}"), value, found, subset);
                }
            }
            (Value::Array(expected), Value::Array(found)) => {
                assert_eq!(found.len(), expected.len(), "length of {place}");
                for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                    self.compare(&format!("{place}[{index}]"), expected, found, subset);
                }
            }
            (Value::String(expected), Value::String(found)) => {
                self.compare_text(place, expected, found);
            }
            (expected, found) => assert_eq!(found, expected, "{place}"),
        }
    }

    fn compare_text(&mut self, place: &str, expected: &str, found: &str) {
        match expected.strip_prefix('$') {
            _ if expected == "<text>" => assert!(!found.is_empty(), "{place}"),
            _ if expected == "<date>" => assert!(is_date(found), "{place}: {found}"),
            Some(name) if is_name(name) && !self.known.contains_key(name) => {
                assert!(name == "token" || is_id(found), "{place}: {found}");
                self.known.insert(name.to_owned(), found.to_owned());
            }
            _ => assert_eq!(found, self.fill(expected), "{place}"),
        }
    }
}

fn client() -> Client {
    // Another test may have done it.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    Client::builder().no_proxy().build().unwrap()
}

fn is_name(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_date(text: &str) -> bool {
    text.ends_with("+00:00") && text.parse::<jiff::Timestamp>().is_ok()
}

fn scenes() -> Vec<Scene> {
    let recording: Recording = serde_json::from_str(include_str!("recorded.json")).unwrap();
    recording.scenes
}

#[rstest]
#[case::protocol("protocol")]
#[case::login("login")]
#[case::queues_and_tasks("queues and tasks")]
#[case::workers("workers")]
#[case::in_anothers_name("in another's name")]
#[case::kubernetes_agent("the Kubernetes agent")]
#[tokio::test]
async fn answers_as_recorded(#[case] name: &str) {
    let scene = scenes()
        .into_iter()
        .find(|scene| scene.name == name)
        .unwrap();
    let mut world = World::new().await;
    for (index, exchange) in scene.exchanges.iter().enumerate() {
        // Printed when the test fails.
        println!("{index}: {}", exchange.name);
        world.play(exchange).await;
    }
    world.server.shutdown().await.unwrap();
}

#[test]
fn every_scene_is_played() {
    let names: Vec<String> = scenes().into_iter().map(|scene| scene.name).collect();
    let played = [
        "protocol",
        "login",
        "queues and tasks",
        "workers",
        "in another's name",
        "the Kubernetes agent",
    ];
    assert_eq!(names, played);
}
