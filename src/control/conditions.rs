//! Conditions: a transition time changes when, and only when, the status flips.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::reason::Word;

/// What is true of a condition beside the headline, as a room decides it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing<R> {
    /// Its type.
    pub condition: String,
    /// Whether it holds.
    pub holds: bool,
    /// Why.
    pub reason: R,
    /// In a sentence.
    pub message: String,
}

/// A condition stands so.
pub fn stands<R>(condition: &str, holds: bool, reason: R, message: impl Into<String>) -> Standing<R> {
    Standing { condition: condition.into(), holds, reason, message: message.into() }
}

/// The conditions of a status: the headline, and what stands beside it. Where nothing was looked at, what was told of the
/// rest before stays.
pub fn headed<R: Word>(headline: Condition, standing: &[Standing<R>], before: &[Condition]) -> Vec<Condition> {
    let generation = headline.observed_generation;
    let rest: Vec<Condition> = match standing {
        [] => before.iter().filter(|condition| condition.type_ != headline.type_).cloned().collect(),
        standing => standing
            .iter()
            .map(|one| condition(&one.condition, one.holds, one.reason.word(), one.message.as_str(), generation))
            .collect(),
    };
    std::iter::once(headline).chain(rest).collect()
}

/// A condition whose transition time the loop fills in.
pub fn condition(
    kind: &str,
    status: bool,
    reason: &str,
    message: impl Into<String>,
    generation: Option<i64>,
) -> Condition {
    Condition {
        type_: kind.into(),
        status: if status { "True" } else { "False" }.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    }
}

/// Gives the new conditions their transition times: the old one's where the status is the same, else `now`.
pub fn merge(old: &[Condition], new: Vec<Condition>, now: Timestamp) -> Vec<Condition> {
    new.into_iter()
        .map(|mut condition| {
            let before = find(old, &condition.type_).filter(|before| before.status == condition.status);
            condition.last_transition_time = before.map_or(Time(now), |before| before.last_transition_time.clone());
            condition
        })
        .collect()
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn only_a_flip_moves_the_transition_time() {
        let first = merge(&[], vec![condition("Ready", false, "SecretMissing", "no", Some(1))], at(10));
        let same = merge(&first, vec![condition("Ready", false, "Unreachable", "no", Some(2))], at(20));
        assert_eq!(same[0].last_transition_time, Time(at(10)));
        assert_eq!((same[0].reason.as_str(), same[0].observed_generation), ("Unreachable", Some(2)));
        let flipped = merge(&same, vec![condition("Ready", true, "Ready", "yes", Some(2))], at(30));
        assert_eq!(flipped[0].last_transition_time, Time(at(30)));
    }

    proptest! {
        #[test]
        fn merging_again_changes_nothing(statuses in proptest::collection::vec(any::<bool>(), 0..4), later in 0i64..1000) {
            let new = || statuses.iter().enumerate()
                .map(|(i, status)| condition(&format!("C{i}"), *status, "R", "m", None)).collect::<Vec<_>>();
            let once = merge(&[], new(), at(5));
            prop_assert_eq!(merge(&once, new(), at(later)), once);
        }
    }
}
