//! Every layout that the driver lets a client build, counted against the published numbers; and where it puts instances by
//! itself.

use std::collections::BTreeSet;

use nvml_sim::NodeOptions;
use rstest::rstest;

use crate::client::{Client, Gpu, rig, rig_with};

/// Layouts, maximal layouts, multisets of profiles, maximal multisets.
type Counts = (usize, usize, usize, usize);

struct Walk<'rig> {
    client: &'rig Client,
    gpu: Gpu,
    /// Profile id, start and size.
    options: Vec<(u32, u32, u32)>,
    ids: Vec<u32>,
    layouts: usize,
    maximal: usize,
    multisets: BTreeSet<Vec<u32>>,
}

impl Walk<'_> {
    /// Counts the layout that stands, and all that can be made of it by adding options from `from` on.
    fn walk(&mut self, from: usize, layout: &mut Vec<u32>) {
        let free: u32 = self
            .ids
            .iter()
            .map(|&id| self.client.remaining(self.gpu, id).unwrap())
            .sum();
        let mut multiset = layout.clone();
        multiset.sort_unstable();
        self.layouts += 1;
        self.multisets.insert(multiset);
        self.maximal += usize::from(free == 0);
        for (index, (id, start, size)) in self.options.clone().into_iter().enumerate().skip(from) {
            match self.client.create_at(self.gpu, id, start, size) {
                Ok(instance) => {
                    assert!(
                        free > 0,
                        "created {id} at {start} though the driver said that nothing more fits"
                    );
                    layout.push(id);
                    self.walk(index + 1, layout);
                    layout.pop();
                    self.client.destroy(instance).unwrap();
                }
                Err(code) => assert_eq!(code, 23, "profile {id} at {start}:{size}"),
            }
        }
    }

    /// A multiset is maximal when none that was found contains it and one more.
    fn counts(&self) -> Counts {
        let grows = |multiset: &Vec<u32>| {
            self.ids.iter().any(|&id| {
                let mut more = multiset.clone();
                more.push(id);
                more.sort_unstable();
                self.multisets.contains(&more)
            })
        };
        let maximal = self
            .multisets
            .iter()
            .filter(|multiset| !grows(multiset))
            .count();
        (self.layouts, self.maximal, self.multisets.len(), maximal)
    }
}

fn count(board: &str, keep: impl Fn(&str, u32) -> bool) -> Counts {
    let rig = rig(&[board]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let version = 0x0200_0098;
    let offered: Vec<_> = (0..0x12)
        .filter_map(|query| client.profile_v2(gpu, query, version).ok())
        .collect();
    let ids: Vec<_> = offered
        .into_iter()
        .filter(|(id, name)| keep(name, *id))
        .map(|(id, _)| id)
        .collect();
    let place = |&id: &u32| {
        client
            .placements(gpu, id)
            .unwrap()
            .into_iter()
            .map(move |(start, size)| (id, start, size))
    };
    let options = ids.iter().flat_map(place).collect();
    let mut walk = Walk {
        client,
        gpu,
        options,
        ids: ids.clone(),
        layouts: 0,
        maximal: 0,
        multisets: BTreeSet::new(),
    };
    walk.walk(0, &mut Vec::new());
    walk.counts()
}

fn basic(name: &str, id: u32) -> bool {
    !name.contains('+') && !name.contains("-me") && id != 15
}

fn double_memory(name: &str, _: u32) -> bool {
    !name.contains('+')
}

fn all(_: &str, _: u32) -> bool {
    true
}

fn no_graphics(name: &str, _: u32) -> bool {
    !name.contains("+gfx")
}

/// Every board with 8 slots that is fully sourced.
#[rstest]
fn layouts_of_eight_slots(
    #[values(
        "a100-40gb",
        "a100-80gb",
        "h100-sxm5-80gb",
        "h100-nvl-94gb",
        "h200-141gb"
    )]
    board: &str,
) {
    assert_eq!(count(board, basic), (298, 19, 38, 12));
    assert_eq!(count(board, double_memory), (723, 78, 78, 28));
    assert_eq!(count(board, all), (2319, 239, 128, 44));
}

