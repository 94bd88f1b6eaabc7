//! Each way to fail: its exit code and the exact message.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::coordinator::Coordinator;
use super::program::{command, mica};

#[rstest]
#[case::slice(&["get", "slices", "MIG-8", "nothing"], 1, "error: no slices by the name of \"nothing\"; `mica get slices` shows all\n")]
#[case::near_slice(&["get", "slices", "node-c"], 1, "error: no slices by the name of \"node-c\"; did you mean node-a, node-a/0, node-a/1, node-a/2, node-b?\n")]
#[case::near_queue(&["get", "queues", "acme/haf"], 1, "error: no queues by the name of \"acme/haf\"; did you mean acme/half, acme?\n")]
#[case::gpu(&["get", "gpus", "nothing"], 1, "error: no GPUs by the name of \"nothing\"; `mica get gpus` shows all\n")]
#[case::explain(&["explain", "hafl"], 1, "error: no queue or GPU \"hafl\"; near: half\n")]
#[case::refused(&["explain", "secret"], 4, "error: the coordinator at URL refused: not for you\n")]
#[case::slow(&["explain", "slow", "--request-timeout", "300ms"], 3, "error: no answer from URL within 0.3 s; is it overloaded? --request-timeout waits longer\n")]
#[tokio::test]
async fn the_coordinator_says_no(#[case] args: &[&str], #[case] code: i32, #[case] message: &str) {
    let coordinator = Coordinator::start().await;
    let url = coordinator.url();
    let expected = message.replace("URL", &url);
    assert_eq!(coordinator.mica(args).await.failed(code), expected);
}

#[rstest]
#[case::resource(&["get", "pods"], "error: invalid value 'pods' for '<RESOURCE>'\n  [possible values: nodes, gpus, slices, queues]\n")]
#[case::server(&["--server", "localhost:7070", "get", "nodes"], "error: invalid value 'localhost:7070' for '--server <URL>': write it as http://HOST:PORT or https://HOST:PORT\n")]
#[case::timeout(&["--request-timeout", "5", "plan"], "error: invalid value '5' for '--request-timeout <TIME>': write it as 10s or 500ms\n")]
#[case::no_command(&[], "Cut GPUs into MIG slices as the work needs them\n")]
#[case::level(&["--log-level", "in[fo", "plan"], "error: invalid value 'in[fo' for '--log-level <LEVEL>'")]
#[case::no_ca(&["--server", "https://127.0.0.1:7070", "plan"], "error: https://127.0.0.1:7070 needs --tls-ca FILE (or MICA_TLS_CA): the authority that signed the coordinator's certificate\n")]
#[tokio::test]
async fn wrong_usage(#[case] args: &[&str], #[case] message: &str) {
    let stderr = mica(args).await.failed(2);
    assert!(stderr.starts_with(message), "{stderr}");
}

#[rstest]
#[case::nobody(
    "http://127.0.0.1:1",
    1,
    "error: no coordinator answers at http://127.0.0.1:1 (Connection refused (os error 111)); start one with `mica serve`, or give the right address with --server or MICA_SERVER\n"
)]
#[case::clear_text(
    "http://192.0.2.1:7070",
    4,
    "error: refused to speak clear text to another machine (http://192.0.2.1:7070); use https://, or allow it with --insecure\n"
)]
#[tokio::test]
async fn nobody_there(#[case] url: &str, #[case] code: i32, #[case] message: &str) {
    assert_eq!(
        mica(&["--server", url, "get", "nodes"]).await.failed(code),
        message
    );
}

#[tokio::test]
async fn loopback_and_insecure_may_be_clear_text() {
    // Port 1 of this machine refuses: that it was tried is what counts.
    for args in [
        &["--server", "http://localhost:1", "plan"][..],
        &["--server", "http://[::1]:1", "plan"],
        &["--server", "http://0.0.0.0:1", "--insecure", "plan"],
    ] {
        let message = mica(args).await.failed(1);
        assert!(
            message.starts_with("error: no coordinator answers at http://"),
            "{message}"
        );
    }
}

/// A server that says `greeting` to whoever calls, and then waits for the caller to hang up.
async fn stranger(greeting: &'static [u8], tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut preface = [0; 24]; // which every HTTP/2 client sends first
            stream.read_exact(&mut preface).await.unwrap();
            stream.write_all(greeting).await.unwrap();
            tokio::io::copy(&mut stream, &mut tokio::io::sink())
                .await
                .ok();
        }
    });
    url
}

