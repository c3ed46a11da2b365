use super::*;

fn observation(number: i32, reward: f64, kind: TrialKind) -> Observation {
    let x = f64::from(number);
    Observation {
        point: vec![0.1 * x, 0.5, 1.0 - 0.1 * x],
        state: vec![100.0 * x, x],
        next_state: vec![100.0 * (x + 1.0), x + 1.0],
        level: reward,
        reward,
        feasible: true,
        kind,
    }
}

fn request(kind: TrialKind, algorithm: Algorithm) -> Request {
    Request {
        optimizer: OptimizerSpec { algorithm, seed: 3, ..OptimizerSpec::default() },
        kind,
        number: 6,
        budget: 40,
        exploration_index: 1,
        exploration_total: 8,
        heuristic: vec![0.3, 0.6, 0.9],
        baseline: vec![0.1, 0.2, 0.3],
        state: vec![600.0, 6.0],
        history: vec![
            observation(1, 0.0, TrialKind::Baseline),
            observation(2, 0.1, TrialKind::Heuristic),
            observation(3, 0.05, TrialKind::Explore),
            observation(4, 0.12, TrialKind::Explore),
            observation(5, 0.11, TrialKind::Explore),
        ],
        checkpoint: None,
    }
}

const SEARCHING: [TrialKind; 3] = [TrialKind::Explore, TrialKind::Policy, TrialKind::Refine];

#[test]
fn proposals_lie_in_the_cube_and_repeat_with_their_request() {
    for kind in SEARCHING {
        for algorithm in [Algorithm::DDPG, Algorithm::LHS, Algorithm::Random, Algorithm::Heuristic] {
            let first = propose(&request(kind, algorithm)).unwrap();
            assert_eq!(first.point.len(), 3);
            assert!(first.point.iter().all(|x| (0.0..=1.0).contains(x)), "{kind:?} {algorithm:?} {first:?}");
            assert_eq!(propose(&request(kind, algorithm)).unwrap().point, first.point, "{kind:?} {algorithm:?}");
        }
    }
}

#[test]
fn a_session_without_its_checkpoint_proposes_the_same() {
    let mut early = request(TrialKind::Policy, Algorithm::DDPG);
    early.history.truncate(3);
    let checkpoint = propose(&early).unwrap().checkpoint;
    for kind in SEARCHING {
        let without = request(kind, Algorithm::DDPG);
        let with = Request { checkpoint: checkpoint.clone(), ..without.clone() };
        assert_eq!(propose(&with).unwrap().point, propose(&without).unwrap().point, "{kind:?}");
    }
}

#[test]
fn a_checkpoint_that_can_not_be_used_changes_nothing() {
    let whole = request(TrialKind::Policy, Algorithm::DDPG);
    let checkpoint = propose(&whole).unwrap().checkpoint;
    let cut = |bytes: &Vec<u8>| bytes[..bytes.len() / 2].to_vec();
    for (what, request) in [
        ("damaged", Request { checkpoint: checkpoint.as_ref().map(cut), ..whole.clone() }),
        // A setting that the heuristic depends on was changed.
        ("foreign", Request { heuristic: vec![0.4, 0.6, 0.9], checkpoint: checkpoint.clone(), ..whole.clone() }),
        ("longer", Request { history: whole.history[..4].to_vec(), checkpoint, ..whole }),
    ] {
        let without = propose(&Request { checkpoint: None, ..request.clone() }).unwrap();
        assert_eq!(propose(&request).unwrap(), without, "{what}");
    }
}

#[test]
fn known_configurations_are_themselves_and_verification_proposes_nothing() {
    let known = |kind| propose(&request(kind, Algorithm::DDPG)).map(|proposal| proposal.point);
    assert_eq!(known(TrialKind::Baseline).unwrap(), [0.1, 0.2, 0.3]);
    assert_eq!(known(TrialKind::Heuristic).unwrap(), [0.3, 0.6, 0.9]);
    assert!(matches!(known(TrialKind::Verify), Err(OptimizerError::NothingToPropose(TrialKind::Verify))));
    assert_eq!(propose(&request(TrialKind::Policy, Algorithm::Heuristic)).unwrap().point, [0.3, 0.6, 0.9]);
}

#[test]
fn the_samples_of_a_session_are_one_latin_hypercube() {
    let sample =
        |number| propose(&Request { number, budget: 10, ..request(TrialKind::Policy, Algorithm::LHS) }).unwrap();
    let mut strata: Vec<usize> = (1..=10).map(|number| (sample(number).point[0] * 10.0) as usize).collect();
    strata.sort_unstable();
    assert_eq!(strata, (0..10).collect::<Vec<_>>());
}

#[test]
fn an_inconsistent_request_is_refused_by_name() {
    let refused = |change: fn(&mut Request)| {
        let mut request = request(TrialKind::Policy, Algorithm::DDPG);
        change(&mut request);
        propose(&request).map(|proposal| proposal.point).unwrap_err().to_string()
    };
    assert!(refused(|r| r.history[2].point.clear()).contains("the point of trial 3 has 0 axes"));
    assert!(refused(|r| r.history[1].reward = f64::NAN).contains("the reward of trial 2"));
    assert!(refused(|r| r.baseline[0] = 1.5).contains("the baseline is 1.5"));
    assert!(refused(|r| r.heuristic.clear()).contains("no knob"));
    assert!(refused(|r| r.state[0] = f64::INFINITY).contains("current state"));
    assert!(refused(|r| r.history[4].state[1] = f64::NAN).contains("sample 5"));
}

#[test]
fn one_lucky_measurement_is_not_the_incumbent() {
    let mut history = vec![observation(1, 0.0, TrialKind::Baseline)];
    history.extend((0..6).map(|_| observation(7, 0.15, TrialKind::Refine)));
    history.extend((0..5).map(|_| observation(3, 0.02, TrialKind::Refine)));
    history.push(observation(3, 0.2, TrialKind::Refine));
    assert_eq!(history[incumbent(&history).unwrap()].point, observation(7, 0.0, TrialKind::Refine).point);
}

#[test]
fn a_failed_trial_is_neither_incumbent_nor_proposed_again() {
    let mut request = request(TrialKind::Refine, Algorithm::DDPG);
    request.history[3].reward = 0.9;
    request.history[3].feasible = false;
    assert_ne!(incumbent(&request.history), Some(3));
    let proposal = propose(&request).unwrap().point;
    assert!(!feasibility::Feasibility::of(&request.history).likely_fails(&proposal), "{proposal:?}");
}
