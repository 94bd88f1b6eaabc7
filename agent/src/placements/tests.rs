use std::sync::LazyLock;

use mica_model::{ComputeInstance, Use, testing};
use proptest::{
    prelude::*,
    sample::{Index, select},
};
use rstest::rstest;

use super::*;

/// A board with every legal layout of it and its counts, found by trying each slice in turn: no masks and no order.
struct Known {
    board: Board,
    layouts: Vec<(Counts, Layout)>,
}

static BOARDS: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let boards = [
        testing::a100_40gb(),
        testing::h100_sxm5_80gb(),
        testing::a30_24gb(),
        testing::rtx_pro_6000(),
    ];
    let known = |board: Board| {
        let mut layouts = vec![Layout::default()];
        for slice in board.slices() {
            let with = |layout: &Layout| {
                let mut more = layout.clone();
                more.0.insert(slice);
                board.check(&more).is_ok().then_some(more)
            };
            let more: Vec<_> = layouts.iter().filter_map(with).collect();
            layouts.extend(more);
        }
        let layouts = layouts.into_iter();
        let layouts = layouts.map(|layout| (counts(&board, &layout), layout));
        Known {
            layouts: layouts.collect(),
            board,
        }
    };
    boards.into_iter().map(known).collect()
});

fn counts(board: &Board, layout: &Layout) -> Counts {
    let mut counts = Counts::new();
    for slice in &layout.0 {
        *counts.entry(board.profile_name(slice.profile)).or_default() += 1;
    }
    counts
}

fn instances(layout: &Layout, used: &[bool]) -> Vec<Instance> {
    (1..)
        .zip(&layout.0)
        .zip(used)
        .map(|((gi, &slice), &used)| Instance {
            gi,
            slice,
            compute: Some(ComputeInstance {
                id: 0,
                uuid: format!("MIG-{gi}"),
            }),
            in_use: if used {
                Use::by_processes([gi])
            } else {
                Use::default()
            },
            memory_used_bytes: 0,
            memory_total_bytes: 0,
            fault: None,
        })
        .collect()
}

fn is_idle(instance: &Instance) -> bool {
    instance.in_use.is_idle()
}

/// How many instances in use stay, how many idle ones, and how many further slices could be made.
fn score(board: &Board, standing: &[Instance], layout: &Layout) -> (usize, usize, usize) {
    let stays = |idle: bool| {
        let stays = standing
            .iter()
            .filter(|known| known.in_use.is_idle() == idle && layout.0.contains(&known.slice));
        stays.count()
    };
    let free = board.slices().into_iter().filter(|slice| {
        let apart = |other: &Slice| other.placement.mask().is_disjoint(slice.placement.mask());
        layout.0.iter().all(apart)
    });
    (stays(false), stays(true), free.count())
}

fn assert_best(known: &Known, wanted: &Counts, standing: &[Instance]) {
    let board = &known.board;
    let legal: Vec<_> = known
        .layouts
        .iter()
        .filter(|(counts, _)| counts == wanted)
        .map(|(_, layout)| layout)
        .collect();
    let best = legal
        .iter()
        .map(|layout| score(board, standing, layout))
        .max();
    match place(board, wanted, standing, is_idle) {
        Ok(found) => {
            assert_eq!(board.check(&found), Ok(()));
            assert_eq!(counts(board, &found), *wanted);
            assert_eq!(Some(score(board, standing, &found)), best);
        }
        Err(impossible) => assert_eq!(legal, Vec::<&Layout>::new(), "{impossible}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Counts that can be had, from anything that may stand.
    #[test]
    fn no_layout_keeps_more(
        known in select((0..4).collect::<Vec<usize>>()),
        wanted: Index,
        standing: Index,
        used in prop::collection::vec(prop::bool::weighted(0.3), 8),
    ) {
        let known = &BOARDS[known];
        let (wanted, _) = wanted.get(&known.layouts);
        let (_, standing) = standing.get(&known.layouts);
        assert_best(known, wanted, &instances(standing, &used));
    }

    /// Counts of any kind: they are refused just when no layout has them.
    #[test]
    fn what_cannot_be_had_is_refused_and_nothing_else(
        known in select((0..4).collect::<Vec<usize>>()),
        picks in prop::collection::vec((any::<Index>(), 1..4u32), 1..4),
    ) {
        let known = &BOARDS[known];
        let names = picks.iter().map(|(profile, count)| {
            (profile.get(&known.board.profiles).name.clone(), *count)
        });
        assert_best(known, &names.collect(), &[]);
    }
}

#[test]
fn the_boards_have_as_many_layouts_as_is_known() {
    let found = BOARDS.iter().map(|known| known.layouts.len());
    assert_eq!(found.collect::<Vec<_>>(), [2319, 2319, 76, 717]);
}

#[rstest]
#[case::what_stands_stays(
    "1g.5gb@3 3g.20gb@4",
    "1g.5gb 1g.5gb 3g.20gb",
    "1g.5gb@2 1g.5gb@3 3g.20gb@4"
)]
#[case::room_is_left("", "3g.20gb", "3g.20gb@4")]
#[case::nothing("7g.40gb@0", "", "")]
fn places_are_chosen(#[case] standing: &str, #[case] wanted: &str, #[case] expected: &str) {
    let board = testing::a100_40gb();
    let standing = instances(&testing::layout(&board, standing).unwrap(), &[false; 8]);
    let mut counts = Counts::new();
    for name in wanted.split_whitespace() {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    let found = place(&board, &counts, &standing, is_idle).unwrap();
    assert_eq!(found, testing::layout(&board, expected).unwrap());
}

#[rstest]
#[case::unknown(&[("2g.12gb", 1)], "NVIDIA A100-SXM4-40GB has no profile 2g.12gb; it has 7g.40gb, 4g.20gb, 3g.20gb, 2g.10gb, 1g.10gb, 1g.5gb, 1g.5gb+me")]
#[case::as_kubernetes_writes_it(&[("1g.5gb.me", 1)], "no profile 1g.5gb.me (write 1g.5gb+me)")]
#[case::too_many(&[("3g.20gb", 3)], "3 of 3g.20gb are too many: NVIDIA A100-SXM4-40GB takes at most 2")]
#[case::no_slots(&[("3g.20gb", 2), ("1g.5gb", 1)], "1 × 1g.5gb, 2 × 3g.20gb do not fit on NVIDIA A100-SXM4-40GB together: there are too few memory slots")]
#[case::no_engines(&[("1g.5gb+me", 1), ("7g.40gb", 1)], "too few media engines")]
fn what_cannot_be_had_is_explained(#[case] wanted: &[(&str, u32)], #[case] words: &str) {
    let wanted = wanted.iter().map(|&(name, count)| (name.to_owned(), count));
    let problem = place(&testing::a100_40gb(), &wanted.collect(), &[], is_idle).unwrap_err();
    assert!(problem.to_string().contains(words), "{problem}");
}
