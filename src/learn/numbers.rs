//! 32-bit numbers as a safetensors file holds them.

use std::borrow::Cow;

use safetensors::tensor::{Dtype, View};

/// Numbers of one shape, in the file's byte order.
pub struct Numbers {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Numbers {
    /// `numbers` in the order of the rows of `shape`, of which the product is their count.
    pub fn new(shape: Vec<usize>, numbers: &[f32]) -> Self {
        Self { shape, bytes: numbers.iter().flat_map(|number| number.to_le_bytes()).collect() }
    }

    /// As the file holds them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl View for Numbers {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
