//! What can go wrong between the coordinator and ClearML, with the remedy.

/// Why ClearML did not answer a question.
///
/// No variant holds a secret: neither the secret key nor a token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be one of an API server.
    #[error(
        "clearml.url: {problem}; set it to the address of the API server, e.g. http://127.0.0.1:8008"
    )]
    Url {
        /// What is wrong with it.
        problem: String,
    },
    /// No HTTP client could be made, e.g. because this machine has no root certificates.
    #[error("failed to set up the HTTP client for ClearML")]
    Client {
        /// What is missing.
        #[source]
        cause: reqwest::Error,
    },
    /// Nothing answered.
    #[error(
        "failed to reach ClearML at {url}; check clearml.url, and that the API server runs and this machine may connect to it"
    )]
    Unreachable {
        /// Base URL.
        url: String,
        /// What the network said.
        #[source]
        cause: reqwest::Error,
    },
    /// The server, or a proxy before it, cannot answer for now.
    #[error(
        "ClearML at {url} is not available now: {endpoint} answers HTTP {status}; it is asked again later"
    )]
    Unavailable {
        /// Base URL.
        url: String,
        /// What was asked, e.g. `queues.get_all`.
        endpoint: &'static str,
        /// HTTP status: 429, 502, 503, 504 or 509.
        status: u16,
    },
    /// The keys are wrong or were revoked.
    #[error(
        "ClearML at {url} refuses the access key {access_key:?}: {message} (401/{subcode}); \
         check the tenant's accessKeyFile and secretKeyFile, or create new credentials in ClearML (Settings, Workspace)"
    )]
    Unauthorized {
        /// Base URL.
        url: String,
        /// The public half of the keys.
        access_key: String,
        /// ClearML's subcode: 20 to 22 the keys, 30 the token, 31 blocked; 0 when the answer did not come from ClearML.
        subcode: u32,
        /// ClearML's words.
        message: String,
    },
    /// ClearML understood and refused, or failed.
    #[error("ClearML refuses {endpoint}: {message} ({code}/{subcode})")]
    Api {
        /// What was asked, e.g. `queues.get_all`.
        endpoint: &'static str,
        /// ClearML's code, the HTTP status.
        code: u16,
        /// ClearML's subcode.
        subcode: u32,
        /// ClearML's words.
        message: String,
    },
    /// Something answered that does not speak ClearML's protocol.
    #[error(
        "{url} does not answer {endpoint} like a ClearML API server: {problem}; \
         check that clearml.url names the API server (port 8008, or https://api.…), not the web page or the file server"
    )]
    Protocol {
        /// Base URL.
        url: String,
        /// What was asked, e.g. `queues.get_all`.
        endpoint: &'static str,
        /// What was unexpected.
        problem: String,
    },
}

impl Error {
    /// One word for metric labels.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Url { .. } => "url",
            Self::Client { .. } => "client",
            Self::Unreachable { .. } => "unreachable",
            Self::Unavailable { .. } => "unavailable",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Api { .. } => "api",
            Self::Protocol { .. } => "protocol",
        }
    }
}
