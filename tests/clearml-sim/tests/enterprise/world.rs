//! An Enterprise server with two tenants.

use std::net::SocketAddr;

use clearml_sim::{Credentials, Mode, Role, Server, State};
use reqwest::{Client, Response};
use serde_json::{Value, json};

/// A day.
pub(crate) const SECONDS_OF_A_DAY: i64 = 24 * 60 * 60;

/// `result_code` and `result_subcode`.
pub(crate) type Code = (u64, u64);

pub(crate) const OK: Code = (200, 0);
pub(crate) const MISSING: Code = (404, 0);
pub(crate) const UNAUTHORIZED: Code = (401, 22);
pub(crate) const FORBIDDEN: Code = (403, 20);
pub(crate) const INVALID: Code = (400, 12);
pub(crate) const NO_OBJECT: Code = (400, 10);
pub(crate) const BAD_DATA: Code = (400, 800);
pub(crate) const TAKEN: Code = (400, 801);

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) http: Client,
    /// A tenant.
    pub(crate) acme: String,
    /// Another.
    pub(crate) globex: String,
    /// Of role system, and of neither tenant.
    pub(crate) supervisor: Credentials,
    /// An administrator of acme.
    pub(crate) admin: Credentials,
    /// An ordinary user of acme.
    pub(crate) user: Credentials,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::of(Mode::Enterprise).await
    }

    pub(crate) async fn of(mode: Mode) -> Self {
        // Another test may have done it.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let state = State::with_mode(mode);
        let own = "d1bd92a3b039400cbafc60a7a5b1e52b";
        state.add_company_as(own, "clearml");
        let (acme, globex) = (state.add_company("acme"), state.add_company("globex"));
        let supervisor = state.add_user_as(own, "supervisor", Role::System);
        let admin = state.add_user_as(&acme, "alice", Role::Admin);
        let user = state.add_user_as(&acme, "bob", Role::User);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            server: Server::start(address, state).await.unwrap(),
            http: Client::builder().no_proxy().build().unwrap(),
            acme,
            globex,
            supervisor,
            admin,
            user,
        }
    }

    pub(crate) fn state(&self) -> &State {
        self.server.state()
    }

    /// What the server knows of a tenant.
    pub(crate) fn tenant(&self, id: &str) -> Value {
        self.state().dump()["tenants"][id].clone()
    }

    /// Whether a change is one: what a refused request leaves is what was there.
    pub(crate) fn contents(&self) -> Value {
        let dump = self.state().dump();
        let tables = ["companies", "users", "queues", "tasks", "tenants"];
        tables
            .into_iter()
            .map(|table| dump[table].clone())
            .collect()
    }

    pub(crate) async fn send(
        &self,
        keys: &Credentials,
        headers: &[(&str, &str)],
        endpoint: &str,
        body: &Value,
    ) -> Response {
        let url = format!("{}/{endpoint}", self.server.url());
        let request = self.http.post(url).json(body);
        let request = request.basic_auth(&keys.access_key, Some(&keys.secret_key));
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        request.send().await.unwrap()
    }

    pub(crate) async fn ask_as(
        &self,
        keys: &Credentials,
        headers: &[(&str, &str)],
        endpoint: &str,
        body: Value,
    ) -> (Code, Value) {
        let answer = self.send(keys, headers, endpoint, &body).await;
        let mut answer: Value = answer.json().await.unwrap();
        let number = |field: &str| answer["meta"][field].as_u64().unwrap();
        let code = (number("result_code"), number("result_subcode"));
        (code, answer["data"].take())
    }

    /// Code of the answer, and data.
    pub(crate) async fn ask(
        &self,
        keys: &Credentials,
        endpoint: &str,
        body: Value,
    ) -> (Code, Value) {
        self.ask_as(keys, &[], endpoint, body).await
    }

    pub(crate) async fn code(&self, keys: &Credentials, endpoint: &str, body: Value) -> Code {
        self.ask(keys, endpoint, body).await.0
    }

    /// The data of a request that succeeds.
    pub(crate) async fn data(&self, keys: &Credentials, endpoint: &str, body: Value) -> Value {
        let (code, data) = self.ask(keys, endpoint, body.clone()).await;
        assert_eq!(code, OK, "{endpoint} {body}");
        data
    }

    /// A request that is refused and leaves everything as it was.
    pub(crate) async fn refused(
        &self,
        keys: &Credentials,
        endpoint: &str,
        body: Value,
        with: Code,
    ) {
        let before = self.contents();
        let code = self.code(keys, endpoint, body.clone()).await;
        assert_eq!(code, with, "{endpoint} {body}");
        assert_eq!(self.contents(), before, "{endpoint} {body}");
    }

    /// Makes a user of acme and returns the identifier.
    pub(crate) async fn create_user(&self, email: &str) -> String {
        let body = json!({"name": "carol", "company": self.acme, "email": email});
        text(&self.data(&self.admin, "auth.create_user", body).await["id"])
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Keys as an answer shows them.
pub(crate) fn keys(value: &Value) -> Credentials {
    Credentials {
        access_key: text(&value["access_key"]),
        secret_key: text(&value["secret_key"]),
    }
}

/// The claims of a token.
pub(crate) fn claims(token: &Value) -> Value {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}
