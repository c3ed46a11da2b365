//! Principal components, as a linear network with a bottleneck: what it does not reconstruct is the squared prediction
//! error (SPE) of process monitoring.

use nalgebra::DMatrix;
use tch::{Kind, Tensor};

use super::use_one_thread;
use crate::learn::dense::{Dense, Layer};

/// Reconstructs `rows` of `width` numbers, one after another, from the fewest components that explain `share` of their
/// variance, but always from fewer than there are features where there are several.
pub fn fit(rows: &[f32], width: usize, share: f64) -> Dense {
    use_one_thread();
    let (mean, values, vectors) = decompose(&Tensor::from_slice(rows).view([-1, width as i64]));
    let total: f64 = values.iter().sum();
    let mut explained = 0.0;
    let enough = values.iter().rev().position(|value| {
        explained += value;
        explained >= share * total
    });
    let count = enough.map_or(width, |index| index + 1).min(width.saturating_sub(1)).max(1);
    let components = vectors.narrow(1, (width - count) as i64, count as i64);
    let encode = components.transpose(0, 1);
    let offset = -encode.matmul(&mean.transpose(0, 1));
    let layers = vec![
        Layer { inputs: width, weights: super::numbers(&encode), bias: super::numbers(&offset) },
        Layer { inputs: count, weights: super::numbers(&components), bias: super::numbers(&mean) },
    ];
    Dense { layers, relu: false }
}

/// Of rows `[rows, width]`, in double precision: their mean `[1, width]`, the variances along their components, ascending, and
/// the components, which are the columns. LAPACK behind libtorch computes on threads of its own and with other last digits
/// each time, of which components without variance are made; this gives the same bits again.
pub(super) fn decompose(rows: &Tensor) -> (Tensor, Vec<f64>, Tensor) {
    let rows = rows.to_kind(Kind::Double);
    let width = rows.size()[1];
    let mean = rows.mean_dim([0].as_slice(), true, Kind::Double);
    let centred = &rows - &mean;
    let covariance = centred.transpose(0, 1).matmul(&centred) / (rows.size()[0].max(2) - 1) as f64;
    let mut entries = vec![0.0; (width * width) as usize];
    covariance.contiguous().flatten(0, -1).copy_data(&mut entries, (width * width) as usize);
    let decomposed = DMatrix::<f64>::from_vec(width as usize, width as usize, entries).symmetric_eigen();
    let mut order: Vec<usize> = (0..width as usize).collect();
    order.sort_by(|a, b| decomposed.eigenvalues[*a].total_cmp(&decomposed.eigenvalues[*b]));
    let values = order.iter().map(|place| decomposed.eigenvalues[*place].max(0.0)).collect();
    let columns = decomposed.eigenvectors.select_columns(&order);
    (mean, values, Tensor::from_slice(columns.as_slice()).view([width, width]).transpose(0, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::rng::Random;

    #[test]
    fn a_plane_is_reconstructed_and_what_leaves_it_is_not() {
        let mut random = Random::new(1, 0);
        let rows: Vec<f32> = (0..500)
            .flat_map(|_| {
                let (a, b) = (random.normal() as f32, random.normal() as f32);
                [a + 5.0, b, a + b]
            })
            .collect();
        let network = fit(&rows, 3, 0.99);
        let error = |row: &[f32]| -> f32 {
            network.forward(row).iter().zip(row).map(|(made, given)| (made - given).powi(2)).sum()
        };
        assert!(rows.chunks(3).all(|row| error(row) < 1e-6));
        let normal = error(&[5.0, 0.0, 3.0]);
        assert!((normal - 3.0).abs() < 0.1, "the point is √3 from the plane, its squared distance is {normal}");
    }
}
