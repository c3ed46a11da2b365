//! Recorded facts with their decisions.

use super::*;
use crate::control::golden::assert_recorded;
use crate::instance::InstanceRoom;

#[test]
fn an_instance_is_ready_without_a_guardrail() {
    let mut facts = healthy();
    server(&mut facts).rights.optional = vec!["GRANT pg_read_server_files TO app".into()];
    assert_recorded::<InstanceRoom>("instance-ready", &facts);
}

#[test]
fn a_pod_that_was_killed_explains_a_server_that_does_not_answer() {
    let mut facts = healthy();
    facts.server = Err(Trouble::new(Reason::Unreachable, "db:5432 refused the connection"));
    (pod(&mut facts).ready, pod(&mut facts).last_termination) = (false, Some("OOMKilled".into()));
    assert_recorded::<InstanceRoom>("instance-pod-not-ready", &facts);
}

#[test]
fn a_key_of_somebody_else_is_left_to_him() {
    let mut facts = healthy();
    facts.configuration.as_mut().unwrap().as_mut().unwrap().other_owners.push("argocd".into());
    assert_recorded::<InstanceRoom>("instance-field-conflict", &facts);
}
