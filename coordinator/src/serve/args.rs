//! What `mica serve` can be told.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Runs the coordinator.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Run without Kubernetes, on ClearML's backlog alone
    #[arg(long, env = "MICA_STANDALONE")]
    pub standalone: bool,
    /// Configuration: the ClearML server, tenants and queues (YAML). On Kubernetes it may be left out: then pods alone are
    /// planned for, not what waits in queues
    #[arg(
        long,
        env = "MICA_CONFIG",
        value_name = "FILE",
        required_if_eq("standalone", "true")
    )]
    pub config: Option<PathBuf>,
    /// Which namespaces belong to tenants: only their gated pods get slices (a label selector)
    #[arg(
        long,
        env = "MICA_NAMESPACE_SELECTOR",
        value_name = "SELECTOR",
        default_value = "mica.dev/tenant",
        conflicts_with = "standalone"
    )]
    pub namespace_selector: String,
    /// Name of the coordinator's own pod, by which it holds the lease of the one that leads
    #[arg(
        long,
        env = "POD_NAME",
        value_name = "NAME",
        required_unless_present = "standalone"
    )]
    pub pod_name: Option<String>,
    /// Namespace of the coordinator's own pod
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAMESPACE",
        required_unless_present = "standalone"
    )]
    pub pod_namespace: Option<String>,
    /// Address for agents and the command line (gRPC); port 0 takes a free one
    #[arg(
        long,
        env = "MICA_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7070"
    )]
    pub listen: SocketAddr,
    /// Address for /metrics, /livez and /readyz; port 0 takes a free one
    #[arg(
        long,
        env = "MICA_HTTP",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7071"
    )]
    pub http: SocketAddr,
    /// Certificate chain for the gRPC address (PEM)
    #[arg(long, env = "MICA_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, env = "MICA_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Ask clients for a certificate that this authority has signed (PEM)
    #[arg(
        long,
        env = "MICA_TLS_CLIENT_CA",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_client_ca: Option<PathBuf>,
    /// Address of the admission webhook (HTTPS), which puts the gate on pods where no policy of the API server does; port 0 takes a
    /// free one
    #[arg(
        long,
        env = "MICA_ADMISSION",
        value_name = "ADDRESS",
        conflicts_with = "standalone"
    )]
    pub admission: Option<SocketAddr>,
    /// Authority that signed --tls-cert (PEM), by which the API server is to know the webhook. Without it somebody else has to tell
    /// the API server
    #[arg(
        long,
        env = "MICA_ADMISSION_CA",
        value_name = "FILE",
        requires_all = ["admission", "tls_cert"]
    )]
    pub admission_ca: Option<PathBuf>,
    /// Serve addresses that other machines can reach in clear text. Not on Kubernetes, where gRPC is always encrypted and
    /// the metrics never are
    #[arg(long, env = "MICA_INSECURE", requires = "standalone")]
    pub insecure: bool,
    /// Write the addresses to this file (JSON) when listening
    #[arg(long, env = "MICA_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// How long changes are gathered before a round plans for them
    #[arg(
        long,
        env = "MICA_DEBOUNCE",
        value_name = "TIME",
        default_value = "100ms",
        value_parser = duration
    )]
    pub debounce: Duration,
    /// How long agents have to come back after a start, before the first round plans without them. After a
    /// long outage they may take 5s
    #[arg(
        long,
        env = "MICA_GRACE",
        value_name = "TIME",
        default_value = "1s",
        value_parser = duration
    )]
    pub grace: Duration,
}

/// Reads `100ms`, `1s`.
fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|error| format!("{error}; write for example 100ms or 1s"))?;
    Duration::try_from(duration).map_err(|_| "must not be negative".to_owned())
}
