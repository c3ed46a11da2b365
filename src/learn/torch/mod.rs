//! The neural networks, on libtorch. The only place that names `tch`; plain numbers cross its border.

mod adam;
pub mod autoencoder;
pub mod ddpg;
mod network;
pub mod pages;
pub mod pca;
mod storage;

use std::sync::Once;

/// Keeps libtorch on the calling thread: for networks this small its thread pool costs more than it brings, and one
/// thread computes the same bits every time.
fn use_one_thread() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tch::set_num_threads(1));
}

/// The numbers of a tensor, row after row.
fn numbers(tensor: &tch::Tensor) -> Vec<f32> {
    let flat = tensor.detach().to_kind(tch::Kind::Float).contiguous().flatten(0, -1);
    let mut numbers = vec![0.0; flat.numel()];
    flat.copy_data(&mut numbers, flat.numel());
    numbers
}
