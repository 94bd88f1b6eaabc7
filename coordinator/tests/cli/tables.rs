//! `mica get`: the exact text.

use mica_proto::v1::Cluster;
use rstest::rstest;

use super::coordinator::Coordinator;
use super::golden::assert_golden;

#[rstest]
#[case(&["nodes"], "nodes.txt")]
#[case(&["node", "-o", "wide", "node-a"], "nodes-wide.txt")]
#[case(&["gpus"], "gpus.txt")]
#[case(&["gpu", "-o", "wide", "node-a/1"], "gpus-wide.txt")]
#[case(&["slices"], "slices.txt")]
#[case(&["slice", "-owide"], "slices-wide.txt")]
#[case(&["slices", "MIG-7"], "slices-one.txt")]
#[case(&["queues"], "queues.txt")]
#[case(&["q", "--output", "wide"], "queues-wide.txt")]
#[case(&["queue", "acme/half"], "queues-one.txt")]
#[case(&["no", "node-a", "-ojson"], "nodes.json")]
#[case(&["gpus", "node-a", "-ojson"], "gpus.json")]
#[case(&["slices", "GPU-0", "-ojson"], "slices.json")]
#[case(&["queues", "-ojson"], "queues.json")]
#[case(&["queues", "half", "-oyaml"], "queues.yaml")]
#[tokio::test]
async fn get(#[case] args: &[&str], #[case] golden: &str) {
    let coordinator = Coordinator::start().await;
    let text = coordinator.mica(&[&["get"], args].concat()).await.data();
    assert_golden(golden, &text);
}

#[tokio::test]
async fn a_gpu_without_slices_is_no_unknown_name() {
    let coordinator = Coordinator::start().await;
    let ended = coordinator.mica(&["get", "slices", "node-a/1"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""));
    assert_eq!(ended.stderr, "no slices\n");
}

#[tokio::test]
async fn an_empty_cluster_is_told_to_people_and_an_empty_list_to_programs() {
    let coordinator = Coordinator::start().await;
    coordinator.cluster.send_replace(Cluster::default());
    let ended = coordinator.mica(&["get", "gpus"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""));
    assert_eq!(ended.stderr, "no GPUs\n");
    let json = coordinator.mica(&["get", "gpus", "-ojson"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"apiVersion": "mica.dev/v1", "kind": "GpuList", "items": []})
    );
}
