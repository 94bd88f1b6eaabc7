//! `plan`, `explain`, `version`, `completion` and `--help`.

use mica_proto::v1;
use rstest::rstest;

use super::coordinator::Coordinator;
use super::fixture;
use super::golden::assert_golden;
use super::program::mica;

#[rstest]
#[case::changes(fixture::plan(), &[], "plan.txt")]
#[case::changes_yaml(fixture::plan(), &["-oyaml"], "plan.yaml")]
#[case::changes_json(fixture::plan(), &["-ojson"], "plan.json")]
#[case::no_changes(v1::PlanReply { changes: Vec::new(), ..fixture::plan() }, &[], "plan-no-changes.txt")]
#[case::nothing(v1::PlanReply::default(), &[], "plan-nothing.txt")]
#[tokio::test]
async fn a_plan(#[case] plan: v1::PlanReply, #[case] args: &[&str], #[case] golden: &str) {
    let coordinator = Coordinator::with(plan, None).await;
    let text = coordinator.mica(&[&["plan"], args].concat()).await.data();
    assert_golden(golden, &text);
}

#[tokio::test]
async fn explain_prints_the_sentences() {
    let coordinator = Coordinator::start().await;
    let text = coordinator.mica(&["explain", "half"]).await;
    assert_eq!(text.data(), "2 of 5 wait\nevery A100 is full\n");
}

#[rstest]
#[case::text(&[], "client: 0.1.0\nserver: 9.9.9\n")]
#[case::client(&["--client"], "client: 0.1.0\n")]
#[case::yaml(&["-oyaml"], "apiVersion: mica.dev/v1\nkind: Version\nclient: \"0.1.0\"\nserver: \"9.9.9\"\n")]
#[tokio::test]
async fn version(#[case] args: &[&str], #[case] expected: &str) {
    let coordinator = Coordinator::start().await;
    let args = [&["version"], args].concat();
    let ours = env!("CARGO_PKG_VERSION");
    assert_eq!(
        coordinator.mica(&args).await.data(),
        expected.replace("0.1.0", ours)
    );
}

#[tokio::test]
async fn without_a_coordinator_our_own_version_is_told_all_the_same() {
    let ended = mica(&["--server", "http://127.0.0.1:1", "version"]).await;
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stdout,
        format!("client: {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert!(ended.stderr.starts_with("error: no coordinator answers"));
}

#[rstest]
#[case("bash", "complete -F _mica")]
#[case("zsh", "#compdef mica")]
#[case("fish", "complete -c mica")]
#[tokio::test]
async fn completion(#[case] shell: &str, #[case] part: &str) {
    let script = mica(&["completion", shell]).await.data();
    assert!(script.contains(part), "{script}");
    assert!(script.contains("slices"), "{script}");
}

#[tokio::test]
async fn help_tells_the_exit_codes() {
    let help = mica(&["--help"]).await.data();
    assert!(help.contains("\n  4  refused"), "{help}");
    assert!(help.contains("[env: MICA_SERVER=]"), "{help}");
}
