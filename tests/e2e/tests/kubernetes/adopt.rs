//! `mica adopt`: a node is taken over from another program, by the real API server's objects. The node has no kubelet.

use std::process::{Command, Output};

use mica_e2e::programs::Programs;
use serde_json::{Value, json};

use crate::api::{Api, folder, sources, wait_for};

const NODE: &str = "api/v1/nodes/adopted";

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
    let node = json!({"metadata": {"name": "adopted", "labels": before}});
    api.create("api/v1/nodes", &node).await.unwrap();
    let refused = (json!("False"), json!("ManagedByOther"));
    wait_for("the coordinator to leave the node to nos", async || {
        managed(&api).await.filter(|said| *said == refused)
    })
    .await;
    let limits = json!({"nvidia.com/mig-1g.5gb": "1"});
    let holder = json!({
        "metadata": {"name": "holds-a-slice"},
        "spec": {
            "nodeName": "adopted",
            "containers": [{"name": "main", "image": "a", "resources": {"limits": limits}}],
        },
    });
    api.create("api/v1/namespaces/default/pods", &holder)
        .await
        .unwrap();

    let output = adopt(&["adopted"]);
    let said = text(&output.stderr);
    assert_eq!(code(&output), Some(4), "{output:?}");
    for words in [
        "default/holds-a-slice (1 nvidia.com/mig-1g.5gb)",
        "--with-running-pods",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let output = adopt(&["adopted", "--with-running-pods", "--dry-run"]);
    assert_eq!(code(&output), Some(0), "{output:?}");
    let said = text(&output.stdout);
    let expected = "\
adopted belongs to nos and NVIDIA's mig-manager.
Labels:
  - nos.nebuly.com/gpu-partitioning=mig
  - nvidia.com/gpu.deploy.device-plugin=true
  + nvidia.com/gpu.deploy.device-plugin=false
  + nvidia.com/gpu.deploy.mig-manager=false
  - nvidia.com/mig.config=all-1g.5gb
By hand:
";
    assert!(said.starts_with(expected), "{said}");
    assert!(
        said.ends_with("Nothing was changed (--dry-run).\n"),
        "{said}"
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
    let taken = (json!("True"), json!("Managed"));
    wait_for("the coordinator to take the node", async || {
        managed(&api).await.filter(|said| *said == taken)
    })
    .await;
    let output = adopt(&["adopted"]);
    assert_eq!(
        text(&output.stdout),
        "adopted is Mica's already: nothing to do.\n"
    );
    assert_eq!(code(&output), Some(0), "{output:?}");

    let output = adopt(&["adoptd"]);
    assert_eq!(code(&output), Some(1));
    assert_eq!(
        text(&output.stderr),
        "error: no node \"adoptd\"; did you mean adopted?\n"
    );
    api.delete("api/v1/namespaces/default/pods/holds-a-slice")
        .await
        .unwrap();
    api.delete(NODE).await.unwrap();
}
