//! What replicas are made for, and what is restored.

use super::*;

#[test]
fn what_others_remove_comes_back() {
    let mut facts = served(json!({}), 0.9);
    let repair = serve_step(&facts.status().model.unwrap().name);
    let whole = facts.deployment.clone().unwrap();
    facts.deployment.as_mut().unwrap().beside.remove(&Beside::Service);
    assert_eq!(look(&mut facts).steps, std::slice::from_ref(&repair));
    assert_eq!(condition(&facts, "Ready"), "False NotServing");
    facts.deployment = None;
    assert_eq!(look(&mut facts).steps, std::slice::from_ref(&repair));
    let without_a_budget = DeploymentFacts { beside: [Beside::Service].into(), ..whole.clone() };
    let with_a_left_over =
        DeploymentFacts { beside: [Beside::Service, Beside::Budget, Beside::Autoscaler].into(), ..whole.clone() };
    let scaled = DeploymentFacts { replicas: 0, ready: 0, ..whole.clone() };
    for changed in [without_a_budget, with_a_left_over, scaled] {
        facts.deployment = Some(changed);
        let decision = look(&mut facts);
        assert_eq!(decision.steps, std::slice::from_ref(&repair), "{:?}", facts.deployment);
        settle(&mut facts, &decision);
        assert_eq!((look(&mut facts).steps, condition(&facts, "Ready")), (vec![], "True Serving".into()));
    }
    // Where an autoscaler counts, another count is its own.
    facts.model.spec.serving.autoscaling = Some(Autoscaling { max: 5 });
    let decision = look(&mut facts);
    settle(&mut facts, &decision);
    facts.deployment.as_mut().unwrap().replicas = 4;
    assert_eq!(look(&mut facts).steps, []);
    facts.deployment.as_mut().unwrap().beside.remove(&Beside::Autoscaler);
    assert_eq!(look(&mut facts).steps, [repair]);
}

#[test]
fn replicas_follow_the_operator_s_own_pod() {
    let mut facts = served(json!({}), 0.9);
    facts.pattern.as_mut().unwrap().template = "t2".into();
    let decision = look(&mut facts);
    assert_eq!(decision.steps, [serve_step(&facts.status().model.unwrap().name)]);
    settle(&mut facts, &decision);
    assert_eq!(look(&mut facts).steps, []);
}

#[test]
fn groups_wait_for_the_model_whose_classes_they_are_of() {
    let routing = |groups: &[&str]| json!({"routing": {"target": "cpu", "groups": groups}});
    let mut facts = served(json!({"serving": routing(&["a", "b", "c"])}), 0.9);
    let before = facts.status().model.unwrap().name;
    facts.model.spec.serving = serde_json::from_value(routing(&["a", "heavy"])).unwrap();
    facts.model.spec.targets[0].bounds = vec!["60".into()];
    assert_eq!(look(&mut facts).steps, [], "the model before has three classes");
    // Somebody changes the pods meanwhile: they are as they were.
    facts.deployment.as_mut().unwrap().replicas = 1;
    let Some(Step::Serve { name, routing: held }) = look(&mut facts).steps.pop() else { panic!("nothing is repaired") };
    assert_eq!((name, held.unwrap().groups), (before, vec!["a".into(), "b".into(), "c".into()]));
    facts.deployment.as_mut().unwrap().replicas = 2;
    succeed(&mut facts, 0.9, None);
    let decision = look(&mut facts);
    let Some(Step::Serve { routing: Some(now), .. }) = decision.steps.last() else { panic!("{:?}", decision.steps) };
    assert_eq!(now.groups, ["a", "heavy"]);
    settle(&mut facts, &decision);
    assert_eq!(look(&mut facts).steps, []);
    // Other names of the same classes need no other model.
    facts.model.spec.serving.routing.as_mut().unwrap().groups[1] = "slow".into();
    assert!(matches!(look(&mut facts).steps[..], [Step::Serve { .. }]));
}

#[test]
fn plans_are_asked_for_while_there_is_a_connection_and_answers_go_on_without() {
    let mut facts = served(json!({"explain": {"enabled": true, "secretRef": {"name": "reader"}}}), 0.9);
    let serve = |decision: &Decision| decision.steps.iter().any(|step| matches!(step, Step::Serve { .. }));
    facts.explain = Some(Ok("s/1".into()));
    let decision = look(&mut facts);
    assert!(serve(&decision), "{:?}", decision.steps);
    settle(&mut facts, &decision);
    assert_eq!((look(&mut facts).steps, condition(&facts, "Serving")), (vec![], "True Serving".into()));
    // Another password is another connection.
    facts.explain = Some(Ok("s/2".into()));
    let decision = look(&mut facts);
    assert!(serve(&decision));
    settle(&mut facts, &decision);
    // The API server is away: nothing changes. The Secret is gone: the tier is off, and it is said.
    facts.explain = Some(Err(Trouble::new(Reason::StepFailed, "explain: away")));
    assert_eq!((look(&mut facts).steps, condition(&facts, "Serving")), (vec![], "True StepFailed".into()));
    facts.explain = Some(Err(Trouble::new(Reason::SecretMissing, "explain: there is no Secret")));
    let decision = look(&mut facts);
    assert!(serve(&decision));
    settle(&mut facts, &decision);
    look(&mut facts);
    assert_eq!(condition(&facts, "Serving"), "True Serving");
    assert!(message(&facts, "Serving").ends_with("; no plans are asked for: explain: there is no Secret"));
}
