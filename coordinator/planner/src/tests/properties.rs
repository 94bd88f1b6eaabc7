//! Properties of all plans, over random clusters and demands.

use std::sync::Arc;

use mica_model::{Board, Layout, testing};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::oracle::best;
use super::support::{operations, planned};
use crate::{Availability, Demand, DemandClass, GpuId, GpuState, Snapshot, plan};

/// A legal layout, some of it in use: slices are put in at random as long as they fit.
fn layouts(board: Arc<Board>) -> impl Strategy<Value = (Layout, Layout)> {
    let slices = Just(board.slices()).prop_shuffle();
    let picks = prop::collection::vec((any::<bool>(), any::<bool>()), board.slices().len());
    (slices, picks, 0..6usize).prop_map(move |(slices, picks, most)| {
        let (mut in_use, mut idle) = (Layout::default(), Layout::default());
        for (slice, (put, used)) in slices.into_iter().zip(picks) {
            let mut all: Layout = in_use.0.union(&idle.0).copied().collect();
            all.0.insert(slice);
            if put && all.0.len() <= most && board.check(&all).is_ok() {
                if used { &mut in_use } else { &mut idle }.0.insert(slice);
            }
        }
        (in_use, idle)
    })
}

fn states(boards: Vec<Board>) -> impl Strategy<Value = GpuState> {
    let boards: Vec<Arc<Board>> = boards.into_iter().map(Arc::new).collect();
    let availability = prop_oneof![
        8 => Just(Availability::Free),
        1 => Just(Availability::Settling),
        1 => Just(Availability::Unavailable),
    ];
    (select(boards), availability).prop_flat_map(|(board, availability)| {
        layouts(Arc::clone(&board)).prop_map(move |(in_use, idle)| GpuState {
            id: GpuId {
                node: String::new(),
                index: 0,
            },
            board: Arc::clone(&board),
            in_use,
            idle,
            availability,
        })
    })
}

/// Up to `most` GPUs, two on each node.
fn clusters(boards: Vec<Board>, most: usize) -> impl Strategy<Value = Vec<GpuState>> {
    prop::collection::vec(states(boards), 1..=most).prop_map(|mut gpus| {
        for (number, gpu) in (0u32..).zip(&mut gpus) {
            gpu.id = GpuId {
                node: format!("node-{}", number / 2),
                index: number % 2,
            };
        }
        gpus
    })
}

/// Up to five classes that accept some of the boards' profiles, and one that no board has.
fn demands(boards: &[Board], most: u32) -> impl Strategy<Value = Vec<DemandClass>> + use<> {
    let profiles = boards.iter().flat_map(|board| &board.profiles);
    let mut names: Vec<String> = profiles.map(|profile| profile.name.clone()).collect();
    names.push("9g.99gb".to_owned());
    let class = (
        prop::collection::vec(any::<Index>(), 1..4),
        0u64..8,
        0..=most,
    );
    prop::collection::vec(class, 0..5).prop_map(move |classes| {
        let class = |(id, (accept, weight, count)): (usize, (Vec<Index>, u64, u32))| DemandClass {
            id: format!("class-{id}"),
            accept: accept
                .iter()
                .map(|index| index.get(&names).clone())
                .collect(),
            weight,
            count,
        };
        classes.into_iter().enumerate().map(class).collect()
    })
}

fn one_board() -> impl Strategy<Value = Board> {
    select(vec![
        testing::a100_40gb(),
        testing::h100_sxm5_80gb(),
        testing::a30_24gb(),
        testing::rtx_pro_6000(),
    ])
}

fn every_board() -> Vec<Board> {
    vec![
        testing::a100_40gb(),
        testing::h100_sxm5_80gb(),
        testing::a30_24gb(),
        testing::rtx_pro_6000(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// One GPU: the plan is the best there is, in weight and in operations.
    #[test]
    fn one_gpu_is_exact(
        (gpus, classes) in one_board().prop_flat_map(|board| {
            (clusters(vec![board.clone()], 1), demands(&[board], 3))
        })
    ) {
        let plan = planned(&gpus, &classes);
        prop_assert_eq!((plan.report.weight, operations(&plan)), best(&gpus, &classes));
    }

    /// Two A30: never better than the best there is, and never worse than one GPU after the other.
    #[test]
    fn two_gpus_are_bounded(
        gpus in clusters(vec![testing::a30_24gb()], 2),
        classes in demands(&[testing::a30_24gb()], 3),
    ) {
        let plan = planned(&gpus, &classes);
        let (weight, fewest) = best(&gpus, &classes);
        prop_assert!(plan.report.weight <= weight);
        if plan.report.weight == weight {
            prop_assert!(operations(&plan) >= fewest);
        }
        for gpu in &gpus {
            let alone = best(std::slice::from_ref(gpu), &classes);
            prop_assert!(plan.report.weight >= alone.0);
        }
    }

    /// Any cluster: the plan passes the check (in `planned`), does not hang on the order of the input, and is not changed by
    /// planning again once it is carried out.
    #[test]
    fn plans_are_legal_deterministic_and_settled(
        gpus in clusters(every_board(), 12),
        classes in demands(&every_board(), 9),
        seed in any::<u64>(),
    ) {
        let first = planned(&gpus, &classes);

        let (mut shuffled, mut others) = (gpus.clone(), classes.clone());
        shuffled.sort_by_key(|gpu| (u64::from(gpu.id.index) ^ seed, std::cmp::Reverse(gpu.id.clone())));
        others.reverse();
        for gpu in &mut shuffled {
            gpu.board = Arc::new(Board::clone(&gpu.board));
        }
        let again = plan(&Snapshot { gpus: shuffled }, &Demand { classes: others });
        prop_assert_eq!(&*first, &again);

        let mut after = gpus;
        for change in &first.changes {
            let gpu = after.iter_mut().find(|gpu| gpu.id == change.gpu).unwrap();
            gpu.idle.0.retain(|slice| !change.destroy.contains(slice));
            gpu.idle.0.extend(&change.create);
        }
        let second = planned(&after, &classes);
        prop_assert!(second.report.weight >= first.report.weight);
        if second.report.weight == first.report.weight {
            prop_assert!(second.changes.is_empty());
        }
    }
}

/// How far the greedy search is from the best for two GPUs, over a fixed set of random clusters.
#[test]
fn two_gpus_are_nearly_always_optimal() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let board = testing::a30_24gb();
    let (mut optimal, cases) = (0, 200);
    for _ in 0..cases {
        let gpus = clusters(vec![board.clone()], 2);
        let (gpus, classes) = (gpus, demands(std::slice::from_ref(&board), 3))
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let plan = planned(&gpus, &classes);
        optimal += usize::from((plan.report.weight, operations(&plan)) == best(&gpus, &classes));
    }
    assert!(optimal * 100 >= cases * 98, "{optimal} of {cases}");
}
