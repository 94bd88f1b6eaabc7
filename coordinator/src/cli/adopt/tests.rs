use rstest::rstest;
use serde_json::json;

use super::{managers::MANAGERS, *};
use crate::serve::objects::names::OTHER_MANAGERS;

fn node(labels: &Value) -> Node {
    let metadata = json!({"name": "n", "resourceVersion": "7", "labels": labels});
    serde_json::from_value(json!({"metadata": metadata})).unwrap()
}

/// A pod on the node, with this image, these limits and this node selector.
fn pod(name: &str, image: &str, limits: &Value, selector: &Value) -> Pod {
    let resources = json!({"limits": limits});
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {
            "nodeName": "n",
            "nodeSelector": selector,
            "containers": [{"name": "c", "image": image, "resources": resources}],
        },
        "status": {"phase": "Running"},
    }))
    .unwrap()
}

fn switch(labels: &Value, pods: &[Pod]) -> Switch {
    Switch::of(&node(labels), pods, &[])
}

#[test]
fn every_other_manager_can_be_taken_over_from() {
    let labels = MANAGERS.each_ref().map(|manager| manager.label);
    assert_eq!(labels, OTHER_MANAGERS);
}

#[rstest]
#[case::nobody(
    json!({}),
    json!({"mica.dev/partitioning": "dynamic", "nvidia.com/gpu.deploy.device-plugin": "false"})
)]
#[case::cdmo(
    json!({"cdmo.clear.ml/gpu-partitioning": "mig", "zone": "a"}),
    json!({"mica.dev/partitioning": "dynamic", "nvidia.com/gpu.deploy.device-plugin": "false", "cdmo.clear.ml/gpu-partitioning": null})
)]
#[case::nos(
    json!({"nos.nebuly.com/gpu-partitioning": "mps", "nvidia.com/gpu.deploy.device-plugin": "false"}),
    json!({"mica.dev/partitioning": "dynamic", "nos.nebuly.com/gpu-partitioning": null})
)]
#[case::mig_manager(
    json!({"nvidia.com/mig.config": "all-3g.20gb", "nvidia.com/mig.config.state": "success", "nvidia.com/gpu.deploy.mig-manager": "true", "nvidia.com/gpu.deploy.device-plugin": "true"}),
    json!({"mica.dev/partitioning": "dynamic", "nvidia.com/gpu.deploy.device-plugin": "false", "nvidia.com/mig.config": null, "nvidia.com/mig.config.state": null, "nvidia.com/gpu.deploy.mig-manager": "false"})
)]
#[case::half_way(
    json!({"mica.dev/partitioning": "dynamic", "nvidia.com/mig.config": "all-disabled", "nvidia.com/gpu.deploy.device-plugin": "false"}),
    json!({"nvidia.com/mig.config": null, "nvidia.com/gpu.deploy.mig-manager": "false"})
)]
fn labels_are_switched_in_one_patch(#[case] labels: Value, #[case] expected: Value) {
    let switch = switch(&labels, &[]);
    let metadata = json!({"resourceVersion": "7", "labels": expected});
    assert_eq!(switch.patch(), json!({"metadata": metadata}));
    assert!(!switch.is_done());
    assert_eq!(switch.refusal(false), None);
}

#[test]
fn a_node_of_ours_is_left_as_it_is() {
    let labels =
        json!({"mica.dev/partitioning": "dynamic", "nvidia.com/gpu.deploy.device-plugin": "false"});
    let holder = pod(
        "train",
        "task",
        &json!({"nvidia.com/mig-1g.5gb": "1"}),
        &json!({}),
    );
    let switch = switch(&labels, &[holder]);
    assert!(switch.is_done());
    assert_eq!(switch.refusal(false), None);
    assert_eq!(switch.to_string(), "n is Mica's already: nothing to do.\n");
}

#[test]
fn pods_that_hold_devices_are_a_reason_not_to() {
    let limits = json!({"nvidia.com/mig-1g.5gb": "2", "nvidia.com/gpu": "1", "cpu": "1"});
    let mut ended = pod("ended", "task", &limits, &json!({}));
    ended.status.as_mut().unwrap().phase = Some("Succeeded".to_owned());
    let pods = [
        pod("train", "task", &limits, &json!({})),
        pod("web", "nginx", &json!({"cpu": "1"}), &json!({})),
        ended,
    ];
    let switch = switch(&json!({"nos.nebuly.com/gpu-partitioning": "mig"}), &pods);
    let refusal = switch.refusal(false).unwrap();
    let holder = "ns/train (2 nvidia.com/mig-1g.5gb, 1 nvidia.com/gpu)";
    assert!(
        refusal.contains(&format!("made or gave out (1): {holder};")),
        "{refusal}"
    );
    assert!(refusal.contains("kubectl cordon n") && refusal.contains("--with-running-pods"));
    assert_eq!(switch.refusal(true), None);
}

#[test]
fn programs_that_do_not_end_with_the_labels_are_left_to_people() {
    let mig = json!({"nos.nebuly.com/gpu-partitioning": "mig"});
    let deployed = json!({"nvidia.com/gpu.deploy.device-plugin": "true"});
    let plugin = "registry:5000/nvidia/k8s-device-plugin:v0.20.0";
    let pods = [
        pod(
            "mig-agent",
            "ghcr.io/nebuly-ai/nos-mig-agent:0.1.2",
            &json!({}),
            &mig,
        ),
        pod("plugin", plugin, &json!({}), &deployed),
        pod("own-plugin", plugin, &json!({}), &json!({})),
        pod("web", "k8s-device-plugin/nginx", &json!({}), &json!({})),
    ];
    let switch = switch(&mig, &pods);
    assert_eq!(
        switch.to_string(),
        "\
n belongs to nos.
Labels:
  + mica.dev/partitioning=dynamic
  - nos.nebuly.com/gpu-partitioning=mig
  + nvidia.com/gpu.deploy.device-plugin=false
Ends with these labels:
  * ns/mig-agent
  * ns/plugin
By hand:
  * ns/own-plugin does not go by these labels: keep it off the node, since two programs must not offer the same devices
  * when no node is left to nos, uninstall its chart
"
    );
}

#[rstest]
#[case(json!({"enabled": false, "config": {"default": "all-disabled"}}), false)]
#[case(json!({"enabled": true, "config": {"default": ""}}), false)]
#[case(json!({"enabled": true}), false)]
#[case(json!({"enabled": true, "config": {"default": "all-disabled"}}), true)]
#[case(json!({"config": {"default": "all-disabled"}}), true)]
fn a_gpu_operator_that_would_take_the_node_back_is_a_reason_not_to(
    #[case] manager: Value,
    #[case] refused: bool,
) {
    let policy = json!({"metadata": {"name": "policy-1"}, "spec": {"migManager": manager}});
    let labels = json!({"nvidia.com/mig.config": "all-1g.5gb"});
    let switch = Switch::of(&node(&labels), &[], &[policy]);
    // Whatever else is allowed.
    let refusal = switch.refusal(true);
    assert_eq!(refusal.is_some(), refused, "{refusal:?}");
    let remedy = "kubectl patch clusterpolicy policy-1";
    assert!(refusal.is_none_or(|refusal| refusal.contains(remedy)));
}

#[test]
fn gpus_that_cannot_be_cut_are_a_reason_not_to() {
    let switch = switch(&json!({"nvidia.com/mig.capable": "false"}), &[]);
    assert!(
        switch
            .refusal(true)
            .unwrap()
            .contains("nvidia.com/mig.capable=false")
    );
}
