//! The registered claims, in all the forms that RFC 7519 allows.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::token::Refusal;

pub(super) const ISSUER: &str = "iss";
pub(super) const SUBJECT: &str = "sub";
pub(super) const AUDIENCE: &str = "aud";
pub(super) const EXPIRES: &str = "exp";
pub(super) const NOT_BEFORE: &str = "nbf";
pub(super) const ISSUED: &str = "iat";
pub(super) const TOKEN_ID: &str = "jti";

/// A moment of a claim, which may have a fraction, between two whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumericDate {
    pub(super) floor: DateTime<Utc>,
    pub(super) ceil: DateTime<Utc>,
}

/// A time claim: absent, or a number of seconds that the calendar can hold.
pub(super) fn time(
    claims: &Map<String, Value>,
    name: &str,
) -> Result<Option<NumericDate>, Refusal> {
    claims
        .get(name)
        .map(|value| numeric_date(value).ok_or(Refusal::Time))
        .transpose()
}

/// The values of a claim that is a text or a list of texts.
pub(super) fn texts<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<Vec<&'a str>> {
    match claims.get(name)? {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn numeric_date(value: &Value) -> Option<NumericDate> {
    if let Some(seconds) = value.as_i64() {
        let moment = DateTime::from_timestamp(seconds, 0)?;
        return Some(NumericDate {
            floor: moment,
            ceil: moment,
        });
    }
    if value.is_u64() {
        return None;
    }
    let seconds = value.as_f64()?;
    Some(NumericDate {
        floor: whole(seconds.floor())?,
        ceil: whole(seconds.ceil())?,
    })
}

fn whole(seconds: f64) -> Option<DateTime<Utc>> {
    /// Every whole number up to here is exact, and the calendar ends long before.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !(-EXACT..=EXACT).contains(&seconds) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the number is whole and in range"
    )]
    DateTime::from_timestamp(seconds as i64, 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seconds(value: &Value) -> Option<(i64, i64)> {
        numeric_date(value).map(|date| (date.floor.timestamp(), date.ceil.timestamp()))
    }

    #[test]
    fn times_may_have_fractions_and_must_be_in_range() {
        assert_eq!(seconds(&json!(7)), Some((7, 7)));
        assert_eq!(seconds(&json!(-7)), Some((-7, -7)));
        assert_eq!(seconds(&json!(7.25)), Some((7, 8)));
        assert_eq!(seconds(&json!(1e9)), Some((1_000_000_000, 1_000_000_000)));
        for bad in [
            json!(u64::MAX),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(1e300),
            json!(-1e300),
            json!(1e14),
            json!("7"),
            json!(null),
            json!([7]),
        ] {
            assert_eq!(seconds(&bad), None, "{bad}");
        }
    }
}
