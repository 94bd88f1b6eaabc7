//! What is changed about a new pod, as a JSON patch.

use mica_model::SLICE_PREFIX;
use serde_json::{Map, Value, json};

const GATE: &str = "mica.dev/slice";
/// `ClearML`'s way to say what part of a GPU a pod may use: an amount that is no whole number, which Kubernetes refuses.
const PSEUDO_LIMIT: &str = "clear.ml/fraction";

/// The patch that strips pseudo-limits from all containers and adds the gate to a pod that asks for a slice; empty when there is
/// nothing to do. A pod that names its node itself cannot be gated; a validating policy refuses it in words.
pub(super) fn patch(pod: &Value) -> Vec<Value> {
    let mut patch: Vec<_> = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|kind| strip(pod, kind))
        .collect();
    let named = pod.pointer("/spec/nodeName").and_then(Value::as_str);
    if asks(pod) && named.is_none_or(str::is_empty) {
        patch.extend(add_gate(pod));
    }
    patch
}

fn list<'a>(pod: &'a Value, field: &str) -> &'a [Value] {
    let list = pod.get("spec").and_then(|spec| spec.get(field));
    list.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn part<'a>(container: &'a Value, part: &str) -> Option<&'a Map<String, Value>> {
    container.get("resources")?.get(part)?.as_object()
}

/// Whether a container or init container asks for at least one slice.
fn asks(pod: &Value) -> bool {
    let containers = list(pod, "containers").iter();
    containers
        .chain(list(pod, "initContainers"))
        .filter_map(|container| part(container, "limits"))
        .flatten()
        .any(|(name, amount)| {
            name.starts_with(SLICE_PREFIX) && *amount != json!("0") && *amount != json!(0)
        })
}

fn strip(pod: &Value, kind: &str) -> Vec<Value> {
    let mut steps = Vec::new();
    for (index, container) in list(pod, kind).iter().enumerate() {
        // By now Kubernetes has copied the limits to the requests.
        for place in ["limits", "requests"] {
            let Some(amounts) = part(container, place) else {
                continue;
            };
            let pseudo = |name: &str| name.starts_with(PSEUDO_LIMIT);
            if amounts.keys().any(|name| pseudo(name)) {
                let mut kept = amounts.clone();
                kept.retain(|name, _| !pseudo(name));
                let path = format!("/spec/{kind}/{index}/resources/{place}");
                steps.push(json!({"op": "replace", "path": path, "value": kept}));
            }
        }
    }
    steps
}

fn add_gate(pod: &Value) -> Option<Value> {
    let gates = list(pod, "schedulingGates");
    let gate = json!({"name": GATE});
    if gates.is_empty() {
        Some(json!({"op": "add", "path": "/spec/schedulingGates", "value": [gate]}))
    } else if gates.contains(&gate) {
        None
    } else {
        Some(json!({"op": "add", "path": "/spec/schedulingGates/-", "value": gate}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table that a real API server is judged by, with the policy in the webhook's place.
    const CASES: &str = include_str!("../../../tests/e2e/tests/kubernetes/admission.json");

    fn apply(pod: &mut Value, steps: &[Value]) {
        for step in steps {
            let path = step["path"].as_str().unwrap();
            let value = step["value"].clone();
            if let Some(list) = path.strip_suffix("/-") {
                pod.pointer_mut(list)
                    .unwrap()
                    .as_array_mut()
                    .unwrap()
                    .push(value);
            } else if let Some(place) = pod.pointer_mut(path) {
                *place = value;
            } else {
                let (parent, field) = path.rsplit_once('/').unwrap();
                pod.pointer_mut(parent).unwrap()[field] = value;
            }
        }
    }

    #[test]
    fn every_case_of_the_table_holds() {
        let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
        assert!(cases.len() >= 12);
        for case in &cases {
            let mut pod = json!({"spec": case["spec"]});
            let patch = patch(&pod);
            apply(&mut pod, &patch);
            let gates: Vec<_> = list(&pod, "schedulingGates")
                .iter()
                .map(|gate| gate["name"].clone())
                .collect();
            assert_eq!(json!(gates), case["gates"], "{case}");
            let all = list(&pod, "initContainers")
                .iter()
                .chain(list(&pod, "containers"));
            let resources: Vec<Value> = all
                .map(|container| {
                    let filled =
                        |place: &&str| part(container, place).is_some_and(|map| !map.is_empty());
                    let places = ["limits", "requests"].into_iter().filter(filled);
                    places
                        .map(|place| (place.to_owned(), json!(part(container, place))))
                        .collect()
                })
                .collect();
            assert_eq!(json!(resources), case["resources"], "{case}");
            assert!(
                self::patch(&pod).is_empty(),
                "called again it changes nothing: {case}"
            );
        }
    }

    #[test]
    fn odd_pods_are_left_alone() {
        for odd in [
            json!(null),
            json!({}),
            json!({"spec": 1}),
            json!({"spec": {"containers": [1, {"resources": []}]}}),
        ] {
            assert!(patch(&odd).is_empty(), "{odd}");
        }
    }
}
