//! A fully connected network as plain numbers: what a training leaves behind. Computes without native code, so that a
//! row is judged where it is needed, at the cost of some ten thousand multiplications.

use serde::{Deserialize, Serialize};

/// A layer: `output = weights · input + bias`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Width of the input.
    pub inputs: usize,
    /// `[outputs, inputs]`, row after row.
    pub weights: Vec<f32>,
    /// One per output.
    pub bias: Vec<f32>,
}

/// Layers, one after another, with ReLU between them when `relu` is set. The output is linear.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// At least one.
    pub layers: Vec<Layer>,
    /// Whether negative outputs of all but the last layer become 0.
    pub relu: bool,
}

impl Dense {
    /// The output for an input as wide as the first layer.
    pub fn forward(&self, input: &[f32]) -> Vec<f32> {
        let mut values = input.to_vec();
        for (index, layer) in self.layers.iter().enumerate() {
            let last = index + 1 == self.layers.len();
            let output = |(weights, bias): (&[f32], &f32)| {
                let sum = weights.iter().zip(&values).map(|(weight, value)| weight * value).sum::<f32>() + bias;
                if self.relu && !last { sum.max(0.0) } else { sum }
            };
            values = layer.weights.chunks_exact(layer.inputs).zip(&layer.bias).map(output).collect();
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_layers_are_rectified_and_the_output_is_linear() {
        let negate = Layer { inputs: 1, weights: vec![-1.0], bias: vec![0.5] };
        let network = Dense { layers: vec![negate.clone(), negate.clone()], relu: true };
        assert_eq!(network.forward(&[2.0]), [0.5]);
        assert_eq!(network.forward(&[-2.0]), [-2.0]);
        assert_eq!(Dense { layers: vec![negate.clone(), negate], relu: false }.forward(&[2.0]), [2.0]);
    }
}