#[rstest]
#[case("a30-24gb", basic, (26, 5, 10, 4))]
#[case("a30-24gb", all, (76, 17, 20, 8))]
#[case("rtx-pro-6000-blackwell-96gb", basic, (26, 5, 10, 4))]
#[case("rtx-pro-6000-blackwell-96gb", no_graphics, (304, 97, 57, 27))]
fn layouts_as_published(
    #[case] board: &str,
    #[case] keep: fn(&str, u32) -> bool,
    #[case] want: Counts,
) {
    assert_eq!(count(board, keep), want);
}

#[test]
fn graphics_profiles_count_too() {
    assert_eq!(count("rtx-pro-6000-blackwell-96gb", all).0, 717);
}

/// Public listings: profile ids in order of creation, and the GPU instance ids with placements that came of them.
#[rstest]
#[case("a100-40gb", false, &[19, 14, 5], &[(13, 6, 1), (5, 4, 2), (1, 0, 4)])]
#[case("a100-40gb", false, &[19, 19, 14], &[(13, 6, 1), (11, 4, 1), (3, 0, 2)])]
#[case("a100-40gb", false, &[9, 19, 14, 19], &[(2, 4, 4), (7, 0, 1), (4, 2, 2), (8, 1, 1)])]
#[case("a100-40gb", true, &[9, 19, 14, 19], &[(1, 4, 4), (11, 0, 1), (6, 2, 2), (12, 1, 1)])]
#[case("a100-40gb", false, &[14, 19, 19, 19, 19, 19], &[(5, 4, 2), (13, 6, 1), (7, 0, 1), (8, 1, 1), (9, 2, 1), (10, 3, 1)])]
#[case("h100-sxm5-80gb", false, &[15], &[(6, 6, 2)])]
// The one public listing that the model does not reproduce: an early guide has 2 at 0:4, then 1 at 4:4.
#[case("a100-40gb", false, &[9, 9], &[(2, 4, 4), (1, 0, 4)])]
#[case("h100-sxm5-80gb", false, &[19, 19], &[(13, 6, 1), (11, 4, 1)])]
fn chosen_placements_as_listed(
    #[case] board: &str,
    #[case] swapped_halves: bool,
    #[case] profiles: &[u32],
    #[case] want: &[(u32, u32, u32)],
) {
    let rig = rig_with(
        &[board],
        true,
        &NodeOptions {
            swapped_halves,
            ..NodeOptions::default()
        },
    );
    let gpu = rig.client.gpu(0).unwrap();
    let made: Vec<_> = profiles
        .iter()
        .map(|&id| {
            rig.client
                .info(rig.client.create(gpu, id).unwrap())
                .unwrap()
        })
        .collect();
    assert_eq!(made, want);
}

/// Which id stands where does not follow from the id: the two maps.
#[rstest]
#[case(false, &[(19, [7, 8, 9, 10, 11, 12, 13].as_slice()), (15, &[3, 4, 5, 6]), (9, &[1, 2]), (0, &[0])])]
#[case(true, &[(19, [11, 12, 13, 14, 7, 8, 9].as_slice()), (15, &[5, 6, 3, 4]), (9, &[2, 1]), (0, &[0])])]
fn ids_of_placements(#[case] swapped_halves: bool, #[case] want: &[(u32, &[u32])]) {
    let options = NodeOptions {
        swapped_halves,
        ..NodeOptions::default()
    };
    let rig = rig_with(&["a100-40gb"], true, &options);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    for &(profile, ids) in want {
        let id_at = |(start, size)| {
            let instance = client.create_at(gpu, profile, start, size).unwrap();
            let (id, ..) = client.info(instance).unwrap();
            client.destroy(instance).unwrap();
            id
        };
        let places = client.placements(gpu, profile).unwrap();
        let seen: Vec<_> = places.into_iter().map(id_at).collect();
        assert_eq!(seen, ids, "profile {profile}");
    }
}

#[test]
fn chosen_placements_fragment() {
    let rig = rig(&["a100-40gb"]);
    let gpu = rig.client.gpu(0).unwrap();
    for id in [19, 19, 14] {
        rig.client.create(gpu, id).unwrap();
    }
    assert_eq!(
        rig.client.create(gpu, 9),
        Err(23),
        "4 slots are free, no half is"
    );
}
