//! Numbers with a fraction in custom resources.
//!
//! The Kubernetes API conventions forbid floats: encoders disagree about them and server-side apply compares
//! text. A [`Decimal`] is an `f64` that travels as the shortest string that reads back to the same number.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A finite number that is written as a string in JSON, e.g. `"812.43"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Decimal(pub f64);

impl Decimal {
    /// Rounds to three decimal places, which is more than any measurement here can carry.
    pub fn rounded(value: f64) -> Self {
        Self((value * 1e3).round() / 1e3)
    }
}

impl From<f64> for Decimal {
    fn from(value: f64) -> Self {
        Self(value)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Number(f64),
        }
        let value = match Written::deserialize(deserializer)? {
            Written::Text(text) => {
                text.parse().map_err(|_| de::Error::custom(format!("{text:?} is not a decimal number")))?
            }
            Written::Number(number) => number,
        };
        if f64::is_finite(value) { Ok(Self(value)) } else { Err(de::Error::custom("a decimal number must be finite")) }
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": r"^-?\d+(\.\d+)?([eE][+-]?\d+)?$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_reads_back_what_it_wrote() {
        for value in [0.0, -1.5, 812.43, 1e-9, 1.0 / 3.0, 1e21] {
            let text = serde_json::to_string(&Decimal(value)).unwrap();
            assert!(text.starts_with('"'), "{text}");
            assert_eq!(serde_json::from_str::<Decimal>(&text).unwrap(), Decimal(value));
        }
        assert!(serde_json::from_str::<Decimal>("\"NaN\"").is_err());
    }
}
