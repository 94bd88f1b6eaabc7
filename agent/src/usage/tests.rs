use mica_model::{
    ComputeInstance, Container, Generation, Gpu, Instance, MigMode, Placement, Pod, ProfileId,
    Reservation, Slice, Use,
};

use super::*;

fn pod(name: &str) -> Pod {
    Pod {
        namespace: "acme".to_owned(),
        name: name.to_owned(),
    }
}

fn container() -> Container {
    Container {
        pod: pod("train"),
        name: "main".to_owned(),
    }
}

fn slice(start: u32, size: u32) -> Slice {
    Slice {
        placement: Placement { start, size },
        profile: ProfileId(19),
    }
}

/// Two slices with their devices and a half-made one; NVML shows nobody.
fn gpu() -> Gpu {
    let instance = |gi: u32, compute: bool| Instance {
        gi,
        slice: slice(gi, 1),
        compute: compute.then(|| ComputeInstance {
            id: 0,
            uuid: format!("MIG-{gi}"),
        }),
        in_use: Use::default(),
        memory_used_bytes: 0,
        memory_total_bytes: 0,
        fault: None,
    };
    Gpu {
        uuid: "GPU-1".to_owned(),
        index: 0,
        product: "A100".to_owned(),
        memory_mib: 40_960,
        mig_mode: MigMode::Enabled,
        board: None,
        instances: vec![instance(0, true), instance(1, true), instance(2, false)],
        in_use: Use::default(),
        holders: Vec::new(),
        waits_for: None,
        fault: None,
    }
}

fn words(in_use: &InUse) -> Vec<String> {
    let gpu = gpu();
    let all = gpu.instances.iter();
    all.map(|instance| in_use.of(&gpu, instance).to_string())
        .collect()
}

/// A kubelet that is never asked by itself.
struct Mute;

impl Lister for Mute {
    fn list(&self) -> Result<Holdings, String> {
        Err("connection refused".to_owned())
    }
}

fn reserve(slices: &[(Slice, &str)]) -> v1::Reservations {
    let reserved = |&(slice, name): &(Slice, &str)| {
        let reservation = Reservation {
            pod: pod(name),
            generation: Generation(5),
        };
        v1::ReservedSlice::new("GPU-1".to_owned(), slice, reservation)
    };
    v1::Reservations {
        slices: slices.iter().map(reserved).collect(),
    }
}

#[test]
fn without_a_kubelet_and_without_reservations_nvml_has_the_only_word() {
    let sources = Sources::default();
    assert_eq!(words(&sources.known()), ["is idle"; 3]);
    assert_eq!(words(&sources.fresh()), ["is idle"; 3]);
    let later = Instant::now() + Duration::from_secs(3_600);
    assert_eq!(words(&sources.known_at(later)), ["is idle"; 3]);
}

#[test]
fn with_a_kubelet_both_it_and_the_coordinator_must_have_told() {
    let sources = Sources::new(Some(Arc::new(Mute)));
    let silent = |words: &[String]| {
        assert_eq!(words[0], words[1]);
        assert_eq!(words[2], "is idle", "nobody can hold what is half made");
        words[0].clone()
    };
    let unsaid = "the coordinator has not answered for 0 s: it has not said yet which slices it keeps for pods";
    assert_eq!(
        silent(&words(&sources.known())),
        format!(
            "may be in use: the kubelet has not answered for 0 s: it was not asked yet, {unsaid}"
        )
    );
    sources.kubelet_said(Instant::now(), Ok(Holdings::default()));
    assert_eq!(
        silent(&words(&sources.known())),
        format!("may be in use: {unsaid}")
    );
    sources.coordinator_said(&v1::Reservations::default());
    assert_eq!(words(&sources.known()), ["is idle"; 3]);
    assert_eq!(
        silent(&words(&sources.fresh())),
        "may be in use: the kubelet has not answered for 0 s: connection refused"
    );
    sources.kubelet_said(Instant::now(), Ok(Holdings::default()));
    assert_eq!(
        words(&sources.known()),
        ["is idle"; 3],
        "it is back and counts again"
    );
}

