//! Sends a question, logged in, and again when there is hope.

use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use reqwest::{RequestBuilder, Response, StatusCode, Url, header, redirect};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tracing::debug;

use super::{
    error::Error,
    token::Token,
    wire::{Envelope, Login},
};
use crate::config::Credentials;

/// The version of the API that is asked for, so that later servers answer in the form known here: that of ClearML's own agent.
const API_VERSION: &str = "v2.14";
/// All attempts of a call together; who waits for the answer wants to report a failure while it is news.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection takes milliseconds; a host that drops packets must not eat the patience in one attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// First and longest wait between attempts.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// Gives a token for keys.
const LOGIN: &str = "auth.login";

/// One user's way to one server.
#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    url: String,
    credentials: Credentials,
    patience: Duration,
    /// Held while logging in, so that calls at the same time log in once.
    token: Mutex<Option<Token>>,
}

/// How a call says who asks.
#[derive(Clone, Copy)]
enum Proof<'a> {
    Keys(&'a Credentials),
    Token(&'a Token),
}

/// An attempt that failed.
struct Failure {
    error: Error,
    retry: Retry,
}

enum Retry {
    Never,
    Soon,
    After(Duration),
}

impl Transport {
    pub(super) fn new(url: &str, credentials: Credentials) -> Result<Self, Error> {
        let url = url.trim_end_matches('/');
        let http = client(&check(url)?)?;
        Ok(Self {
            http,
            url: url.to_owned(),
            credentials,
            patience: PATIENCE,
            token: Mutex::new(None),
        })
    }

    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Asks and returns the `data` of the answer. Safe to repeat only because all that is asked here reads.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        endpoint: &'static str,
        ask: &Value,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.patience;
        let token = self.token(None, deadline).await?;
        match self
            .send(endpoint, ask, Proof::Token(&token), deadline)
            .await
        {
            // Revoked, or the server has a new signing key. A fresh login decides whether the keys are still good.
            Err(Error::Unauthorized {
                subcode, message, ..
            }) => {
                debug!(url = self.url, subcode, message, "logging in again");
                let token = self.token(Some(token.number), deadline).await?;
                self.send(endpoint, ask, Proof::Token(&token), deadline)
                    .await
            }
            other => other,
        }
    }

    /// The token to use; a new one when there is none, the last one is old, or it is the `refused` one.
    async fn token(&self, refused: Option<u64>, deadline: Instant) -> Result<Token, Error> {
        let mut held = self.token.lock().await;
        let number = match &*held {
            Some(token) if Some(token.number) != refused && !token.is_old(Instant::now()) => {
                return Ok(token.clone());
            }
            Some(token) => token.number.wrapping_add(1),
            None => 0,
        };
        let keys = Proof::Keys(&self.credentials);
        let asked = Instant::now();
        let login: Login = self.send(LOGIN, &json!({}), keys, deadline).await?;
        let token = Token::new(login.token, number, asked);
        *held = Some(token.clone());
        Ok(token)
    }

    /// Sends until there is an answer, no hope or no time.
    async fn send<T: DeserializeOwned>(
        &self,
        endpoint: &'static str,
        ask: &Value,
        proof: Proof<'_>,
        deadline: Instant,
    ) -> Result<T, Error> {
        let waits = ExponentialBuilder::new()
            .with_min_delay(FIRST_WAIT)
            .with_max_delay(LONGEST_WAIT)
            .without_max_times();
        (|| self.attempt(endpoint, ask, proof, deadline))
            .retry(waits)
            .when(|failure| !matches!(failure.retry, Retry::Never))
            .adjust(|failure, wait| {
                let wait = match failure.retry {
                    Retry::After(least) => wait?.max(least),
                    Retry::Soon | Retry::Never => wait?,
                };
                let left = deadline.saturating_duration_since(Instant::now());
                // The last fifth is kept for the answer.
                (wait <= left.saturating_sub(self.patience / 5)).then_some(wait)
            })
            .notify(|failure, wait| debug!(endpoint, error = %failure.error, ?wait, "asking ClearML again"))
            .await
            .map_err(|failure| failure.error)
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        endpoint: &'static str,
        ask: &Value,
        proof: Proof<'_>,
        deadline: Instant,
    ) -> Result<T, Failure> {
        let request = self
            .http
            .post(format!("{}/{API_VERSION}/{endpoint}", self.url))
            .timeout(deadline.saturating_duration_since(Instant::now()))
            .json(ask);
        let response = proof
            .add_to(request)
            .send()
            .await
            .map_err(|cause| self.unreachable(cause))?;
        let reading = Reading {
            transport: self,
            endpoint,
            status: response.status(),
        };
        reading.refuse_busy_or_elsewhere(&response)?;
        let body = response
            .bytes()
            .await
            .map_err(|cause| self.unreachable(cause))?;
        Ok(reading.data(&body)?)
    }

    fn unreachable(&self, cause: reqwest::Error) -> Failure {
        Failure {
            error: Error::Unreachable {
                url: self.url.clone(),
                cause: cause.without_url(),
            },
            retry: Retry::Soon,
        }
    }
}

