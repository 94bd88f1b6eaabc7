//! How many requests a supply of slices can serve: a maximum flow, first come first served, where those that came earlier move to
//! other slices if that lets a later one in, but never go without.

use std::collections::BTreeMap;

/// Slices by name of their profile.
pub(super) type Supply<'a> = BTreeMap<&'a str, u32>;

/// Requests that accept the same: how many, and which profiles.
pub(super) type Request<'a> = (u32, &'a [String]);

/// How many requests of each entry are served.
pub(super) fn lend(requests: &[Request<'_>], supply: &Supply<'_>) -> Vec<u32> {
    let mut lending = Lending {
        requests,
        left: supply.clone(),
        lent: vec![BTreeMap::new(); requests.len()],
    };
    for (borrower, &(count, _)) in requests.iter().enumerate() {
        let mut wanted = count;
        while wanted > 0 {
            let got = lending.serve(borrower, wanted);
            if got == 0 {
                break;
            }
            wanted -= got;
        }
    }
    let lent = lending.lent.iter();
    lent.map(|slices| slices.values().sum()).collect()
}

struct Lending<'a> {
    requests: &'a [Request<'a>],
    left: Supply<'a>,
    /// By request the slices it has.
    lent: Vec<BTreeMap<&'a str, u32>>,
}

impl<'a> Lending<'a> {
    /// Gives up to `wanted` slices to a request; returns how many. 0 means that it can have no more.
    fn serve(&mut self, borrower: usize, wanted: u32) -> u32 {
        // For each request on the way: who asked it for a slice, and of which profile.
        let mut asked: BTreeMap<usize, Option<(usize, &'a str)>> =
            BTreeMap::from([(borrower, None)]);
        let mut queue = vec![borrower];
        let mut next = 0;
        while let Some(&asking) = queue.get(next) {
            next += 1;
            let accepts = self.requests.get(asking).map_or(&[][..], |r| r.1);
            for profile in accepts {
                let left = self.left.get(profile.as_str()).copied().unwrap_or(0);
                if left > 0 {
                    return self.hand_on(&asked, asking, profile, wanted.min(left));
                }
                for (holder, slices) in self.lent.iter().enumerate() {
                    let holds = slices.get(profile.as_str()).is_some_and(|held| *held > 0);
                    if holds && !asked.contains_key(&holder) {
                        asked.insert(holder, Some((asking, profile)));
                        queue.push(holder);
                    }
                }
            }
        }
        0
    }

    /// `last` takes slices of `profile` from the supply and hands on what it was asked for, and so on to the first.
    fn hand_on(
        &mut self,
        asked: &BTreeMap<usize, Option<(usize, &'a str)>>,
        last: usize,
        profile: &'a str,
        most: u32,
    ) -> u32 {
        let mut amount = most;
        let mut holder = last;
        while let Some(Some((asking, wanted))) = asked.get(&holder) {
            let held = self.lent.get(holder).and_then(|held| held.get(wanted));
            amount = amount.min(held.copied().unwrap_or(0));
            holder = *asking;
        }
        if let Some(left) = self.left.get_mut(profile) {
            *left -= amount;
        }
        let (mut holder, mut gets) = (last, profile);
        loop {
            let owed = asked.get(&holder).copied().flatten();
            if let Some(slices) = self.lent.get_mut(holder) {
                *slices.entry(gets).or_insert(0) += amount;
                if let Some((_, wanted)) = owed
                    && let Some(held) = slices.get_mut(wanted)
                {
                    *held -= amount;
                }
            }
            match owed {
                Some((asking, wanted)) => (holder, gets) = (asking, wanted),
                None => return amount,
            }
        }
    }
}
