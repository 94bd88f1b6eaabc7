//! The connection to a coordinator: its options, its calls, and what an error of the transport means to a person.

use std::error::Error;
use std::fs;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use mica_proto::v1;
use mica_proto::v1::console_client::ConsoleClient;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status, Streaming};

use super::fail::Fail;
use super::output;

/// Room for the report of a large cluster: a thousand nodes of eight GPUs cut into seven are about 10 MB.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// How tonic says that an HTTP/2 server answered otherwise than gRPC does.
const NO_GRPC_STATUS: &str = "grpc-status header missing";

/// How often a watch makes sure that the coordinator is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Between two attempts to reach a coordinator that has gone.
const RETRY: Duration = Duration::from_millis(200);

/// What is said of a stream that ends in good order: a coordinator ends it only with itself.
const ENDED: &str = "it has ended the stream";

/// How to reach the coordinator.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection (not for serve; of adopt the timeout alone)")]
pub struct Connection {
    /// gRPC address of the coordinator
    #[arg(
        long,
        env = "MICA_SERVER",
        default_value = "http://127.0.0.1:7070",
        value_name = "URL",
        global = true
    )]
    server: ServerUrl,
    /// How long to wait for an answer, e.g. 10s
    #[arg(long, env = "MICA_REQUEST_TIMEOUT", default_value = "10s", value_name = "TIME", value_parser = timeout, global = true)]
    request_timeout: Duration,
    /// PEM file of the authority that signed the coordinator's certificate; needed for https
    #[arg(long, env = "MICA_TLS_CA", value_name = "FILE", global = true)]
    tls_ca: Option<PathBuf>,
    /// PEM file of the certificate to show to the coordinator
    #[arg(long, env = "MICA_TLS_CERT", value_name = "FILE", global = true)]
    tls_cert: Option<PathBuf>,
    /// PEM file of that certificate's key
    #[arg(long, env = "MICA_TLS_KEY", value_name = "FILE", global = true)]
    tls_key: Option<PathBuf>,
    /// Allow clear text (http) to another machine
    #[arg(long, env = "MICA_INSECURE", global = true)]
    insecure: bool,
}

/// The address of a coordinator: `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Clone, Debug)]
pub struct ServerUrl(reqwest::Url);

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = reqwest::Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.path() == "/");
        url.map(Self)
            .ok_or_else(|| "write it as http://HOST:PORT or https://HOST:PORT".to_owned())
    }
}

impl ServerUrl {
    fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether it names this machine.
    fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || address
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// As people wrote it, without the slash that a URL ends with.
    fn shown(&self) -> String {
        self.0.as_str().trim_end_matches('/').to_owned()
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|time| Duration::try_from(time).ok())
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "write it as 10s or 500ms".to_owned())
}

