//! Deep deterministic policy gradient (Lillicrap and others 2016) with TD3's twin critics (Fujimoto and others 2018)
//! for tens of expensive samples: a warm start, many gradient steps per sample, by default no bootstrapping.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};
use thiserror::Error;

use super::adam::Adam;
use super::network::Network;
use super::{storage, use_one_thread};
use crate::learn::normaliser::{FeatureError, Normaliser};
use crate::learn::rng::Random;

const ACTOR_HIDDEN: [usize; 2] = [64, 64];
const CRITIC_HIDDEN: [usize; 2] = [128, 64];
const LEARNING_RATE: f64 = 1e-3;
const WEIGHT_DECAY: f64 = 1e-5;
/// Samples after which the scale of the state is frozen.
const WARM_UP: u32 = 10;
/// Rewards are log ratios of some hundredths: this brings them to the scale that the networks start at.
const REWARD_SCALE: f64 = 5.0;
/// The initial action keeps this distance from the edge of the unit cube, where the sigmoid's slope vanishes.
const EDGE: f64 = 0.02;

/// What an agent is made with. Two agents of equal settings that learn the same samples are equal to the last bit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Seed of the weights and of the batches.
    pub seed: u64,
    /// Features of a state.
    pub state_width: usize,
    /// The action before any learning, in the unit cube: it gives the number of axes as well.
    pub initial_action: Vec<f64>,
    /// Gradient steps after each new sample.
    pub updates_per_sample: u32,
    /// Samples in a gradient step.
    pub batch_size: usize,
    /// Discount; 0 makes each sample a decision of its own (a contextual bandit) and needs no target networks.
    pub gamma: f64,
    /// Share of the way that target networks move in a gradient step.
    pub tau: f64,
}

/// A sample of experience.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Raw features in which the action was chosen.
    pub state: Vec<f64>,
    /// The action, a point of the unit cube.
    pub action: Vec<f64>,
    /// What it was worth.
    pub reward: f64,
    /// Raw features that followed.
    pub next_state: Vec<f64>,
    /// Nothing follows: the reward is all.
    pub terminal: bool,
}

/// Why an agent can't learn or act.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The checkpoint is damaged.
    #[error("the agent's checkpoint can't be used: {0}")]
    Damaged(String),
    /// The checkpoint is of another session.
    #[error("the agent's checkpoint is of another session: {0} differs")]
    Foreign(&'static str),
    /// The agent can't be written.
    #[error("the agent can't be written: {0}")]
    Unwritten(String),
    /// An action has the wrong number of axes.
    #[error("the action of sample {sample} has {found} axes where the agent has {expected}")]
    Action {
        /// Position in the memory, from 1.
        sample: usize,
        /// Axes of the action.
        found: usize,
        /// Axes of the agent.
        expected: usize,
    },
    /// A state can't be normalised.
    #[error("a state of sample {sample} can't be used: {source}")]
    State {
        /// Position in the memory, from 1.
        sample: usize,
        /// Why.
        source: FeatureError,
    },
    /// The state to act in can't be normalised.
    #[error("the current state can't be used: {0}")]
    CurrentState(#[from] FeatureError),
}

/// Actor, critics and all that their training depends on.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    actor: Network,
    actor_optimiser: Adam,
    critics: Network,
    critic_optimiser: Adam,
    targets: Option<Targets>,
    normaliser: Normaliser,
    random: Random,
    learned: usize,
}

/// Slow copies that bootstrapped values are computed with.
#[derive(Debug)]
struct Targets {
    actor: Network,
    critics: Network,
}

/// The part of a checkpoint that is no tensor.
#[derive(Serialize, Deserialize)]
struct Header {
    /// The settings as JSON: compared, never read back.
    settings: String,
    normaliser: Normaliser,
    random: Random,
    learned: usize,
    steps: i32,
}

/// A batch: `[B, features]`, `[B, axes]`, `[B, 1]`, `[B, features]`, `[B, 1]`.
struct Batch {
    state: Tensor,
    action: Tensor,
    reward: Tensor,
    next_state: Tensor,
    /// 0 after a terminal transition, 1 otherwise.
    follows: Tensor,
}

impl Agent {
    /// An agent that has learned nothing and answers the initial action.
    pub fn new(settings: Settings) -> Self {
        let normaliser = Normaliser::new(settings.state_width, WARM_UP);
        let random = Random::new(settings.seed, 0);
        Self::assemble(settings, normaliser, random, 0, 0)
    }

