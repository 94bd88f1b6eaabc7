//! Which pods get the gate, and who may take it away: the same, whether a policy of the API server adds it or the coordinator's
//! webhook, which `MICA_TEST_ADMISSION` says. `tests/run` runs these tests with both.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::api::{Api, wait_for};

const CASES: &str = include_str!("admission.json");
const COORDINATOR: &str = "system:serviceaccount:mica:mica-coordinator";

/// `policy` or `webhook`: who adds the gate here.
fn mode() -> String {
    let said = std::env::var_os("MICA_TEST_ADMISSION");
    said.map_or_else(|| "policy".to_owned(), |mode| mode.into_string().unwrap())
}

/// Held to write while the API server may not know the webhook, and to read while it has to.
static KNOWN: RwLock<()> = RwLock::const_new(());

/// A namespace of its own, also when the tests run again with the other mode, where the API server has pods gated.
async fn namespace(api: &Api, name: &str) -> (String, RwLockReadGuard<'static, ()>) {
    let known = KNOWN.read().await;
    let name = format!("{name}-{}", mode());
    api.managed_namespace(&name).await;
    let pods = format!("api/v1/namespaces/{name}/pods?dryRun=All");
    // Neither an authority nor a new namespace is known to all of the API server at once.
    wait_for("a pod to be gated", async || {
        let pod = api.create(&pods, &slice_pod("pod")).await.ok()?;
        gates(&pod).contains(&"mica.dev/slice").then_some(())
    })
    .await;
    (name, known)
}

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
    let (namespace, _known) = namespace(&api, "admission").await;
    let pods = format!("api/v1/namespaces/{namespace}/pods?dryRun=All");
    let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
    assert!(cases.len() >= 12);
    for case in &cases {
        let name = case["case"].as_str().unwrap();
        let pod = json!({"metadata": {"name": "pod"}, "spec": case["spec"]});
        match (api.create(&pods, &pod).await, case["refused"].as_str()) {
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

const REGISTRATION: &str = "apis/admissionregistration.k8s.io/v1";

/// Else the tests would judge the other one twice.
#[tokio::test]
#[ignore = "needs a test cluster: make test brings one up"]
async fn one_of_the_two_adds_the_gate() {
    let api = Api::administrator();
    for (kind, of) in [
        ("mutatingadmissionpolicies", "policy"),
        ("mutatingwebhookconfigurations", "webhook"),
    ] {
        let found = api
            .get(&format!("{REGISTRATION}/{kind}/mica-slice-gate"))
            .await;
        assert_eq!(found.is_ok(), mode() == of, "{kind}: {found:?}");
    }
}

#[tokio::test]
#[ignore = "needs a test cluster: make test brings one up"]
async fn the_api_server_is_told_again_by_which_authority_it_knows_the_webhook() {
    if mode() != "webhook" {
        return;
    }
    let _unknown = KNOWN.write().await;
    let api = Api::administrator();
    let path = format!("{REGISTRATION}/mutatingwebhookconfigurations/mica-slice-gate");
    let bundle = async || {
        let configuration = api.get(&path).await.ok()?;
        configuration
            .pointer("/webhooks/0/clientConfig/caBundle")
            .cloned()
    };
    let known = wait_for("the authority of the webhook", bundle).await;
    let forget = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
    api.patch(&path, &forget).await.unwrap();
    assert_eq!(
        wait_for("the authority to be told again", bundle).await,
        known
    );
    // Not only by the replica that leads.
    let slices = "apis/discovery.k8s.io/v1/namespaces/mica/endpointslices?labelSelector=kubernetes.io/service-name=mica-admission";
    wait_for("both replicas to serve the webhook", async || {
        let slices = api.get(slices).await.ok()?;
        let slices = slices["items"].as_array()?.iter();
        let endpoints = slices.filter_map(|slice| slice["endpoints"].as_array());
        let ready = endpoints
            .flatten()
            .filter(|it| it["conditions"]["ready"] == true);
        (ready.count() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a test cluster: make test brings one up"]
async fn pods_of_other_namespaces_are_left_alone() {
    let api = Api::administrator();
    let name = format!("not-managed-{}", mode());
    let namespace = json!({"metadata": {"name": name}});
    api.create("api/v1/namespaces", &namespace).await.unwrap();
    let pods = format!("api/v1/namespaces/{name}/pods?dryRun=All");
    let pod = wait_for("a pod to be admitted", async || {
        api.create(&pods, &slice_pod("pod")).await.ok()
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
    let (namespace, _known) = namespace(&api, "guarded").await;
    let tenant = tenant(&api, &namespace).await;
    let pods = format!("api/v1/namespaces/{namespace}/pods");
    let pod = tenant.create(&pods, &slice_pod("pod")).await.unwrap();
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
    let (namespace, _known) = namespace(&api, "theirs").await;
    let tenant = tenant(&api, &namespace).await;
    let pods = format!("api/v1/namespaces/{namespace}/pods");
    tenant.create(&pods, &slice_pod("pod")).await.unwrap();
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
