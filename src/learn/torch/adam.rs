//! Adam (Kingma and Ba 2015) with weight decay and clipping of the gradient's norm. libtorch's own optimiser can't be
//! stored through `tch`; this one's state is tensors, so that a resumed session trains on exactly as it would have.

use tch::Tensor;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;
/// Largest norm of the gradient over all parameters.
const CLIP: f64 = 1.0;

/// The optimiser of the parameters of one network.
#[derive(Debug)]
pub struct Adam {
    learning_rate: f64,
    weight_decay: f64,
    steps: i32,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
}

impl Adam {
    /// For a network's parameters, after `steps` steps; moments start at zero.
    pub fn new(parameters: &[Tensor], learning_rate: f64, weight_decay: f64, steps: i32) -> Self {
        let zeros = || parameters.iter().map(|tensor| tensor.detach().zeros_like()).collect();
        Self { learning_rate, weight_decay, steps, first: zeros(), second: zeros() }
    }

    /// Multiplies the learning rate from now on.
    pub fn reduce(&mut self, factor: f64) {
        self.learning_rate *= factor;
    }

    /// Steps so far.
    pub fn steps(&self) -> i32 {
        self.steps
    }

    /// First and second moments, one of each per parameter.
    pub fn moments(&self) -> [&[Tensor]; 2] {
        [&self.first, &self.second]
    }

    /// One step down the gradient of a scalar loss. Nothing but these parameters changes.
    pub fn minimise(&mut self, loss: &Tensor, parameters: &[Tensor]) {
        let gradients = Tensor::run_backward(&[loss], parameters, false, false);
        tch::no_grad(|| {
            let squares: Vec<Tensor> =
                gradients.iter().map(|gradient| gradient.square().sum(gradient.kind())).collect();
            let norm = Tensor::stack(&squares, 0).sum(tch::Kind::Float).sqrt().double_value(&[]);
            let scale = (CLIP / (norm + 1e-6)).min(1.0);
            self.steps += 1;
            let (bias1, bias2) = (1.0 - BETA1.powi(self.steps), 1.0 - BETA2.powi(self.steps));
            let moments = self.first.iter_mut().zip(&mut self.second);
            for ((parameter, gradient), (first, second)) in parameters.iter().zip(gradients).zip(moments) {
                let mut parameter = parameter.shallow_clone();
                let gradient = gradient * scale + &parameter * self.weight_decay;
                let _ = first.lerp_(&gradient, 1.0 - BETA1);
                let _ = second.lerp_(&gradient.square(), 1.0 - BETA2);
                let denominator = (&*second / bias2).sqrt() + EPSILON;
                parameter -= &*first / denominator * (self.learning_rate / bias1);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::super::network::Network;
    use super::*;
    use crate::learn::rng::Random;

    #[test]
    fn it_takes_the_steps_of_libtorchs_own() {
        let network = Network::new(1, &[2, 4, 1], &mut Random::new(1, 0));
        let store = tch::nn::VarStore::new(tch::Device::Cpu);
        let mut copies: Vec<Tensor> = Vec::new();
        for (index, tensor) in network.parameters().iter().enumerate() {
            copies.push(store.root().var_copy(&format!("p{index}"), &tensor.detach()));
        }
        use tch::nn::OptimizerConfig;
        let mut theirs = tch::nn::Adam { wd: 1e-5, ..tch::nn::Adam::default() }.build(&store, 1e-3).unwrap();
        let mut ours = Adam::new(network.parameters(), 1e-3, 1e-5, 0);
        let loss = |parameters: &[Tensor]| {
            let terms: Vec<Tensor> = parameters.iter().map(|p| (p - 0.3).square().sum(Kind::Float)).collect();
            Tensor::stack(&terms, 0).sum(Kind::Float)
        };
        for _ in 0..50 {
            ours.minimise(&loss(network.parameters()), network.parameters());
            theirs.zero_grad();
            loss(&copies).backward();
            theirs.clip_grad_norm(CLIP);
            theirs.step();
        }
        for (own, copy) in network.parameters().iter().zip(&copies) {
            let difference = (own - copy).abs().max().double_value(&[]);
            assert!(difference < 1e-5, "{difference}");
        }
    }
}
