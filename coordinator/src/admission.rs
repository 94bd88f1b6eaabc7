//! The webhook for API servers without `MutatingAdmissionPolicy` (Kubernetes 1.30 to 1.35): does what the chart's policy
//! `deploy/chart/templates/admission/mutating.yaml` does, and is judged by the same table of cases.
//!
//! It only adds and strips. Refusing is left to validating policies, which every supported API server has and which hold while no
//! coordinator is up.

mod mutate;

use axum::{Json, Router, routing::post};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

/// Where the API server sends its reviews.
pub const PATH: &str = "/admission";

/// The webhook's server, to be served with TLS: the API server speaks nothing else.
pub fn router() -> Router {
    Router::new().route(
        PATH,
        post(async |Json(review): Json<Value>| Json(answer(&review))),
    )
}

/// The answer to an `AdmissionReview` of `admission.k8s.io/v1`: always allowed, with a patch where the pod needs one. A review
/// without a pod in it is refused in words, since an empty answer would let the pod pass without its gate.
fn answer(review: &Value) -> Value {
    let uid = review.pointer("/request/uid").cloned().unwrap_or_default();
    let pod = review.pointer("/request/object");
    let response = match pod.filter(|pod| pod.is_object()).map(mutate::patch) {
        None => {
            let message = "the admission review holds no pod (request.object); the webhook mica-slice-gate is for the creation of pods alone";
            json!({"uid": uid, "allowed": false, "status": {"code": 400, "message": message}})
        }
        Some(patch) if patch.is_empty() => json!({"uid": uid, "allowed": true}),
        Some(patch) => {
            let patch = BASE64_STANDARD.encode(Value::Array(patch).to_string());
            json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch})
        }
    };
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_carries_the_uid_and_the_patch() {
        let limits = json!({"nvidia.com/mig-1g.5gb": "1"});
        let pod = json!({"spec": {"containers": [{"resources": {"limits": limits}}]}});
        let answer = answer(&json!({"request": {"uid": "u-1", "object": pod}}));
        let response = &answer["response"];
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(
            (&response["uid"], &response["allowed"]),
            (&json!("u-1"), &json!(true))
        );
        let patch = BASE64_STANDARD
            .decode(response["patch"].as_str().unwrap())
            .unwrap();
        let patch: Value = serde_json::from_slice(&patch).unwrap();
        let gate = json!([{"op": "add", "path": "/spec/schedulingGates", "value": [{"name": "mica.dev/slice"}]}]);
        assert_eq!(patch, gate);
    }

    #[test]
    fn a_pod_that_needs_nothing_gets_no_patch() {
        let answer =
            answer(&json!({"request": {"uid": "u", "object": {"spec": {"containers": []}}}}));
        assert_eq!(answer["response"], json!({"uid": "u", "allowed": true}));
    }

    #[test]
    fn what_is_no_review_of_a_pod_is_refused_in_words() {
        for review in [
            json!(null),
            json!([]),
            json!({"request": {"uid": "u", "object": null}}),
        ] {
            let answer = answer(&review);
            assert_eq!(answer["response"]["allowed"], false, "{review}");
            let message = answer["response"]["status"]["message"].as_str().unwrap();
            assert!(message.contains("request.object"), "{message}");
        }
    }
}