impl Connection {
    /// How long an answer may take.
    pub(super) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Connects.
    pub(super) async fn open(&self) -> Result<Console, Fail> {
        let server = self.server.shown();
        let mut endpoint = Endpoint::from_shared(server.clone())
            .map_err(Fail::Tls)?
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(self.request_timeout);
        if let Some(tls) = self.tls()? {
            endpoint = endpoint.tls_config(tls).map_err(Fail::Tls)?;
        }
        let wait = Wait {
            server,
            timeout: self.request_timeout,
        };
        let channel = wait
            .answer(endpoint.connect())
            .await?
            .map_err(|error| wait.transport(&error))?;
        Ok(Console {
            client: ConsoleClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES),
            wait,
        })
    }

    fn tls(&self) -> Result<Option<ClientTlsConfig>, Fail> {
        let Self {
            server,
            request_timeout: _,
            tls_ca,
            tls_cert,
            tls_key,
            insecure,
        } = self;
        if !server.is_tls() {
            if !server.is_loopback() && !insecure {
                return Err(Fail::Refused(format!(
                    "refused to speak clear text to another machine ({}); use https://, or allow it with --insecure",
                    server.shown()
                )));
            }
            return Ok(None);
        }
        let Some(ca) = tls_ca else {
            return Err(Fail::Usage(format!(
                "{} needs --tls-ca FILE (or MICA_TLS_CA): the authority that signed the coordinator's certificate",
                server.shown()
            )));
        };
        let pem = read(ca)?;
        // An authority that is none would only be found out when it is needed, and then not be named.
        if CertificateDer::from_pem_slice(&pem).is_err() {
            return Err(Fail::NoCertificate(ca.clone()));
        }
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        match (tls_cert, tls_key) {
            (Some(cert), Some(key)) => Ok(Some(
                tls.identity(Identity::from_pem(read(cert)?, read(key)?)),
            )),
            (None, None) => Ok(Some(tls)),
            _ => Err(Fail::Usage(
                "--tls-cert and --tls-key go together; give both or none".to_owned(),
            )),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Fail> {
    fs::read(path).map_err(|source| Fail::File {
        path: path.to_owned(),
        source,
    })
}

/// The coordinator's answers.
pub(super) struct Console {
    client: ConsoleClient<Channel>,
    wait: Wait,
}

impl Console {
    pub(super) async fn plan(mut self) -> Result<v1::PlanReply, Fail> {
        self.wait.reply(self.client.plan(v1::PlanRequest {})).await
    }

    pub(super) async fn explain(mut self, subject: String) -> Result<Vec<String>, Fail> {
        let request = v1::ExplainRequest { subject };
        let reply = self.wait.reply(self.client.explain(request)).await?;
        Ok(reply.lines)
    }

    pub(super) async fn version(mut self) -> Result<String, Fail> {
        let request = v1::VersionRequest {};
        Ok(self.wait.reply(self.client.version(request)).await?.version)
    }

    /// The cluster once, or again after each change. The first has come when this returns.
    async fn watch(mut self, follow: bool) -> Result<(v1::Cluster, Streaming<v1::Cluster>), Fail> {
        let request = v1::WatchRequest { follow };
        let mut stream = self.wait.reply(self.client.watch(request)).await?;
        match self.wait.answer(stream.message()).await? {
            Ok(Some(first)) => Ok((first, stream)),
            Ok(None) => Err(Fail::Unreachable {
                server: self.wait.server,
                why: ENDED.to_owned(),
            }),
            Err(status) => Err(self.wait.status(&status)),
        }
    }
}

/// What a watch brings after the first. When the coordinator goes it says so on stderr, and waits for it to come back.
pub(super) struct Clusters<'a> {
    connection: &'a Connection,
    stream: Streaming<v1::Cluster>,
}

impl Connection {
    /// The cluster, and how it goes on if it is to be followed.
    pub(super) async fn watch(&self, follow: bool) -> Result<(v1::Cluster, Clusters<'_>), Fail> {
        let (first, stream) = self.open().await?.watch(follow).await?;
        let connection = self;
        Ok((first, Clusters { connection, stream }))
    }

    /// Watches as soon as there is a coordinator. Errors that say that there is none yet are passed over.
    async fn watch_until_there(&self) -> Result<(v1::Cluster, Clusters<'_>), Fail> {
        loop {
            tokio::time::sleep(RETRY).await;
            match self.watch(true).await {
                // Not gRPC: it hung up in the middle of the greeting, as one that is going or coming does.
                Err(Fail::Unreachable { .. } | Fail::NotGrpc { .. } | Fail::Server { .. }) => {}
                other => return other,
            }
        }
    }
}

impl Clusters<'_> {
    /// The next one, however long it takes.
    pub(super) async fn next(&mut self) -> Result<v1::Cluster, Fail> {
        match self.stream.message().await {
            Ok(Some(cluster)) => Ok(cluster),
            Ok(None) => self.again(ENDED).await,
            Err(status) => self.again(status.message()).await,
        }
    }

    /// The first one after the coordinator has gone; it has to come back within the timeout.
    async fn again(&mut self, why: &str) -> Result<v1::Cluster, Fail> {
        let server = self.connection.server.shown();
        output::tell(&format!(
            "lost the coordinator at {server} ({why}); waiting for it to come back"
        ));
        let timeout = self.connection.request_timeout;
        let back = tokio::time::timeout(timeout, self.connection.watch_until_there());
        let (first, clusters) = back.await.map_err(|_| Fail::Away {
            server: server.clone(),
            seconds: timeout.as_secs_f64(),
        })??;
        output::tell(&format!("the coordinator at {server} is back"));
        self.stream = clusters.stream;
        Ok(first)
    }
}

/// Whom we wait for, and how long.
struct Wait {
    server: String,
    timeout: Duration,
}

impl Wait {
    async fn answer<T>(&self, answer: impl Future<Output = T>) -> Result<T, Fail> {
        tokio::time::timeout(self.timeout, answer)
            .await
            .map_err(|_| self.timed_out())
    }

    async fn reply<T>(
        &self,
        reply: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Fail> {
        match self.answer(reply).await? {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(self.status(&status)),
        }
    }

    fn timed_out(&self) -> Fail {
        Fail::Timeout {
            server: self.server.clone(),
            seconds: self.timeout.as_secs_f64(),
        }
    }

    fn status(&self, status: &Status) -> Fail {
        if let Some(source) = status.source() {
            return self.transport(source); // made here, not by the coordinator
        }
        let server = self.server.clone();
        let message = status.message().to_owned();
        if message.starts_with(NO_GRPC_STATUS) {
            let why = message.rsplit(", ").next().unwrap_or_default().to_owned();
            return Fail::NotGrpc { server, why };
        }
        match status.code() {
            Code::NotFound => Fail::NotFound(message),
            Code::DeadlineExceeded => self.timed_out(),
            Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => {
                Fail::Refused(format!("the coordinator at {server} refused: {message}"))
            }
            Code::Unimplemented => Fail::NotMica { server, message },
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::InvalidArgument
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Fail::Server { server, message },
        }
    }

    /// What an error of the transport means. Its deepest cause is the one that tells.
    fn transport(&self, error: &(dyn Error + 'static)) -> Fail {
        let server = self.server.clone();
        let causes: Vec<&(dyn Error + 'static)> =
            std::iter::successors(Some(error), |&error| error.source()).collect();
        let why = causes.last().map_or_else(String::new, ToString::to_string);
        let io = causes
            .iter()
            .find_map(|cause| cause.downcast_ref::<io::Error>());
        match io {
            Some(io) if io.get_ref().is_some_and(is_tls) => Fail::Handshake { server, why },
            Some(io) if answered(io.kind()) => Fail::NotGrpc { server, why },
            Some(_) => Fail::Unreachable { server, why },
            None if why.contains("dns error") => Fail::Unreachable { server, why },
            None => Fail::NotGrpc { server, why },
        }
    }
}

fn is_tls(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.is::<rustls::Error>()
}

/// Whether an error shows that somebody took the call and then hung up.
fn answered(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
    )
}
