use super::*;

fn settings(gamma: f64) -> Settings {
    Settings {
        seed: 11,
        state_width: 2,
        initial_action: vec![0.3],
        updates_per_sample: 10,
        batch_size: 16,
        gamma,
        tau: 0.005,
    }
}

/// Random actions, rewarded by how close they are to 0.7.
fn memory(samples: usize) -> Vec<Transition> {
    let mut random = Random::new(5, 0);
    let sample = |_| {
        let action = random.uniform();
        let state = vec![random.between(0.0, 1e4), random.between(0.0, 1.0)];
        let next_state = vec![random.between(0.0, 1e4), random.between(0.0, 1.0)];
        Transition { state, action: vec![action], reward: -(action - 0.7).powi(2), next_state, terminal: false }
    };
    (0..samples).map(sample).collect()
}

fn bits(numbers: &[f64]) -> Vec<u64> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

#[test]
fn the_first_action_is_the_initial_one_in_every_state() {
    let initial_action = vec![0.25, 0.5, 0.97];
    let agent = Agent::new(Settings { initial_action: initial_action.clone(), ..settings(0.0) });
    for state in [[0.0, 0.0], [1e9, -5.0]] {
        for (action, expected) in agent.act(&state).unwrap().iter().zip(&initial_action) {
            assert!((action - expected).abs() < 1e-6, "{action} {expected}");
        }
    }
}

#[test]
fn it_finds_the_optimum_of_a_quadratic() {
    let mut agent = Agent::new(Settings { updates_per_sample: 20, ..settings(0.0) });
    agent.learn(&memory(40)).unwrap();
    let action = agent.act(&[5e3, 0.5]).unwrap()[0];
    assert!((action - 0.7).abs() < 0.08, "{action}");
}

#[test]
fn targets_of_a_batch_do_not_broadcast() {
    let prediction = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 1.0, 2.0, 3.0]).view([2, 3, 1]);
    let flat = Tensor::from_slice(&[0.0_f32, 2.0, 5.0]);
    // (1 + 0 + 4) / 3 for each of the two critics; broadcast it would be larger.
    for target in [flat.view([3, 1]), flat] {
        let loss = squared_error(&prediction, &target).double_value(&[]);
        assert!((loss - 10.0 / 3.0).abs() < 1e-6, "{loss}");
    }
}

#[test]
fn the_target_of_a_terminal_transition_is_its_reward_alone() {
    let agent = Agent::new(settings(0.9));
    let mut samples = memory(2);
    samples[0].terminal = true;
    let batch = agent.tensors(&samples).unwrap();
    let difference = agent.target(&batch) - &batch.reward;
    assert_eq!(difference.double_value(&[0, 0]), 0.0);
    assert_ne!(difference.double_value(&[1, 0]), 0.0);
}

#[test]
fn an_update_moves_the_target_networks_by_tau_of_their_distance() {
    let mut agent = Agent::new(settings(0.9));
    let before = agent.targets.as_ref().unwrap().critics.duplicate();
    let batch = agent.tensors(&memory(8)).unwrap();
    agent.update(&batch);
    let after = &agent.targets.as_ref().unwrap().critics;
    let tensors = before.parameters().iter().zip(after.parameters()).zip(agent.critics.parameters());
    for ((before, after), online) in tensors {
        let expected = (online - before) * agent.settings.tau;
        assert!(((after - before) - &expected).abs().max().double_value(&[]) < 1e-6);
        assert!((online - before).abs().max().double_value(&[]) > 1e-4, "the online critics did not move");
    }
}

#[test]
fn equal_agents_learn_equally_to_the_last_bit() {
    for gamma in [0.0, 0.9] {
        let (mut first, mut second) = (Agent::new(settings(gamma)), Agent::new(settings(gamma)));
        first.learn(&memory(6)).unwrap();
        second.learn(&memory(6)).unwrap();
        assert_eq!(bits(&first.act(&[1.0, 2.0]).unwrap()), bits(&second.act(&[1.0, 2.0]).unwrap()));
        let mut other = Agent::new(Settings { seed: 12, ..settings(gamma) });
        other.learn(&memory(6)).unwrap();
        assert_ne!(first.act(&[1.0, 2.0]).unwrap(), other.act(&[1.0, 2.0]).unwrap());
    }
}

#[test]
fn a_restored_agent_acts_and_learns_on_as_the_first_would_have() {
    for gamma in [0.0, 0.9] {
        let (mut whole, mut first) = (Agent::new(settings(gamma)), Agent::new(settings(gamma)));
        whole.learn(&memory(12)).unwrap();
        first.learn(&memory(5)).unwrap();
        let mut restored = Agent::load(&first.save().unwrap(), &settings(gamma)).unwrap();
        assert_eq!(bits(&restored.act(&[9.0, 0.1]).unwrap()), bits(&first.act(&[9.0, 0.1]).unwrap()));
        restored.learn(&memory(12)).unwrap();
        assert_eq!(bits(&restored.act(&[9.0, 0.1]).unwrap()), bits(&whole.act(&[9.0, 0.1]).unwrap()));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let agent = Agent::new(settings(0.0));
    let checkpoint = agent.save().unwrap();
    let damaged = Agent::load(&checkpoint[..checkpoint.len() / 2], &settings(0.0));
    assert!(matches!(damaged, Err(AgentError::Damaged(_))));
    let foreign = Agent::load(&checkpoint, &Settings { seed: 12, ..settings(0.0) });
    assert!(matches!(foreign, Err(AgentError::Foreign(_))));
    assert!(matches!(agent.act(&[f64::NAN, 0.0]), Err(AgentError::CurrentState(_))));
    let mut short = memory(1);
    short[0].action.clear();
    assert!(matches!(Agent::new(settings(0.0)).learn(&short), Err(AgentError::Action { sample: 1, .. })));
}

#[test]
fn extreme_features_give_no_nan() {
    let mut agent = Agent::new(settings(0.9));
    let mut samples = memory(5);
    samples[1].state = vec![f64::MAX, f64::MIN];
    samples[2].next_state = vec![f64::MAX, 0.0];
    agent.learn(&samples).unwrap();
    assert!(agent.act(&[f64::MAX, f64::MIN]).unwrap()[0].is_finite());
}
