//! `mica adopt`: a node is taken over from another program, by the real API server's objects. The node has no kubelet.

use std::process::{Command, Output};

use mica_e2e::programs::Programs;
use serde_json::{Value, json};

use crate::api::{Api, folder, sources, wait_for};

const NODE: &str = "api/v1/nodes/adopted";

/// What is said before anything is done.
const EXPLAINED: &str = "\
adopted belongs to nos and NVIDIA's mig-manager.
Labels:
  - nos.nebuly.com/gpu-partitioning=mig
  - nvidia.com/gpu.deploy.device-plugin=true
  + nvidia.com/gpu.deploy.device-plugin=false
  + nvidia.com/gpu.deploy.mig-manager=false
  - nvidia.com/mig.config=all-1g.5gb
By hand:
";

fn adopt(arguments: &[&str]) -> Output {
    let mica = Programs::built().unwrap().mica;
    let mut enter = Command::new(sources().join("tests/cluster/enter"));
    enter.arg(folder()).arg("control-plane").arg(mica);
    enter.arg("adopt").args(arguments).output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn labels(api: &Api) -> Value {
    let node = api.get(NODE).await.unwrap();
    let labels = node["metadata"]["labels"].as_object().unwrap().clone();
    let ours = |key: &String| !key.starts_with("mica.dev/state") && !key.contains("mig.strategy");
    labels.into_iter().filter(|(key, _)| ours(key)).collect()
}

/// What the coordinator says of the node.
async fn managed(api: &Api) -> Option<(Value, Value)> {
    let node = api.get(NODE).await.ok()?;
    let conditions = node["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|it| it["type"] == "MicaManaged")?;
    Some((condition["status"].clone(), condition["reason"].clone()))
}

/// A node of nos and mig-manager, which the coordinator leaves alone, with a pod on it that holds a slice.
async fn a_node_of_others(api: &Api, labels: &Value) {
    let node = json!({"metadata": {"name": "adopted", "labels": labels}});
    api.create("api/v1/nodes", &node).await.unwrap();
    said(api, "the node is left to others", "False", "ManagedByOther").await;
    let limits = json!({"nvidia.com/mig-1g.5gb": "1"});
    let container = json!({"name": "main", "image": "a", "resources": {"limits": limits}});
    let holder = json!({
        "metadata": {"name": "holds-a-slice"},
        "spec": {"nodeName": "adopted", "containers": [container]},
    });
    let pods = "api/v1/namespaces/default/pods";
    api.create(pods, &holder).await.unwrap();
}

/// Waits until the coordinator says so of the node.
async fn said(api: &Api, what: &str, status: &str, reason: &str) {
    let expected = (json!(status), json!(reason));
    wait_for(what, async || {
        managed(api).await.filter(|said| *said == expected)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a test cluster: make test brings one up"]
async fn a_node_is_taken_over_from_another_program() {
    let api = Api::administrator();
    let before = json!({
        "mica.dev/partitioning": "dynamic",
        "nos.nebuly.com/gpu-partitioning": "mig",
        "nvidia.com/mig.config": "all-1g.5gb",
        "nvidia.com/gpu.deploy.device-plugin": "true",
    });
    a_node_of_others(&api, &before).await;

    let output = adopt(&["adopted"]);
    assert_eq!(code(&output), Some(4), "{output:?}");
    let refusal = text(&output.stderr);
    let holder = "default/holds-a-slice (1 nvidia.com/mig-1g.5gb)";
    assert!(
        refusal.contains(holder) && refusal.contains("--with-running-pods"),
        "{refusal}"
    );
    let output = adopt(&["adopted", "--with-running-pods", "--dry-run"]);
    assert_eq!(code(&output), Some(0), "{output:?}");
    let explained = text(&output.stdout);
    assert!(explained.starts_with(EXPLAINED), "{explained}");
    assert!(
        explained.ends_with("Nothing was changed (--dry-run).\n"),
        "{explained}"
    );
    assert_eq!(labels(&api).await, before);

    let output = adopt(&["adopted", "--with-running-pods"]);
    assert_eq!(code(&output), Some(0), "{output:?}");
    let after = json!({
        "mica.dev/partitioning": "dynamic",
        "nvidia.com/gpu.deploy.device-plugin": "false",
        "nvidia.com/gpu.deploy.mig-manager": "false",
    });
    assert_eq!(labels(&api).await, after);
    said(&api, "the coordinator takes the node", "True", "Managed").await;
    let output = adopt(&["adopted"]);
    let done = "adopted is Mica's already: nothing to do.\n";
    assert_eq!(
        (code(&output), text(&output.stdout).as_str()),
        (Some(0), done)
    );
    let output = adopt(&["adoptd"]);
    let unknown = "error: no node \"adoptd\"; did you mean adopted?\n";
    assert_eq!(
        (code(&output), text(&output.stderr).as_str()),
        (Some(1), unknown)
    );

    let pod = "api/v1/namespaces/default/pods/holds-a-slice";
    api.delete(pod).await.unwrap();
    api.delete(NODE).await.unwrap();
}
