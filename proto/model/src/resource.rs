//! Names under which devices are resources of Kubernetes. They are those of NVIDIA's device plugin, so that pods need not change.

/// Resource name of whole GPUs, those outside MIG mode.
pub const WHOLE_GPU: &str = "nvidia.com/gpu";

/// What resource names of slices begin with; the profile follows.
pub const SLICE_PREFIX: &str = "nvidia.com/mig-";

/// The resource name of slices of a profile: `nvidia.com/mig-1g.5gb.me` for `1g.5gb+me`, since names of resources have no plus.
#[must_use]
pub fn resource_name(profile: &str) -> String {
    format!("{SLICE_PREFIX}{}", profile.replace('+', "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_nvidias_plugin() {
        for (profile, name) in [
            ("3g.20gb", "nvidia.com/mig-3g.20gb"),
            ("1g.5gb+me", "nvidia.com/mig-1g.5gb.me"),
            ("2g.48gb+me.all", "nvidia.com/mig-2g.48gb.me.all"),
            ("1g.24gb-me", "nvidia.com/mig-1g.24gb-me"),
        ] {
            assert_eq!(resource_name(profile), name);
        }
    }
}
