//! Random histories of pods, kubelets, agents and two coordinators: whatever happens, and in whatever order it becomes known, no pod is
//! released that there is no slice for.
//!
//! After each event an oracle looks at what the API server and the nodes hold, and at nothing of the coordinators: on each node and for each
//! resource name, the pods that were released to it and hold nothing yet are no more than the slices that stand there and nobody else
//! holds. A kubelet that has no device for a pod that was released fails the history too. What agents are told to keep is kept for one
//! pod each, that needs it.

mod api;
mod event;
mod machine;
mod world;

use proptest::prelude::*;

use self::{
    event::{Event, event},
    world::World,
};

/// How many histories are lived through; `MICA_ACCOUNTS` says another number.
#[expect(
    clippy::disallowed_methods,
    reason = "the test runner takes no arguments for one test"
)]
fn histories() -> u32 {
    let given = std::env::var("MICA_ACCOUNTS").ok();
    given.map_or(100, |text| text.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(histories()))]

    #[test]
    fn no_pod_is_released_that_there_is_no_slice_for(events in prop::collection::vec(event(), 0..150)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
            world.check(event);
        }
        world.comes_to_rest();
    }
}

/// Else the histories would show nothing.
#[test]
fn pods_come_to_run_on_slices_that_did_not_exist() {
    let mut world = World::new();
    for kind in 0..4 {
        world.happen(Event::Create(kind));
    }
    world.comes_to_rest();
    assert_eq!(world.running(), 4);
}
