//! Tensors and a text as bytes, in the safetensors format: a header that names shapes, then the numbers.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, serialize};
use tch::{Kind, Tensor};

use crate::learn::numbers::Numbers;

/// Key of the text in the header's metadata.
const TEXT: &str = "howdah";

/// Writes named 32-bit tensors and a text.
///
/// # Errors
/// A sentence on what could not be written.
pub fn write(tensors: &[(String, &Tensor)], text: String) -> Result<Vec<u8>, String> {
    let mut stored = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let numbers: Vec<f32> = tensor
            .detach()
            .to_kind(Kind::Float)
            .flatten(0, -1)
            .try_into()
            .map_err(|error| format!("tensor {name} can't be read: {error}"))?;
        let shape = tensor.size().iter().map(|size| *size as usize).collect();
        stored.push((name, Numbers::new(shape, &numbers)));
    }
    serialize(stored, &Some(HashMap::from([(TEXT.to_owned(), text)]))).map_err(|error| error.to_string())
}

/// The text of [`write`].
///
/// # Errors
/// A sentence on what is damaged.
pub fn text(bytes: &[u8]) -> Result<String, String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    header.metadata().as_ref().and_then(|all| all.get(TEXT).cloned()).ok_or_else(|| "its header has no text".into())
}

/// Reads named tensors into tensors of the same shapes. Nothing changes unless all are there.
///
/// # Errors
/// A sentence on what is missing or damaged.
pub fn read(bytes: &[u8], into: &[(String, &Tensor)]) -> Result<(), String> {
    let stored = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut read = Vec::with_capacity(into.len());
    for (name, tensor) in into {
        let view = stored.tensor(name).map_err(|error| format!("tensor {name}: {error}"))?;
        let shape: Vec<i64> = view.shape().iter().map(|size| *size as i64).collect();
        if view.dtype() != Dtype::F32 || shape != tensor.size() {
            return Err(format!("tensor {name} has shape {shape:?} where {:?} is expected", tensor.size()));
        }
        let numbers: Vec<f32> =
            view.data().chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
        read.push(Tensor::from_slice(&numbers).view(shape.as_slice()));
    }
    tch::no_grad(|| {
        for ((_, tensor), value) in into.iter().zip(&read) {
            tensor.shallow_clone().copy_(value);
        }
    });
    Ok(())
}
