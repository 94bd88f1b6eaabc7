use k8s_openapi::api::core::v1 as k8s;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn pod(spec: &Value) -> Option<Pod> {
    let object: k8s::Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "1", "resourceVersion": "1"},
        "spec": spec,
    }))
    .unwrap();
    Pod::of(&object).map(|(_, pod)| pod)
}

fn node(labels: &Value, taints: &Value) -> NodeObject {
    let object: k8s::Node = serde_json::from_value(json!({
        "metadata": {"name": "n", "labels": labels},
        "spec": {"taints": taints},
    }))
    .unwrap();
    NodeObject::of(&object).unwrap().1
}

fn container(slices: u32, cpu: &str) -> Value {
    json!({"name": "c", "resources": {"limits": {"nvidia.com/mig-3g.20gb": slices.to_string(), "cpu": cpu}}})
}

#[test]
fn init_containers_count_as_kubernetes_counts_them() {
    let mut sidecar = container(1, "1");
    sidecar["restartPolicy"] = json!("Always");
    let pod = pod(&json!({
        "containers": [container(1, "1"), container(1, "500m")],
        "initContainers": [container(1, "1"), sidecar, container(4, "1")],
    }))
    .unwrap();
    assert_eq!(
        pod.request.slices["nvidia.com/mig-3g.20gb"], 5,
        "the last one beside the sidecar"
    );
    assert_eq!(
        pod.request.cpu_milli, 2500,
        "the containers beside the sidecar"
    );
}

#[test]
fn a_pod_that_wants_no_gpu_and_is_not_bound_is_nothing_to_us() {
    assert_eq!(pod(&json!({"containers": [{"name": "c"}]})), None);
    assert!(pod(&json!({"nodeName": "n", "containers": [{"name": "c"}]})).is_some());
}

#[rstest]
#[case(json!({}), true)]
#[case(json!({"nodeSelector": {"zone": "a"}}), true)]
#[case(json!({"nodeSelector": {"zone": "b"}}), false)]
#[case(terms(&json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}])), true)]
#[case(terms(&json!([{"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}])), false)]
#[case(terms(&json!([{"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["a"]}]}])), true)]
#[case(terms(&json!([{"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["3"]}]}])), true)]
#[case(terms(&json!([{"matchExpressions": [{"key": "size", "operator": "Lt", "values": ["4"]}]}])), false)]
#[case(terms(&json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}])), true)]
#[case(terms(&json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["m"]}]}])), false)]
#[case(terms(&json!([{}])), false)]
#[case(terms(&json!([{}, {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}])), true)]
fn selector_and_affinity_hold_as_for_the_scheduler(#[case] mut spec: Value, #[case] fits: bool) {
    spec["containers"] = json!([container(1, "1")]);
    let pod = pod(&spec).unwrap();
    let node = node(&json!({"zone": "a", "size": "4"}), &json!([]));
    assert_eq!(eligible(&pod.scheduling.unwrap(), "n", &node), fits);
}

fn terms(terms: &Value) -> Value {
    let required = json!({"nodeSelectorTerms": terms});
    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}})
}

#[rstest]
#[case(json!([]), false)]
#[case(json!([{"operator": "Exists"}]), true)]
#[case(json!([{"key": "gpu", "operator": "Exists"}]), true)]
#[case(json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]), true)]
#[case(json!([{"key": "gpu", "value": "no"}]), false)]
#[case(json!([{"key": "gpu", "value": "yes", "effect": "NoExecute"}]), false)]
fn taints_keep_pods_away_that_do_not_tolerate_them(#[case] tolerations: Value, #[case] fits: bool) {
    let pod = pod(&json!({"containers": [container(1, "1")], "tolerations": tolerations})).unwrap();
    let node = node(
        &json!({}),
        &json!([
            {"key": "gpu", "value": "yes", "effect": "NoSchedule"},
            {"key": "soft", "effect": "PreferNoSchedule"},
        ]),
    );
    assert_eq!(eligible(&pod.scheduling.unwrap(), "n", &node), fits);
}

#[test]
fn what_is_older_than_what_is_known_is_not_taken() {
    let mut objects = Objects::default();
    let name = PodName {
        namespace: "ns".to_owned(),
        name: "p".to_owned(),
    };
    let at = |version: &str, uid: &str| Pod {
        version: version.to_owned(),
        uid: uid.to_owned(),
        ..pod(&json!({"containers": [container(1, "1")]})).unwrap()
    };
    assert!(objects.set_pod(&name, Some(at("10", "a"))));
    assert!(!objects.set_pod(&name, Some(at("9", "a"))));
    assert!(
        objects.set_pod(&name, Some(at("8", "b"))),
        "another pod of this name"
    );
    assert!(objects.set_pod(&name, None));
}
