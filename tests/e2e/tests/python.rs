//! NVIDIA's own Python binding, run against the simulated drivers while tasks come and go, lists the MIG devices that `mica`
//! lists. Two snapshots of a moving thing need not agree, so both are taken until they do; that they agree in the end, with
//! devices there, is the claim.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mica_e2e::cluster::Cluster;
use mica_e2e::demo::{NODES, TENANTS};
use mica_e2e::programs::Programs;
use mica_e2e::trace;
use mica_e2e::workers::Workers;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);

/// The MIG devices that nvidia-ml-py sees on a simulated node, as `UUID PROFILE`.
fn seen_by_python(library: &Path) -> BTreeSet<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/list_mig_devices.py");
    let python = std::env::var_os("MICA_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(python);
    let output = command
        .arg(script)
        .env("LD_LIBRARY_PATH", library.parent().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

async fn seen_by_mica(cluster: &Cluster) -> BTreeSet<String> {
    let list = cluster
        .mica(&["get", "slices", "-o", "json"])
        .await
        .unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let field = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    items
        .map(|item| format!("{} {}", field(item, "uuid"), field(item, "profile")))
        .collect()
}

#[tokio::test]
#[ignore = "needs Python packages: make test installs them"]
async fn nvidia_ml_py_lists_the_devices_that_mica_lists() {
    let dir = tempfile::tempdir().unwrap();
    let programs = Programs::built().unwrap();
    let cluster = Cluster::start(&programs, dir.path(), &NODES, &TENANTS)
        .await
        .unwrap();
    let mut workers = Workers::default();
    for arrival in &trace::arrivals(60, TENANTS.len()).unwrap() {
        workers.push(&cluster, arrival).await.unwrap();
    }
    let deadline = Instant::now() + DEADLINE;
    let mut agreed = 0;
    while agreed < 3 {
        workers.step(&cluster).await.unwrap();
        let python: BTreeSet<_> = cluster
            .nodes
            .iter()
            .flat_map(|node| seen_by_python(&node.driver.library()))
            .collect();
        let mica = seen_by_mica(&cluster).await;
        if python == mica && !mica.is_empty() {
            agreed += 1;
        }
        assert!(
            Instant::now() < deadline,
            "agreed {agreed} times; python {python:#?}, mica {mica:#?}"
        );
    }
    cluster.stop().await.unwrap();
}
