//! A simulated ClearML server and a client of it.

use std::{net::SocketAddr, time::Duration};

use clearml_sim::{Server, State};
use mica_coordinator::{
    clearml::{Client, Error},
    config::Credentials,
};

/// Long enough for two or three attempts.
pub(crate) const SHORT: Duration = Duration::from_millis(500);

/// A server with one company, and a client of it.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) company: String,
    pub(crate) keys: clearml_sim::Credentials,
    pub(crate) client: Client,
}

impl World {
    pub(crate) async fn new() -> Self {
        let state = State::new();
        let company = state.add_company("acme");
        let keys = state.add_user(&company, "mica");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(address, state).await.unwrap();
        let client = client(server.url(), &keys.access_key, &keys.secret_key);
        Self {
            server,
            company,
            keys,
            client,
        }
    }

    pub(crate) fn state(&self) -> &State {
        self.server.state()
    }

    /// What was asked so far: the last word of the endpoint and the status.
    pub(crate) fn asked(&self) -> Vec<(String, u16)> {
        let requests = self.state().requests().into_iter();
        requests
            .map(|request| {
                let word = request.endpoint.rsplit('.').next().unwrap().to_owned();
                (word, request.status)
            })
            .collect()
    }

    pub(crate) fn logins(&self) -> usize {
        let asked = self.asked();
        asked.iter().filter(|(word, _)| word == "login").count()
    }
}

pub(crate) fn client(url: &str, access_key: &str, secret_key: &str) -> Client {
    Client::new(url, credentials(access_key, secret_key)).unwrap()
}

pub(crate) fn credentials(access_key: &str, secret_key: &str) -> Credentials {
    Credentials {
        access_key: access_key.to_owned(),
        secret_key: secret_key.to_owned().into(),
    }
}

pub(crate) fn asked(list: &[(&str, u16)]) -> Vec<(String, u16)> {
    list.iter()
        .map(|(word, status)| ((*word).to_owned(), *status))
        .collect()
}

/// An error with its causes, as people see it.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
