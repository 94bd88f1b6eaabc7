use rstest::rstest;

use super::*;

const NAME: &str = "nvidia.com/mig-3g.20gb";

fn set(devices: &[&str]) -> BTreeSet<String> {
    devices.iter().map(|&device| device.to_owned()).collect()
}

fn gives(devices: &[&str]) -> Allocatable {
    Allocatable::from([(NAME.to_owned(), set(devices))])
}

/// A kubelet that watches, knows two devices, and was asked at 20 ms.
fn settled() -> (Known, impl Fn(u64) -> Instant, u64) {
    let start = Instant::now();
    let at = move |ms| start + Duration::from_millis(ms);
    let mut known = Known::new(start);
    let stream = known.opened(NAME, at(0));
    known.sent(NAME, stream, set(&["a", "b"]), at(1));
    known.heard(at(20), Ok(gives(&["a", "b"])));
    (known, at, stream)
}

#[test]
fn it_has_forgotten_only_what_it_was_told_to_and_says_so_when_asked_after_that() {
    let (mut known, at, stream) = settled();
    let gone = set(&["a"]);
    known.ask(at(30));
    let forgotten = |known: &Known| known.has_forgotten(&gone, at(30));
    known.heard(at(31), Ok(gives(&["b"])));
    assert!(!forgotten(&known), "it is offered still");
    known.sent(NAME, stream, set(&["b"]), at(40));
    assert!(!forgotten(&known), "not asked since");
    known.heard(at(41), Ok(gives(&["a", "b"])));
    assert!(!forgotten(&known), "it still gives it");
    assert!(
        known
            .why_not(&gone, Duration::from_secs(5))
            .ends_with(": a")
    );
    known.heard(at(50), Err("starting".to_owned()));
    assert!(!forgotten(&known));
    assert!(
        known
            .why_not(&gone, Duration::from_secs(5))
            .ends_with("it says: starting")
    );
    known.heard(at(60), Ok(gives(&["b"])));
    assert!(forgotten(&known));
    assert!(!known.has_forgotten(&gone, at(61)), "not asked since then");
}

#[test]
fn what_another_plugin_offers_is_not_forgotten() {
    let (mut known, at, _) = settled();
    let other = set(&["c"]);
    known.ask(at(30));
    let allocatable = Allocatable::from([("example.org/slice".to_owned(), other.clone())]);
    known.heard(at(40), Ok(allocatable));
    assert!(!known.has_forgotten(&other, at(30)));
}

#[test]
fn lists_do_not_overtake_each_other() {
    let (mut known, at, stream) = settled();
    let new = set(&["c"]);
    assert!(!known.is_on_its_way(&set(&["a", "b"])));
    known.sent(NAME, stream, set(&["a", "b", "c"]), at(30));
    assert!(known.is_on_its_way(&new) && !known.is_on_its_way(&set(&["a"])));
    known.heard(at(35), Ok(gives(&["a", "b"])));
    assert!(known.is_on_its_way(&new), "it has not arrived");
    known.heard(at(40), Ok(gives(&["a", "b", "c"])));
    assert!(!known.is_on_its_way(&new));
    // A stream that ends takes with it what was on its way.
    known.sent(NAME, stream, set(&["d"]), at(50));
    known.ended(NAME, stream, at(51));
    assert!(!known.is_on_its_way(&set(&["d"])) && !known.is_watched(NAME));
}

#[test]
fn a_stream_of_a_kubelet_that_is_gone_says_nothing_any_more() {
    let (mut known, at, first) = settled();
    let second = known.opened(NAME, at(30));
    known.sent(NAME, first, set(&["z"]), at(31));
    known.ended(NAME, first, at(32));
    assert!(known.is_watched(NAME) && !known.is_on_its_way(&set(&["z"])));
    known.ended(NAME, second, at(33));
    assert!(!known.is_watched(NAME));
    let report = known.report();
    assert_eq!(report.resources[0].name, NAME, "the name stays");
}

#[rstest]
#[case::just_told(0, 20)]
#[case::a_moment_ago(150, 20)]
#[case::slow(1_000, 100)]
#[case::hopeless(600_000, 1_000)]
fn it_is_asked_often_until_it_knows(#[case] waited: u64, #[case] pace: u64) {
    let (mut known, at, stream) = settled();
    let milliseconds = |known: &Known, now| known.pace(at(now)).as_millis();
    assert_eq!(milliseconds(&known, 30), 10_000);
    known.sent(NAME, stream, set(&["a"]), at(30));
    assert_eq!(milliseconds(&known, 30 + waited), u128::from(pace));
    known.heard(at(40 + waited), Ok(gives(&["a"])));
    assert_eq!(milliseconds(&known, 50 + waited), 10_000);
}