    fn assemble(settings: Settings, normaliser: Normaliser, mut random: Random, learned: usize, steps: i32) -> Self {
        use_one_thread();
        let (state, axes) = (settings.state_width, settings.initial_action.len());
        let mut actor = Network::new(1, &[state, ACTOR_HIDDEN[0], ACTOR_HIDDEN[1], axes], &mut random);
        let logit = |x: &f64| (x.clamp(EDGE, 1.0 - EDGE) / (1.0 - x.clamp(EDGE, 1.0 - EDGE))).ln() as f32;
        actor.start_at(&settings.initial_action.iter().map(logit).collect::<Vec<_>>());
        let critics = Network::new(2, &[state + axes, CRITIC_HIDDEN[0], CRITIC_HIDDEN[1], 1], &mut random);
        let targets =
            (settings.gamma > 0.0).then(|| Targets { actor: actor.duplicate(), critics: critics.duplicate() });
        let actor_optimiser = Adam::new(actor.parameters(), LEARNING_RATE, WEIGHT_DECAY, steps);
        let critic_optimiser = Adam::new(critics.parameters(), LEARNING_RATE, WEIGHT_DECAY, steps);
        Self { settings, actor, actor_optimiser, critics, critic_optimiser, targets, normaliser, random, learned }
    }

    /// Learns the samples of a memory that it has not learned yet, one after another: each is followed by
    /// `updates_per_sample` gradient steps on uniform batches of all samples up to it. Nothing is ever forgotten, the
    /// heuristic's measurements least of all. A memory is only ever appended to.
    ///
    /// # Errors
    /// A sample does not fit, or the memory is shorter than what was learned.
    pub fn learn(&mut self, memory: &[Transition]) -> Result<(), AgentError> {
        if memory.len() < self.learned {
            return Err(AgentError::Foreign("the number of trials"));
        }
        let axes = self.settings.initial_action.len();
        for sample in self.learned..memory.len() {
            let new = &memory[sample];
            let state_error = |source| AgentError::State { sample: sample + 1, source };
            if new.action.len() != axes {
                return Err(AgentError::Action { sample: sample + 1, found: new.action.len(), expected: axes });
            }
            self.normaliser.normalise(&new.next_state).map_err(state_error)?;
            self.normaliser.observe(&new.state).map_err(state_error)?;
            let known = self.tensors(&memory[..=sample])?;
            for _ in 0..self.settings.updates_per_sample {
                let rows: Vec<i64> =
                    (0..self.settings.batch_size).map(|_| self.random.below(sample + 1) as i64).collect();
                self.update(&known.rows(&Tensor::from_slice(&rows)));
            }
            self.learned = sample + 1;
        }
        Ok(())
    }

    /// The action for a state of raw features, without noise.
    ///
    /// # Errors
    /// The state does not fit.
    pub fn act(&self, state: &[f64]) -> Result<Vec<f64>, AgentError> {
        let state = matrix(&[self.normaliser.normalise(state)?]);
        let action = tch::no_grad(|| policy(&self.actor, &state));
        Ok((0..self.settings.initial_action.len() as i64).map(|axis| action.double_value(&[0, axis])).collect())
    }

    /// Weights, moments of the optimisers, normaliser, random numbers and count of learned samples, as safetensors.
    ///
    /// # Errors
    /// The format refuses it.
    pub fn save(&self) -> Result<Vec<u8>, AgentError> {
        let header = Header {
            settings: written(&self.settings)?,
            normaliser: self.normaliser.clone(),
            random: self.random.clone(),
            learned: self.learned,
            steps: self.critic_optimiser.steps(),
        };
        storage::write(&self.named(), written(&header)?).map_err(AgentError::Unwritten)
    }

    /// The agent of a checkpoint.
    ///
    /// # Errors
    /// The checkpoint is damaged, or was made with other settings.
    pub fn load(bytes: &[u8], settings: &Settings) -> Result<Self, AgentError> {
        let text = storage::text(bytes).map_err(AgentError::Damaged)?;
        let header: Header = serde_json::from_str(&text).map_err(|error| AgentError::Damaged(error.to_string()))?;
        if header.settings != written(settings)? {
            return Err(AgentError::Foreign("seed, knobs, features or a hyperparameter"));
        }
        let random = header.random.clone();
        let mut agent = Self::assemble(settings.clone(), header.normaliser, random, header.learned, header.steps);
        // Drawing the weights that are now replaced moved the stream on.
        agent.random = header.random;
        storage::read(bytes, &agent.named()).map_err(AgentError::Damaged)?;
        Ok(agent)
    }

