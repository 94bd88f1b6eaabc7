//! Boards for tests, as their drivers report them (NVIDIA MIG User Guide, `nvidia-smi mig -lgip` and `-lgipp` listings).
//!
//! The product never uses these tables: it reads boards from the driver.

use crate::{Board, Engines, Layout, Placement, Profile, ProfileId, Slice};

/// NVIDIA A100-SXM4-40GB.
#[must_use]
pub fn a100_40gb() -> Board {
    board(
        "NVIDIA A100-SXM4-40GB",
        "19 1g.5gb    1 7  4864 14 1,0,0,0,0 1 0,1,2,3,4,5,6
         20 1g.5gb+me 1 1  4864 14 1,1,0,1,1 1 0,1,2,3,4,5,6
         15 1g.10gb   1 4  9856 14 1,1,0,0,0 2 0,2,4,6
         14 2g.10gb   2 3  9856 28 2,1,0,0,0 2 0,2,4
          9 3g.20gb   3 2 19968 42 3,2,0,0,0 4 0,4
          5 4g.20gb   4 1 19968 56 4,2,0,0,0 4 0
          0 7g.40gb   7 1 40192 98 7,5,0,1,1 8 0",
    )
}

/// NVIDIA H100 80GB HBM3 (SXM5).
#[must_use]
pub fn h100_sxm5_80gb() -> Board {
    board(
        "NVIDIA H100 80GB HBM3",
        "19 1g.10gb    1 7  9984  16 1,1,0,1,0 1 0,1,2,3,4,5,6
         20 1g.10gb+me 1 1  9984  16 1,1,0,1,1 1 0,1,2,3,4,5,6
         15 1g.20gb    1 4 20096  26 1,1,0,1,0 2 0,2,4,6
         14 2g.20gb    2 3 20096  32 2,2,0,2,0 2 0,2,4
          9 3g.40gb    3 2 40448  60 3,3,0,3,0 4 0,4
          5 4g.40gb    4 1 40448  64 4,4,0,4,0 4 0
          0 7g.80gb    7 1 81152 132 8,7,0,7,1 8 0",
    )
}

/// NVIDIA A30.
#[must_use]
pub fn a30_24gb() -> Board {
    board(
        "NVIDIA A30",
        "14 1g.6gb     1 4  5952 14 1,1,0,0,0 1 0,1,2,3
         21 1g.6gb+me  1 1  5952 14 1,1,0,1,1 1 0,1,2,3
          5 2g.12gb    2 2 11968 28 2,2,0,0,0 2 0,2
          6 2g.12gb+me 2 1 11968 28 2,2,0,1,1 2 0,2
          0 4g.24gb    4 1 24000 56 4,4,0,1,1 4 0",
    )
}

/// NVIDIA RTX PRO 6000 Blackwell Server Edition, which counts in twelfths.
#[must_use]
pub fn rtx_pro_6000() -> Board {
    board(
        "NVIDIA RTX PRO 6000 Blackwell Server Edition",
        "14 1g.24gb        1 4 24192  46 1,1,1,1,0  3 0,3,6,9
         21 1g.24gb+me     1 1 24192  46 1,1,1,1,1  3 0,3,6,9
         47 1g.24gb+gfx    1 4 24192  46 1,1,1,1,0  3 0,3,6,9
         65 1g.24gb+me.all 1 1 24192  46 1,4,4,4,1  3 0,3,6,9
         67 1g.24gb-me     1 4 24192  46 1,0,0,0,0  3 0,3,6,9
          5 2g.48gb        2 2 48512  94 2,2,2,2,0  6 0,6
         35 2g.48gb+gfx    2 2 48512  94 2,2,2,2,0  6 0,6
         64 2g.48gb+me.all 2 1 48512  94 2,4,4,4,1  6 0,6
         66 2g.48gb-me     2 2 48512  94 2,0,0,0,0  6 0,6
          0 4g.96gb        4 1 97280 188 4,4,4,4,1 12 0
         32 4g.96gb+gfx    4 1 97280 188 4,4,4,4,1 12 0",
    )
}

/// The slice `name` at `start`; `None` when the board does not offer it there.
#[must_use]
pub fn slice(board: &Board, name: &str, start: u32) -> Option<Slice> {
    let profile = board.profile_named(name)?;
    let placement = profile.placements.iter().find(|at| at.start == start)?;
    Some(Slice {
        placement: *placement,
        profile: profile.id,
    })
}

/// A layout written as `1g.5gb@0 3g.20gb@4`; `None` when the board does not offer one of the slices. Need not be legal.
#[must_use]
pub fn layout(board: &Board, text: &str) -> Option<Layout> {
    text.split_whitespace()
        .map(|word| {
            let (name, start) = word.split_once('@')?;
            slice(board, name, start.parse().ok()?)
        })
        .collect()
}

/// A board from one row a profile.
fn board(product: &str, rows: &str) -> Board {
    let profiles = rows.lines().filter_map(profile).collect();
    Board::new(product.to_owned(), profiles)
}

