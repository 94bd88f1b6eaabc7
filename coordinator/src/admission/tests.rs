use std::net::Ipv4Addr;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Certificate, StatusCode};
use tokio::{sync::oneshot, task::JoinSet};

use super::*;

const NAME: &str = "mica-admission.mica.svc";

#[tokio::test]
async fn it_is_served_with_tls_over_http_1_until_it_is_stopped() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (chain, key) = (cert.pem().into_bytes(), signing_key.serialize_pem());
    let mut server = JoinSet::new();
    server.spawn(serve(listener, chain, key.into_bytes(), async move {
        drop(stopped.await);
    }));
    let authority = Certificate::from_pem(cert.pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder()
        .tls_certs_only([authority])
        .http1_only()
        .resolve(NAME, address)
        .build()
        .unwrap();
    let url = format!("https://{NAME}:{}{PATH}", address.port());
    let review = |body: String| {
        let request = http.post(&url).header("Content-Type", "application/json");
        request.body(body).send()
    };
    // Pods may be large.
    let note = "x".repeat(3 << 20);
    let pod = json!({"metadata": {"annotations": {"note": note}}, "spec": {"containers": []}});
    let answer = review(json!({"request": {"uid": "u", "object": pod}}).to_string());
    let answer: Value = serde_json::from_str(&answer.await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(answer["response"], json!({"uid": "u", "allowed": true}));
    let refused = review("nonsense".to_owned()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    drop(stop);
    server.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn what_is_no_certificate_is_said_so() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let served = serve(listener, Vec::new(), Vec::new(), std::future::pending()).await;
    let error = served.unwrap_err().to_string();
    assert!(error.contains("no certificate with its key"), "{error}");
}

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
    let answer = answer(&json!({"request": {"uid": "u", "object": {"spec": {"containers": []}}}}));
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
