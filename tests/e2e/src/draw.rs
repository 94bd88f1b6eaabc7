//! Draws the cluster: a line per GPU with its memory slots and slices, a line per queue beside the counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use nvml_sim::{GpuView, InstanceView};

/// Characters per memory slot of an eight-slot board.
const SLOT_WIDTH: usize = 5;

/// How to draw: colours need a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// ANSI colours: one per tenant, grey for idle slices.
    Colour,
    /// Plain text: the tenant's name says it.
    Plain,
}

/// Draws one GPU; `tenants` says which tenant (index and name) a process belongs to.
#[must_use]
pub fn gpu(view: &GpuView, tenants: &BTreeMap<u32, (usize, &str)>, style: Style) -> String {
    if !view.mig {
        return format!("{:width$}", "(MIG off)", width = 8 * SLOT_WIDTH);
    }
    let slots = usize::try_from(view.slots).unwrap_or(8);
    let mut line = String::new();
    let mut slot = 0;
    while slot < slots {
        let at = |instance: &&InstanceView| usize::try_from(instance.start) == Ok(slot);
        let Some(instance) = view.instances.iter().find(at) else {
            let _ = write!(line, "{:SLOT_WIDTH$}", "·");
            slot += 1;
            continue;
        };
        let size = usize::try_from(instance.size).unwrap_or(1).max(1);
        let owner = instance.processes.first().map(|process| {
            tenants
                .get(&process.pid)
                .copied()
                .unwrap_or((usize::MAX, "?"))
        });
        line.push_str(&slice(
            &instance.profile_name,
            owner,
            size * SLOT_WIDTH,
            style,
        ));
        slot += size;
    }
    line
}

/// A slice as a box of this width, e.g. `[3g.20gb acme       ]`.
fn slice(profile: &str, owner: Option<(usize, &str)>, width: usize, style: Style) -> String {
    let label = owner.map_or_else(
        || profile.to_owned(),
        |(_, name)| format!("{profile} {name}"),
    );
    let inner = width.saturating_sub(2);
    let label: String = label.chars().take(inner).collect();
    let text = format!("[{label:inner$}]");
    match (style, owner) {
        (Style::Plain, _) => text,
        (Style::Colour, None) => format!("\x1b[90m{text}\x1b[0m"),
        (Style::Colour, Some((tenant, _))) => {
            // 42, 44, 45, 46: backgrounds on which black text is read well.
            let colour = [42, 46, 45, 44].get(tenant % 4).copied().unwrap_or(42);
            format!("\x1b[30;{colour}m{text}\x1b[0m")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_as_wide_as_its_slots() {
        assert_eq!(slice("2g.10gb", None, 10, Style::Plain), "[2g.10gb ]");
        assert_eq!(
            slice("3g.20gb", Some((0, "acme")), 20, Style::Plain),
            "[3g.20gb acme      ]"
        );
        assert_eq!(
            slice("1g.5gb", Some((1, "globex")), 5, Style::Plain),
            "[1g.]"
        );
    }
}