/// Row: id, name, compute slices, how many, MiB, multiprocessors, engines (copy, decoders, encoders, JPEG, OFA), slots, starts.
fn profile(row: &str) -> Option<Profile> {
    let mut words = row.split_whitespace();
    let id = words.next()?.parse().ok()?;
    let name = words.next()?.to_owned();
    let mut number = || words.next()?.parse().ok();
    let (slices, max_instances) = (number()?, number()?);
    let (memory_mib, multiprocessors) = (number()?, number()?);
    let [copy, decoders, encoders, jpeg, ofa] = numbers(words.next()?)?.try_into().ok()?;
    let size = words.next()?.parse().ok()?;
    let starts = numbers(words.next()?)?;
    Some(Profile {
        id: ProfileId(id),
        name,
        slices,
        max_instances,
        memory_mib: u64::from(memory_mib),
        multiprocessors,
        engines: Engines {
            copy,
            decoders,
            encoders,
            jpeg,
            ofa,
        },
        placements: starts
            .into_iter()
            .map(|start| Placement { start, size })
            .collect(),
    })
}

fn numbers(text: &str) -> Option<Vec<u32>> {
    text.split(',').map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Every legal layout, by growing legal ones.
    fn legal(board: &Board) -> BTreeSet<Layout> {
        let mut legal = BTreeSet::new();
        let mut open = vec![Layout::default()];
        while let Some(layout) = open.pop() {
            for slice in board.slices() {
                let mut larger = layout.clone();
                let first = layout.0.last().is_none_or(|last| *last < slice);
                if first && larger.0.insert(slice) && board.check(&larger).is_ok() {
                    open.push(larger);
                }
            }
            legal.insert(layout);
        }
        legal
    }

    type Multiset = BTreeMap<ProfileId, usize>;

    fn multiset(layout: &Layout) -> Multiset {
        let mut counts = Multiset::new();
        for slice in &layout.0 {
            *counts.entry(slice.profile).or_default() += 1;
        }
        counts
    }

    fn contains(larger: &Multiset, smaller: &Multiset) -> bool {
        smaller
            .iter()
            .all(|(profile, count)| larger.get(profile).is_some_and(|most| most >= count))
    }

    /// Legal layouts, those to which nothing can be added, distinct multisets of profiles, maximal ones of those.
    fn counts(board: &Board) -> [usize; 4] {
        let legal = legal(board);
        let grows = |layout: &Layout| {
            board.slices().into_iter().any(|slice| {
                let mut larger = layout.clone();
                larger.0.insert(slice) && legal.contains(&larger)
            })
        };
        let multisets: BTreeSet<Multiset> = legal.iter().map(multiset).collect();
        let maximal = multisets.iter().filter(|one| {
            !multisets
                .iter()
                .any(|other| other != *one && contains(other, one))
        });
        [
            legal.len(),
            legal.iter().filter(|layout| !grows(layout)).count(),
            multisets.len(),
            maximal.count(),
        ]
    }

    fn only(mut board: Board, names: &[&str]) -> Board {
        board
            .profiles
            .retain(|profile| names.contains(&profile.name.as_str()));
        board
    }

    /// The published numbers of layouts: 19 ways to fill an A100, 5 to fill an A30, and so on.
    #[test]
    fn layouts_are_as_many_as_published() {
        let a100 = ["1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"];
        assert_eq!(counts(&only(a100_40gb(), &a100)), [298, 19, 38, 12]);
        assert_eq!(counts(&a100_40gb()), [2319, 239, 128, 44]);
        assert_eq!(counts(&h100_sxm5_80gb()), [2319, 239, 128, 44]);
        let a30 = ["1g.6gb", "2g.12gb", "4g.24gb"];
        assert_eq!(counts(&only(a30_24gb(), &a30)), [26, 5, 10, 4]);
        assert_eq!(counts(&a30_24gb()), [76, 17, 20, 8]);
        let rtx = ["1g.24gb", "2g.48gb", "4g.96gb"];
        assert_eq!(counts(&only(rtx_pro_6000(), &rtx)), [26, 5, 10, 4]);
        let mut compute = rtx_pro_6000();
        compute
            .profiles
            .retain(|profile| !profile.name.ends_with("+gfx"));
        assert_eq!(counts(&compute), [304, 97, 57, 27]);
        assert_eq!(legal(&rtx_pro_6000()).len(), 717);
    }

    #[test]
    fn tables_are_read_whole() {
        let count = |board: Board| (board.slots, board.profiles.len());
        assert_eq!(count(a100_40gb()), (8, 7));
        assert_eq!(count(h100_sxm5_80gb()), (8, 7));
        assert_eq!(count(a30_24gb()), (4, 5));
        assert_eq!(count(rtx_pro_6000()), (12, 11));
    }

    #[test]
    fn layouts_are_read_from_text() {
        let board = a100_40gb();
        let both = layout(&board, "3g.20gb@4 1g.5gb@0").unwrap();
        let starts: Vec<u32> = both.0.iter().map(|slice| slice.placement.start).collect();
        assert_eq!(starts, [0, 4]);
        assert_eq!(layout(&board, "3g.20gb@2"), None, "no such place");
        assert_eq!(layout(&board, "3g.40gb@4"), None, "no such profile");
    }
}
