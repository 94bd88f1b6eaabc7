//! The chart, with a real Helm: what it refuses, and that a real API server takes what it renders.

use std::process::{Command, Output};

use rstest::rstest;

use crate::api::{folder, sources};

fn helm(arguments: &[&str]) -> Output {
    let mut helm = Command::new(folder().join("helm"));
    helm.current_dir(sources()).args(arguments);
    helm.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
#[ignore = "needs a test cluster: make test brings one up"]
fn helm_has_nothing_to_complain_of() {
    let lint = helm(&["lint", "--strict", "--namespace=mica", "deploy/chart"]);
    assert!(lint.status.success(), "{}", text(&lint.stdout));
}

#[rstest]
#[case("agent.typo=1", "additional properties 'typo' not allowed")]
#[case(
    "agent.deviceListStrategy={nonsense}",
    "must be one of 'envvar', 'volume-mounts', 'cdi-cri'"
)]
#[case(
    "agent.image.pullPolicy=Often",
    "must be one of 'Always', 'IfNotPresent', 'Never'"
)]
#[case("agent.kubeletDir=var/lib/kubelet", "'/agent/kubeletDir'")]
#[case("coordinator.replicas=0", "minimum: got 0, want 1")]
#[case(
    "admission.mode=maybe",
    "must be one of 'auto', 'policy', 'webhook', 'none'"
)]
#[case("namespaceLabel=a b", "'/namespaceLabel'")]
#[case(
    "agent.driver.root=driver",
    "write the absolute path of a folder on the node"
)]
#[case("agent.driver.root=/driver", "set the other to")]
#[case("agent.allowGpuReset=true", "set agent.privileged to true")]
#[case("podMonitor.enabled=true", "install Prometheus Operator first")]
#[ignore = "needs a test cluster: make test brings one up"]
fn values_that_cannot_work_are_refused_with_the_remedy(#[case] value: &str, #[case] why: &str) {
    let rendered = helm(&[
        "template",
        "mica",
        "deploy/chart",
        "--namespace=mica",
        "--set",
        value,
    ]);
    assert!(!rendered.status.success(), "{value} was taken");
    let said = text(&rendered.stderr);
    assert!(said.contains(why), "{value}: {said}");
}

#[rstest]
#[case(&["--namespace=mica", "--kube-version=1.29.0"], "needs Kubernetes 1.30 or newer")]
#[case(&["--namespace=mica", "--kube-version=1.32.0", "--set=admission.mode=policy"], "set admission.mode to webhook")]
#[case(&["--namespace=default"], "--namespace mica --create-namespace")]
#[ignore = "needs a test cluster: make test brings one up"]
fn clusters_that_cannot_work_are_refused_with_the_remedy(
    #[case] arguments: &[&str],
    #[case] why: &str,
) {
    let rendered = helm(&[&["template", "mica", "deploy/chart"], arguments].concat());
    assert!(!rendered.status.success(), "{arguments:?} was taken");
    let said = text(&rendered.stderr);
    assert!(said.contains(why), "{arguments:?}: {said}");
}

/// With everything on, and once for each way of admission; Prometheus Operator's resources are left out, whose API is not there.
#[rstest]
#[case("policy")]
#[case("webhook")]
#[case("none")]
#[ignore = "needs a test cluster: make test brings one up"]
fn the_api_server_takes_what_is_rendered(#[case] admission: &str) {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("mica.yaml");
    let rendered = helm(&[
        "template",
        "mica",
        "deploy/chart",
        "--namespace=mica",
        "--api-versions=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy",
        &format!("--set=admission.mode={admission}"),
        "--set=agent.deviceListStrategy={envvar,volume-mounts,cdi-cri}",
        "--set=agent.passDeviceSpecs=true",
        "--set=agent.privileged=true",
        "--set=agent.allowGpuReset=true",
        "--set=agent.driver.runtimeClassName=",
        "--set=agent.driver.root=/run/nvidia/driver",
        "--set=coordinator.configSecret=mica-config",
        "--set=tls.existingSecret=mica-tls",
        "--set=imagePullSecrets={registry}",
        "--set=networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
    ]);
    assert!(rendered.status.success(), "{}", text(&rendered.stderr));
    std::fs::write(&manifest, &rendered.stdout).unwrap();
    let mut kubectl = Command::new(crate::api::folder().join("kubectl"));
    kubectl.args([
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "--namespace=default",
    ]);
    let applied = kubectl.arg("-f").arg(&manifest).output().unwrap();
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    let kinds = text(&applied.stdout);
    for (kind, of) in [
        ("mutatingadmissionpolicy.", "policy"),
        ("mutatingwebhookconfiguration.", "webhook"),
    ] {
        let count = kinds.matches(kind).count();
        assert_eq!(count, usize::from(admission == of), "{kinds}");
    }
}

/// Who gates pods on a cluster of this version when nothing is said.
#[rstest]
#[case(
    "1.36.0",
    Some("admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"),
    "kind: MutatingAdmissionPolicy\n"
)]
#[case(
    "1.34.0",
    Some("admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy"),
    "kind: MutatingAdmissionPolicy\n"
)]
#[case("1.35.0", None, "kind: MutatingWebhookConfiguration\n")]
#[case("1.30.0", None, "kind: MutatingWebhookConfiguration\n")]
#[ignore = "needs a test cluster: make test brings one up"]
fn the_way_of_admission_follows_from_the_cluster(
    #[case] version: &str,
    #[case] api: Option<&str>,
    #[case] kind: &str,
) {
    let version = format!("--kube-version={version}");
    let mut arguments = vec![
        "template",
        "mica",
        "deploy/chart",
        "--namespace=mica",
        &version,
    ];
    let api = api.map(|api| format!("--api-versions={api}"));
    arguments.extend(api.as_deref());
    let rendered = helm(&arguments);
    assert!(rendered.status.success(), "{}", text(&rendered.stderr));
    let manifest = text(&rendered.stdout);
    let kinds = [
        "kind: MutatingAdmissionPolicy\n",
        "kind: MutatingWebhookConfiguration\n",
    ];
    for each in kinds {
        assert_eq!(manifest.contains(each), each == kind, "{each}");
    }
}
