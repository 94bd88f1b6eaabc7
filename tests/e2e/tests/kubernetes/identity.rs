//! Agents that are not who they say they are: each is a pod with the agents' own image and account, and gets no further than the
//! coordinator's door.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rstest::rstest;
use serde_json::{Value, json};

use crate::api::{Api, folder, wait_for};

const COORDINATOR: &str = "mica-coordinator.mica.svc:7070";

/// A projected token for this audience.
fn token_for(audience: &str) -> Value {
    let token = json!({"audience": audience, "expirationSeconds": 600, "path": "token"});
    json!({"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}})
}

/// An agent on node-a.
fn impostor(name: &str, node: &str, coordinator: &str, token: Option<Value>) -> Value {
    let mut arguments = vec![
        "run".to_owned(),
        format!("--node={node}"),
        format!("--coordinator={coordinator}"),
        "--nvml-library=/nvml-sim/lib/libnvidia-ml.so.1".to_owned(),
        "--pod-resources-socket=none".to_owned(),
        "--device-plugin-dir=none".to_owned(),
    ];
    let mut volumes = vec![
        json!({"name": "nvml-sim", "hostPath": {"path": "/var/lib/nvml-sim"}}),
        json!({"name": "state", "emptyDir": {}}),
    ];
    let mut mounts = vec![
        json!({"name": "nvml-sim", "mountPath": "/nvml-sim"}),
        json!({"name": "state", "mountPath": "/var/lib/mica-agent"}),
    ];
    if coordinator.starts_with("https") {
        arguments.push("--tls-ca=/ca/ca.crt".to_owned());
        volumes.push(json!({"name": "ca", "configMap": {"name": "mica-coordinator-ca"}}));
        mounts.push(json!({"name": "ca", "mountPath": "/ca"}));
    } else {
        arguments.push("--insecure".to_owned());
    }
    if let Some(volume) = token {
        arguments.push("--token-file=/token/token".to_owned());
        volumes.push(volume);
        mounts.push(json!({"name": "token", "mountPath": "/token"}));
    }
    json!({
        "metadata": {"name": name},
        "spec": {
            "serviceAccountName": "mica-agent",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "nodeSelector": {"kubernetes.io/hostname": "node-a"},
            "containers": [{
                "name": "agent",
                "image": "mica.test/mica-agent:1",
                "args": arguments,
                "env": [{"name": "MICA_AGENT_LOG_LEVEL", "value": "mica_agent=debug"}],
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    })
}

/// How many agents the leader has refused for this reason.
async fn refused(api: &Api, reason: &str) -> Option<u64> {
    let leaders = api
        .get("api/v1/namespaces/mica/pods?labelSelector=mica.dev/role=leader")
        .await
        .ok()?;
    let leader = leaders
        .pointer("/items/0/metadata/name")?
        .as_str()?
        .to_owned();
    let path = format!("api/v1/namespaces/mica/pods/{leader}:7071/proxy/metrics");
    let metrics = api.get(&path).await.ok()?;
    let label = format!("reason=\"{reason}\"");
    let counts = metrics
        .as_str()?
        .lines()
        .filter(|line| line.contains("refused") && line.contains(&label));
    Some(
        counts
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum(),
    )
}

#[rstest]
#[case(
    "another-node",
    "node-b",
    Some(token_for("mica-coordinator")),
    "wrong_node"
)]
#[case(
    "another-audience",
    "node-a",
    Some(token_for("somebody-else")),
    "bad_token"
)]
#[case("no-token", "node-a", None, "no_token")]
#[tokio::test]
#[ignore = "needs a test cluster: make test brings one up"]
async fn impostors_are_refused_and_counted(
    #[case] name: &str,
    #[case] node: &str,
    #[case] token: Option<Value>,
    #[case] reason: &str,
) {
    let api = Api::administrator();
    is_refused(&api, name, node, token, reason).await;
}

#[tokio::test]
#[ignore = "needs a test cluster: make test brings one up"]
async fn a_token_that_has_expired_is_refused_and_counted() {
    let api = Api::administrator();
    let secret = json!({"metadata": {"name": "expired"}, "stringData": {"token": expired_token()}});
    api.create("api/v1/namespaces/mica/secrets", &secret)
        .await
        .unwrap();
    let volume = json!({"name": "token", "secret": {"secretName": "expired"}});
    is_refused(&api, "expired", "node-a", Some(volume), "bad_token").await;
    api.delete("api/v1/namespaces/mica/secrets/expired")
        .await
        .unwrap();
}

async fn is_refused(api: &Api, name: &str, node: &str, token: Option<Value>, reason: &str) {
    let before = wait_for("the leader's metrics", async || refused(api, reason).await).await;
    let pod = impostor(name, node, &format!("https://{COORDINATOR}"), token);
    api.create("api/v1/namespaces/mica/pods", &pod)
        .await
        .unwrap();
    wait_for(&format!("{name} to be refused as {reason}"), async || {
        refused(api, reason).await.filter(|now| *now > before)
    })
    .await;
    api.delete(&format!("api/v1/namespaces/mica/pods/{name}"))
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs a test cluster: make test brings one up"]
async fn nobody_gets_in_without_tls() {
    let api = Api::administrator();
    let pods = "api/v1/namespaces/mica/pods";
    let pod = impostor(
        "plain",
        "node-a",
        &format!("http://{COORDINATOR}"),
        Some(token_for("mica-coordinator")),
    );
    api.create(pods, &pod).await.unwrap();
    let log = wait_for("the agent without TLS to have tried", async || {
        let log = api.get(&format!("{pods}/plain/log")).await.ok()?;
        let log = log.as_str()?.to_owned();
        log.contains("does not speak as a coordinator does")
            .then_some(log)
    })
    .await;
    assert!(!log.contains("joined"), "{log}");
    api.delete(&format!("{pods}/plain")).await.unwrap();
}

/// As the API server would have issued it two hours ago, signed with its own key.
fn expired_token() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let claims = json!({
        "iss": "https://kubernetes.default.svc",
        "aud": ["mica-coordinator"],
        "sub": "system:serviceaccount:mica:mica-agent",
        "iat": now - 7_200,
        "nbf": now - 7_200,
        "exp": now - 3_600,
        "kubernetes.io": {"namespace": "mica", "serviceaccount": {"name": "mica-agent", "uid": "none"}},
    });
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let header = encode(br#"{"alg":"RS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", encode(claims.to_string().as_bytes()));
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .arg(folder().join("pki/service-account.key"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl
        .stdin
        .take()
        .unwrap()
        .write_all(signed.as_bytes())
        .unwrap();
    let output = openssl.wait_with_output().unwrap();
    assert!(output.status.success());
    format!("{signed}.{}", encode(&output.stdout))
}
