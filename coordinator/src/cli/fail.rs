//! What can go wrong in a command, how it is told, and the exit code.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use super::output;
use crate::serve;

/// Every way a command can fail. A message names the next command where there is one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fail {
    #[error("failed to start the runtime")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Serve(anyhow::Error),
    #[error("failed to write the output")]
    Output(#[source] io::Error),
    #[error("failed to write the data as text")]
    Render(#[source] anyhow::Error),
    #[error("failed to read {path}", path = .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{path} holds no certificate in PEM form; give the authority's, which begins with -----BEGIN CERTIFICATE-----", path = .0.display()
    )]
    NoCertificate(PathBuf),
    #[error("the address or the files given for TLS are of no use")]
    Tls(#[source] tonic::transport::Error),
    #[error(
        "no coordinator answers at {server} ({why}); start one with `mica serve`, or give the right address with --server or MICA_SERVER"
    )]
    Unreachable { server: String, why: String },
    #[error(
        "what answers at {server} does not speak gRPC ({why}); give the coordinator's gRPC address with --server or MICA_SERVER, \
         not that of its /metrics, and with https:// when it uses TLS"
    )]
    NotGrpc { server: String, why: String },
    #[error(
        "no TLS connection to {server} ({why}); check --tls-ca, --tls-cert and --tls-key, and whether the coordinator uses TLS at all"
    )]
    Handshake { server: String, why: String },
    #[error(
        "what answers at {server} is not a coordinator of this version ({message}); compare with `mica version`"
    )]
    NotMica { server: String, message: String },
    #[error(
        "the coordinator at {server} has not come back within {seconds} s; --request-timeout waits longer"
    )]
    Away { server: String, seconds: f64 },
    #[error("the coordinator at {server} failed: {message}")]
    Server { server: String, message: String },
    #[error(
        "the coordinator sent what makes no sense; are both of one version? see `mica version`"
    )]
    Nonsense(#[source] mica_proto::convert::Invalid),
    #[error(
        "cannot reach Kubernetes as anybody; name a kubeconfig with KUBECONFIG, and its context with --context"
    )]
    Kubeconfig(#[source] anyhow::Error),
    #[error("the API server does not do what it was asked")]
    Kubernetes(#[source] anyhow::Error),
    #[error("{0}")]
    NotFound(String),
    #[error(
        "no answer from {server} within {seconds} s; is it overloaded? --request-timeout waits longer"
    )]
    Timeout { server: String, seconds: f64 },
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Usage(String),
}

/// As documented in [`super::EXIT_CODES`].
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const TIMEOUT: u8 = 3;
const REFUSED: u8 = 4;

impl Fail {
    /// Says it on stderr and gives the exit code. That a reader of the output has gone (`mica get slices | head`) is no failure.
    pub(super) fn report(self) -> ExitCode {
        let code = match &self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            Self::Serve(error) if error.is::<serve::Refused>() => REFUSED,
            Self::Runtime(_)
            | Self::Serve(_)
            | Self::Output(_)
            | Self::Render(_)
            | Self::File { .. }
            | Self::NoCertificate(_)
            | Self::Tls(_)
            | Self::Unreachable { .. }
            | Self::NotGrpc { .. }
            | Self::Handshake { .. }
            | Self::NotMica { .. }
            | Self::Server { .. }
            | Self::Nonsense(_)
            | Self::Kubeconfig(_)
            | Self::Kubernetes(_)
            | Self::NotFound(_) => FAILED,
            Self::Usage(_) => USAGE,
            Self::Timeout { .. } | Self::Away { .. } => TIMEOUT,
            Self::Refused(_) => REFUSED,
        };
        output::tell(&format!("error: {:#}", anyhow::Error::new(self)));
        ExitCode::from(code)
    }
}
