//! What makes a value of the configuration good. Pure functions; an error is a sentence that names the value and the remedy.

use std::time::Duration;

use jiff::SignedDuration;

/// Between two looks at a tenant's queues: faster would only load ClearML, slower would not be worth a coordinator.
pub(super) const POLL_INTERVAL: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);

/// Longest DNS label (RFC 1123).
const MAX_LABEL: usize = 63;

/// Shortest name that ClearML gives a queue.
const MIN_QUEUE_NAME: usize = 3;

/// Variants of a profile, as drivers write them behind its memory.
const VARIANTS: [&str; 5] = ["", "+me", "+me.all", "+gfx", "-me"];

/// The base URL of the API server, without a slash at its end.
pub(super) fn url(value: &str) -> Result<String, String> {
    let url = match reqwest::Url::parse(value) {
        Ok(url) => url,
        // A value with '@' may hold a password: it is not repeated.
        Err(error) if value.contains('@') => {
            return Err(format!("not a URL ({error}); {URL_REMEDY}"));
        }
        Err(error) => return Err(format!("{value:?} is not a URL ({error}); {URL_REMEDY}")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a URL with a user or password in it; leave them out, keys belong in the files under `credentials`"
                .to_owned(),
        );
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "{value:?} has the scheme {:?}; {URL_REMEDY}",
            url.scheme()
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "{value:?} has something behind its path; leave out what begins with '?' or '#'"
        ));
    }
    Ok(value.trim_end_matches('/').to_owned())
}

const URL_REMEDY: &str = "write it as http://HOST:PORT or https://HOST:PORT";

/// A time such as `5s` or `500ms`.
pub(super) fn poll_interval(value: &str) -> Result<Duration, String> {
    let interval = value
        .parse::<SignedDuration>()
        .map_err(|_| format!("{value:?} is not a time; write it as 5s or 500ms"))?;
    Duration::try_from(interval)
        .ok()
        .filter(|interval| POLL_INTERVAL.contains(interval))
        .ok_or_else(|| {
            format!("{value:?} is out of range; write a time between 100ms and 1h, e.g. 5s")
        })
}

/// A DNS label: it becomes a metric label and part of other names.
pub(super) fn tenant_name(value: &str) -> Result<String, String> {
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = !value.is_empty()
        && value.len() <= MAX_LABEL
        && value.chars().all(label)
        && !value.starts_with('-')
        && !value.ends_with('-');
    if good {
        return Ok(value.to_owned());
    }
    let near: String = value
        .to_ascii_lowercase()
        .chars()
        .map(|c| if label(c) { c } else { '-' })
        .take(MAX_LABEL)
        .collect();
    let near = match near.trim_matches('-') {
        "" => "acme",
        near => near,
    };
    Err(format!(
        "{value:?} is not a name: at most {MAX_LABEL} lower-case letters, digits and '-', beginning and ending with a letter or digit; e.g. {near:?}"
    ))
}

/// The name of a queue in ClearML.
pub(super) fn queue_name(value: &str) -> Result<String, String> {
    if value.trim() != value {
        return Err(format!(
            "{value:?} has space around it; write {:?}",
            value.trim()
        ));
    }
    if value.chars().count() < MIN_QUEUE_NAME {
        return Err(format!(
            "{value:?} is too short: ClearML's queue names have at least {MIN_QUEUE_NAME} characters; copy the name from ClearML"
        ));
    }
    Ok(value.to_owned())
}

/// A MIG profile by the driver's name, e.g. `3g.20gb` or `1g.5gb+me`. Whether a GPU offers it is known only once agents report.
pub(super) fn profile(value: &str) -> Result<String, String> {
    if is_profile(value) {
        return Ok(value.to_owned());
    }
    let rule = match repaired(value) {
        Some(near) => format!("write {near:?}"),
        None => "write SLICESg.MEMORYgb as `nvidia-smi mig -lgip` shows it, e.g. \"3g.20gb\" or \"1g.5gb+me\"".to_owned(),
    };
    Err(format!("{value:?} is not a MIG profile; {rule}"))
}

fn is_profile(value: &str) -> bool {
    let number = |text: &str| {
        (1..=4).contains(&text.len())
            && !text.starts_with('0')
            && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    value
        .split_once("g.")
        .and_then(|(slices, rest)| Some((slices, rest.split_once("gb")?)))
        .is_some_and(|(slices, (memory, variant))| {
            number(slices) && number(memory) && VARIANTS.contains(&variant)
        })
}

/// What was probably meant: a resource name (`nvidia.com/mig-1g.5gb.me`), a device name (`MIG 3g.20gb`), a compute instance
/// profile (`1c.3g.20gb`), or other capitals.
fn repaired(value: &str) -> Option<String> {
    let lower = value.trim().to_ascii_lowercase();
    let name = lower.strip_prefix("nvidia.com/").unwrap_or(&lower);
    let name = name
        .strip_prefix("mig-")
        .or_else(|| name.strip_prefix("mig "))
        .unwrap_or(name);
    let name = match name.split_once("c.") {
        Some((slices, rest)) if slices.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => name,
    };
    // Resource names have '.' where the driver has '+'.
    let name = name
        .replace("gb.me", "gb+me")
        .replace("gb.gfx", "gb+gfx")
        .replace(' ', "");
    is_profile(&name).then_some(name)
}
