//! Whether a pod may run on a node, as the scheduler's filters decide it. Not looked at: other pods (affinity between pods, spreading)
//! and volumes; the scheduler does once the pod is released.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration};

use super::names::MODE_CHANGE_TAINT;
use super::{NodeObject, Scheduling};

/// Whether selector, affinity and tolerations let the pod onto the node.
pub(crate) fn eligible(pod: &Scheduling, name: &str, node: &NodeObject) -> bool {
    selected(&pod.node_selector, &node.labels)
        && pod
            .terms
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|term| term_holds(term, name, node)))
        && node
            .taints
            .iter()
            .all(|taint| is_harmless(taint) || tolerated(taint, &pod.tolerations))
}

fn selected(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// A term without any requirement holds nowhere.
fn term_holds(term: &NodeSelectorTerm, name: &str, node: &NodeObject) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    (!expressions.is_empty() || !fields.is_empty())
        && expressions
            .iter()
            .all(|wanted| holds(wanted, node.labels.get(&wanted.key).map(String::as_str)))
        && fields
            .iter()
            .all(|wanted| wanted.key == "metadata.name" && holds(wanted, Some(name)))
}

fn holds(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = wanted.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|wanted| wanted == value));
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = |compare: fn(&i64, &i64) -> bool| {
        let bound = values.first().and_then(|value| number(value));
        value
            .and_then(number)
            .zip(bound)
            .is_some_and(|(value, bound)| compare(&value, &bound))
    };
    match wanted.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(i64::gt),
        "Lt" => compared(i64::lt),
        _ => false,
    }
}

/// Our own taint keeps the scheduler away for a moment; a plan looks further ahead.
fn is_harmless(taint: &Taint) -> bool {
    taint.effect == "PreferNoSchedule" || taint.key == MODE_CHANGE_TAINT
}

fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let key = toleration.key.as_deref().unwrap_or_default();
        let value = || toleration.value.as_deref().unwrap_or_default();
        (effect.is_empty() || effect == taint.effect)
            && (key.is_empty() || key == taint.key)
            && match toleration.operator.as_deref() {
                Some("Exists") => true,
                None | Some("" | "Equal") => {
                    key == taint.key && value() == taint.value.as_deref().unwrap_or_default()
                }
                Some(_) => false,
            }
    })
}
