use mica_model::{Instance, MigMode, Placement, ProfileId, Use};
use rstest::rstest;

use super::*;

#[rstest]
#[case::application(EventKind::Xid(31), Verdict::Ignored)]
#[case::told_to_ignore(EventKind::Xid(63), Verdict::Ignored)]
#[case::hardware(EventKind::Xid(79), Verdict::Withdrawn)]
#[case::never_heard_of(EventKind::Xid(4_711), Verdict::Withdrawn)]
#[case::unknown(EventKind::Xid(999), Verdict::Withdrawn)]
#[case::ecc(EventKind::DoubleBitEcc, Verdict::Withdrawn)]
#[case::no_memory_left(EventKind::DramRetirementFailure, Verdict::Withdrawn)]
#[case::memory_retired(EventKind::DramRetirement, Verdict::Noted)]
#[case::new_kind(EventKind::Other(1 << 20), Verdict::Noted)]
fn events_are_judged(#[case] kind: EventKind, #[case] verdict: Verdict) {
    assert_eq!(judge(kind, &Ignored::and(&[63])), verdict);
}

#[rstest]
#[case(EventKind::Xid(48), "XID 48 (double-bit ECC error)", "xid", "48")]
#[case(EventKind::Xid(200), "XID 200", "xid", "200")]
#[case(
    EventKind::Xid(999),
    "an XID whose number the driver does not say",
    "xid",
    "unknown"
)]
#[case(EventKind::Xid(123_456), "XID 123456", "xid", "other")]
#[case(
    EventKind::GpuUnavailable,
    "the GPU does not answer",
    "gpu_unavailable",
    ""
)]
fn events_have_words_and_bounded_labels(
    #[case] kind: EventKind,
    #[case] text: &str,
    #[case] label: &str,
    #[case] xid: &str,
) {
    assert_eq!(words(kind), text);
    assert_eq!(labels(kind), (label, xid.to_owned()));
}

fn slice(start: u32) -> Slice {
    Slice {
        placement: Placement { start, size: 1 },
        profile: ProfileId(19),
    }
}

fn gpu(uuid: &str, instances: &[(u32, u32)]) -> Gpu {
    let instance = |&(gi, start): &(u32, u32)| Instance {
        gi,
        slice: slice(start),
        compute: None,
        in_use: Use::default(),
        memory_used_bytes: 0,
        memory_total_bytes: 0,
        fault: None,
    };
    Gpu {
        uuid: uuid.to_owned(),
        index: 0,
        product: String::new(),
        memory_mib: 0,
        mig_mode: MigMode::Enabled,
        board: None,
        instances: instances.iter().map(instance).collect(),
        in_use: Use::default(),
        holders: Vec::new(),
        waits_for: None,
        fault: None,
    }
}

fn xid(number: u64, gpu: Option<&str>, gi: Option<u32>) -> Event {
    Event {
        gpu: gpu.map(str::to_owned),
        kind: EventKind::Xid(number),
        gi,
        ci: None,
    }
}

/// Faults of the GPU and of its instances.
fn shown(health: &mut Health, mut gpu: Gpu) -> (bool, Vec<u32>) {
    health.show(&mut gpu);
    let sick = gpu.instances.iter().filter(|known| known.fault.is_some());
    (gpu.fault.is_some(), sick.map(|known| known.gi).collect())
}

#[test]
fn only_what_an_event_names_is_withdrawn() {
    let gpus = [gpu("a", &[(1, 0), (2, 1)]), gpu("b", &[(1, 0)])];
    let [a, b] = gpus.clone();
    let mut health = Health::default();
    health.withdraw(&xid(94, Some("a"), Some(2)), "noon", &gpus);
    assert_eq!(shown(&mut health, a.clone()), (false, vec![2]));
    assert_eq!(shown(&mut health, b.clone()), (false, vec![]));
    health.withdraw(&xid(95, Some("b"), None), "noon", &gpus);
    assert_eq!(shown(&mut health, b.clone()), (true, vec![]));
    health.well("b");
    assert_eq!(shown(&mut health, b.clone()), (false, vec![]));
    health.withdraw(&xid(95, None, None), "noon", &gpus);
    assert_eq!(shown(&mut health, a.clone()), (true, vec![2]));
    assert!(shown(&mut health, b.clone()).0, "it may be any of them");
    health.all_well();
    assert!(!health.is_sick("a") && !health.is_sick("b"));
    assert_eq!(shown(&mut health, a), (false, vec![]));
}

#[test]
fn a_sick_instance_is_forgotten_when_it_is_gone_also_when_its_id_is_used_again() {
    let before = [gpu("a", &[(1, 0), (2, 1)])];
    let mut health = Health::default();
    health.withdraw(&xid(94, Some("a"), Some(2)), "noon", &before);
    assert_eq!(
        shown(&mut health, gpu("a", &[(1, 0), (2, 5)])),
        (false, vec![])
    );
    assert!(!health.is_sick("a"));
    health.withdraw(&xid(94, Some("a"), Some(2)), "noon", &before);
    assert_eq!(shown(&mut health, gpu("a", &[(1, 0)])), (false, vec![]));
}

#[test]
fn the_first_reason_stays_and_says_when() {
    let gpus = [gpu("a", &[])];
    let mut health = Health::default();
    health.withdraw(&xid(48, Some("a"), None), "2026-11-25T20:00:00Z", &gpus);
    health.withdraw(&xid(79, Some("a"), None), "2026-11-25T20:00:01Z", &gpus);
    let [mut gpu] = gpus;
    health.show(&mut gpu);
    let fault = gpu.fault.unwrap();
    assert!(
        fault.starts_with("XID 48 (double-bit ECC error) at 2026-11-25T20:00:00Z"),
        "{fault}"
    );
    assert!(fault.contains("reset"), "{fault}");
}
