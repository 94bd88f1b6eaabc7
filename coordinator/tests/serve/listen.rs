//! Where it listens, and where it refuses to.

use clearml_sim::Credentials;
use mica_coordinator::serve::{Refused, run_until};
use mica_proto::v1::{VersionRequest, console_client::ConsoleClient};
use rstest::rstest;
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use super::{
    clearml::ClearMl,
    coordinator::{Coordinator, args, write_config},
};

const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");

fn keys() -> Credentials {
    Credentials {
        access_key: "access".to_owned(),
        secret_key: "secret".to_owned(),
    }
}

async fn refused(more: &[&str]) -> anyhow::Error {
    let directory = TempDir::new().unwrap();
    let config = write_config(directory.path(), "http://127.0.0.1:1", &keys());
    let never = std::future::pending();
    run_until(args(more, &config), never).await.unwrap_err()
}

#[rstest]
#[case::grpc(&["--listen", "0.0.0.0:0"], "--listen 0.0.0.0:0", "--tls-cert")]
#[case::http(&["--http", "[::]:0"], "--http [::]:0", "--insecure")]
#[tokio::test]
async fn clear_text_stays_on_the_machine(
    #[case] more: &[&str],
    #[case] what: &str,
    #[case] remedy: &str,
) {
    let error = refused(more).await;
    assert!(error.is::<Refused>());
    let text = error.to_string();
    assert!(text.starts_with(what) && text.contains(remedy), "{text}");
}

#[tokio::test]
async fn insecure_is_insecure() {
    let clearml = ClearMl::start(&[]).await;
    let more = ["--insecure", "--listen=0.0.0.0:0", "--http=0.0.0.0:0"];
    let coordinator = Coordinator::on(clearml, &more).await;
    assert!(coordinator.grpc.ip().is_unspecified());
}

#[tokio::test]
async fn tls_asks_for_a_certificate_of_the_authority() {
    let clearml = ClearMl::start(&[]).await;
    let file = |name: &str| format!("{TLS}/{name}");
    let (cert, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let more = [
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &ca,
    ];
    let coordinator = Coordinator::on(clearml, &more).await;
    let read = |name: &String| std::fs::read(name).unwrap();
    let ask = async |tls: ClientTlsConfig| {
        let url = format!("https://{}", coordinator.grpc);
        let channel = Channel::from_shared(url).unwrap().tls_config(tls).unwrap();
        let channel = channel.connect().await.ok()?;
        let reply = ConsoleClient::new(channel).version(VersionRequest {}).await;
        Some(reply.ok()?.into_inner().version)
    };
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&ca)));
    assert_eq!(ask(tls.clone()).await, None, "no certificate");
    let identity = Identity::from_pem(read(&cert), read(&key));
    let version = ask(tls.identity(identity)).await;
    assert_eq!(version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn files_and_addresses_that_are_of_no_use() {
    let missing = refused(&[
        "--tls-cert",
        "/nowhere/c.pem",
        "--tls-key",
        "/nowhere/k.pem",
    ])
    .await;
    assert!(
        missing
            .to_string()
            .starts_with("cannot read /nowhere/c.pem: ")
    );
    let coordinator = Coordinator::start().await;
    let address = coordinator.grpc.to_string();
    let taken = refused(&["--listen", &address]).await;
    assert_eq!(
        taken.to_string(),
        format!("cannot listen on --listen {address}")
    );
    let config = std::path::Path::new("/nowhere/mica.yaml");
    let error = run_until(args(&[], config), std::future::pending()).await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("/nowhere/mica.yaml")
    );
}

#[tokio::test]
async fn on_kubernetes_it_has_to_know_its_pod() {
    let directory = TempDir::new().unwrap();
    let config = write_config(directory.path(), "http://127.0.0.1:1", &keys());
    let mut args = args(&[], &config);
    args.standalone = false;
    let error = run_until(args, std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("--pod-name"), "{error}");
}
