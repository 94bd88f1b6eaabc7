use std::{collections::BTreeMap, sync::Arc};

use mica_model::{
    ComputeInstance, Generation, MigMode, Pod, ProfileId, Reservation, Slice, Use,
    testing::a100_40gb,
};
use mica_nvml::Versions;
use mica_proto::v1;
use rstest::rstest;

use super::*;
use crate::usage::Sources;

/// A GPU with `1g.5gb` at places, and a process on those that have a `!`. Devices are called `GPU:PLACE`.
fn gpu(index: u32, places: &str) -> Gpu {
    let board = Arc::new(a100_40gb());
    let profile = board.profile_named("1g.5gb").unwrap();
    let instance = |word: &str| {
        let start: u32 = word.trim_end_matches('!').parse().unwrap();
        let placement = profile.placements.iter().find(|place| place.start == start);
        Instance {
            gi: start,
            slice: Slice {
                placement: *placement.unwrap(),
                profile: ProfileId(19),
            },
            compute: Some(ComputeInstance {
                id: 0,
                uuid: format!("{index}:{start}"),
            }),
            in_use: Use::by_processes(word.ends_with('!').then_some(7)),
            memory_used_bytes: 0,
            memory_total_bytes: 0,
            fault: None,
        }
    };
    Gpu {
        uuid: format!("GPU-{index}"),
        index,
        product: "A100".to_owned(),
        memory_mib: 40960,
        mig_mode: MigMode::Enabled,
        instances: places.split_whitespace().map(instance).collect(),
        board: Some(Arc::clone(&board)),
        in_use: Use::default(),
        holders: Vec::new(),
        waits_for: None,
        fault: None,
    }
}

fn inventory(places: &[&str]) -> Inventory {
    let gpus = places.iter().zip(0..);
    Inventory {
        versions: Versions {
            driver: String::new(),
            nvml: String::new(),
        },
        gpus: gpus.map(|(places, index)| gpu(index, places)).collect(),
        hardware: BTreeMap::new(),
        activity: BTreeMap::new(),
        fault: None,
        silences: Vec::new(),
        seen: Generation::default(),
        finished: Generation::default(),
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[rstest]
#[case::the_gpu_that_is_used_most(&["0 1", "0! 1! 2"], "", "0:0 0:1 1:2", 1, "1:2")]
#[case::the_smallest_gap(&["0! 1 2! 4 5"], "", "0:1 0:4 0:5", 1, "0:1")]
#[case::then_the_first(&["0 1 2"], "", "0:2 0:1 0:0", 1, "0:0")]
#[case::one_beside_the_other(&["3 4", "3 5"], "", "0:3 0:4 1:3 1:5", 2, "0:3 0:4")]
#[case::what_must_be_first(&["0 1", "0! 1"], "0:1", "0:0 0:1 1:1", 2, "0:1 0:0")]
#[case::no_more_than_there_are(&["0"], "", "0:0", 3, "0:0")]
#[case::nothing_unknown(&["0"], "", "9:9", 1, "")]
fn work_is_packed(
    #[case] places: &[&str],
    #[case] must: &str,
    #[case] available: &str,
    #[case] size: usize,
    #[case] expected: &str,
) {
    let (available, must) = (words(available), words(must));
    let given = BTreeSet::new();
    let chosen = prefer(
        &inventory(places),
        &InUse::default(),
        &given,
        &available,
        &must,
        size,
    );
    assert_eq!(chosen, words(expected));
}

#[test]
fn what_was_just_given_counts_as_used() {
    let given = BTreeSet::from(["1:0".to_owned()]);
    let available = words("0:0 1:1");
    let seen = inventory(&["0", "0 1"]);
    let chosen = prefer(&seen, &InUse::default(), &given, &available, &[], 1);
    assert_eq!(chosen, ["1:1"]);
}

#[test]
fn what_is_kept_for_a_pod_comes_last() {
    let seen = inventory(&["0 1!", "0"]);
    let gpu = &seen.gpus[0];
    let reservation = Reservation {
        pod: Pod {
            namespace: "acme".to_owned(),
            name: "train".to_owned(),
        },
        generation: Generation(1),
    };
    let slice = gpu.instances[0].slice;
    let kept = v1::ReservedSlice::new(gpu.uuid.clone(), slice, reservation);
    let sources = Sources::default();
    sources.coordinator_said(&v1::Reservations { slices: vec![kept] });
    let in_use = sources.known();
    let chosen = |available: &str| {
        let available = words(available);
        prefer(&seen, &in_use, &BTreeSet::new(), &available, &[], 1)
    };
    assert_eq!(chosen("0:0 1:0"), ["1:0"]);
    assert_eq!(chosen("0:0"), ["0:0"], "it is all there is");
}
