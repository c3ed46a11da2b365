//! Kubernetes quantities: `2Gi`, `1500m`, `1e3`.

/// Reads a quantity of bytes (`2Gi`, `500M`, `1073741824`), rounded down. `None` when it isn't one.
pub fn bytes(text: &str) -> Option<i64> {
    whole(value(text)?)
}

/// Reads a quantity of cores (`2`, `1500m`) as thousandths of a core, rounded down. `None` when it isn't one.
pub fn millicores(text: &str) -> Option<i64> {
    whole(value(text)? * 1000.0)
}

/// Writes bytes as a quantity, in the largest binary unit that divides them (`2Gi`, `1536Mi`).
pub fn from_bytes(bytes: i64) -> String {
    [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)]
        .into_iter()
        .find(|(_, shift)| bytes != 0 && bytes % (1i64 << shift) == 0)
        .map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

/// Writes thousandths of a core as a quantity (`2`, `1500m`).
pub fn from_millicores(millicores: i64) -> String {
    if millicores % 1000 == 0 { (millicores / 1000).to_string() } else { format!("{millicores}m") }
}

fn value(text: &str) -> Option<f64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E')).unwrap_or(text.len());
    // `1E` is an exabyte, `1E3` an exponent.
    let (number, unit) = match text.strip_suffix('E') {
        Some(number) => (number, "E"),
        None => text.split_at(unit_at),
    };
    let (number, unit) = match number.strip_suffix('E') {
        Some(number) if unit == "i" => (number, "Ei"),
        _ => (number, unit),
    };
    let factor = match unit {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 2f64.powi(10),
        "Mi" => 2f64.powi(20),
        "Gi" => 2f64.powi(30),
        "Ti" => 2f64.powi(40),
        "Pi" => 2f64.powi(50),
        "Ei" => 2f64.powi(60),
        _ => return None,
    };
    number.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0).map(|number| number * factor)
}

fn whole(value: f64) -> Option<i64> {
    (value < i64::MAX as f64).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_read_as_kubernetes_means_them() {
        assert_eq!(bytes("2Gi"), Some(2 << 30));
        assert_eq!(bytes("1.5Gi"), Some(3 << 29));
        assert_eq!(bytes("500M"), Some(500_000_000));
        assert_eq!(bytes("1073741824"), Some(1 << 30));
        assert_eq!(bytes("1e3"), Some(1000));
        assert_eq!(bytes("1E"), Some(1_000_000_000_000_000_000));
        assert_eq!(bytes("1Ei"), Some(1 << 60));
        assert_eq!(millicores("2"), Some(2000));
        assert_eq!(millicores("1500m"), Some(1500));
        for wrong in ["", "Gi", "2GB", "-1", "two", "inf", "NaN", "9e99"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(amount in 0i64..1 << 50) {
            prop_assert_eq!(bytes(&from_bytes(amount)), Some(amount));
            prop_assert_eq!(millicores(&from_millicores(amount % 1_000_000)), Some(amount % 1_000_000));
        }

        #[test]
        fn no_text_panics(text in ".{0,12}") {
            bytes(&text);
        }
    }
}