impl Proof<'_> {
    fn add_to(self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Keys(keys) => {
                request.basic_auth(&keys.access_key, Some(keys.secret_key.expose_secret()))
            }
            Self::Token(token) => request.bearer_auth(token.secret.expose_secret()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            retry: Retry::Never,
        }
    }
}

/// An answer that is being read.
struct Reading<'a> {
    transport: &'a Transport,
    endpoint: &'static str,
    status: StatusCode,
}

impl Reading<'_> {
    /// What the status and the headers say without the body: come again, or go elsewhere.
    fn refuse_busy_or_elsewhere(&self, response: &Response) -> Result<(), Failure> {
        let text = |name| response.headers().get(name)?.to_str().ok();
        match self.status.as_u16() {
            status @ (429 | 502 | 503 | 504 | 509) => {
                // The other form of the header, a date, is rare; the growing waits serve there.
                let after = text(header::RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
                Err(Failure {
                    error: Error::Unavailable {
                        url: self.transport.url.clone(),
                        endpoint: self.endpoint,
                        status,
                    },
                    retry: after.map_or(Retry::Soon, |seconds| {
                        Retry::After(Duration::from_secs(seconds))
                    }),
                })
            }
            300..=399 => {
                let place = text(header::LOCATION).unwrap_or("nowhere");
                Err(self.protocol(format!("it redirects to {place}")).into())
            }
            _ => Ok(()),
        }
    }

    /// Opens the envelope.
    fn data<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Error> {
        let envelope = serde_json::from_slice::<Envelope>(body);
        if self.status == StatusCode::UNAUTHORIZED {
            let meta = envelope.ok().map(|envelope| envelope.meta);
            return Err(Error::Unauthorized {
                url: self.transport.url.clone(),
                access_key: self.transport.credentials.access_key.clone(),
                subcode: meta.as_ref().map_or(0, |meta| meta.subcode),
                message: meta.map_or_else(|| "unauthorized".to_owned(), |meta| meta.message),
            });
        }
        let Envelope { meta, data } =
            envelope.map_err(|error| self.not_an_envelope(body, &error))?;
        if !self.status.is_success() || meta.code != 200 {
            return Err(Error::Api {
                endpoint: self.endpoint,
                code: meta.code,
                subcode: meta.subcode,
                message: meta.message,
            });
        }
        serde_json::from_value(data).map_err(|error| {
            self.protocol(format!("its data has another form{}", self.detail(&error)))
        })
    }

    fn not_an_envelope(&self, body: &[u8], error: &serde_json::Error) -> Error {
        let status = self.status.as_u16();
        let form = if body.trim_ascii_start().starts_with(b"<") {
            "a web page".to_owned()
        } else if error.is_data() {
            format!("JSON of another form{}", self.detail(error))
        } else {
            "something that is not JSON".to_owned()
        };
        self.protocol(format!("it answers HTTP {status} with {form}"))
    }

    /// What the parser says; not about a login, because it quotes what it read.
    fn detail(&self, error: &serde_json::Error) -> String {
        if self.endpoint == LOGIN {
            String::new()
        } else {
            format!(": {error}")
        }
    }

    fn protocol(&self, problem: String) -> Error {
        Error::Protocol {
            url: self.transport.url.clone(),
            endpoint: self.endpoint,
            problem,
        }
    }
}

/// Refuses what is no base URL, without repeating it: it may hold a password.
fn check(url: &str) -> Result<Url, Error> {
    let refuse = |problem: String| Err(Error::Url { problem });
    let parsed = match Url::parse(url) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(format!("not a URL: {error}")),
    };
    if !matches!(parsed.scheme(), "http" | "https") {
        return refuse(format!("{:?} is neither http nor https", parsed.scheme()));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return refuse(
            "it holds a user name or password; keys belong into accessKeyFile and secretKeyFile"
                .to_owned(),
        );
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return refuse("it has a ? or # part".to_owned());
    }
    Ok(parsed)
}

fn client(url: &Url) -> Result<reqwest::Client, Error> {
    // The client panics without a provider. An error means that the program has chosen one, which is as good.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("mica/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        // A POST that follows a redirect loses its body or its credentials.
        .redirect(redirect::Policy::none());
    if is_loopback(url) {
        // A proxy's loopback is another machine.
        builder = builder.no_proxy();
    }
    builder.build().map_err(|cause| Error::Client { cause })
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}
