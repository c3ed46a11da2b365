//! The autoencoder: input, hidden, bottleneck, hidden, output; ReLU but for the linear output; mean squared error with
//! L2 on the weights; the learning rate falls on a plateau and training stops early. With few rows it begins as principal
//! components, with many at random.

use tch::{Kind, Tensor};

use super::adam::Adam;
use super::{pca, use_one_thread};
use crate::learn::dense::{Dense, Layer};
use crate::learn::rng::Random;

const LEARNING_RATE: f64 = 1e-3;
const WEIGHT_DECAY: f64 = 1e-5;
const BATCH: usize = 128;
/// Epochs without a better validation loss after which the learning rate is halved, as a share of the patience.
const PLATEAU: f64 = 0.4;
const REDUCTION: f64 = 0.5;
/// With fewer rows than this, a network that begins at random ends behind principal components, far in the rows that it did
/// not see; with more, it finds what they can't express.
const FEW: usize = 400;
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
    let matrix = |numbers: &[f32]| Tensor::from_slice(numbers).view([-1, width as i64]);
    let (rows, validation) = (matrix(rows), matrix(validation));
    let count = rows.size()[0] as usize;
    if count < FEW {
        tch::no_grad(|| begin_as_components(&parameters, &rows));
    }
    let mut optimiser = Adam::new(&parameters, LEARNING_RATE, WEIGHT_DECAY, 0);
    let loss_of = |batch: &Tensor| (forward(&parameters, batch) - batch).square().mean(Kind::Float);

    let validated = || tch::no_grad(|| loss_of(&validation).double_value(&[]));
    let mut best = Fitted { network: plain(&parameters), loss: validated(), epochs: 0 };
    let (mut since_best, mut since_reduction) = (0, 0);
    let plateau = ((f64::from(settings.patience) * PLATEAU) as u32).max(1);
    for epoch in 1..=settings.epochs {
        let order: Vec<i64> = random.permutation(count).into_iter().map(|row| row as i64).collect();
        for batch in order.chunks(BATCH) {
            optimiser.minimise(&loss_of(&rows.index_select(0, &Tensor::from_slice(batch))), &parameters);
        }
        let loss = validated();
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

/// Lets as many units of each layer as the bottleneck has carry the rows' first principal components, and the output be
/// made from these alone. Each is shifted so far that ReLU leaves it as it is for rows twice as far from the mean as any
/// of these. What the other units say is still unheard.
fn begin_as_components(parameters: &[Tensor], rows: &Tensor) {
    let [encode, encode_bias, narrow, narrow_bias, widen, widen_bias, decode, decode_bias] = parameters else { return };
    let (width, hidden, bottleneck) = (encode.size()[0], encode.size()[1], narrow.size()[1]);
    let count = bottleneck.min(hidden).min(width);
    let (mean, _, vectors) = pca::decompose(rows);
    let (mean, components) = (mean.to_kind(Kind::Float), vectors.narrow(1, width - count, count).to_kind(Kind::Float));
    let centre = mean.matmul(&components);
    let shift = (rows.matmul(&components) - &centre).abs().amax([0].as_slice(), true) * 2.0;
    let first = |tensor: &Tensor| tensor.narrow(tensor.dim() as i64 - 1, 0, count);
    first(encode).copy_(&components);
    first(encode_bias).copy_(&(&shift - &centre).squeeze());
    for (weights, bias) in [(narrow, narrow_bias), (widen, widen_bias)] {
        let mut passed = first(weights);
        let _ = passed.zero_();
        passed.narrow(0, 0, count).copy_(&Tensor::eye(count, (Kind::Float, tch::Device::Cpu)));
        let _ = first(bias).zero_();
    }
    let _ = decode.shallow_clone().zero_();
    let back = components.transpose(0, 1);
    decode.narrow(0, 0, count).copy_(&back);
    decode_bias.shallow_clone().copy_(&(mean - shift.matmul(&back)).squeeze());
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
        // Two numbers decide, and the product of both is one of the features: no component holds it.
        let settings = Settings { bottleneck: 2, ..SETTINGS };
        let fitted = fit(&rows(2000, 1), &rows(300, 2), 6, &settings, &mut |_, loss| losses.push(loss));
        assert!(fitted.loss < 0.7 * losses[0], "{} after {losses:?}", fitted.loss);
        assert_eq!(
            (fitted.epochs as usize, losses.iter().copied().reduce(f64::min)),
            (losses.len(), Some(fitted.loss))
        );
    }

    #[test]
    fn it_begins_as_principal_components() {
        let (seen, new) = (rows(60, 1), rows(300, 2));
        let begun = fit(&seen, &new, 6, &Settings { epochs: 0, ..SETTINGS }, &mut |_, _| ());
        let components = pca::fit(&seen, 6, 0.95);
        assert_eq!(components.layers[1].inputs, 4 - 1, "of six features two decide, and a product");
        let error = |network: &Dense| -> f32 {
            let square = |row: &[f32]| -> f32 {
                network.forward(row).iter().zip(row).map(|(made, given)| (made - given).powi(2)).sum()
            };
            new.chunks(6).map(square).sum()
        };
        assert!(error(&begun.network) <= error(&components) + 0.01, "{} {}", error(&begun.network), error(&components));
        let fitted = fit(&seen, &new, 6, &SETTINGS, &mut |_, _| ());
        assert!(fitted.loss <= begun.loss, "{} {}", fitted.loss, begun.loss);
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
        let train = |count, seed| {
            fit(&rows(count, 1), &rows(50, 2), 6, &Settings { seed, epochs: 5, ..SETTINGS }, &mut |_, _| ())
        };
        for count in [FEW / 2, 2 * FEW] {
            assert_eq!(train(count, 7), train(count, 7));
            assert_ne!(train(count, 7), train(count, 8));
        }
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
