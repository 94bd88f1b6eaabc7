//! The command line. Every flag can be given as an environment variable too, named in `--help`.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use tonic::transport::Uri;
use tracing_subscriber::EnvFilter;

mod care;
mod device_plugin;
mod verbs;

pub use care::{CareArgs, ProcArgs};
pub use device_plugin::DevicePluginArgs;
pub use verbs::{ApplyArgs, AssertArgs, ConfigArgs, ExportArgs, FileFormat};

/// What the program ends with; the same for all commands.
const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failure, or the config does not hold (assert), 2 wrong usage, or a file that cannot be used, \
4 refused before anything was touched (apply).";

/// The agent of Mica: makes the MIG layouts that the coordinator wants, on the GPUs of this node, and reports what is there.
#[derive(Debug, Parser)]
#[command(
    name = "mica-agent",
    version,
    after_help = EXIT_CODES
)]
pub struct Cli {
    /// How it logs.
    #[command(flatten)]
    pub log: LogArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How the program logs.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Least level that is logged, or directives as in `RUST_LOG`, which it overrides [default: info]
    #[arg(
        long,
        env = "MICA_AGENT_LOG_LEVEL",
        global = true,
        value_name = "LEVEL",
        value_parser = log_level
    )]
    pub log_level: Option<String>,
    /// Text for people or one JSON object a line
    #[arg(
        long,
        env = "MICA_AGENT_LOG_FORMAT",
        global = true,
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve this node: join the coordinator, report, and execute its layouts
    Run(Box<RunArgs>),
    /// Print the GPUs, profiles and instances of this node, and change nothing
    Inspect(InspectArgs),
    /// Print what stands on this node as a file that apply, assert and NVIDIA's mig-parted read
    #[command(after_help = EXIT_CODES)]
    Export(ExportArgs),
    /// Tell whether a config of a file holds on this node, and each difference; changes nothing
    #[command(after_help = EXIT_CODES)]
    Assert(AssertArgs),
    /// Make a config of a file hold on this node, without a coordinator; keeps instances that can stay, never touches one in use
    #[command(after_help = EXIT_CODES)]
    Apply(ApplyArgs),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Name of this node, unique among the agents of a coordinator; in Kubernetes the Node's name
    #[arg(long, env = "MICA_AGENT_NODE", value_parser = node_name)]
    pub node: String,
    /// Address of the coordinator, http://HOST:PORT or https://HOST:PORT
    #[arg(
        long,
        env = "MICA_AGENT_COORDINATOR",
        value_name = "URL",
        default_value = "http://127.0.0.1:7070"
    )]
    pub coordinator: Uri,
    /// Speak to the coordinator without TLS although it is not on this machine
    #[arg(long, env = "MICA_AGENT_INSECURE")]
    pub insecure: bool,
    /// Certificates (PEM) of the authorities that may vouch for the coordinator; needed with https. Read anew for each connection
    #[arg(long, env = "MICA_AGENT_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Certificate (PEM) by which this agent identifies itself
    #[arg(
        long,
        env = "MICA_AGENT_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of --tls-cert
    #[arg(
        long,
        env = "MICA_AGENT_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Token of the service account by which this agent identifies itself; read anew for each connection
    #[arg(long, env = "MICA_AGENT_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The NVML library
    #[command(flatten)]
    pub nvml: NvmlArgs,
    /// The node's kubelet
    #[command(flatten)]
    pub kubelet: KubeletArgs,
    /// What is offered to it
    #[command(flatten)]
    pub device_plugin: DevicePluginArgs,
    /// What is kept on disk
    #[command(flatten)]
    pub state: StateArgs,
    /// Address for /metrics, /livez and /readyz; port 0 takes a free one
    #[arg(
        long,
        env = "MICA_AGENT_HTTP",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7072"
    )]
    pub http: SocketAddr,
    /// Time between two reads of the GPUs, e.g. 1s or 500ms; twice as long while nothing changes
    #[arg(long, env = "MICA_AGENT_POLL_INTERVAL", value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub poll_interval: Duration,
    /// What is done about GPUs that are sick or whose MIG mode is pending
    #[command(flatten)]
    pub care: CareArgs,
    /// File to write {"http": "ADDRESS"} to once the agent serves; for scripts
    #[arg(long, env = "MICA_AGENT_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// What is kept on disk.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// Directory in which the agent keeps the newest generation it has seen and what it does to each GPU; made when missing
    #[arg(
        long,
        env = "MICA_AGENT_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/mica-agent"
    )]
    pub state_dir: PathBuf,
    /// File that differs from boot to boot: tells whether instances can still be there
    #[arg(
        long,
        env = "MICA_AGENT_BOOT_ID",
        value_name = "FILE",
        default_value = "/proc/sys/kernel/random/boot_id"
    )]
    pub boot_id: PathBuf,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The NVML library
    #[command(flatten)]
    pub nvml: NvmlArgs,
    /// Where processes are seen
    #[command(flatten)]
    pub proc: ProcArgs,
    /// The node's kubelet
    #[command(flatten)]
    pub kubelet: KubeletArgs,
    /// Tables for people, or JSON
    #[arg(short, long, env = "MICA_AGENT_OUTPUT", default_value = "text")]
    pub output: OutputFormat,
}

