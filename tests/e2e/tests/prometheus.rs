//! A real Prometheus server scrapes agent and coordinator, and answers queries about them; promtool finds nothing to complain of.

#![cfg(test)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mica_e2e::cluster::{Cluster, NodeSpec};
use mica_e2e::programs::Programs;
use serde_json::Value;

const NODE: NodeSpec = NodeSpec {
    name: "node-a",
    board: "h100-sxm5-80gb",
    gpus: 2,
};
const DEADLINE: Duration = Duration::from_secs(40);

/// Kills Prometheus when the test ends, however it ends.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start_prometheus(dir: &Path, port: u16, targets: &[String]) -> Prometheus {
    let targets: Vec<_> = targets.iter().map(|target| format!("'{target}'")).collect();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: mica\n    static_configs:\n      - targets: [{}]\n",
        targets.join(", ")
    );
    std::fs::write(dir.join("prometheus.yml"), config).unwrap();
    let mut prometheus = Command::new("prometheus");
    prometheus
        .arg(format!(
            "--config.file={}",
            dir.join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.join("tsdb").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("prometheus.log")).unwrap());
    Prometheus(prometheus.spawn().unwrap())
}

async fn promtool_is_content(metrics_url: &str) {
    let text = reqwest::get(metrics_url)
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let stdin = std::fs::File::open(file.path()).unwrap();
    let output = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(stdin)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{metrics_url}: {said}\n{text}"
    );
}

/// The queries that the documentation suggests.
fn documented_queries() -> Vec<&'static str> {
    let blocks = include_str!("../../../docs/metrics.md")
        .split("```promql\n")
        .skip(1);
    let queries: Vec<_> = blocks
        .filter_map(|block| block.split("```").next())
        .collect();
    assert!(!queries.is_empty(), "docs/metrics.md suggests none");
    queries
}

/// Asks until the answer is a number that satisfies `enough`.
async fn query(port: u16, query: &str, enough: impl Fn(f64) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    let mut saw = String::from("no answer");
    while Instant::now() < deadline {
        let mut url =
            reqwest::Url::parse(&format!("http://127.0.0.1:{port}/api/v1/query")).unwrap();
        url.query_pairs_mut().append_pair("query", query);
        if let Ok(answer) = reqwest::get(url).await {
            saw = answer.text().await.unwrap_or_default();
            let parsed: Value = serde_json::from_str(&saw).unwrap_or_default();
            let value = parsed["data"]["result"][0]["value"][1].as_str();
            if value
                .and_then(|value| value.parse().ok())
                .is_some_and(&enough)
            {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{query}: {saw}");
}

#[tokio::test]
#[ignore = "needs Prometheus: make test installs it"]
async fn prometheus_scrapes_both_and_answers() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&Programs::built().unwrap(), dir.path(), &[NODE], &["acme"])
        .await
        .unwrap();
    let tenant = cluster.tenants.first().unwrap();
    let half = tenant.queues.get(&mica_e2e::trace::Fraction::Half).unwrap();
    for name in ["one", "two", "three"] {
        tenant.clearml.push(half, name).await.unwrap();
    }
    let node = cluster.nodes.first().unwrap();
    let targets = [
        cluster.coordinator.address("http").unwrap(),
        node.agent.address("http").unwrap(),
    ];
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let prometheus = start_prometheus(dir.path(), port, &targets);

    query(port, "sum(up{job='mica'})", |up| (up - 2.0).abs() < 0.1).await;
    query(
        port,
        "count(mica_agent_instance_memory_total_bytes{profile='3g.40gb', node='node-a'})",
        |n| n >= 3.0,
    )
    .await;
    query(
        port,
        "sum(mica_coordinator_queue_waiting_tasks{tenant='acme'})",
        |n| n >= 3.0,
    )
    .await;
    for documented in documented_queries() {
        query(port, documented, f64::is_finite).await;
    }
    for target in &targets {
        promtool_is_content(&format!("http://{target}/metrics")).await;
    }
    drop(prometheus);
    cluster.stop().await.unwrap();
}
