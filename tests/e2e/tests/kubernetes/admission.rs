//! Which pods get the gate, and who may take it away. The cases are those of the webhook too (`coordinator/src/admission`).

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::api::{Api, wait_for};

const CASES: &str = include_str!("admission.json");
const COORDINATOR: &str = "system:serviceaccount:mica:mica-coordinator";

fn slice_pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            // so that nothing but these tests touches it
            "schedulingGates": [{"name": "example.com/kept"}],
            "containers": [{"name": "main", "image": "a", "resources": {"limits": {"nvidia.com/mig-3g.20gb": "1"}}}],
        },
    })
}

fn gates(pod: &Value) -> Vec<&str> {
    let gates = pod
        .pointer("/spec/schedulingGates")
        .and_then(Value::as_array);
    let names = gates
        .into_iter()
        .flatten()
        .filter_map(|gate| gate["name"].as_str());
    names.collect()
}

/// Of init containers first; without fields that are empty.
fn resources(pod: &Value) -> Vec<Value> {
    let of = |kind: &str| pod["spec"][kind].as_array().cloned().unwrap_or_default();
    let containers = of("initContainers").into_iter().chain(of("containers"));
    containers
        .map(|container| {
            let resources = container["resources"]
                .as_object()
                .cloned()
                .unwrap_or_default();
            let filled = |value: &Value| value.as_object().is_some_and(|map| !map.is_empty());
            resources
                .into_iter()
                .filter(|(_, value)| filled(value))
                .collect()
        })
        .collect()
}

#[tokio::test]
#[ignore = "needs a test cluster: make test brings one up"]
async fn every_case_of_the_table_holds() {
    let api = Api::administrator();
    api.managed_namespace("admission").await;
    let pods = "api/v1/namespaces/admission/pods?dryRun=All";
    let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
    assert!(cases.len() >= 12);
    for case in &cases {
        let name = case["case"].as_str().unwrap();
        let pod = json!({"metadata": {"name": "pod"}, "spec": case["spec"]});
        match (api.create(pods, &pod).await, case["refused"].as_str()) {
            (Ok(pod), None) => {
                assert_eq!(json!(gates(&pod)), case["gates"], "{name}");
                assert_eq!(json!(resources(&pod)), case["resources"], "{name}");
            }
            (Err(refusal), Some(why)) => {
                assert!(refusal.message.contains(why), "{name}: {}", refusal.message);
            }
            (Ok(pod), Some(_)) => panic!("{name}: admitted as {pod}"),
            (Err(refusal), None) => panic!("{name}: {refusal:?}"),
        }
    }
}

#[tokio::test]
#[ignore = "needs a test cluster: make test brings one up"]
async fn pods_of_other_namespaces_are_left_alone() {
    let api = Api::administrator();
    let namespace = json!({"metadata": {"name": "not-managed"}});
    api.create("api/v1/namespaces", &namespace).await.unwrap();
    let pods = "api/v1/namespaces/not-managed/pods?dryRun=All";
    let pod = wait_for("a pod to be admitted", async || {
        api.create(pods, &slice_pod("pod")).await.ok()
    })
    .await;
    assert_eq!(gates(&pod), ["example.com/kept"]);
}

/// May do everything in its namespace, as a tenant's agent often may.
async fn tenant(api: &Api, namespace: &str) -> Api {
    let binding = json!({
        "metadata": {"name": "everything"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    });
    let path = format!("apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings");
    api.create(&path, &binding).await.unwrap();
    let tenant = api.acting_as(&format!("system:serviceaccount:{namespace}:default"));
    let pods = format!("api/v1/namespaces/{namespace}/pods");
    wait_for("the tenant's rights", async || tenant.get(&pods).await.ok()).await;
    tenant
}

#[tokio::test]
#[ignore = "needs a test cluster: make test brings one up"]
async fn nobody_but_the_coordinator_releases_a_pod_or_moves_a_released_one() {
    let api = Api::administrator();
    api.managed_namespace("guarded").await;
    let tenant = tenant(&api, "guarded").await;
    let pods = "api/v1/namespaces/guarded/pods";
    let pod = tenant.create(pods, &slice_pod("pod")).await.unwrap();
    assert_eq!(gates(&pod), ["example.com/kept", "mica.dev/slice"]);

    let path = format!("{pods}/pod");
    let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-a"]}]}]);
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let release = json!([
        {"op": "test", "path": "/spec/schedulingGates/1/name", "value": "mica.dev/slice"},
        {"op": "remove", "path": "/spec/schedulingGates/1"},
        {"op": "add", "path": "/spec/affinity", "value": affinity},
    ]);
    for (who, user) in [("the tenant", &tenant), ("an administrator", &api)] {
        let refusal = user.patch(&path, &release).await.unwrap_err();
        assert_eq!(
            refusal.code,
            StatusCode::FORBIDDEN,
            "{who}: {}",
            refusal.message
        );
        let why = "only the Mica coordinator may release a pod";
        assert!(refusal.message.contains(why), "{who}: {}", refusal.message);
    }

    let coordinator = api.acting_as(COORDINATOR);
    let pod = coordinator.patch(&path, &release).await.unwrap();
    assert_eq!(gates(&pod), ["example.com/kept"]);
    assert_eq!(pod["spec"]["affinity"], affinity);
    // Another gate is left, so that Kubernetes itself would allow to narrow the choice down.
    let elsewhere = json!([{"op": "add", "path": "/spec/nodeSelector", "value": {"kubernetes.io/hostname": "node-b"}}]);
    let refusal = tenant.patch(&path, &elsewhere).await.unwrap_err();
    assert_eq!(refusal.code, StatusCode::FORBIDDEN, "{}", refusal.message);
    assert!(
        refusal.message.contains("has chosen the node"),
        "{}",
        refusal.message
    );
}

#[tokio::test]
#[ignore = "needs a test cluster: make test brings one up"]
async fn tenants_still_may_change_what_is_theirs() {
    let api = Api::administrator();
    api.managed_namespace("theirs").await;
    let tenant = tenant(&api, "theirs").await;
    let pods = "api/v1/namespaces/theirs/pods";
    tenant.create(pods, &slice_pod("pod")).await.unwrap();
    let path = format!("{pods}/pod");
    let label = json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]);
    tenant.patch(&path, &label).await.unwrap();
    // Before Mica has chosen a node, e.g. by a queueing system.
    let narrower = json!([{"op": "add", "path": "/spec/nodeSelector", "value": {"kubernetes.io/hostname": "node-b"}}]);
    tenant.patch(&path, &narrower).await.unwrap();
    let kept = json!([{"op": "remove", "path": "/spec/schedulingGates/0"}]);
    let pod = tenant.patch(&path, &kept).await.unwrap();
    assert_eq!(gates(&pod), ["mica.dev/slice"]);
    tenant.delete(&path).await.unwrap();
}
