//! Fully connected networks: linear, layer norm, ReLU for each hidden layer, and a linear head.

use tch::{Kind, Tensor};

use crate::learn::rng::Random;

/// Epsilon of layer normalisation.
const NORM_EPSILON: f64 = 1e-5;

/// A number of networks of one shape that are evaluated together (twin critics; one actor).
///
/// There is neither dropout nor a running statistic, so that a network has no second mode and its parameters are all
/// of its state.
#[derive(Debug)]
pub struct Network {
    members: i64,
    /// For each layer weight `[members, in, out]` and bias `[members, 1, out]`; between them, for each hidden layer,
    /// gain and bias of its normalisation, `[members, 1, out]`.
    parameters: Vec<Tensor>,
    widths: Vec<i64>,
}

impl Network {
    /// Networks with the given widths of input, hidden layers and output. Weights are uniform in ±1/√in, as
    /// PyTorch draws them.
    pub fn new(members: usize, widths: &[usize], random: &mut Random) -> Self {
        let widths: Vec<i64> = widths.iter().map(|width| *width as i64).collect();
        let members = members as i64;
        let mut parameters = Vec::new();
        for (layer, pair) in widths.windows(2).enumerate() {
            let bound = 1.0 / (pair[0].max(1) as f64).sqrt();
            let mut draw = |shape: [i64; 3]| {
                let count = shape.iter().product();
                let values: Vec<f32> = (0..count).map(|_| random.between(-bound, bound) as f32).collect();
                Tensor::from_slice(&values).view(shape)
            };
            parameters.push(draw([members, pair[0], pair[1]]));
            parameters.push(draw([members, 1, pair[1]]));
            if layer + 2 < widths.len() {
                parameters.push(Tensor::ones([members, 1, pair[1]], (Kind::Float, tch::Device::Cpu)));
                parameters.push(Tensor::zeros([members, 1, pair[1]], (Kind::Float, tch::Device::Cpu)));
            }
        }
        let parameters = parameters.into_iter().map(|tensor| tensor.set_requires_grad(true)).collect();
        Self { members, parameters, widths }
    }

    /// Makes the head answer `output` (one value per column) whatever the input, until it is trained.
    pub fn start_at(&mut self, output: &[f32]) {
        tch::no_grad(|| {
            let head = self.parameters.len() - 2;
            let _ = self.parameters[head].zero_();
            self.parameters[head + 1].copy_(&Tensor::from_slice(output).view([1, 1, -1]));
        });
    }

    /// `[B, in]` to `[members, B, out]`.
    pub fn forward(&self, input: &Tensor) -> Tensor {
        let mut value = input.unsqueeze(0).expand([self.members, -1, -1], false);
        let mut parameters = self.parameters.iter();
        while let (Some(weight), Some(bias)) = (parameters.next(), parameters.next()) {
            value = bias.baddbmm(&value, weight, 1.0, 1.0);
            if let (Some(gain), Some(shift)) = (parameters.next(), parameters.next()) {
                let width = value.size()[2];
                value = (value.layer_norm([width], None::<&Tensor>, None::<&Tensor>, NORM_EPSILON, false) * gain
                    + shift)
                    .relu();
            }
        }
        value
    }

    /// All parameters, in a fixed order.
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// A copy that shares nothing with the original: every parameter, those of the normalisation included.
    pub fn duplicate(&self) -> Self {
        let parameters = self.parameters.iter().map(|tensor| tensor.detach().copy().set_requires_grad(true)).collect();
        Self { members: self.members, parameters, widths: self.widths.clone() }
    }

    /// Moves every parameter a share `tau` of the way to another network's (Polyak averaging).
    pub fn follow(&mut self, other: &Self, tau: f64) {
        tch::no_grad(|| {
            for (own, theirs) in self.parameters.iter_mut().zip(&other.parameters) {
                let _ = own.lerp_(theirs, tau);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(network: &Network) -> Vec<f64> {
        network.parameters().iter().flat_map(|t| Vec::<f64>::try_from(t.flatten(0, -1)).unwrap()).collect()
    }

    #[test]
    fn members_are_independent_networks() {
        let network = Network::new(2, &[3, 8, 1], &mut Random::new(1, 0));
        let output = network.forward(&Tensor::ones([5, 3], (Kind::Float, tch::Device::Cpu)));
        assert_eq!(output.size(), [2, 5, 1]);
        assert_ne!(output.double_value(&[0, 0, 0]), output.double_value(&[1, 0, 0]));
    }

    #[test]
    fn a_started_head_answers_the_same_everywhere() {
        let mut network = Network::new(1, &[3, 8, 8, 2], &mut Random::new(1, 0));
        network.start_at(&[0.25, -3.0]);
        let input = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, -9.0, 0.0, 50.0]).view([2, 3]);
        let output = Vec::<f32>::try_from(network.forward(&input).flatten(0, -1)).unwrap();
        assert_eq!(output, [0.25, -3.0, 0.25, -3.0]);
    }

    #[test]
    fn a_target_is_an_exact_copy_and_follows_by_tau() {
        let source = Network::new(2, &[3, 8, 1], &mut Random::new(1, 0));
        let mut target = source.duplicate();
        assert_eq!(flat(&target), flat(&source));
        let moved = Network::new(2, &[3, 8, 1], &mut Random::new(2, 0));
        // Normalisation starts at one and zero everywhere: make it differ too.
        tch::no_grad(|| moved.parameters().iter().for_each(|tensor| drop(tensor.shallow_clone().g_add_scalar_(0.5))));
        target.follow(&moved, 0.01);
        for ((before, after), goal) in flat(&source).iter().zip(flat(&target)).zip(flat(&moved)) {
            assert!((after - (before + 0.01 * (goal - before))).abs() < 1e-6, "{before} {after} {goal}");
        }
    }
}
