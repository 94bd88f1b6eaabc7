//! TLS, and what is said when the two sides do not fit.

use rstest::rstest;
use tonic::transport::{Identity, ServerTlsConfig};

use super::coordinator::Coordinator;
use super::fixture;
use super::program::mica;

const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/ca.pem");
const OTHER_CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/other-ca.pem");
const CERTIFICATE: &str = include_str!("../tls/server.pem");
const KEY: &str = include_str!("../tls/server.key");

async fn with_tls() -> Coordinator {
    // It fails only when another test of this process was first.
    drop(rustls::crypto::ring::default_provider().install_default());
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(CERTIFICATE, KEY));
    Coordinator::with(fixture::plan(), Some(tls)).await
}

#[tokio::test]
async fn an_authority_is_enough() {
    let coordinator = with_tls().await;
    let url = format!("https://{}", coordinator.address);
    let text = mica(&["--server", &url, "--tls-ca", CA, "version"]).await;
    assert!(text.data().ends_with("server: 9.9.9\n"));
}

#[rstest]
#[case::other_authority("127.0.0.1", OTHER_CA, "(invalid peer certificate: ")]
#[case::other_name(
    "localhost",
    CA,
    "(invalid peer certificate: certificate not valid for name \"localhost\""
)]
#[tokio::test]
async fn a_certificate_that_does_not_fit(#[case] host: &str, #[case] ca: &str, #[case] why: &str) {
    let coordinator = with_tls().await;
    let url = format!("https://{host}:{}", coordinator.address.port());
    let message = mica(&["--server", &url, "--tls-ca", ca, "plan"]).await;
    let message = message.failed(1);
    let begin = format!("error: no TLS connection to {url} {why}");
    assert!(message.starts_with(&begin), "{message}");
}

#[tokio::test]
async fn tls_to_a_server_without() {
    let coordinator = Coordinator::start().await;
    let url = format!("https://{}", coordinator.address);
    let message = mica(&["--server", &url, "--tls-ca", CA, "plan"]).await;
    let message = message.failed(1);
    let begin = format!("error: no TLS connection to {url} (");
    assert!(message.starts_with(&begin), "{message}");
}

#[tokio::test]
async fn clear_text_to_a_server_with() {
    let coordinator = with_tls().await;
    let url = coordinator.url();
    let message = mica(&["--server", &url, "plan"]).await.failed(1);
    let begin = format!("error: what answers at {url} does not speak gRPC (");
    assert!(message.starts_with(&begin), "{message}");
    assert!(message.contains("https:// when it uses TLS"), "{message}");
}

#[rstest]
#[case::no_file(
    "/nowhere/ca.pem",
    "error: failed to read /nowhere/ca.pem: No such file or directory (os error 2)\n"
)]
#[case::no_certificate(
    "/dev/null",
    "error: /dev/null holds no certificate in PEM form; give the authority's, which begins with -----BEGIN CERTIFICATE-----\n"
)]
#[tokio::test]
async fn files_of_no_use_are_named(#[case] ca: &str, #[case] message: &str) {
    let args = ["--server", "https://127.0.0.1:1", "--tls-ca", ca, "plan"];
    let stderr = mica(&args).await.failed(1);
    assert!(stderr.starts_with(message), "{stderr}");
}
