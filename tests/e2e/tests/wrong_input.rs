//! What people get wrong, against the real programs: each gets a clear message, and nothing is lost.

#![cfg(test)]

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use mica_e2e::cluster::{Cluster, NodeSpec};
use mica_e2e::programs::Programs;
use rstest::rstest;

const NODE: NodeSpec = NodeSpec {
    name: "node-a",
    board: "a30-24gb",
    gpus: 1,
};
const DEADLINE: Duration = Duration::from_secs(20);

async fn cluster(dir: &Path) -> Cluster {
    Cluster::start(&Programs::built().unwrap(), dir, &[NODE], &["acme"])
        .await
        .unwrap()
}

/// Waits until `look` sees what it wants, or fails with what it saw last.
async fn eventually<F: Future<Output = Result<(), String>>>(mut look: impl FnMut() -> F) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match look().await {
            Ok(()) => return,
            Err(saw) => assert!(Instant::now() < deadline, "after {DEADLINE:?}: {saw}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn node_is_ready(cluster: &Cluster) -> Result<(), String> {
    let nodes = cluster
        .mica(&["get", "nodes"])
        .await
        .map_err(|error| error.to_string())?;
    let ready = nodes
        .lines()
        .any(|line| line.starts_with("node-a") && line.contains("ready"));
    if ready { Ok(()) } else { Err(nodes) }
}

/// Starts a program whose words go to a log.
fn start(program: &mut Command, log: &Path) -> Child {
    let file = std::fs::File::create(log).unwrap();
    program.stdout(file.try_clone().unwrap()).stderr(file);
    program.spawn().unwrap()
}

/// Waits until a program has said all these words, ends it, and returns everything that it said.
async fn says(mut program: Child, log: &Path, words: &[&str]) -> String {
    let read = || std::fs::read_to_string(log).unwrap();
    eventually(|| async {
        let said = read();
        if words.iter().all(|word| said.contains(word)) {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
    program.kill().unwrap();
    program.wait().unwrap();
    assert!(!read().contains("panicked"), "{}", read());
    read()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[tokio::test]
async fn a_second_agent_with_the_same_name_is_told_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(dir.path()).await;
    eventually(|| node_is_ready(&cluster)).await;
    let log = dir.path().join("second.log");
    let node = cluster.nodes.first().unwrap();
    let mut second = Command::new(Programs::built().unwrap().agent);
    second
        .args(["run", "--node=node-a", "--http=127.0.0.1:0"])
        .arg(format!("--coordinator={}", cluster.server().unwrap()))
        .arg(format!(
            "--nvml-library={}",
            node.driver.library().display()
        ))
        .arg(format!(
            "--state-dir={}",
            dir.path().join("second.state").display()
        ));
    says(start(&mut second, &log), &log, &["node-a", "another agent"]).await;
    node_is_ready(&cluster).await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn garbage_on_the_grpc_port_disturbs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(dir.path()).await;
    eventually(|| node_is_ready(&cluster)).await;
    let address = cluster.coordinator.address("grpc").unwrap();
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0xff; 4096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\njunk",
    ] {
        let mut stream = TcpStream::connect(&address).unwrap();
        // The server may hang up in the middle of it.
        stream.write_all(garbage).ok();
    }
    node_is_ready(&cluster).await.unwrap();
    assert_eq!(cluster.coordinator.restarts(), 0);
    let log = std::fs::read_to_string(dir.path().join("coordinator.log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    cluster.stop().await.unwrap();
}

#[rstest]
#[case::not_a_library("Cargo.toml", "not")]
#[case::missing("no-such-file.so", "no-such-file.so")]
fn an_agent_says_what_is_wrong_with_its_library(#[case] library: &str, #[case] word: &str) {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join(library);
    let mut agent = Command::new(Programs::built().unwrap().agent);
    let output = agent
        .arg("inspect")
        .arg("--nvml-library")
        .arg(&library)
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let names_it = said.contains(library.to_str().unwrap()) && said.contains(word);
    assert!(names_it && !said.contains("panicked"), "{said}");
}

#[test]
fn a_library_that_is_not_nvml_is_named() {
    let libc = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc = libc.lines().find_map(|line| {
        line.contains("libc.so")
            .then(|| line.split_whitespace().last().unwrap())
    });
    let mut agent = Command::new(Programs::built().unwrap().agent);
    let output = agent
        .args(["inspect", "--nvml-library", libc.unwrap()])
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(libc.unwrap()) && !said.contains("panicked"),
        "{said}"
    );
}

/// Serves one config to a coordinator and returns what it said within the deadline, alive or not.
async fn coordinator_says(config: &str, word: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("key"), "AKEY").unwrap();
    std::fs::write(path("secret"), "very-secret-value").unwrap();
    std::fs::write(path("mica.yaml"), config).unwrap();
    let log = path("log");
    let mut mica = Command::new(Programs::built().unwrap().mica);
    mica.args([
        "serve",
        "--standalone",
        "--listen=127.0.0.1:0",
        "--http=127.0.0.1:0",
    ])
    .arg("--config")
    .arg(path("mica.yaml"));
    let said = says(start(&mut mica, &log), &log, &[word]).await;
    assert!(!said.contains("very-secret-value"), "{said}");
    said
}

fn config(url: &str, profile: &str) -> String {
    format!(
        "clearml:\n  url: {url}\n  pollInterval: 200ms\ntenants:\n  - name: acme\n    \
         credentials: {{accessKeyFile: key, secretKeyFile: secret}}\n    queues:\n      \
         - name: gpu-fraction-0_50\n        profiles: [{profile}]\n"
    )
}

#[tokio::test]
async fn an_unknown_profile_is_named_with_its_line() {
    let said = coordinator_says(&config("http://127.0.0.1:9", "3x.20gb"), "3x.20gb").await;
    assert!(
        said.contains("mica.yaml:9:20: tenants[0].queues[0].profiles[0]"),
        "{said}"
    );
}

#[tokio::test]
async fn an_unreachable_clearml_is_named() {
    // A port that nothing listens on: bound, then given back.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}");
    let said = coordinator_says(&config(&url, "3g.20gb"), &url).await;
    assert!(said.contains("acme"), "{said}");
}

#[tokio::test]
async fn bad_credentials_are_named() {
    let state = clearml_sim::State::new();
    let server = clearml_sim::Server::start("127.0.0.1:0".parse().unwrap(), state)
        .await
        .unwrap();
    let said = coordinator_says(&config(server.url(), "3g.20gb"), "refuses the access key").await;
    assert!(said.contains("acme"), "{said}");
}
