//! Where the coordinator listens, and under which protection.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// An address that would be served without protection. Programs should exit with code 4.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{flag} {address} can be reached from other machines and would be served in clear text; {remedy}"
)]
pub struct Refused {
    flag: &'static str,
    address: SocketAddr,
    remedy: &'static str,
}

/// The files of TLS, as far as they are given.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) client_ca: Option<PathBuf>,
}

/// Whether both addresses may be served so.
pub(crate) fn permit(
    grpc: SocketAddr,
    http: SocketAddr,
    tls: &TlsFiles,
    insecure: bool,
) -> Result<(), Refused> {
    let refuse = |flag, address, remedy| {
        Err(Refused {
            flag,
            address,
            remedy,
        })
    };
    if !insecure && !grpc.ip().is_loopback() && tls.cert.is_none() {
        let remedy = "give --tls-cert and --tls-key, or --insecure if the network is trusted";
        return refuse("--listen", grpc, remedy);
    }
    if !insecure && !http.ip().is_loopback() {
        let remedy = "say --insecure if whoever can reach it may read the metrics";
        return refuse("--http", http, remedy);
    }
    Ok(())
}

/// What is served with TLS: certificate chain and key, as PEM.
pub(crate) struct Tls {
    pub(crate) chain: Vec<u8>,
    pub(crate) key: Vec<u8>,
    /// Who signs the certificates that clients of gRPC have to show.
    pub(crate) client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// For the gRPC server.
    pub(crate) fn grpc(&self) -> ServerTlsConfig {
        let identity = Identity::from_pem(&self.chain, &self.key);
        let config = ServerTlsConfig::new().identity(identity);
        match &self.client_ca {
            Some(ca) => config.client_ca_root(Certificate::from_pem(ca)),
            None => config,
        }
    }
}

impl TlsFiles {
    /// Reads them; `None` when there is no certificate.
    pub(crate) async fn read(&self) -> anyhow::Result<Option<Tls>> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Ok(None);
        };
        let client_ca = match &self.client_ca {
            Some(ca) => Some(read(ca).await?),
            None => None,
        };
        Ok(Some(Tls {
            chain: read(cert).await?,
            key: read(key).await?,
            client_ca,
        }))
    }
}

async fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    tokio::fs::read(path)
        .await
        .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))
}

/// What the ready file says.
#[derive(Debug, Serialize)]
struct Listening {
    grpc: SocketAddr,
    http: SocketAddr,
}

/// Writes the ready file. It appears whole, so that who waits for it never reads half of it.
pub(crate) async fn announce(path: &Path, grpc: SocketAddr, http: SocketAddr) -> io::Result<()> {
    let text = serde_json::to_vec(&Listening { grpc, http })?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    tokio::fs::write(&draft, text).await?;
    tokio::fs::rename(&draft, path).await
}