    /// Every tensor that the agent's future depends on, by name.
    fn named(&self) -> Vec<(String, &Tensor)> {
        let [actor_first, actor_second] = self.actor_optimiser.moments();
        let [critic_first, critic_second] = self.critic_optimiser.moments();
        let mut groups = vec![
            ("actor", self.actor.parameters()),
            ("actor.first_moment", actor_first),
            ("actor.second_moment", actor_second),
            ("critics", self.critics.parameters()),
            ("critics.first_moment", critic_first),
            ("critics.second_moment", critic_second),
        ];
        if let Some(targets) = &self.targets {
            groups.push(("target.actor", targets.actor.parameters()));
            groups.push(("target.critics", targets.critics.parameters()));
        }
        let numbered = |(group, tensors): (&str, &'_ [Tensor])| -> Vec<String> {
            (0..tensors.len()).map(|index| format!("{group}.{index}")).collect()
        };
        groups.into_iter().flat_map(|group| numbered(group).into_iter().zip(group.1)).collect()
    }

    fn tensors(&self, memory: &[Transition]) -> Result<Batch, AgentError> {
        let normalise = |state: fn(&Transition) -> &[f64]| -> Result<Tensor, AgentError> {
            let rows = memory.iter().map(|transition| self.normaliser.normalise(state(transition)));
            Ok(matrix(&rows.collect::<Result<Vec<_>, _>>()?))
        };
        let column = |value: fn(&Transition) -> f64| matrix(&memory.iter().map(|t| vec![value(t)]).collect::<Vec<_>>());
        Ok(Batch {
            state: normalise(|transition| &transition.state)?,
            action: matrix(&memory.iter().map(|transition| transition.action.clone()).collect::<Vec<_>>()),
            reward: column(|transition| transition.reward * REWARD_SCALE),
            next_state: normalise(|transition| &transition.next_state)?,
            follows: column(|transition| if transition.terminal { 0.0 } else { 1.0 }),
        })
    }

    /// One gradient step of the critics and one of the actor.
    fn update(&mut self, batch: &Batch) {
        let target = self.target(batch);
        let loss = squared_error(&values(&self.critics, &batch.state, &batch.action), &target);
        self.critic_optimiser.minimise(&loss, self.critics.parameters());
        let action = policy(&self.actor, &batch.state);
        // The smaller of the two critics: what only one of them believes is not worth going to.
        let value = values(&self.critics, &batch.state, &action).amin(0, false);
        self.actor_optimiser.minimise(&-value.mean(Kind::Float), self.actor.parameters());
        if let Some(targets) = &mut self.targets {
            targets.actor.follow(&self.actor, self.settings.tau);
            targets.critics.follow(&self.critics, self.settings.tau);
        }
    }

    /// What the critics should have said, `[B, 1]`: the reward, and with a discount what the targets expect to follow
    /// unless the transition is terminal.
    fn target(&self, batch: &Batch) -> Tensor {
        let Some(targets) = &self.targets else { return batch.reward.shallow_clone() };
        tch::no_grad(|| {
            let action = policy(&targets.actor, &batch.next_state);
            let expected = values(&targets.critics, &batch.next_state, &action).amin(0, false);
            &batch.reward + expected * &batch.follows * self.settings.gamma
        })
    }
}

impl Batch {
    fn rows(&self, rows: &Tensor) -> Self {
        Self {
            state: self.state.index_select(0, rows),
            action: self.action.index_select(0, rows),
            reward: self.reward.index_select(0, rows),
            next_state: self.next_state.index_select(0, rows),
            follows: self.follows.index_select(0, rows),
        }
    }
}

fn written(value: &impl Serialize) -> Result<String, AgentError> {
    serde_json::to_string(value).map_err(|error| AgentError::Unwritten(error.to_string()))
}

/// `[B, axes]` in the unit cube.
fn policy(actor: &Network, state: &Tensor) -> Tensor {
    actor.forward(state).squeeze_dim(0).sigmoid()
}

/// `[critics, B, 1]`
fn values(critics: &Network, state: &Tensor, action: &Tensor) -> Tensor {
    critics.forward(&Tensor::cat(&[state, action], 1))
}

/// Mean over the batch, summed over the critics. The target of each row, given as `[B]` or `[B, 1]`, is brought to
/// the predictions' `[critics, B, 1]`: as `[B]` it would broadcast to `[critics, B, B]` without a word.
fn squared_error(prediction: &Tensor, target: &Tensor) -> Tensor {
    let target = target.view([1, -1, 1]).expand_as(prediction);
    (prediction - target).square().mean_dim([1, 2].as_slice(), false, Kind::Float).sum(Kind::Float)
}

/// Rows of equal length as a 32-bit matrix.
fn matrix(rows: &[Vec<f64>]) -> Tensor {
    let numbers: Vec<f32> = rows.iter().flatten().map(|number| *number as f32).collect();
    Tensor::from_slice(&numbers).view([rows.len() as i64, rows.first().map_or(0, Vec::len) as i64])
}

#[cfg(test)]
#[path = "ddpg_tests.rs"]
mod tests;
