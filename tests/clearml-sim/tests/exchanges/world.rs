//! The server as the recorded one was when the recording began, and who asked it.

use std::{collections::BTreeMap, net::SocketAddr};

use clearml_sim::{Credentials, Role, Server, State};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Map, Value};

use crate::{Asker, Exchange, compare};

/// The real server's default company.
const COMPANY: &str = "d1bd92a3b039400cbafc60a7a5b1e52b";
/// Its other company.
const OTHER: &str = "cccccccccccccccccccccccccccccccc";

pub(crate) struct World {
    state: State,
    server: Server,
    http: Client,
    company: String,
    /// By identifier or key of the real server, what stands for it here.
    known: BTreeMap<String, String>,
    /// By owner, the last token given.
    tokens: BTreeMap<String, String>,
}

impl World {
    pub(crate) async fn new() -> Self {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let state = State::new();
        let (company, other) = (state.add_company("clearml"), state.add_company("tenant-b"));
        let default = state.add_queue_with_tags(&company, "default", &["default"]);
        let mut known = BTreeMap::from([
            (COMPANY.to_owned(), company.clone()),
            (OTHER.to_owned(), other.clone()),
            ("186a5363f8af4cc48f08dc9612734de9".to_owned(), default),
        ]);
        for (id, owner, company, name, role) in [
            ("__tests__", "user", &company, "Default User", Role::User),
            ("", "system", &company, "supervisor", Role::System),
            ("", "root", &company, "rootadm", Role::Root),
            ("", "admin", &company, "admin", Role::Admin),
            (
                "c20a336c4b144be7a849b2b9e683e42a",
                "b",
                &other,
                "b",
                Role::Admin,
            ),
        ] {
            let keys = Credentials {
                access_key: owner.to_owned(),
                secret_key: format!("{owner}-secret"),
            };
            let made = state.add_user_with_keys(company, name, role, &keys);
            if owner != "user" {
                state.set_configured(&made);
            }
            known.insert(id.to_owned(), made);
        }
        known.remove("");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            server: Server::start(address, state.clone()).await.unwrap(),
            state,
            http: Client::builder().no_proxy().build().unwrap(),
            company,
            known,
            tokens: BTreeMap::new(),
        }
    }

    /// Makes what was made between the recordings, and not recorded.
    pub(crate) fn prepare(&mut self, recording: &str) {
        let (state, company) = (self.state.clone(), self.company.clone());
        let mut know = |recorded: &str, id: String| {
            self.known.insert(recorded.to_owned(), id);
        };
        match recording {
            "04-queues" => {
                let tasks = [
                    "d432d829c2f0497eadcea5ddaba9f59c",
                    "606e42e811ef46abac93dae88bc78ab4",
                    "07237e0b3d2c43e6a5c78d24cb910274",
                ];
                for (index, recorded) in tasks.into_iter().enumerate() {
                    let name = format!("train-{index}");
                    know(recorded, state.add_task(&company, &name, None));
                }
            }
            "06-k8s-glue-daemon" => {
                let half = state.add_queue(&company, "glue-half");
                know(
                    "3b468ad2e09848a5961b3f332d295282",
                    state.add_task(&company, "glue-task", Some(&half)),
                );
                know("2863d317c0b34f2bbb17125f03f4722b", half);
                know(
                    "0eda9f8758684a4cb8ca2ca8216d9b91",
                    state.add_queue(&company, "glue-one"),
                );
            }
            "07-sdk-apiclient" => {
                know(
                    "265f24cfc809459da90c20d15582c37b",
                    state.add_queue(&company, "sdk-queue"),
                );
                know(
                    "1932ca3a25a64ab4b468661c73638dae",
                    state.add_task(&company, "task-zero", None),
                );
            }
            "08-paging-and-act-as" => {
                let present = |state: &State| {
                    let queues = state.queues();
                    queues
                        .iter()
                        .filter(|queue| queue.company == company)
                        .count()
                };
                for index in present(&state)..507 {
                    state.add_queue(&company, &format!("bulk-{index:03}"));
                }
            }
            _ => {}
        }
    }

    /// Asks, and gives what is different from the real server's answer.
    pub(crate) async fn play(&mut self, exchange: &Exchange) -> Vec<String> {
        if let Some(endpoints) = &exchange.endpoints {
            return self.endpoints(endpoints).await;
        }
        let response = self.request(exchange).send().await.unwrap();
        let mut problems = Vec::new();
        let status = response.status().as_u16();
        if status != exchange.status {
            problems.push(format!("status {status} instead of {}", exchange.status));
        }
        let text = response.text().await.unwrap();
        let Some(code) = exchange.code else {
            return problems;
        };
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let meta = &answer["meta"];
        let mut check = |field: &str, found: &Value, expected: &Value| {
            if found != expected {
                problems.push(format!("{field} {found} instead of {expected}"));
            }
        };
        check("code", &meta["result_code"], &code.into());
        check("subcode", &meta["result_subcode"], &exchange.subcode.into());
        let message = exchange.message.as_ref().map(|text| self.fill(text));
        check("message", &meta["result_msg"], &message.into());
        let version = exchange.version.clone().unwrap_or_default();
        check("version", &meta["endpoint"]["actual_version"], &version);
        if let Some(data) = &exchange.data {
            compare::shapes("data", data, &answer["data"], &mut problems);
            compare::learn(data, &answer["data"], &mut self.known);
        }
        if let Some(rows) = exchange.rows {
            let data = answer["data"].as_object().unwrap();
            let lists = data.values().filter_map(Value::as_array);
            let found: usize = lists.map(Vec::len).sum();
            if found != rows {
                problems.push(format!("{found} rows instead of {rows}"));
            }
        }
        if let (Some(token), Some(Asker::Keys { keys, .. })) =
            (answer["data"]["token"].as_str(), &exchange.asker)
        {
            self.tokens
                .entry("first".to_owned())
                .or_insert(token.to_owned());
            self.tokens.insert(keys.clone(), token.to_owned());
        }
        problems
    }

    /// The simulated server has not all endpoints; those that it has are in the same versions as the real one's.
    async fn endpoints(&self, real: &Map<String, Value>) -> Vec<String> {
        let url = format!("{}/server.endpoints", self.server.url());
        let request = self.http.post(url).basic_auth("user", Some("user-secret"));
        let response = request.send().await.unwrap();
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        let Some(own) = answer["data"]["endpoints"].as_object() else {
            return vec![format!("no list of endpoints: {answer}")];
        };
        println!(
            "{} of the real server's {} endpoints",
            own.len(),
            real.len()
        );
        let differs = own
            .iter()
            .filter(|(name, versions)| real.get(*name) != Some(*versions));
        differs
            .map(|(name, versions)| format!("{name} {versions} instead of {:?}", real.get(name)))
            .collect()
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
        request = match &exchange.asker {
            None => request,
            Some(Asker::Header { header }) => request.header("Authorization", header),
            Some(Asker::Token { token }) => request.bearer_auth(&self.tokens[token]),
            Some(Asker::Keys { keys, secret: None }) => {
                request.basic_auth(keys, Some(format!("{keys}-secret")))
            }
            Some(Asker::Keys {
                keys,
                secret: Some(secret),
            }) => request.basic_auth(self.fill(keys), Some(self.fill(secret))),
        };
        for (name, value) in &exchange.headers {
            request = request.header(name, self.fill(value.as_str().unwrap()));
        }
        match (&exchange.body, &exchange.raw) {
            (Some(body), _) => {
                let text = self.fill(&body.to_string());
                let token = self.tokens.get("first").map_or("", String::as_str);
                request.body(text.replace("<token>", token))
            }
            (None, Some(raw)) => request.body(raw.clone()),
            (None, None) => request,
        }
    }

    /// Puts what is known here in the place of what the real server has.
    fn fill(&self, text: &str) -> String {
        self.known
            .iter()
            .fold(text.to_owned(), |text, (recorded, here)| {
                text.replace(recorded, here)
            })
    }
}
