//! The rules of `mica_model::Board`, fed with what the driver reports, against NVIDIA's rules as the simulated driver enforces them.

use std::collections::BTreeMap;

use mica_model::{Board, Gpu, Layout, ProfileId, Slice};
use mica_nvml::Code;

use crate::node::{BOARDS, Rig, assert_code, rig, with};

/// Every legal layout, the empty one included.
fn layouts(board: &Board) -> Vec<Layout> {
    fn grow(board: &Board, rest: &[Slice], layout: &Layout, found: &mut Vec<Layout>) {
        found.push(layout.clone());
        for (index, &slice) in rest.iter().enumerate() {
            let more = with(layout, slice);
            if board.check(&more).is_ok() {
                grow(board, &rest[index + 1..], &more, found);
            }
        }
    }
    let mut found = Vec::new();
    grow(board, &board.slices(), &Layout::default(), &mut found);
    found
}

fn multiset(layout: &Layout) -> Vec<ProfileId> {
    let mut ids: Vec<_> = layout.0.iter().map(|slice| slice.profile).collect();
    ids.sort();
    ids
}

/// Layouts, maximal layouts, multisets of profiles, maximal multisets.
fn counts(board: &Board) -> [usize; 4] {
    let layouts = layouts(board);
    let slices = board.slices();
    let maximal = layouts
        .iter()
        .filter(|layout| {
            slices.iter().all(|&slice| {
                layout.0.contains(&slice) || board.check(&with(layout, slice)).is_err()
            })
        })
        .count();
    let multisets: std::collections::BTreeSet<_> = layouts.iter().map(multiset).collect();
    let maximal_multisets = multisets
        .iter()
        .filter(|multiset| {
            board.profiles.iter().all(|profile| {
                let mut more = (*multiset).clone();
                more.push(profile.id);
                more.sort();
                !multisets.contains(&more)
            })
        })
        .count();
    [layouts.len(), maximal, multisets.len(), maximal_multisets]
}

/// The board with some of its profiles. What the whole GPU has stays.
fn only(board: &Board, profile: impl Fn(&str) -> bool) -> Board {
    let profiles = board
        .profiles
        .iter()
        .filter(|it| profile(&it.name))
        .cloned();
    Board {
        profiles: profiles.collect(),
        ..board.clone()
    }
}

/// "The 19 configurations of A100" and "the 5 of A30" of NVIDIA's guide are the maximal layouts of the basic profiles; the other numbers come
/// from an independent enumeration of the same tables.
#[test]
fn layout_counts_are_the_known_ones() {
    let mut rig = rig(&["a100-40gb", "a30-24gb", "rtx-pro-6000-blackwell-96gb"]);
    let boards: Vec<_> = rig
        .gpus()
        .into_iter()
        .map(|gpu| gpu.board.unwrap())
        .collect();
    let (a100, a30, rtx) = (&boards[0], &boards[1], &boards[2]);
    let basic = |name: &str| !name.contains(['+', '-']) && name != "1g.10gb";
    let plain = |name: &str| !name.contains('+');
    assert_eq!(counts(&only(a100, basic)), [298, 19, 38, 12]);
    assert_eq!(counts(&only(a100, plain)), [723, 78, 78, 28]);
    assert_eq!(counts(a100), [2_319, 239, 128, 44]);
    assert_eq!(counts(&only(a30, basic)), [26, 5, 10, 4]);
    assert_eq!(counts(a30), [76, 17, 20, 8]);
    assert_eq!(counts(&only(rtx, basic)), [26, 5, 10, 4]);
    assert_eq!(
        counts(&only(rtx, |name| !name.contains("gfx"))),
        [304, 97, 57, 27]
    );
}

/// One layout of each multiset of profiles.
fn witnesses(board: &Board) -> Vec<Layout> {
    let mut witnesses = BTreeMap::new();
    for layout in layouts(board) {
        witnesses.entry(multiset(&layout)).or_insert(layout);
    }
    witnesses.into_values().collect()
}

/// Makes the GPU instances of a layout, largest first. None may be refused.
fn build(rig: &mut Rig, gpu: &Gpu, layout: &Layout) -> Vec<u32> {
    let mut slices: Vec<_> = layout.0.iter().copied().collect();
    slices.sort_by_key(|slice| {
        (
            std::cmp::Reverse(slice.placement.size),
            slice.placement.start,
        )
    });
    slices
        .iter()
        .map(|&slice| {
            rig.driver
                .create_gpu_instance(&gpu.uuid, slice)
                .unwrap_or_else(|error| panic!("{slice:?} of {layout:?}: {error}"))
        })
        .collect()
}

#[test]
fn legal_layouts_can_be_made_and_their_illegal_neighbours_cannot() {
    let mut rig = rig(&BOARDS);
    for gpu in rig.gpus() {
        let board = gpu.board.clone().unwrap();
        let slices = board.slices();
        for layout in witnesses(&board) {
            let made = build(&mut rig, &gpu, &layout);
            for &slice in slices.iter().filter(|slice| !layout.0.contains(slice)) {
                let result = rig.driver.create_gpu_instance(&gpu.uuid, slice);
                if board.check(&with(&layout, slice)).is_ok() {
                    rig.driver
                        .destroy_gpu_instance(&gpu.uuid, result.unwrap())
                        .unwrap();
                } else {
                    assert_code(result, Code::INSUFFICIENT_RESOURCES);
                }
            }
            assert_eq!(rig.driver.gpu(&gpu.uuid).unwrap().layout(), layout);
            for gi in made {
                rig.driver.destroy_gpu_instance(&gpu.uuid, gi).unwrap();
            }
        }
    }
}

#[test]
fn places_that_the_driver_does_not_list_are_refused() {
    let mut rig = rig(&BOARDS);
    for gpu in rig.gpus() {
        let board = gpu.board.clone().unwrap();
        for profile in &board.profiles {
            for start in 0..=board.slots {
                let placement = mica_model::Placement {
                    start,
                    size: profile.size(),
                };
                if !profile.placements.contains(&placement) {
                    let slice = Slice {
                        placement,
                        profile: profile.id,
                    };
                    assert!(board.check(&Layout([slice].into())).is_err());
                    assert_code(
                        rig.driver.create_gpu_instance(&gpu.uuid, slice),
                        Code::INVALID_ARGUMENT,
                    );
                }
            }
        }
    }
}