#[test]
fn an_old_answer_of_the_kubelet_says_nothing_and_an_old_reservation_still_holds() {
    let sources = Sources::new(Some(Arc::new(Mute)));
    sources.kubelet_said(Instant::now(), Ok(Holdings::default()));
    sources.coordinator_said(&reserve(&[(slice(1, 1), "next")]));
    let kept = "is in use: it is kept for pod acme/next (generation 5)";
    assert_eq!(words(&sources.known()), ["is idle", kept, "is idle"]);
    let later = Instant::now() + STALE + Duration::from_secs(2);
    let stale =
        "the kubelet has not answered for 12 s: the answer to the next question is still to come";
    assert_eq!(
        words(&sources.known_at(later)),
        [
            format!("may be in use: {stale}"),
            format!("{kept}, {stale}"),
            "is idle".to_owned()
        ]
    );
}

#[test]
fn answers_that_overtake_each_other_count_by_when_they_were_asked_for() {
    let sources = Sources::without_coordinator(Some(Arc::new(Mute)));
    let early = Instant::now();
    let late = early + Duration::from_millis(1);
    let mut held = Holdings::default();
    held.add("MIG-0", container());
    sources.kubelet_said(late, Ok(held));
    sources.kubelet_said(early, Ok(Holdings::default()));
    sources.kubelet_said(early, Err("no answer".to_owned()));
    assert_eq!(
        words(&sources.known()),
        [
            "is in use: container main of pod acme/train holds it",
            "is idle",
            "is idle"
        ]
    );
}

#[test]
fn every_source_adds_its_users() {
    let mut gpu = gpu();
    gpu.instances[0].in_use = Use::by_processes([7]);
    let mut held = Holdings::default();
    for uuid in ["MIG-0", "GPU-1", "MIG-of-another-node"] {
        held.add(uuid, container());
    }
    let kept = Reservations::try_from(&reserve(&[
        (slice(0, 1), "next"),
        (slice(2, 1), "next"),
        (slice(4, 4), "later"),
    ]));
    let in_use = InUse::new(Arc::new(held), Arc::new(kept.unwrap()), Vec::new());
    let mut marked = gpu.clone();
    in_use.mark(&mut marked);
    let words: Vec<_> = marked
        .instances
        .iter()
        .map(|i| i.in_use.to_string())
        .collect();
    assert_eq!(
        words,
        [
            "is in use: process 7 is on it, container main of pod acme/train holds it, it is kept for pod acme/next (generation 5)",
            "is idle",
            "is in use: it is kept for pod acme/next (generation 5)"
        ]
    );
    assert_eq!(in_use.of_whole(&gpu).containers, [container()]);
    let kept_for = |start, size| {
        let kept = in_use.place_kept(&gpu, slice(start, size));
        kept.map(|(slice, whom)| (slice.placement.start, whom.pod.name.clone()))
    };
    assert_eq!(kept_for(4, 1), Some((4, "later".to_owned())));
    assert_eq!(kept_for(0, 4), Some((0, "next".to_owned())));
    assert_eq!(kept_for(4, 4), None, "the slice itself");
    assert_eq!(kept_for(1, 1), None);
}

#[test]
fn marks_do_not_change_while_a_source_stays_silent() {
    let sources = Sources::new(Some(Arc::new(Mute)));
    let marked = |later| {
        let in_use = sources.known_at(Instant::now() + Duration::from_secs(later));
        let mut gpu = gpu();
        in_use.mark(&mut gpu);
        (gpu, in_use.silences_at_rest())
    };
    assert_eq!(marked(1), marked(9));
    assert_eq!(
        marked(1).0.instances[0].in_use.unknown[0].to_string(),
        "the kubelet does not tell: it was not asked yet"
    );
}

#[test]
fn nonsense_of_the_coordinator_changes_nothing_and_counts_as_silence() {
    let sources = Sources::default();
    sources.coordinator_said(&reserve(&[(slice(0, 1), "next")]));
    let mut nonsense = reserve(&[(slice(1, 1), "next")]);
    nonsense.slices[0].slice = None;
    sources.coordinator_said(&nonsense);
    let kept = "it is kept for pod acme/next (generation 5)";
    let silence = "the coordinator has not answered for 0 s: what it said of slices it keeps makes no sense: reservations.slices.slice: missing";
    assert_eq!(
        words(&sources.known()),
        [
            format!("is in use: {kept}, {silence}"),
            format!("may be in use: {silence}"),
            "is idle".to_owned()
        ]
    );
    sources.coordinator_said(&v1::Reservations::default());
    assert_eq!(words(&sources.known()), ["is idle"; 3]);
}
