//! Quantities as Kubernetes writes them: `100m`, `1Gi`, `2e3`.

/// Thousandths of the unit, rounded up as Kubernetes rounds; `None` when it is no quantity or too large for any machine.
pub(crate) fn milli(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let places = u32::try_from(fraction.len()).ok()?;
    let (factor, divisor) = scale(suffix)?;
    let numerator = digits.checked_mul(factor)?.checked_mul(1000)?;
    let divisor = divisor.checked_mul(10_u128.checked_pow(places)?)?;
    u64::try_from(numerator.div_ceil(divisor)).ok()
}

/// Whole units, rounded up.
pub(crate) fn whole(text: &str) -> Option<u64> {
    milli(text).map(|milli| milli.div_ceil(1000))
}

/// What the suffix multiplies by and divides by.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let exponent = exponent.strip_prefix(['e', 'E'])?;
            let exponent: i32 = exponent.parse().ok()?;
            let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", 0)]
    #[case("1", 1000)]
    #[case("100m", 100)]
    #[case("0.1", 100)]
    #[case("1.5", 1500)]
    #[case(".5", 500)]
    #[case("1u", 1)]
    #[case("1001u", 2)]
    #[case("2k", 2_000_000)]
    #[case("1Ki", 1_024_000)]
    #[case("1.5Gi", 1_610_612_736_000)]
    #[case("2e3", 2_000_000)]
    #[case("2E3", 2_000_000)]
    #[case("2000e-3", 2000)]
    fn counts_as_kubernetes_does(#[case] text: &str, #[case] expected: u64) {
        assert_eq!(milli(text), Some(expected));
    }

    #[rstest]
    #[case("")]
    #[case("m")]
    #[case("-1")]
    #[case("1 Gi")]
    #[case("1Xi")]
    #[case("1e99")]
    #[case("1.2.3")]
    #[case("1E")]
    fn refuses_what_is_no_quantity(#[case] text: &str) {
        assert_eq!(milli(text), None);
    }

    #[test]
    fn whole_units_round_up() {
        assert_eq!(whole("1500m"), Some(2));
    }
}
