//! Random layouts while processes come and go.

use std::collections::BTreeMap;

use mica_agent::{
    execute::{Patience, execute},
    outcome::Ending,
    usage::Sources,
};
use mica_model::{Gpu, Layout};

use crate::node::{SimNode, first};

/// Draws numbers, the same ones in each run.
struct Draw(u64);

impl Draw {
    /// Below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        // Knuth's MMIX generator; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn layout(&mut self, gpu: &Gpu) -> Layout {
        let board = gpu.board.as_ref().unwrap();
        let slices = board.slices();
        let mut kept = Layout::default();
        for _ in 0..self.below(10) {
            let mut more = kept.clone();
            more.0.insert(slices[self.below(slices.len())]);
            if board.check(&more).is_ok() {
                kept = more;
            }
        }
        kept
    }

    /// Starts a process on some instance, or ends one.
    fn stir(&mut self, node: &SimNode, pids: &mut Vec<u32>, next: &mut u32) {
        let instances = node.node.gpus()[0].instances.clone();
        if !pids.is_empty() && self.below(3) > 0 {
            let pid = pids.swap_remove(self.below(pids.len()));
            node.node.stop_process(pid).unwrap();
        } else if !instances.is_empty() {
            let gi = instances[self.below(instances.len())].gi;
            *next += 1;
            if node.node.start_process(0, Some(gi), *next, 1 << 20).is_ok() {
                pids.push(*next);
            }
        }
    }
}

#[test]
fn nothing_in_use_is_touched_whatever_comes_between_the_steps() {
    let node = SimNode::a100();
    let mut driver = node.driver();
    let mut draw = Draw(1);
    let (mut pids, mut next) = (Vec::new(), 1_000);
    let mut endings = BTreeMap::new();
    for round in 0..300 {
        let gpu = first(&mut driver);
        let desired = draw.layout(&gpu);
        let outcome = execute(
            &mut driver,
            &Sources::default(),
            &gpu.uuid,
            &desired,
            None,
            Patience::USUAL,
            &mut |_| {
                if draw.below(3) == 0 {
                    draw.stir(&node, &mut pids, &mut next);
                }
            },
        );
        let now = first(&mut driver);
        assert!(
            now.instances.iter().all(|known| known.compute.is_some()),
            "round {round}: {outcome:?}"
        );
        match &outcome.ending {
            Ending::Holds => assert_eq!(now.layout(), desired, "round {round}"),
            Ending::Failed(failure) if !failure.rolled_back => {}
            Ending::Refused(_) | Ending::Failed(_) => {
                assert_eq!(now.layout(), gpu.layout(), "round {round}: {outcome:?}");
            }
        }
        *endings.entry(outcome.ending.as_str()).or_insert(0) += 1;
        draw.stir(&node, &mut pids, &mut next);
    }
    // Processes start between the steps only, never between a look and its destroy: not even a race may be lost.
    let verdict = node.verdict();
    assert_eq!((verdict.touched, verdict.lost_races), (vec![], vec![]));
    // All ways to end were gone.
    for ending in ["holds", "refused", "rolled_back"] {
        assert!(
            endings.get(ending).is_some_and(|&count| count > 3),
            "{endings:?}"
        );
    }
}