/// Where NVML is.
#[derive(Debug, Args)]
pub struct NvmlArgs {
    /// The driver's NVML: a name for the dynamic loader or a path
    #[arg(
        long,
        env = "MICA_AGENT_NVML_LIBRARY",
        value_name = "LIBRARY",
        default_value = "libnvidia-ml.so.1"
    )]
    pub nvml_library: OsString,
}

/// Where the kubelet is.
#[derive(Debug, Args)]
pub struct KubeletArgs {
    /// Socket on which the node's kubelet tells which containers hold which devices; `none` where there is no kubelet. While it does not
    /// answer nothing is destroyed [default: /var/lib/kubelet/pod-resources/kubelet.sock if that exists when the agent starts, else none]
    #[arg(
        long,
        env = "MICA_AGENT_POD_RESOURCES_SOCKET",
        value_name = "PATH|none"
    )]
    pub pod_resources_socket: Option<PathBuf>,
}

/// Form of the data on standard output.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum OutputFormat {
    /// Tables.
    Text,
    /// One JSON object.
    Json,
}

impl Cli {
    /// What clap cannot check by itself. The text names the flag and the remedy.
    pub fn check(&self) -> Result<(), String> {
        match &self.command {
            Command::Run(args) => args.check(),
            Command::Inspect(_) | Command::Export(_) | Command::Assert(_) | Command::Apply(_) => {
                Ok(())
            }
        }
    }
}

impl RunArgs {
    fn check(&self) -> Result<(), String> {
        let url = &self.coordinator;
        match (url.scheme_str(), url.host()) {
            (Some("https"), Some(_)) if self.tls_ca.is_none() => Err(format!(
                "--coordinator {url} needs --tls-ca, the file of the authorities that may vouch for it"
            )),
            (Some("http"), Some(_)) if self.tls_ca.is_some() || self.tls_cert.is_some() => {
                Err(format!(
                    "--tls-ca and --tls-cert mean nothing with --coordinator {url}; write https://"
                ))
            }
            (Some("http"), Some(host)) if !self.insecure && !is_loopback(host) => Err(format!(
                "--coordinator {url} is on another machine and without TLS: write https:// and give --tls-ca, or accept it with --insecure"
            )),
            (Some("http" | "https"), Some(_)) => Ok(()),
            _ => Err(format!(
                "--coordinator {url} is not an address: write http://HOST:PORT or https://HOST:PORT"
            )),
        }
    }
}

fn log_level(text: &str) -> Result<String, String> {
    EnvFilter::builder()
        .parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error}; write error, warn, info, debug or trace"))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn node_name(text: &str) -> Result<String, String> {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    if text.is_empty() || text.contains(bad) {
        Err("a node's name is not empty and has no blanks".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// A number with its unit: `500ms`, `1s`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a whole number and its unit, e.g. 1s or 500ms".to_owned())?;
    let milliseconds = match text.strip_prefix(digits) {
        Some("ms") => Some(number),
        Some("s") => number.checked_mul(1_000),
        _ => return Err("the unit is ms or s".to_owned()),
    };
    match milliseconds {
        Some(milliseconds @ 1..=30_000) => Ok(Duration::from_millis(milliseconds)),
        _ => Err("it is between 1ms and 30s".to_owned()),
    }
}