#[rstest]
#[case::garbage(b"\x16\x03\x01garbage that is no frame at all, whatever one reads into it")]
#[case::http1(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")]
#[case::tls_alert(b"\x15\x03\x03\x00\x02\x02\x16")]
#[tokio::test]
async fn a_server_that_is_not_grpc_is_told_apart(#[case] greeting: &'static [u8]) {
    let mut tasks = JoinSet::new();
    let url = stranger(greeting, &mut tasks).await;
    let args = ["--server", &url, "--request-timeout", "5s", "get", "nodes"];
    let message = mica(&args).await.failed(1);
    let begin = format!("error: what answers at {url} does not speak gRPC (");
    assert!(message.starts_with(&begin), "{message}");
    assert!(message.lines().count() == 1, "{message}");
}

#[tokio::test]
async fn the_address_of_the_metrics_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, axum::Router::new()).await });
    let message = mica(&["--server", &url, "plan"]).await.failed(1);
    assert_eq!(
        message,
        format!(
            "error: what answers at {url} does not speak gRPC (mapped from HTTP status code 404); give the coordinator's gRPC address with \
             --server or MICA_SERVER, not that of its /metrics, and with https:// when it uses TLS\n"
        )
    );
}

#[tokio::test]
async fn a_server_that_says_nothing_is_a_timeout() {
    let mut tasks = JoinSet::new();
    let url = stranger(b"", &mut tasks).await;
    let args = [
        "--server",
        &url,
        "--request-timeout",
        "300ms",
        "get",
        "nodes",
    ];
    let message = mica(&args).await.failed(3);
    assert!(message.starts_with(&format!("error: no answer from {url} within 0.3 s")));
}

#[tokio::test]
async fn a_reader_that_goes_is_no_failure() {
    let coordinator = Coordinator::start().await;
    let mut child = command(&["--server", &coordinator.url(), "get", "slices", "-w"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[rstest]
#[case::open(0o644, "every user of this machine can read the secret key")]
#[case::closed(0o600, "")]
#[tokio::test]
async fn a_secret_that_everyone_can_read_is_warned_of(#[case] mode: u32, #[case] warning: &str) {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "s3cr3t").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
    let file = folder.path().join("mica.yaml");
    let yaml = "clearml: {url: ''}\ntenants: [{credentials: {secretKeyFile: secret}}]";
    fs::write(&file, yaml).unwrap();
    let args = ["serve", "--standalone", "--log-format", "json", "--config"];
    let stderr = mica(&[&args[..], &[file.to_str().unwrap()]].concat())
        .await
        .failed(1);
    let logs: String = stderr
        .lines()
        .filter(|line| line.starts_with('{'))
        .collect();
    assert!(logs.contains(warning), "{stderr}");
    assert_eq!(logs.is_empty(), warning.is_empty(), "{stderr}");
    assert!(!stderr.contains("s3cr3t"), "{stderr}");
}

#[rstest]
#[case::configuration("clearml: {url: nowhere}\ntenants: []\n", "127.0.0.1:0", 1, "error: the configuration has 2 mistakes
  FILE:1:16: clearml.url: \"nowhere\" is not a URL (relative URL without a base); write it as http://HOST:PORT or https://HOST:PORT
  FILE:2:10: tenants: an empty list; name at least one
")]
#[case::one_mistake(
    "clearml: {",
    "127.0.0.1:0",
    1,
    "error: FILE:1:10: not valid YAML: unclosed bracket '{'\n"
)]
#[case::address("clearml: {url: 'http://127.0.0.1:1'}
tenants: [{name: acme, credentials: {accessKeyFile: key, secretKeyFile: key}, queues: [{name: half, profiles: [3g.20gb]}]}]
", "0.0.0.0:0", 4, "error: --listen 0.0.0.0:0 can be reached from other machines ")]
#[tokio::test]
async fn serve_says_why_it_does_not_start(
    #[case] yaml: &str,
    #[case] listen: &str,
    #[case] code: i32,
    #[case] message: &str,
) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key"), "key").unwrap();
    let file = folder.path().join("mica.yaml");
    fs::write(&file, yaml).unwrap();
    let file = file.to_str().unwrap();
    let args = [
        "serve",
        "--standalone",
        "--log-level",
        "off",
        "--config",
        file,
    ];
    let args = [&args[..], &["--listen", listen, "--http", "127.0.0.1:0"]].concat();
    let stderr = mica(&args).await.failed(code);
    assert!(
        stderr.starts_with(&message.replace("FILE", file)),
        "{stderr}"
    );
}
