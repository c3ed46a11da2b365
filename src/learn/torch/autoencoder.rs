//! The autoencoder: input, hidden, bottleneck, hidden, output; ReLU but for the linear output; mean squared error with
//! L2 on the weights; the learning rate falls on a plateau and training stops early.

use tch::{Kind, Tensor};

use super::adam::Adam;
use super::use_one_thread;
use crate::learn::dense::{Dense, Layer};
use crate::learn::rng::Random;

const LEARNING_RATE: f64 = 1e-3;
const WEIGHT_DECAY: f64 = 1e-5;
const BATCH: usize = 128;
/// Epochs without a better validation loss after which the learning rate is halved, as a share of the patience.
const PLATEAU: f64 = 0.4;
const REDUCTION: f64 = 0.5;
/// A loss counts as better from this relative gain on: an endless descent by parts in a million is a plateau.
const BETTER: f64 = 1e-3;

/// What an autoencoder is made with. Equal settings and rows give equal weights to the last bit on one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Seed of the weights and of the order of rows.
    pub seed: u64,
    /// Width of the layers beside the bottleneck.
    pub hidden: usize,
    /// Width of the bottleneck.
    pub bottleneck: usize,
    /// Most passes over the rows.
    pub epochs: u32,
    /// Epochs without a better validation loss after which training stops.
    pub patience: u32,
}

/// A trained network and how its training went.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The network of the epoch with the smallest validation loss.
    pub network: Dense,
    /// That loss: mean squared error per feature.
    pub loss: f64,
    /// Passes over the rows.
    pub epochs: u32,
}

/// Trains on `rows`, watches the loss on `validation`; both are rows of `width` numbers, one after another. `progress`
/// hears of each epoch and its validation loss.
pub fn fit(
    rows: &[f32],
    validation: &[f32],
    width: usize,
    settings: &Settings,
    progress: &mut dyn FnMut(u32, f64),
) -> Fitted {
    use_one_thread();
    let mut random = Random::new(settings.seed, 0);
    let widths = [width, settings.hidden, settings.bottleneck, settings.hidden, width];
    let parameters = draw(&widths, &mut random);
    let mut optimiser = Adam::new(&parameters, LEARNING_RATE, WEIGHT_DECAY, 0);
    let matrix = |numbers: &[f32]| Tensor::from_slice(numbers).view([-1, width as i64]);
    let (rows, validation) = (matrix(rows), matrix(validation));
    let count = rows.size()[0] as usize;
    let loss_of = |batch: &Tensor| (forward(&parameters, batch) - batch).square().mean(Kind::Float);

    let mut best = Fitted { network: plain(&parameters), loss: f64::INFINITY, epochs: 0 };
    let (mut since_best, mut since_reduction) = (0, 0);
    let plateau = ((f64::from(settings.patience) * PLATEAU) as u32).max(1);
    for epoch in 1..=settings.epochs {
        let order: Vec<i64> = random.permutation(count).into_iter().map(|row| row as i64).collect();
        for batch in order.chunks(BATCH) {
            optimiser.minimise(&loss_of(&rows.index_select(0, &Tensor::from_slice(batch))), &parameters);
        }
        let loss = tch::no_grad(|| loss_of(&validation).double_value(&[]));
        progress(epoch, loss);
        best.epochs = epoch;
        if loss < best.loss * (1.0 - BETTER) {
            best = Fitted { network: plain(&parameters), loss, epochs: epoch };
            (since_best, since_reduction) = (0, 0);
            continue;
        }
        since_best += 1;
        since_reduction += 1;
        if since_best >= settings.patience {
            break;
        }
        if since_reduction >= plateau {
            optimiser.reduce(REDUCTION);
            since_reduction = 0;
        }
    }
    best
}

/// Weights `[in, out]` uniform in ±√(6/in) (He and others 2015, for ReLU), biases zero.
fn draw(widths: &[usize], random: &mut Random) -> Vec<Tensor> {
    let mut parameters = Vec::new();
    for pair in widths.windows(2) {
        let bound = (6.0 / pair[0] as f64).sqrt();
        let weights: Vec<f32> = (0..pair[0] * pair[1]).map(|_| random.between(-bound, bound) as f32).collect();
        parameters.push(Tensor::from_slice(&weights).view([pair[0] as i64, pair[1] as i64]));
        parameters.push(Tensor::zeros([pair[1] as i64], (Kind::Float, tch::Device::Cpu)));
    }
    parameters.into_iter().map(|tensor| tensor.set_requires_grad(true)).collect()
}

/// `[B, in]` to `[B, out]`.
fn forward(parameters: &[Tensor], input: &Tensor) -> Tensor {
    let mut value = input.shallow_clone();
    for (layer, pair) in parameters.chunks_exact(2).enumerate() {
        value = pair[1].addmm(&value, &pair[0]);
        if 2 * (layer + 1) < parameters.len() {
            value = value.relu();
        }
    }
    value
}

/// The parameters as plain numbers.
fn plain(parameters: &[Tensor]) -> Dense {
    let layers = parameters.chunks_exact(2).map(|pair| Layer {
        inputs: pair[0].size()[0] as usize,
        weights: super::numbers(&pair[0].transpose(0, 1)),
        bias: super::numbers(&pair[1]),
    });
    Dense { layers: layers.collect(), relu: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { seed: 7, hidden: 16, bottleneck: 4, epochs: 60, patience: 10 };

    /// Rows of six features that two numbers determine.
    fn rows(count: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, 0);
        let row = |random: &mut Random| {
            let (a, b) = (random.normal() as f32, random.normal() as f32);
            [a, b, a + b, a - b, (a * b).clamp(-2.0, 2.0), -a]
        };
        (0..count).flat_map(|_| row(&mut random)).collect()
    }

    #[test]
    fn it_learns_what_it_can_reconstruct() {
        let mut losses = Vec::new();
        let fitted = fit(&rows(2000, 1), &rows(300, 2), 6, &SETTINGS, &mut |_, loss| losses.push(loss));
        assert!(fitted.loss < 0.1 * losses[0].max(1.0), "{} after {losses:?}", fitted.loss);
        assert_eq!(fitted.loss, losses[fitted.epochs as usize - 1]);
    }

    #[test]
    fn plain_numbers_compute_what_libtorch_computes() {
        let parameters = draw(&[6, 16, 4, 16, 6], &mut Random::new(3, 0));
        let input = rows(5, 4);
        let theirs: Vec<f32> = super::super::numbers(&forward(&parameters, &Tensor::from_slice(&input).view([5, 6])));
        let network = plain(&parameters);
        let ours: Vec<f32> = input.chunks(6).flat_map(|row| network.forward(row)).collect();
        for (own, their) in ours.iter().zip(&theirs) {
            assert!((own - their).abs() < 1e-4, "{own} {their}");
        }
    }

    #[test]
    fn a_training_replays() {
        let train =
            |seed| fit(&rows(300, 1), &rows(50, 2), 6, &Settings { seed, epochs: 5, ..SETTINGS }, &mut |_, _| ());
        assert_eq!(train(7), train(7));
        assert_ne!(train(7), train(8));
    }

    #[test]
    fn it_stops_when_it_no_longer_gets_better() {
        let mut random = Random::new(5, 0);
        let noise: Vec<f32> = (0..600).map(|_| random.normal() as f32).collect();
        let mut heard = 0;
        let settings = Settings { epochs: 500, patience: 3, ..SETTINGS };
        let fitted = fit(&noise[..300], &noise[300..], 6, &settings, &mut |epoch, _| heard = epoch);
        assert!(fitted.epochs < 500 && heard < 500, "{heard} epochs");
    }
}
