//! Where the coordinator is, and by what the two know each other.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Uri};

use crate::args::RunArgs;

/// A dead peer is found within the sum of the two.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));

/// How certificates begin in PEM form.
const PEM_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The coordinator's address.
#[derive(Clone, Debug)]
pub struct Address {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub uri: Uri,
    /// Needed for `https`.
    pub tls: Option<TlsFiles>,
}

/// Files in PEM form. They are read anew for each connection: authorities and certificates are replaced while an agent runs.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificates of the authorities that may vouch for the coordinator.
    pub authorities: PathBuf,
    /// Our own certificate and its key, where the coordinator asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Address {
    /// As the command line says.
    #[must_use]
    pub fn of(args: &RunArgs) -> Self {
        let identity = args.tls_cert.clone().zip(args.tls_key.clone());
        let tls = args.tls_ca.clone().map(|authorities| TlsFiles {
            authorities,
            identity,
        });
        Self {
            uri: args.coordinator.clone(),
            tls,
        }
    }

    /// What is connected to, by the files as they are now.
    pub async fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let endpoint = Endpoint::from(self.uri.clone())
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .keep_alive_while_idle(true);
        let Some(files) = &self.tls else {
            return Ok(endpoint);
        };
        let pem = read(&files.authorities).await?;
        // A file without certificates would be taken, and then trust nobody.
        anyhow::ensure!(
            pem.windows(PEM_CERTIFICATE.len())
                .any(|window| window == PEM_CERTIFICATE),
            "--tls-ca {} holds no certificate in PEM form",
            files.authorities.display()
        );
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        if let Some((certificate, key)) = &files.identity {
            tls = tls.identity(Identity::from_pem(
                read(certificate).await?,
                read(key).await?,
            ));
        }
        endpoint
            .tls_config(tls)
            .context("--tls-ca, --tls-cert or --tls-key does not hold what it should")
    }
}

async fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    tokio::fs::read(file)
        .await
        .with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tokio::{net::TcpListener, task::JoinSet};
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::{
        service::Routes,
        transport::{Server, ServerTlsConfig},
    };

    use super::*;

    #[tokio::test]
    async fn an_authority_that_is_replaced_is_known_at_the_next_connection() {
        let made = || generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let CertifiedKey { cert, signing_key } = made();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let identity = Identity::from_pem(cert.pem(), signing_key.serialize_pem());
        let server = Server::builder()
            .tls_config(ServerTlsConfig::new().identity(identity))
            .unwrap()
            .add_routes(Routes::default())
            .serve_with_incoming(TcpListenerStream::new(listener));
        let mut servers = JoinSet::new();
        servers.spawn(server);
        let directory = tempfile::tempdir().unwrap();
        let authorities = directory.path().join("ca.crt");
        let tls = TlsFiles {
            authorities: authorities.clone(),
            identity: None,
        };
        let address = Address {
            uri: format!("https://localhost:{port}").parse().unwrap(),
            tls: Some(tls),
        };
        let connect = async |pem: &str| {
            std::fs::write(&authorities, pem).unwrap();
            let endpoint = address.endpoint().await.unwrap();
            endpoint.connect().await.is_ok()
        };
        let other = made().cert.pem();
        assert!(!connect(&other).await);
        // As a renewed authority and the one before it.
        assert!(connect(&format!("{other}{}", cert.pem())).await);
        servers.shutdown().await;

        std::fs::write(&authorities, "no certificate").unwrap();
        let error = address.endpoint().await.unwrap_err().to_string();
        assert!(
            error.contains("holds no certificate in PEM form"),
            "{error}"
        );
        std::fs::remove_file(&authorities).unwrap();
        let error = address.endpoint().await.unwrap_err().to_string();
        assert!(error.starts_with("cannot read "), "{error}");
    }
}
